"""`stoker release` and `stoker renew`."""

import sys

import click

from ...client import Stoker, StokerError
from .failing import report
from .options import DURATION, complete_claims, print_json, prints, talks
from .terminal import until


@click.command()
@click.argument("claims", nargs=-1, required=True, metavar="ID...", shell_complete=complete_claims)
@prints
@talks
def release(claims: tuple[str, ...], output: str, socket: str | None) -> int:
    r"""End the claims ID. Their resources are removed; ending one twice is harmless.

    \b
    Examples:
      stoker release c-x7m3k9q2w8p4z6ab
      stoker release "$STOKER_CLAIM"
    """
    code = 0
    with Stoker(socket) as stoker:
        for claim in claims:
            try:
                info = stoker.release(claim)
            except StokerError as error:
                code = report(error, sys.argv[1:])
                continue
            if output == "json":
                print_json(info.document if info else {"id": claim})
            else:
                click.echo(f"{claim} {info.state if info else 'ended'}")
    return code


@click.command()
@click.argument("claim", metavar="ID", shell_complete=complete_claims)
@click.option("--ttl", type=DURATION, metavar="DURATION", help="It then ends this long from now.")
@prints
@talks
def renew(claim: str, ttl: str | None, output: str, socket: str | None) -> None:
    r"""Let the claim ID end later: its own ttl from now, or --ttl from now. It never adds up.

    \b
    Examples:
      stoker renew c-x7m3k9q2w8p4z6ab
      stoker renew c-x7m3k9q2w8p4z6ab --ttl 2h
    """
    with Stoker(socket) as stoker:
        info = stoker.renew(claim, ttl)
    if output == "json":
        print_json(info.document)
    else:
        click.echo(f"{info.id} ends {until(info.expires_at)}")
