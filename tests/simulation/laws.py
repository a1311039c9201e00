"""The policies of a story, and what they mean said a second time: in Python, for those who check.

A `Law` is one policy. `spec_of` makes of it what the product decides with; `Laws` answers the same questions
by itself, so that a decision of the product is never compared with itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from random import Random

from stoker.config.conditions import compile_condition
from stoker.config.policies.facts import APPROVALS, CLAIMS
from stoker.config.policies.rules import Approvals, BreakGlass, ClaimRate, Limits, PolicySpec, Rule
from stoker.pools.claim import Claimant, Token
from tests.policies.builders import a_policy, allow, approve, deny

WINDOW = 60.0
"""Seconds of the rates."""
ISSUER = "idp"
EVE = Token(ISSUER, "eve")
TOKENS = {1001: EVE}
"""Those of the callers who bring one, by user id."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one claim on one pool, as far as the cases below read them."""

    uid: int
    pool: str
    count: int
    urgent: bool


@dataclass(frozen=True)
class Case:
    expression: str
    holds: Callable[[Facts], bool]


CASES = (
    Case("caller.uid == 1001", lambda it: it.uid == 1001),
    Case("caller.uid == 1002", lambda it: it.uid == 1002),
    Case("request.count > 1", lambda it: it.count > 1),
    Case("'urgent' in request.labels", lambda it: it.urgent),
    Case("pool.name == 'work'", lambda it: it.pool == "work"),
    Case(
        "pool.name != 'web' && caller.uid != 1002", lambda it: it.pool != "web" and it.uid != 1002
    ),
)
FEW = (
    Case("caller.uid == 1002 && request.count > 2", lambda it: it.uid == 1002 and it.count > 2),
    Case("'urgent' in request.labels && pool.name == 'work'", lambda it: it.urgent and it.pool == "work"),
    Case("caller.uid == 1001 && pool.name == 'lasting'", lambda it: it.uid == 1001 and it.pool == "lasting"),
)  # fmt: skip
"""Cases of what is denied: so few that a story goes on."""
ALWAYS = Case("true", lambda _: True)


@dataclass(frozen=True)
class Electorate:
    expression: str
    admits: Callable[[int, int], bool]
    """By the user ids of who votes and of who claimed."""


ELECTORATES = (
    Electorate("approver.uid >= 2000", lambda voter, _: voter >= 2000),
    Electorate("approver.uid != 2003", lambda voter, _: voter != 2003),
    Electorate("approver.uid in [2000, 2001, 2002, 2005]", lambda voter, _: voter in {2000, 2001, 2002, 2005}),
    Electorate("approver.uid != caller.uid + 1", lambda voter, caller: voter != caller + 1),
)  # fmt: skip
"""Some of them admit whoever claimed: that nobody approves their own is no matter of policies."""


@dataclass(frozen=True)
class Law:
    name: str
    globs: tuple[str, ...]
    who: Electorate
    asks: tuple[Case, ...] = ()
    denies: Case | None = None
    quorum: int = 1
    deadline: float = 60.0
    glass: Case | None = None
    follow_up: float = 60.0
    most: int = 0
    """Resources that a caller may hold; 0: no limit."""
    rate: int = 0
    """Claims of a caller in a `WINDOW`; 0: no limit."""
    allows: bool = False

    def covers(self, pool: str) -> bool:
        return any(fnmatchcase(pool, glob) for glob in self.globs)

    def asks_for(self, facts: Facts) -> bool:
        return self.covers(facts.pool) and any(case.holds(facts) for case in self.asks)


@dataclass(frozen=True)
class Laws:
    """All that hold at a time."""

    laws: tuple[Law, ...] = ()

    def asking(self, facts: Facts) -> list[Law]:
        return [law for law in self.laws if law.asks_for(facts)]

    def deny(self, facts: Facts) -> bool:
        return any(
            law.covers(facts.pool) and law.denies is not None and law.denies.holds(facts)
            for law in self.laws
        )

    def break_glass(self, facts: Facts) -> bool:
        """Whether whoever says so does without the approvals."""
        asking = self.asking(facts)
        return bool(asking) and all(
            law.glass is not None and law.glass.holds(facts) for law in asking
        )

    def admit(self, policy: str, voter: int, claimant: int) -> bool:
        return any(law.name == policy and law.who.admits(voter, claimant) for law in self.laws)

    @property
    def most(self) -> int:
        return min((law.most for law in self.laws if law.most), default=10**6)

    @property
    def rate(self) -> int:
        return min((law.rate for law in self.laws if law.rate), default=10**6)

    def specs(self) -> tuple[PolicySpec, ...]:
        return tuple(spec_of(law) for law in self.laws)


