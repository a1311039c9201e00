"""A resource's life: the one table of allowed moves, and the only place that assigns a state.

Theory of operation
-------------------

                              +------------------ resetting <-----+
                              v                       |           |
    planned -> preparing -> ready -> claimed -> finishing -> bound -> ending -> gone
       |          |           |                     |                    ^
       |          v           v                     v                    |
       |        failed --> retiring <---------------+                    |
       +------------------->  |  ----------------------------------------+

    ready -> held -> ending        ending -> held, once nothing is left of the claim (see below)

* `planned`: the row is in the ledger with the parts to come; no provider was called.
* `preparing`: the parts of `prepare` are being made.
* `ready`: made, verified, nobody's. Together with health it makes a resource claimable.
* `claimed`: taken for one claim, in memory; nothing was made for it and nobody was told, so it may
  still go back to `ready` when the claimant has left. Nothing else can happen to it: whoever
  wants to retire it comes too late. Never seen in the ledger.
* `finishing`: the parts of `finish` are being made for that claim. Left out when none of them
  touches the outside.
* `bound`: the claim was answered with it.
* `resetting`: its claim ends, and its blueprint allows another one: what was made for the claim is
  removed, the rest is brought back, and all of it is verified. Only that verification leads to
  `ready`; whatever else happens leads to `ending`. The claim is `ending` until then. After a
  restart it is removed: how far the reset came, nobody can tell.
* `failed`: making it went wrong; its parts may exist. Always goes on to `retiring`.
* `retiring`: no longer wanted; nothing was handed out.
* `ending`: parts are being removed, in reverse order, until each is proved absent.
* `gone`: absence is proved; the slot is free and the row is deleted.
* `quarantined`: removal cannot be proved; the slot stays taken and is shown.
* `held`: kept for inspection by an operator, until a date. It has its slot and belongs to no claim.

A claim, an expiry, drift, a rollout and scale-in race only here: `move` is a compare-and-set in
one thread, so whoever comes second finds a state from which its move is not allowed, and gives up.

Holding
-------

A hold is an intent that stands beside the state (`Resource.hold`), because it may come at any time and
must not be in the way of the claim that has the resource. A `ready` one is held at once. Every other
one becomes held where it would be removed, and only there: its end begins as always (`bound`,
`finishing` or `failed`, then `ending`), the parts that were made for the claim are destroyed until
their absence is proved, because credentials are among them, and then the claim has ended. Only now
`dismantling` looks at the hold: with it the resource becomes `held`, with the parts that were prepared
ahead, of which none was touched; without it they go too. So there is no way from `bound` to `held`
that leaves a claimant's credentials alive, and one task alone decides, whenever the hold was set or
taken back. Once a removal has condemned what was prepared ahead it is too late to hold. A reset that has
begun is too late for what it makes anew: the hold keeps what the reset leaves, and no more.

From `held` the only way is `ending`. What was held may have been changed by whoever looked at it, so it
is never handed out again, and a hold always ends: it has an end date.
"""

from enum import StrEnum


class ResourceState(StrEnum):
    PLANNED = "planned"
    PREPARING = "preparing"
    READY = "ready"
    CLAIMED = "claimed"
    FINISHING = "finishing"
    BOUND = "bound"
    RESETTING = "resetting"
    FAILED = "failed"
    RETIRING = "retiring"
    ENDING = "ending"
    HELD = "held"
    QUARANTINED = "quarantined"
    GONE = "gone"


S = ResourceState

MOVES: dict[ResourceState, frozenset[ResourceState]] = {
    S.PLANNED: frozenset({S.PREPARING, S.FAILED, S.RETIRING}),
    S.PREPARING: frozenset({S.READY, S.FAILED, S.RETIRING}),
    S.READY: frozenset({S.CLAIMED, S.RETIRING, S.HELD}),
    S.CLAIMED: frozenset({S.FINISHING, S.BOUND, S.READY}),
    S.FINISHING: frozenset({S.BOUND, S.RETIRING}),
    S.BOUND: frozenset({S.ENDING, S.RESETTING}),
    S.RESETTING: frozenset({S.READY, S.ENDING}),
    S.FAILED: frozenset({S.RETIRING}),
    S.RETIRING: frozenset({S.ENDING}),
    S.ENDING: frozenset({S.GONE, S.QUARANTINED, S.HELD}),
    S.HELD: frozenset({S.ENDING}),
    S.QUARANTINED: frozenset({S.ENDING, S.GONE}),
    S.GONE: frozenset(),
}

OCCUPYING = frozenset(S) - {S.GONE}
"""States that take one of the pool's `max` slots."""
COMING = frozenset({S.PLANNED, S.PREPARING})
"""States on the way to `ready`."""
SERVING = frozenset({S.CLAIMED, S.FINISHING, S.BOUND})
"""States that belong to a claim."""
LEAVING = frozenset({S.FAILED, S.RETIRING, S.ENDING, S.QUARANTINED})
"""States on the way out."""


class PartState(StrEnum):
    """A part's life, written before and after each driver call."""

    INTENDED = "intended"
    CREATED = "created"
    VERIFIED = "verified"
    DESTROYING = "destroying"
    ABSENT = "absent"


P = PartState

PART_MOVES: dict[PartState, frozenset[PartState]] = {
    P.INTENDED: frozenset({P.CREATED, P.DESTROYING}),
    P.CREATED: frozenset({P.VERIFIED, P.DESTROYING}),
    P.VERIFIED: frozenset({P.DESTROYING}),
    P.DESTROYING: frozenset({P.ABSENT}),
    P.ABSENT: frozenset(),
}


class IllegalMove(Exception):
    """A move that the table does not allow: somebody else was first, or a defect."""

    def __init__(self, subject: str, state: StrEnum, to: StrEnum) -> None:
        super().__init__(f"{subject} is {state} and cannot become {to}")
        self.subject = subject
        self.state = state
        self.to = to


def allowed(state: ResourceState, to: ResourceState) -> bool:
    return to in MOVES[state]


def check_move(subject: str, state: ResourceState, to: ResourceState) -> None:
    """Raises `IllegalMove` unless the table has the move."""
    if to not in MOVES[state]:
        raise IllegalMove(subject, state, to)


def check_part_move(subject: str, state: PartState, to: PartState) -> None:
    if to not in PART_MOVES[state]:
        raise IllegalMove(subject, state, to)
