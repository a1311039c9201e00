"""What operators do: `stoker pause|resume|drain|refresh POOL`, `stoker hold|unhold|retire RESOURCE`."""

import sys
from collections.abc import Callable

import click

from ...client import Document, Stoker, StokerError
from ..until import UntilError, parse_until
from .failing import report
from .options import (
    AnyCommand,
    complete_pools,
    complete_resources,
    examples,
    print_json,
    prints,
    talks,
)
from .show import section
from .terminal import until


def _check_until(_ctx: click.Context, _param: click.Parameter, given: str | None) -> str | None:
    if given is not None:
        try:
            parse_until(given)
        except UntilError as error:
            raise click.BadParameter(f"{error}.") from None
    return given


def says_why(command: AnyCommand) -> AnyCommand:
    return click.option("--reason", metavar="TEXT", help="Why, for the audit and for callers.")(
        command
    )


def says_until(default: str) -> Callable[[AnyCommand], AnyCommand]:
    return click.option(
        "--until",
        "until_",
        callback=_check_until,
        metavar="WHEN",
        help=f"A duration such as 90m, or a moment such as 2026-01-31T12:00:00Z; {default}.",
    )


_pools = click.argument(
    "pools", nargs=-1, required=True, metavar="POOL...", shell_complete=complete_pools
)
_resources = click.argument(
    "resources", nargs=-1, required=True, metavar="RESOURCE...", shell_complete=complete_resources
)


@click.command(
    epilog=examples(
        'stoker pause web --until 90m --reason "the registry is moved"',
        "stoker pause web db --until 2026-01-31T12:00:00Z",
    )
)
@_pools
@says_until("without it, until resumed")
@says_why
@prints
@talks
def pause(
    *,
    pools: tuple[str, ...],
    until_: str | None,
    reason: str | None,
    output: str,
    socket: str | None,
) -> int:
    """Let POOL stand still: no new claims are bound, nothing is made or rolled.

    Claims that are bound go on, and can be renewed and released. New ones are refused with the
    code `paused`; those that wait already wait on.
    """
    return _each("pools", pools, "pause", socket, output, reason=reason, until_=until_)


@click.command(epilog=examples("stoker resume web"))
@_pools
@says_why
@prints
@talks
def resume(*, pools: tuple[str, ...], reason: str | None, output: str, socket: str | None) -> int:
    """End the pause or the drain of POOL, and try its rollout again if that is paused."""
    return _each("pools", pools, "resume", socket, output, reason=reason)


@click.command(
    epilog=examples(
        'stoker drain web --reason "the host is replaced"',
        "stoker drain web --until 2h",
    )
)
@_pools
@says_until("without it, until resumed")
@says_why
@prints
@talks
def drain(
    *,
    pools: tuple[str, ...],
    until_: str | None,
    reason: str | None,
    output: str,
    socket: str | None,
) -> int:
    """Empty POOL: ready ones are removed, bound ones live out their claims.

    New claims, and those that wait, are told `draining`. `stoker resume` fills it again.
    """
    return _each("pools", pools, "drain", socket, output, reason=reason, until_=until_)


@click.command(epilog=examples('stoker refresh web --reason "a new base image has the same name"'))
@_pools
@says_until("then what is left of it is given up")
@says_why
@prints
@talks
def refresh(
    *,
    pools: tuple[str, ...],
    until_: str | None,
    reason: str | None,
    output: str,
    socket: str | None,
) -> int:
    """Replace every ready resource of POOL by a new one, as after a change of its blueprint."""
    return _each("pools", pools, "refresh", socket, output, reason=reason, until_=until_)


@click.command(
    epilog=examples(
        'stoker hold web-k3v9q2xa --reason "answers 500, see what its log says"',
        "stoker hold web-k3v9q2xa --until 3d",
    )
)
@_resources
@says_until("without it, for 24 hours")
@says_why
@prints
@talks
def hold(
    *,
    resources: tuple[str, ...],
    until_: str | None,
    reason: str | None,
    output: str,
    socket: str | None,
) -> int:
    """Keep RESOURCE for inspection; it is never claimed again, and removed in the end.

    A ready one is held at once. One that is claimed is held when its claim has ended and what was
    made for the claim is gone; one that is being made, when it is ready or has failed.
    """
    return _each("resources", resources, "hold", socket, output, reason=reason, until_=until_)


@click.command(epilog=examples("stoker unhold web-k3v9q2xa"))
@_resources
@says_why
@prints
@talks
def unhold(
    *, resources: tuple[str, ...], reason: str | None, output: str, socket: str | None
) -> int:
    """End the hold of RESOURCE. What is held is removed; a claim that still has it is left alone."""
    return _each("resources", resources, "unhold", socket, output, reason=reason)


@click.command(epilog=examples('stoker retire web-k3v9q2xa --reason "its disk is slow"'))
@_resources
@says_why
@prints
@talks
def retire(
    *, resources: tuple[str, ...], reason: str | None, output: str, socket: str | None
) -> int:
    """Remove RESOURCE, which is ready or held; the pool makes another. Release a claimed one instead."""
    return _each("resources", resources, "retire", socket, output, reason=reason)


def _each(  # noqa: PLR0913 - what the commands have in common
    kind: str,
    names: tuple[str, ...],
    action: str,
    socket: str | None,
    output: str,
    *,
    reason: str | None,
    until_: str | None = None,
) -> int:
    """Does it to each; one that fails does not keep the others from it."""
    code = 0
    with Stoker(socket) as stoker:
        for name in names:
            try:
                document = stoker.operate(kind, name, action, reason=reason, until=until_)
            except StokerError as error:
                code = report(error, sys.argv[1:])
                continue
            if output == "json":
                print_json(document)
            else:
                click.echo(f"{name} {_outcome(action, document)}")
    return code


def _outcome(action: str, document: Document) -> str:
    match action:
        case "pause":
            return "is paused" + _end(document, "pause")
        case "resume":
            return (
                "is draining, because it is not declared" if document.get("draining") else "is open"
            )
        case "drain":
            return "is draining" + _end(document, "drain")
        case "refresh":
            left = int(document.get("outdated", 0))
            return f"is refreshed: {left} to be replaced" + _end(document, "refresh")
        case "hold" if document.get("state") != "held":
            return f"is {document.get('state')}, and held after that" + _end(document, "hold")
        case _:
            return f"is {document.get('state')}" + _end(document, "hold")


def _end(document: Document, name: str) -> str:
    moment = section(document, name).get("until")
    return f", ends {until(moment)} ({moment})" if moment else ""
