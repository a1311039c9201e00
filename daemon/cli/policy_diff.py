"""`stoker policy diff`: which recorded decisions other policies would change."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...client import Document, Stoker
from .loaded import revision_of
from .options import examples, print_json, prints, talks
from .terminal import clean, table

if TYPE_CHECKING:
    from ...config.revision import Revision
    from ...policies.facts import Facts
    from ...policies.replaying import Difference

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
    from ...policies.index import index_of  # noqa: PLC0415 - heavy
    from ...policies.replaying import differences  # noqa: PLC0415 - heavy

    before, after = revision_of(old), revision_of(new)
    with Stoker(socket) as stoker:
        events = [
            one
            for one in stoker.events(kind="claim.", limit=limit)
            if isinstance(one.get("data", {}).get("decision"), dict)
        ]
    recorded = [(event, facts) for event in events for facts in _facts(event, after)]
    indexes = [index_of(one.policies.values(), one.pools) for one in (before, after)]
    found = list(differences([facts for _, facts in recorded], *indexes))
    shown = [(recorded[one.at][0], one) for one in found]
    if output == "json":
        print_json([_as_json(event, one) for event, one in shown])
    else:
        click.echo("\n".join(_as_text(shown, len(recorded))))
    return 0


def _facts(event: Document, revision: "Revision") -> "Iterator[Facts]":
    """Of a decision about a pool that is still declared."""
    from ..decision_records import facts_from_json  # noqa: PLC0415 - heavy

    facts: Document = event["data"]["decision"].get("facts") or {}
    pool: Document = facts.get("pool") or {}
    spec = revision.pools.get(str(pool.get("name")))
    if spec is not None:
        yield facts_from_json(facts, spec)


def _as_text(shown: "list[tuple[Document, Difference]]", looked_at: int) -> Iterator[str]:
    if shown:
        rows: list[list[str | tuple[str, str]]] = [
            [
                clean(str(event.get("claim") or event.get("request") or "-")),
                clean(one.facts.caller.user or f"uid {one.facts.caller.uid}"),
                one.facts.pool.name,
                f"{one.before.verdict} -> {one.after.verdict}",
                f"{one.after.policy}/{one.after.rule}" if one.after.policy else "-",
            ]
            for event, one in shown
        ]
        yield table(["CLAIM", "CALLER", "POOL", "VERDICT", "RULE"], rows, width=WIDTH)
        yield ""
    yield f"{len(shown)} of {looked_at} recorded decisions would be different."


def _as_json(event: Document, one: "Difference") -> dict[str, Any]:
    return {
        "seq": event.get("seq"),
        "claim": event.get("claim", ""),
        "request": event.get("request", ""),
        "pool": one.facts.pool.name,
        "caller": one.facts.caller.user or one.facts.caller.uid,
        "because": one.sentence,
        "before": {"verdict": one.before.verdict.value, "rule": one.before.rule},
        "after": {"verdict": one.after.verdict.value, "rule": one.after.rule},
    }
