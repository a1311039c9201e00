"""`stoker claim`: takes a resource, prints it or runs a command with it."""

import json
import os
import sys
from typing import Any

import click

from ...client import Claim, Stoker
from ...config.units import parse_duration
from .failing import Ended
from .options import DURATION, complete_pools, parse_labels, print_json, prints, talks
from .show import claim_text
from .waiting import Asked, ending_signals, obtain

HELP = r"""Claim a resource of POOL and print it, or run COMMAND with it.

    With a COMMAND its outputs become environment variables: an output `url` is STOKER_URL, an object
    becomes JSON, and STOKER_OUTPUTS holds all of them. STOKER_CLAIM, STOKER_POOL and STOKER_RESOURCE
    say what was claimed. The claim is renewed while the command runs and released when it
    ends, however it ends; the exit code is the command's (128+N when signal N ended it).

    Without a COMMAND the claim is printed and lasts until it is released or expires.

    Exit codes: 0 done, 1 failed, 2 usage, 3 denied, 4 no such pool, 5 nothing became ready in time
    or the daemon does not answer; with a command, also 126 and 127 when it cannot be started.

    \b
    Examples:
      stoker claim web
      stoker claim web --param greeting=hello --ttl 1h -o json
      stoker claim web --param-json 'sizes=[1,2]' --param count:=3
      stoker claim db --wait 5m --reason "nightly import" -- ./import.sh
      stoker claim web -- sh -c 'curl "$STOKER_URL"'
    """


class Parameter(click.ParamType):
    """`name=text`, or `name:=JSON` for a number, a boolean, a list or an object."""

    name = "parameter"

    def __init__(self, *, json_values: bool = False) -> None:
        self._json_values = json_values

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        name, equals, text = str(value).partition("=")
        typed = self._json_values or name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name:
            self.fail(f"{value!r} is no parameter; write NAME=TEXT or NAME:=JSON.", param, ctx)
        if not typed:
            return name, text
        try:
            return name, json.loads(text)
        except ValueError as error:
            self.fail(
                f"the value of {name!r} is no JSON ({error}); text needs quotes there.", param, ctx
            )


@click.command(
    help=HELP,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": True},
)
@click.argument("pool", shell_complete=complete_pools)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    type=Parameter(),
    metavar="NAME=TEXT",
    help="A parameter of the blueprint; NAME:=JSON for other than text. May be repeated.",
)
@click.option(
    "--param-json",
    "json_params",
    multiple=True,
    type=Parameter(json_values=True),
    metavar="NAME=JSON",
    help="A parameter whose value is JSON. May be repeated.",
)
@click.option(
    "--ttl", type=DURATION, metavar="DURATION", help="How long it lasts; the pool has a default."
)
@click.option(
    "--wait",
    type=DURATION,
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
    "--on-lost",
    type=click.Choice(["warn", "kill"]),
    default="warn",
    show_default=True,
    help="When the claim is lost while COMMAND runs: say so, or also end the command.",
)
@prints
@talks
def claim(  # noqa: PLR0913 - the command's options
    pool: str,
    command: tuple[str, ...],
    params: tuple[tuple[str, Any], ...],
    json_params: tuple[tuple[str, Any], ...],
    ttl: str | None,
    wait: str,
    key: str | None,
    reason: str | None,
    labels: dict[str, str],
    on_lost: str,
    output: str,
    socket: str | None,
) -> int:
    asked = Asked(
        pool=pool,
        params=dict([*params, *json_params]),
        ttl=ttl,
        wait=parse_duration(wait),
        key=key,
        reason=reason,
        labels=labels,
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
