"""`stoker release` and `stoker renew`."""

import sys

import click

from ...client import Stoker, StokerError
from .failing import report
from .options import check_duration, complete_claims, examples, print_json, prints, talks
from .terminal import until


@click.command(
    epilog=examples(
        "stoker release c-x7m3k9q2w8p4z6ab",
        'stoker release "$STOKER_CLAIM"',
    )
)
@click.argument("claims", nargs=-1, required=True, metavar="ID...", shell_complete=complete_claims)
@prints
@talks
def release(claims: tuple[str, ...], output: str, socket: str | None) -> int:
    """End the claims ID. Their resources are removed; ending one twice is harmless."""
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


@click.command(
    epilog=examples(
        "stoker renew c-x7m3k9q2w8p4z6ab",
        "stoker renew c-x7m3k9q2w8p4z6ab --ttl 2h",
    )
)
@click.argument("claim", metavar="ID", shell_complete=complete_claims)
@click.option(
    "--ttl", callback=check_duration, metavar="DURATION", help="It then ends this long from now."
)
@prints
@talks
def renew(claim: str, ttl: str | None, output: str, socket: str | None) -> None:
    """Let the claim ID end later: its own ttl from now, or --ttl from now. It never adds up."""
    with Stoker(socket) as stoker:
        info = stoker.renew(claim, ttl)
    if output == "json":
        print_json(info.document)
    else:
        click.echo(f"{info.id} ends {until(info.expires_at)}")
