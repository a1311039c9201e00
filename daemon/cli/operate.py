"""What operators do: `stoker pause|resume|drain|refresh POOL`, `stoker hold|unhold|retire RESOURCE`,
and for the whole host `stoker freeze`, `stoker thaw`, `stoker drain --all` and `stoker resume --all`.
"""

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
from .show import by_whom, section
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


_all = click.option("--all", "all_", is_flag=True, help="The whole host: every pool at once.")
_SUBJECTS = {"pools": ("POOL", complete_pools), "resources": ("RESOURCE", complete_resources)}


def says_until(default: str) -> Callable[[AnyCommand], AnyCommand]:
    return click.option(
        "--until",
        "until_",
        callback=_check_until,
        metavar="WHEN",
        help=f"A duration such as 90m, or a moment such as 2026-01-31T12:00:00Z; {default}.",
    )


def _subjects(kind: str, *, required: bool) -> Callable[[AnyCommand], AnyCommand]:
    metavar, complete = _SUBJECTS[kind]
    return click.argument(
        "names", nargs=-1, required=required, metavar=f"{metavar}...", shell_complete=complete
    )


def _command(
    action: str,
    on: str,
    text: str,
    *lines: str,
    until_: str = "",
    whole: bool = False,
) -> click.Command:
    """`on`: pools, resources, or the host. `until_`: what holds without `--until`; empty: it has none.

    `whole`: with `--all` it is done to the host instead of to pools.
    """

    def run(
        *,
        names: tuple[str, ...] = (),
        all_: bool = False,
        until_: str | None = None,
        reason: str | None,
        output: str,
        socket: str | None,
    ) -> int:
        if on == "host" or all_:
            if names:
                raise click.UsageError("Name pools, or say --all, not both.")
            return _on_host(socket, output, action, reason=reason, until_=until_)
        if not names:
            raise click.UsageError("Name pools, or say --all.")
        return _on_each(socket, output, (on, names, action), reason=reason, until_=until_)

    command = says_why(prints(talks(run)))
    if until_:
        command = says_until(until_)(command)
    if whole:
        command = _all(command)
    if on != "host":
        command = _subjects(on, required=not whole)(command)
    return click.command(name=action, help=text, epilog=examples(*lines))(command)


pause = _command(
    "pause",
    "pools",
    """Let POOL stand still: no new claims are bound, nothing is made or rolled.

    Claims that are bound go on, and can be renewed and released. New ones are refused with the
    code `paused`; those that wait already wait on.
    """,
    'stoker pause web --until 90m --reason "the registry is moved"',
    "stoker pause web db --until 2026-01-31T12:00:00Z",
    until_="without it, until resumed",
)
resume = _command(
    "resume",
    "pools",
    """End the pause or the drain of POOL, or with --all the drain of the whole host.

    A rollout of POOL that is paused is tried again. A pool that is paused in the configuration stays
    so: change it there. With --all, what was set on one pool stays.
    """,
    "stoker resume web",
    "stoker resume --all",
    whole=True,
)
drain = _command(
    "drain",
    "pools",
    """Empty POOL: ready ones are removed, bound ones live out their claims.

    New claims, and those that wait, are told `draining`. `stoker resume` fills it again. With
    --all this is the kill switch: every pool of the host is emptied of all that is not bound.
    """,
    'stoker drain web --reason "the host is replaced"',
    "stoker drain web --until 2h",
    'stoker drain --all --reason "the image is compromised"',
    until_="without it, until resumed",
    whole=True,
)
refresh = _command(
    "refresh",
    "pools",
    "Replace every ready resource of POOL by a new one, as after a change of its blueprint.",
    'stoker refresh web --reason "a new base image has the same name"',
    until_="then what is left of it is given up",
)
hold = _command(
    "hold",
    "resources",
    """Keep RESOURCE for inspection; it is never claimed again, and removed in the end.

    A ready one is held at once. One that is claimed is held when its claim has ended and what was
    made for the claim is gone; one that is being made, when it is ready or has failed.
    """,
    'stoker hold web-k3v9q2xa --reason "answers 500, see what its log says"',
    "stoker hold web-k3v9q2xa --until 3d",
    until_="without it, for 24 hours",
)
unhold = _command(
    "unhold",
    "resources",
    "End the hold of RESOURCE. What is held is removed; a claim that still has it is left alone.",
    "stoker unhold web-k3v9q2xa",
)
retire = _command(
    "retire",
    "resources",
    "Remove RESOURCE, which is ready or held; the pool makes another. Release a claimed one instead.",
    'stoker retire web-k3v9q2xa --reason "its disk is slow"',
)
freeze = _command(
    "freeze",
    "host",
    """Let nothing change by itself on this host, until it is thawed.

    Nothing is made, rolled, shrunk or replaced, and no new configuration is applied. Claims are
    served from what is ready; renewals, releases, expiries and the removal of what ended go on.
    """,
    'stoker freeze --until 4h --reason "the incident of tonight"',
    until_="without it, until thawed",
)
thaw = _command(
    "thaw",
    "host",
    "End the freeze. What was held back is caught up with; a freeze by a file ends with that file.",
    "stoker thaw",
)


def _on_host(
    socket: str | None, output: str, action: str, *, reason: str | None, until_: str | None
) -> int:
    with Stoker(socket) as stoker:
        document = stoker.operate_host(action, reason=reason, until=until_)
    if output == "json":
        print_json(document)
    else:
        click.echo(host_text(document))
    return 0


def host_text(document: Document) -> str:
    """What is set on the host as a whole, in one line."""
    said: list[str] = []
    if document.get("frozen"):
        file = document.get("freezeFile")
        by = f"by the file {file}" if file else by_whom(section(document, "freeze"))
        said.append(f"is frozen {by}")
    if document.get("draining"):
        said.append(f"is drained {by_whom(section(document, 'drain'))}")
    return f"the host {' and '.join(said) or 'is open'}"


def _on_each(
    socket: str | None,
    output: str,
    what: tuple[str, tuple[str, ...], str],
    *,
    reason: str | None,
    until_: str | None,
) -> int:
    """Does it to each; one that fails does not keep the others from it."""
    kind, names, action = what
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
            return _opened(document)
        case "drain":
            return "is draining" + _end(document, "drain")
        case "refresh":
            left = int(document.get("outdated", 0))
            return f"is refreshed: {left} to be replaced" + _end(document, "refresh")
        case "hold" if document.get("state") != "held":
            return f"is {document.get('state')}, and held after that" + _end(document, "hold")
        case _:
            return f"is {document.get('state')}" + _end(document, "hold")


def _opened(document: Document) -> str:
    """What still keeps it from serving."""
    if section(document, "drain"):
        return "is draining with the whole host, until 'stoker resume --all'"
    if document.get("draining"):
        return "is draining, because it is not declared"
    if document.get("pausedAt"):
        return f"is paused in the configuration ({document['pausedAt']})"
    return "is open"


def _end(document: Document, name: str) -> str:
    moment = section(document, name).get("until")
    return f", ends {until(moment)} ({moment})" if moment else ""
