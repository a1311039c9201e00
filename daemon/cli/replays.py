"""Recorded decisions asked again under other policies: for `stoker policy diff` and `stoker plan --live`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...client import Document, Stoker
from ...config.revision import Revision
from ...policies.facts import Facts
from ...policies.index import index_of
from ...policies.replaying import Difference, differences
from ..decision_records import facts_from_json

MOST = 1_000
"""Events about claims that are looked at, the newest, unless told otherwise."""
GROUPS = 20
"""Groups in sentences."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What other policies would have made of what was decided."""

    looked_at: int
    different: tuple[tuple[Document, Difference], ...] = ()
    """The event with the recorded decision, and what would come out of it."""

    def groups(self) -> Iterator[str]:
        """`db: 12 from allow to deny, by team/short`, the most frequent first."""
        found = Counter((one.facts.pool.name, *_outcome(one)) for _, one in self.different)
        for (pool, change, by), count in found.most_common(GROUPS):
            yield f"{pool}: {count} {change}{by}"
        if len(found) > GROUPS:
            yield f"and {len(found) - GROUPS} other changes"

    @property
    def summary(self) -> str:
        return f"{len(self.different)} of {self.looked_at} recorded decisions would be different"


def recorded(stoker: Stoker, limit: int) -> list[Document]:
    """The events with a decision among the newest about claims."""
    events = stoker.events(kind="claim.", limit=limit)
    return [one for one in events if isinstance(one.get("data", {}).get("decision"), dict)]


def replay(events: Iterable[Document], before: Revision, after: Revision) -> Replay:
    """Those about pools that `after` still declares."""
    kept = [(event, facts) for event in events for facts in _facts(event, after)]
    indexes = [index_of(one.policies.values(), one.pools) for one in (before, after)]
    found = differences([facts for _, facts in kept], *indexes)
    return Replay(len(kept), tuple((kept[one.at][0], one) for one in found))


def _facts(event: Document, revision: Revision) -> Iterator[Facts]:
    facts: Document = event["data"]["decision"].get("facts") or {}
    pool: Document = facts.get("pool") or {}
    spec = revision.pools.get(str(pool.get("name")))
    if spec is not None:
        yield facts_from_json(facts, spec)


def _outcome(one: Difference) -> tuple[str, str]:
    before, after = one.before.verdict, one.after.verdict
    if before is after:
        return f"still {after}, but with another ttl, label, parameter or cost centre", ""
    decided = f", by {one.after.policy}/{one.after.rule}" if one.after.policy else ""
    return f"from {before} to {after}", decided or ", as no rule allows it"


def as_json(event: Document, one: Difference) -> dict[str, Any]:
    return {
        "seq": event.get("seq"),
        "claim": event.get("claim", ""),
        "request": event.get("requestId", ""),
        "pool": one.facts.pool.name,
        "caller": one.facts.caller.user or one.facts.caller.uid,
        "because": one.sentence,
        "before": {"verdict": one.before.verdict.value, "rule": one.before.rule},
        "after": {"verdict": one.after.verdict.value, "rule": one.after.rule},
    }
