"""`stoker policy diff`: which recorded decisions other policies would change."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...client import Stoker
from .loaded import revision_of
from .options import examples, print_json, prints, talks
from .terminal import clean, table

if TYPE_CHECKING:
    from .replays import Replay

WIDTH = 80
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(
    epilog=examples(
        "stoker policy diff ./config ./next",
        "stoker policy diff ./config ./next -n 10000 -o json",
    )
)
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True,
    metavar="COUNT", help="Look at so many of the newest events about claims.",
)  # fmt: skip
@prints
@talks
def diff(old: Path, new: Path, limit: int, output: str, socket: Path | None) -> int:
    """Ask the policies of the config directories OLD and NEW about claims that were made.

    The daemon's audit has the facts of every claim and renewal that policies decided. Each is decided
    again by both directories, and those are listed that would come out differently. Nothing is
    claimed or changed.
    """
    from . import replays  # noqa: PLC0415 - heavy

    before, after = revision_of(old), revision_of(new)
    with Stoker(socket) as stoker:
        events = replays.recorded(stoker, limit)
    found = replays.replay(events, before, after)
    if output == "json":
        print_json([replays.as_json(event, one) for event, one in found.different])
    else:
        click.echo("\n".join(_as_text(found)))
    return 0


def _as_text(found: "Replay") -> Iterator[str]:
    if found.different:
        rows: list[list[str | tuple[str, str]]] = [
            [
                clean(str(event.get("claim") or event.get("requestId") or "-")),
                clean(one.facts.caller.user or f"uid {one.facts.caller.uid}"),
                one.facts.pool.name,
                f"{one.before.verdict} -> {one.after.verdict}",
                f"{one.after.policy}/{one.after.rule}" if one.after.policy else "-",
            ]
            for event, one in found.different
        ]
        yield table(["CLAIM/REQUEST", "CALLER", "POOL", "VERDICT", "RULE"], rows, width=WIDTH)
        yield ""
        yield from (clean(group) for group in found.groups())
        yield ""
    yield f"{found.summary}."
