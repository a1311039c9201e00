"""What goes on in the simulated histories about claims that others have to approve, or look at."""

import asyncio

from stoker.config.conditions import compile_condition
from stoker.config.policies.facts import APPROVALS, CLAIMS
from stoker.config.policies.rules import Approvals, BreakGlass, PolicySpec
from stoker.config.revision import Lifetime
from stoker.pools.claim import Claimant
from tests.crash.playing import Plot
from tests.crash.simulated import KEY, History
from tests.policies.builders import a_policy, approve
from tests.rig import a_box_pool, a_part, boxes

BOB, ZOE = Claimant(2, 2, 20, "bob"), Claimant(3, 3, 30, "zoe")
FINISHED = (a_part("page"), a_part("token", "token", {"kind": "random"}))
"""Finish parts of which one exists in the world."""
WEB = (
    a_box_pool(
        min=1,
        max=3,
        blueprint=boxes(finish=FINISHED),
        lifetime=Lifetime(ttl=3600.0, max_ttl=7200.0),
    ),
)
BRIEF = (a_box_pool(min=1, max=3, lifetime=Lifetime(ttl=3600.0, max_ttl=7200.0)),)
"""Its only finish part is pure: a claim is one write."""


def _guarded(quorum: int) -> tuple[PolicySpec, ...]:
    may = compile_condition("approver.uid in [2, 3]", APPROVALS)
    glass = BreakGlass(compile_condition("true", CLAIMS), 36000.0)
    return (a_policy(approve(), approvals=Approvals(may, quorum, 600.0, glass)),)


async def _be_approved(history: History) -> None:
    """Two have to approve; whoever comes back after a death says it again."""
    found = await history.claim(key=KEY, wait=None)
    for by in (BOB, ZOE):
        await history.vote(found.id, by)
    await history.stand_in_line(found.id)


async def _be_approved_on_the_line(history: History) -> None:
    """The claimant stays on the line, and is told nothing before it is served."""

    async def claim() -> None:
        await history.claim(key=KEY)

    async def approve_it() -> None:
        while not (undecided := list(history.run.fleet.approving.undecided())):
            if history.told:
                return  # it was approved before
            await asyncio.sleep(0.05)
        for by in (BOB, ZOE):
            await history.vote(undecided[0].id, by)

    async with asyncio.TaskGroup() as group:
        group.create_task(claim())
        group.create_task(approve_it())


async def _be_denied(history: History) -> None:
    found = await history.claim(key=KEY, wait=None)
    await history.vote(found.id, BOB)
    await history.vote(found.id, ZOE, approves=False)
    await history.run.fleet.settled(found.id, 600.0)


async def _break_the_glass(history: History) -> None:
    """The claim is renewed at the moment at which somebody looks at it."""
    found = await history.claim(key=KEY, reason="it burns")
    history.is_to_be_followed_up(found.id)
    history.check_renewals()
    async with asyncio.TaskGroup() as group:
        group.create_task(history.renew(found.id, 1800.0))
        group.create_task(history.vote(found.id, BOB))
    await history.vote(found.id, ZOE)


async def _look_at_it_while_it_ends(history: History) -> None:
    """Who is released needs to be looked at all the same."""
    (found,) = history.told
    async with asyncio.TaskGroup() as group:
        group.create_task(history.release(found))
        group.create_task(history.vote(found, BOB))


async def _be_served_at_once(history: History) -> None:
    await history.claim(key=KEY, reason="it burns")


POLICED = (
    Plot("approved claim", WEB, _be_approved, after=_be_approved, policies=_guarded(2), pairs=3),
    Plot(
        "approved claim on the line",
        WEB,
        _be_approved_on_the_line,
        after=_be_approved_on_the_line,
        policies=_guarded(2),
    ),
    Plot("denied by vote", BRIEF, _be_denied, after=_be_denied, policies=_guarded(2), pairs=1),
    Plot(
        "break-glass claim",
        BRIEF,
        _break_the_glass,
        after=_break_the_glass,
        policies=_guarded(1),
        pairs=3,
    ),
    Plot(
        "break-glass claim that ends",
        BRIEF,
        _look_at_it_while_it_ends,
        before=_be_served_at_once,
        after=_look_at_it_while_it_ends,
        policies=_guarded(1),
    ),
)
