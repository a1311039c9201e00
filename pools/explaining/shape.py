"""What an explanation consists of. All moments in it are on the wall's clock, for people."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...config.json_types import JsonObject
from ..resource import nothing


@dataclass(frozen=True, slots=True)
class Present:
    """The moment that an explanation is given at."""

    now: float
    """Steady seconds."""
    step: float = 0.0
    """How far the wall clock stands from steady time."""

    def wall(self, steady: float) -> float:
        return steady + self.step


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened. `at` is wall-clock seconds."""

    at: float
    event: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Coming:
    """One thing that comes next. `at` is wall-clock seconds; None when nobody can tell."""

    what: str
    at: float | None = None
    within: float | None = None
    """Seconds from now on."""

    @classmethod
    def when(cls, what: str, steady: float, present: Present) -> "Coming":
        """At a moment of steady time; one that is past is about to happen."""
        return cls(what, present.wall(steady), max(0.0, steady - present.now))

    @classmethod
    def after(cls, what: str, seconds: float, present: Present) -> "Coming":
        return cls.when(what, present.now + seconds, present)


@dataclass(frozen=True, slots=True)
class Explanation:
    subject: str
    """`pool/web`, `claim/c-…`, `resource/web-…`, `blueprint/web-sandbox`."""
    summary: str
    facts: JsonObject = field(default_factory=nothing)
    why: tuple[str, ...] = ()
    """Sentences, the most telling first."""
    history: tuple[Happening, ...] = ()
    """Oldest first."""
    next: tuple[Coming, ...] = ()
    """Soonest first; last, what nobody can tell the moment of."""


def in_time(items: Iterable[Coming]) -> tuple[Coming, ...]:
    """Soonest first; those without a moment last."""
    return tuple(sorted(items, key=lambda one: (one.at is None, one.at or 0.0)))
