"""`stoker claim`: takes a resource, prints it or runs a command with it."""

import os
import sys
from typing import Any

import click

from ...client import Claim, Stoker
from ...client.requests import Bind
from ...config.units import parse_duration
from ...pools.wishes import MOST_RESOURCES
from .failing import Ended
from .options import (
    check_duration,
    complete_pools,
    examples,
    parse_labels,
    parse_parameters,
    print_json,
    prints,
    talks,
)
from .show import claim_text
from .waiting import Asked, ending_signals, obtain

HELP = """Claim a resource of POOL and print it, or run COMMAND with it.

    With several POOLs, best first, or with --pool-label, the first pool that can serves. With --count N
    it is N resources of one pool, all or none; with --select only those that fulfil a CEL expression,
    such as resource.labels.zone == 'a'.

    With a COMMAND its outputs become environment variables: an output `url` is STOKER_URL, an object
    becomes JSON, and STOKER_OUTPUTS holds all of them. STOKER_CLAIM, STOKER_POOL and STOKER_RESOURCE
    say what was claimed. With --count, these are of the first one, an output `url` of the second one
    is STOKER_2_URL, and STOKER_RESOURCES names all. The claim is renewed while the command runs and released when it
    ends, however it ends; the exit code is the command's (128+N when signal N ended it).

    With --bind process the claim also ends with this stoker process, even when that is killed with
    kill -9, where it would otherwise last until it expires; with --bind connection it ends with the
    connection that this process keeps for it. Both need a COMMAND.

    Without a COMMAND the claim is printed and lasts until it is released or expires.

    Exit codes: 0 done, 1 failed, 2 usage, 3 denied, 4 no such pool, 5 nothing became ready in time
    or the daemon does not answer; with a command, also 126 and 127 when it cannot be started.
    """


class _Pools(click.Command):
    """What stands before `--` names pools, what comes after it is the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])


_COMMAND = "stoker.command"


@click.command(
    cls=_Pools,
    help=HELP,
    epilog=examples(
        "stoker claim web",
        "stoker claim web --param greeting=hello --ttl 1h -o json",
        "stoker claim web --param-json 'sizes=[1,2]' --param count:=3",
        "stoker claim web --bind process -- ./serve.sh",
        "stoker claim web --count 3 -- ./compare.sh",
        "stoker claim web spare --select \"resource.labels.zone == 'a'\"",
        "stoker claim --pool-label team=web",
        'stoker claim db --wait 5m --reason "nightly import" -- ./import.sh',
        'stoker claim db --break-glass --reason "OPS-7: the site is down"',
        "stoker claim web -- sh -c 'curl \"$STOKER_URL\"'",
    ),
)
@click.argument("pools", nargs=-1, shell_complete=complete_pools, metavar="POOL... [-- COMMAND...]")
@click.option(
    "--pool-label",
    "pool_labels",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_labels,
    help="In place of POOL: any pool with this label. May be repeated; all have to be there.",
)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, MOST_RESOURCES),
    default=1,
    show_default=True,
    help="How many resources of one pool: all or none.",
)
@click.option(
    "--select",
    metavar="EXPRESSION",
    help="CEL over `resource` (id, labels) and `outputs` (not secret, known before) that each fulfils.",
)
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    callback=parse_parameters,
    metavar="NAME=TEXT",
    help="A parameter of the blueprint; NAME:=JSON for other than text. May be repeated.",
)
@click.option(
    "--param-json",
    "json_params",
    multiple=True,
    callback=parse_parameters,
    metavar="NAME=JSON",
    help="A parameter whose value is JSON. May be repeated.",
)
@click.option(
    "--ttl",
    callback=check_duration,
    metavar="DURATION",
    help="How long it lasts; the pool has a default.",
)
@click.option(
    "--wait",
    callback=check_duration,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long to wait for a resource when none is ready.",
)
@click.option(
    "--key", metavar="KEY", help="Idempotency-Key: the same key gives the same claim again."
)
@click.option("--reason", metavar="TEXT", help="For the audit.")
@click.option(
    "-l",
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_labels,
    help="A label of the claim. May be repeated.",
)
@click.option(
    "--bind",
    type=click.Choice(["time", "process", "connection"]),
    default="time",
    show_default=True,
    help="What ends the claim beside its time and its release; others than time need a COMMAND.",
)
@click.option(
    "--break-glass",
    is_flag=True,
    help="An emergency: without the approval it needs, if a policy lets you. Needs --reason.",
)
@click.option(
    "--on-lost",
    type=click.Choice(["warn", "kill"]),
    default="warn",
    show_default=True,
    help="When the claim is lost while COMMAND runs: say so, or also end the command.",
)
@prints
@talks
def claim(  # noqa: PLR0913 - the command's options
    *,
    pools: tuple[str, ...],
    pool_labels: dict[str, str],
    count: int,
    select: str | None,
    params: dict[str, Any],
    json_params: dict[str, Any],
    ttl: str | None,
    wait: str,
    key: str | None,
    reason: str | None,
    labels: dict[str, str],
    bind: Bind,
    break_glass: bool,
    on_lost: str,
    output: str,
    socket: str | None,
) -> int:
    if bool(pools) == bool(pool_labels):
        raise click.UsageError("Name the POOL to claim from, or pools by --pool-label.")
    command: tuple[str, ...] = click.get_current_context().meta[_COMMAND]
    if bind != "time" and not command:
        raise click.UsageError(
            f"--bind {bind} needs a COMMAND: without one this process ends as soon as the claim is "
            f"printed, and the claim with it. Write: stoker claim {' '.join(pools) or 'POOL'} "
            f"--bind {bind} -- COMMAND"
        )
    if break_glass and not (reason or "").strip():
        raise click.UsageError("Say with --reason what the emergency is.")
    asked = Asked(
        pool=pool_labels or (pools[0] if len(pools) == 1 else pools),
        count=count,
        select=select,
        params=params | json_params,
        ttl=ttl,
        wait=parse_duration(wait),
        key=key,
        reason=reason,
        labels=labels,
        bind=bind,
        break_glass=break_glass,
    )
    bound: Claim | None = None
    with Stoker(socket) as stoker, ending_signals():
        try:
            bound = obtain(stoker, asked)
            if command:
                from .under_claim import run_under  # noqa: PLC0415 - not needed to print a claim

                return run_under(bound, list(command), kill_when_lost=on_lost == "kill")
            return _print(bound, output)
        except Ended as ended:
            if bound is not None:
                bound.release()
            return 128 + ended.number


def _print(bound: Claim, output: str) -> int:
    if output == "json":
        print_json(bound.info.document)
        return 0
    click.echo(claim_text(bound.info))
    if sys.stdout.isatty() and not os.environ.get("STOKER_CLAIM"):
        click.echo(f"\nEnd it with: stoker release {bound.id}", err=True)
    return 0
