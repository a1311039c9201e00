"""Several wait for little: nobody who left is handed anything, and nobody who stays is forgotten."""

import asyncio
from dataclasses import replace

import pytest

from stoker.config.expressions import Scope, compile_expression
from stoker.config.priorities import ENVIRONMENT
from stoker.config.revision import Priority, Queue
from stoker.pools.claim import Claim, Claimant, ClaimState
from stoker.pools.lifecycle import ResourceState
from stoker.pools.requests import ClaimRequest, Code, Refusal
from tests.fakes.world import Faults
from tests.pools.faults import Ledger, codes
from tests.rig import Host, Run, a_box_pool

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

MOMENTS = [(before, steps) for before in range(20) for steps in range(5)]
"""Tenths of a millisecond before a little after the bind, and turns of the loop after that."""
URGENT = Priority("urgent", compile_expression("'urgent' in claim.labels", ENVIRONMENT), 10)


async def ask(run: Run, uid: int, *, urgent: bool = False, wait: float | None = 60.0) -> Claim:
    labels = {"urgent": "yes"} if urgent else {}
    return await run.fleet.claim(
        ClaimRequest("web", Claimant(uid, uid, 1), wait=wait, labels=dict(labels))
    )


def asking(run: Run, uid: int, *, urgent: bool = False) -> asyncio.Task[Claim]:
    return asyncio.create_task(ask(run, uid, urgent=urgent))


async def a_full_pool(*, size: int = 1, queue: Queue | None = None) -> tuple[Run, list[Claim]]:
    """With everything claimed, and creations that take as long as a turn of the loop."""
    host = Host(faults=Faults(latency=(0.0002, 0.0002)))
    run = await host.start(a_box_pool(min=0, max=size, queue=queue or Queue()))
    return run, [await ask(run, 1) for _ in range(size)]


async def a_hand_over_takes() -> float:
    """Seconds from a release to the bind of the one who waits."""
    run, (held,) = await a_full_pool()
    waiting = asking(run, 2)
    await asyncio.sleep(1.0)
    released_at = run.host.clock.now()
    await run.fleet.release(held.id, request_id="r")
    claim = await waiting
    await run.stop()
    assert claim.bound_at is not None
    return claim.bound_at - released_at


def bound(run: Run) -> list[Claim]:
    return [one for one in run.fleet.live_claims() if one.state is ClaimState.BOUND]


@pytest.mark.parametrize("how", ["hangs up", "is released", "runs out of time"])
async def test_the_next_is_served_when_the_first_leaves_at_any_moment_of_its_hand_over(
    how: str,
) -> None:
    served = 0
    bound_after = await a_hand_over_takes()
    for before, steps in MOMENTS:
        run, (held,) = await a_full_pool()
        began = run.host.clock.now()
        goes_at = 1.0 + bound_after + 0.0010 - before * 0.0001
        first = asyncio.create_task(
            ask(run, 2, wait=goes_at if how == "runs out of time" else 60.0)
        )
        await asyncio.sleep(0)
        (waiting,) = [one for one in run.fleet.live_claims() if one is not held]
        second = asyncio.create_task(ask(run, 3))
        await asyncio.sleep(1.0)
        releasing = asyncio.create_task(run.fleet.release(held.id, request_id="r"))
        await asyncio.sleep(began + goes_at - run.host.clock.now())
        for _ in range(steps):
            await asyncio.sleep(0)
        if how == "hangs up":
            first.cancel()
        elif how == "is released":
            await run.fleet.release(waiting.id, request_id="r")
        (told,) = await asyncio.gather(first, return_exceptions=True)
        await releasing
        if isinstance(told, Claim):
            served += 1
            await run.fleet.release(told.id, request_id="r")

        claim = await asyncio.wait_for(second, 30)
        await run.settle(5)

        assert [claim] == bound(run), f"{how} {before}, {steps}"
        assert claim.claimant.uid == 3
        assert 1 == run.status().counts[ResourceState.BOUND]
        assert 0 == run.status().waiting
        assert run.breaches() == []
        await run.stop()
    assert 0 < served < len(MOMENTS), "the moments lie on both sides of the hand-over"


async def test_of_many_that_leave_at_random_all_who_stay_are_served_once_and_nobody_else() -> None:
    run, held = await a_full_pool(size=3)
    draw = run.host.random
    tasks = [asking(run, draw.choice([1, 2, 3]), urgent=draw.random() < 0.2) for _ in range(120)]
    leaving = {task for task in tasks if draw.random() < 0.5}

    async def leave(task: asyncio.Task[Claim]) -> None:
        await asyncio.sleep(draw.uniform(0.0, 0.2))
        task.cancel()

    async def use(claim: Claim) -> None:
        await asyncio.sleep(draw.uniform(0.0, 0.01))
        await run.fleet.release(claim.id, request_id="r")

    gone = [asyncio.create_task(leave(task)) for task in leaving]
    using = [asyncio.create_task(use(claim)) for claim in held]
    for task in tasks:
        task.add_done_callback(
            lambda one: (
                None if one.cancelled() else using.append(asyncio.create_task(use(one.result())))
            )
        )
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*gone, *using)
    await run.settle(5)

    stayed = [result for task, result in zip(tasks, results, strict=True) if task not in leaving]
    assert all(isinstance(result, Claim) for result in stayed)
    served = [result for result in results if isinstance(result, Claim)]
    assert len(served) == len({claim.resources[0] for claim in served})
    assert [] == list(run.fleet.live_claims())
    assert run.breaches() == []
    assert run.forgotten() == set()
    await run.stop()


