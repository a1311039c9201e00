"""`stoker config …` and `stoker apply`: the revisions that were applied, and what is decided about them."""

from collections.abc import Callable
from typing import Any

import click

from ...client import Document, Stoker
from .failing import DENIED, DONE
from .operate import says_until, says_why
from .options import complete, examples, print_json, prints, talks
from .show import section
from .status import config_troubles, revision_text
from .terminal import ago, clean, facts, table


@click.command(
    epilog=examples(
        'stoker apply --accept 3f9c2e1b77aa --reason "the old pool is not used"',
    )
)
@click.option(
    "--accept",
    metavar="REVISION",
    required=True,
    help="The held revision: its id, or the beginning of its commit.",
)
@says_why
@prints
@talks
def apply(*, accept: str, reason: str | None, output: str, socket: str | None) -> int:
    """Apply a revision that is held because it would destroy too much.

    Looks for a new configuration first, so that a commit can be accepted as soon as it is pushed.
    """
    with Stoker(socket) as stoker:
        stoker.sync()
        outcome = stoker.steer("accept", revision=accept, reason=reason)
    return _tell(outcome, output)


@click.group(
    name="config",
    epilog=examples(
        "stoker config history",
        'stoker config rollback --reason "the new image does not start"',
        "stoker config unpin",
    ),
)
def config() -> None:
    """Show the revisions that were applied, and decide which of them serves."""


@config.command(epilog=examples("stoker config history"))
@prints
@talks
def history(output: str, socket: str | None) -> int:
    """Show the revisions that can be gone back to, the last one first."""
    with Stoker(socket) as stoker:
        found = stoker.revisions()
    if output == "json":
        print_json(list(found))
        return DONE
    rows = [
        [
            str(one["id"]),
            _mark(one),
            f"{ago(one['appliedAt'])} ago",
            str(one["source"]),
        ]
        for one in found
    ]
    click.echo(table(("REVISION", "STATE", "APPLIED", "SOURCE"), rows))
    return DONE


def _mark(one: Document) -> str:
    return "pinned" if one.get("pinned") else "serving" if one.get("serving") else "-"


def _complete_revisions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Any:
    return complete(ctx, incomplete, lambda stoker: [str(one["id"]) for one in stoker.revisions()])


def _revision(*, required: bool) -> Callable[..., Any]:
    return click.argument(
        "revision", metavar="REVISION", required=required, shell_complete=_complete_revisions
    )


@config.command(
    epilog=examples("stoker config show 3f9c2e1b77aa", "stoker config show 3f9c2e1b77aa -o json")
)
@_revision(required=True)
@prints
@talks
def show(revision: str, output: str, socket: str | None) -> int:
    """Show a revision that was applied, with its files."""
    with Stoker(socket) as stoker:
        found = stoker.revision(revision)
    if output == "json":
        print_json(found)
        return DONE
    click.echo(
        facts(
            [
                ("revision", found["id"]),
                ("state", _mark(found)),
                ("commit", found.get("commit")),
                ("source", found["source"]),
                ("applied", f"{ago(found['appliedAt'])} ago"),
            ]
        )
    )
    for name, text in section(found, "files").items():
        click.echo(f"\n# {clean(name)}\n{clean(str(text), keep_lines=True).rstrip()}")
    return DONE


_accepts = click.option("--accept", is_flag=True, help="Also when that destroys too much.")


@config.command(
    short_help="Apply an earlier revision again, and pin it.",
    epilog=examples(
        'stoker config rollback --reason "the new image does not start"',
        "stoker config rollback 3f9c2e1b77aa --until 2h",
    ),
)
@_revision(required=False)
@says_until("without it, until unpinned")
@_accepts
@says_why
@prints
@talks
def rollback(
    *,
    revision: str | None,
    until_: str | None,
    accept: bool,
    reason: str | None,
    output: str,
    socket: str | None,
) -> int:
    """Apply REVISION again (the one before the present one when none is named), and pin it.

    What the source holds is not applied until `stoker config unpin`.
    """
    return _stay("rollback", revision, until_, reason, output, socket, accept=accept)


@config.command(
    short_help="Stay at a revision, whatever the source says.",
    epilog=examples(
        'stoker config pin --until 4h --reason "the sale runs"',
        "stoker config pin 3f9c2e1b77aa",
    ),
)
@_revision(required=False)
@says_until("without it, until unpinned")
@_accepts
@says_why
@prints
@talks
def pin(
    *,
    revision: str | None,
    until_: str | None,
    accept: bool,
    reason: str | None,
    output: str,
    socket: str | None,
) -> int:
    """Stay at REVISION (the one that serves when none is named), whatever the source says."""
    return _stay("pin", revision, until_, reason, output, socket, accept=accept)


@config.command(epilog=examples("stoker config unpin"))
@says_why
@prints
@talks
def unpin(*, reason: str | None, output: str, socket: str | None) -> int:
    """End a pin: what the source holds is applied again."""
    with Stoker(socket) as stoker:
        outcome = stoker.steer("unpin", reason=reason)
    return _tell(outcome, output)


def _stay(  # noqa: PLR0913 - the options of both commands
    action: str,
    revision: str | None,
    until_: str | None,
    reason: str | None,
    output: str,
    socket: str | None,
    *,
    accept: bool,
) -> int:
    with Stoker(socket) as stoker:
        outcome = stoker.steer(
            action, revision=revision, until=until_, reason=reason, accept=accept
        )
    return _tell(outcome, output)


def _tell(outcome: Document, output: str) -> int:
    state = section(outcome, "config")
    if output == "json":
        print_json(outcome)
    else:
        click.echo(f"serving {revision_text(section(outcome, 'revision'))}")
        for line in config_troubles(state):
            click.echo(line)
    return DENIED if state.get("held") else DONE
