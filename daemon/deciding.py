"""What becomes of a configuration that was found: applied, held, left, delayed or refused. Pure.

    found ── broken? ──────────────► REFUSE   the one before serves on
      ├── a revision is pinned? ───► LEAVE    seen, and remembered until it is unpinned
      ├── destroys too much? ──────► HOLD     until it is accepted, by a person or in its own files
      ├── the host is frozen? ─────► WAIT     until it is thawed
      └── else ────────────────────► APPLY

The base is always what serves or, at a start, what served last. A restart therefore decides as the run
before it did, and a held revision does not slip through.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..config.loading import LoadResult
from ..config.revision import Revision
from ..pools.impact import Objection, Standing, accepted_by, impact, objections


class Verdict(StrEnum):
    APPLY = "apply"
    HOLD = "hold"
    LEAVE = "leave"
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the decision depends on, beside what was found."""

    before: Revision | None
    """What serves, or served last; None when nothing did, or nobody can tell."""
    standing: Mapping[str, Standing]
    pinned: bool
    max_destroy: float
    frozen: bool = False
    """The host is: nothing takes the place of what serves."""


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    because: tuple[str, ...] = ()
    """Of a held one: what has to be accepted. Of an applied one: what its own files accepted."""


def decide(found: LoadResult, at: Circumstances) -> Decision:
    if found.revision is None:
        return Decision(Verdict.REFUSE)
    if at.pinned:
        return Decision(Verdict.LEAVE)
    accepted = accepted_by(at.before, found.revision)
    left = object_to(found.revision, at, accepted)
    if left:
        return Decision(Verdict.HOLD, _sentences(left))
    if at.frozen and at.before is not None:
        return Decision(Verdict.WAIT)
    if not accepted:
        return Decision(Verdict.APPLY)
    return Decision(Verdict.APPLY, _sentences(object_to(found.revision, at)))


def _sentences(objected: tuple[Objection, ...]) -> tuple[str, ...]:
    return tuple(one.because for one in objected)


def object_to(
    revision: Revision, at: Circumstances, accepted: frozenset[str] = frozenset()
) -> tuple[Objection, ...]:
    """What somebody has to accept before the revision may be applied."""
    if at.before is not None and at.before.digest == revision.digest:
        return ()
    return objections(impact(at.before, revision, at.standing), at.max_destroy, accepted)


def is_named(revision: Revision, given: str) -> bool:
    """Whether a person means this revision: its id, or the beginning of its commit or digest."""
    return is_meant(given, revision.id, revision.commit or revision.digest)


def is_meant(given: str, id_: str, full: str) -> bool:
    given = given.lower()
    return given == id_ or (len(given) >= SHORTEST and (full or id_).startswith(given))


SHORTEST = 7
"""Digits by which a revision can be named."""