async def test_a_caller_with_many_claims_does_not_keep_one_with_a_single_claim_waiting() -> None:
    run, (held,) = await a_full_pool()
    order: list[int] = []
    tasks = [asking(run, 1) for _ in range(4)]
    await asyncio.sleep(0.01)
    tasks += [asking(run, 2), asking(run, 3, urgent=True)]
    await asyncio.sleep(0.01)

    for _ in tasks:
        await run.fleet.release(held.id, request_id="r")
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (held,) = (task.result() for task in done)
        order.append(held.claimant.uid)
        tasks = list(waiting)

    assert [1, 2, 3, 1, 1, 1] == order
    await run.stop()


async def test_priority_goes_first_and_is_asked_once_of_each_who_waits() -> None:
    asked: list[Scope] = []

    def evaluate(scope: Scope) -> bool:
        asked.append(scope)
        return bool(URGENT.when.evaluate(scope))

    when = replace(URGENT.when, evaluate=evaluate)
    run, (held,) = await a_full_pool(queue=Queue(priorities=(Priority("urgent", when, 10),)))
    assert 1 == len(asked), "the first claim had to wait for its resource"
    first, urgent = asking(run, 1), asking(run, 2, urgent=True)
    await asyncio.sleep(0.01)
    assert 3 == len(asked)

    places = [
        run.fleet.place_in_line(claim)[0] for claim in run.fleet.live_claims() if claim is not held
    ]
    await run.fleet.release(held.id, request_id="r")
    served = await asyncio.wait_for(urgent, 30)

    assert [2, 1] == places
    assert not first.done()
    await run.fleet.release(served.id, request_id="r")
    await run.fleet.release((await first).id, request_id="r")
    await run.stop()


async def test_a_warm_claim_evaluates_no_priority() -> None:
    def fail(_: object) -> bool:
        raise AssertionError("a priority was evaluated for a claim that need not wait")

    when = replace(URGENT.when, evaluate=fail)
    run = await Host().start(a_box_pool(min=1, queue=Queue(priorities=(Priority("p", when, 1),))))
    await run.until_ready(1)

    assert (await run.claim()).warm
    await run.stop()


@pytest.mark.parametrize("wait", [60.0, None], ids=["on the line", "hanging up"])
async def test_no_more_wait_than_may_however_many_come_at_once(wait: float | None) -> None:
    run, _ = await a_full_pool(queue=Queue(max=2))
    Ledger(run).takes = 0.05
    tasks = [asyncio.create_task(ask(run, uid, wait=wait)) for uid in range(5)]
    await asyncio.sleep(0.2)

    refused = [task for task in tasks if task.done() and task.exception() is not None]
    assert [Code.QUEUE_FULL] * 3 == codes(task.exception() for task in refused)
    assert 2 == run.status().waiting
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await run.stop()


async def test_a_place_that_was_kept_is_free_again_when_it_could_not_be_taken() -> None:
    run, _ = await a_full_pool(queue=Queue(max=1))
    ledger = Ledger(run)
    ledger.down = True
    with pytest.raises(Refusal):
        await ask(run, 1, wait=None)
    ledger.down = False
    run.services.ledger_error = ""
    await run.settle(10)

    pending = await ask(run, 1, wait=None)

    assert (1, None) == (run.fleet.place_in_line(pending)[0], pending.bound_at)
    await run.stop()


async def test_a_full_queue_tells_when_the_first_of_those_who_wait_will_be_served() -> None:
    run, (held,) = await a_full_pool(queue=Queue(max=1))
    waiting = asking(run, 1)
    await asyncio.sleep(0.1)

    with pytest.raises(Refusal) as caught:
        await ask(run, 1)

    assert held.expires_at is not None
    left = held.expires_at - run.host.clock.now()
    assert caught.value.retry_after == pytest.approx(left, abs=1.0)
    waiting.cancel()
    await run.stop()


async def test_the_estimate_follows_what_is_measured() -> None:
    run, (held,) = await a_full_pool()
    pending = await ask(run, 1, wait=None)
    place, until_it_expires = run.fleet.place_in_line(pending)
    assert place == 1
    assert until_it_expires == pytest.approx(1800.0, abs=1.0)

    for _ in range(3):
        await asyncio.sleep(20.0)
        await run.fleet.release(held.id, request_id="r")
        held, pending = await run.fleet.settled(pending.id, 5.0), await ask(run, 1, wait=None)

    assert run.fleet.place_in_line(pending)[1] == pytest.approx(20.0, abs=0.5)
    await asyncio.sleep(12.0)
    assert run.fleet.place_in_line(pending)[1] == pytest.approx(8.0, abs=0.5)
    await run.stop()


async def test_after_a_restart_what_is_there_tells_how_long_it_took_to_make() -> None:
    host = Host(faults=Faults(latency=(4.0, 4.0)))
    run = await host.start(a_box_pool(min=0, max=2))
    await ask(run, 1)
    await run.crash()
    run = await host.start(a_box_pool(min=0, max=2))

    pending = await ask(run, 1, wait=None)

    _, eta = run.fleet.place_in_line(pending)
    assert eta == pytest.approx(4.0, abs=0.1)
    await run.stop()


async def test_one_that_is_not_in_line_has_no_place() -> None:
    run, (held,) = await a_full_pool()

    assert (0, None) == run.fleet.place_in_line(held)
    await run.stop()