@lru_cache(maxsize=256)
def spec_of(law: Law) -> PolicySpec:
    rules: list[Rule] = [allow()] if law.allows else []
    rules += [approve(case.expression, f"ask{number}") for number, case in enumerate(law.asks)]
    if law.denies is not None:
        rules.append(deny(law.denies.expression))
    glass = None
    if law.glass is not None:
        glass = BreakGlass(compile_condition(law.glass.expression, CLAIMS), law.follow_up)
    may = compile_condition(law.who.expression, APPROVALS)
    return a_policy(
        *rules,
        name=law.name,
        pools=law.globs,
        limits=Limits(
            max_active_per_caller=law.most or None,
            rate_per_caller=ClaimRate(law.rate, WINDOW) if law.rate else None,
        ),
        approvals=Approvals(may, law.quorum, law.deadline, glass) if law.asks else None,
    )


TEAM = Law("team", ("*",), ELECTORATES[0], allows=True)


def draw_limits(draw: Random) -> Laws:
    """Everybody may claim, up to a limit."""
    return Laws((Law("team", ("*",), ELECTORATES[0], most=draw.choice([3, 8]), allows=True),))


def draw_laws(draw: Random) -> Laws:
    """Everybody may claim; some need the approval of others, few may not, and there are limits."""
    laws = [
        Law(
            "team",
            ("*",),
            draw.choice(ELECTORATES),
            asks=_some(draw, [0, 1, 1, 2]),
            denies=draw.choice([None, *FEW]),
            quorum=draw.choice([1, 1, 2]),
            deadline=draw.choice([5.0, 30.0, 60.0]),
            glass=draw.choice([None, ALWAYS, *CASES[:2]]),
            follow_up=draw.choice([10.0, 200.0, 3600.0]),
            most=draw.choice([0, 3, 8, 8]),
            rate=draw.choice([0, 0, 10, 30]),
            allows=True,
        )
    ]
    if draw.random() < 0.5:
        laws.append(
            Law(
                "more",
                draw.choice([("w*",), ("lasting", "web"), ("*",)]),
                draw.choice(ELECTORATES),
                asks=_some(draw, [1, 1, 2]),
                quorum=draw.choice([1, 2]),
                deadline=draw.choice([15.0, 60.0]),
                glass=draw.choice([None, ALWAYS, ALWAYS]),
                follow_up=draw.choice([10.0, 200.0]),
            )
        )
    return Laws(tuple(laws))


def _some(draw: Random, counts: list[int]) -> tuple[Case, ...]:
    return tuple(draw.sample(CASES, draw.choice(counts)))


# Who votes

PEOPLE: dict[str, tuple[Claimant, ...]] = {
    "1000": (Claimant(1000, 1000, 1),),
    "eve": (Claimant(1001, 1000, 1, token=EVE), Claimant(2005, 2005, 1, token=EVE)),
    "1002": (Claimant(1002, 1000, 1),),
    "ada": (Claimant(2000, 2000, 1), Claimant(2000, 2000, 1, token=Token(ISSUER, "ada"))),
    "bob": tuple(Claimant(uid, uid, 1, token=Token(ISSUER, "bob")) for uid in (2001, 2002)),
    "cyd": (Claimant(2003, 2003, 1),),
    "dan": (Claimant(2004, 2004, 1),),
}
"""By name, with everything that each of them can be seen as: by user id, by token, or both. The first three claim."""
NAMES = {one.identity: name for name, faces in PEOPLE.items() for one in faces}


def persons(voters: Iterable[tuple[int, str, str]]) -> set[str]:
    return {NAMES[voter] for voter in voters}
