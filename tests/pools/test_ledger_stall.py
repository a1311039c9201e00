"""The ledger stands still: no answer, no error. Nobody waits for it for ever, and nothing is lost."""

import asyncio

import pytest

from stoker.config.revision import PartPlan
from stoker.pools.claim import ClaimState, EndedBecause
from stoker.pools.ledger_watch import EVERY, STALLED_AFTER
from stoker.pools.requests import Code, Refusal
from tests.fakes.world import Faults
from tests.pools.faults import codes
from tests.rig import Host, Run, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]

PAGE = (a_part("page"), a_part("token", "token", {"kind": "random"}))
KEY = b"k" * 32
BOUND = STALLED_AFTER + 2 * EVERY


class Stall:
    """From a chosen gap on, every commit waits until the disk goes on."""

    def __init__(self, run: Run, at: int = 0) -> None:
        self.goes_on = asyncio.Event()
        self._gap = 0
        self._at = at
        run.gap = self._pause

    async def _pause(self) -> None:
        gap, self._gap = self._gap, self._gap + 1
        await asyncio.sleep(0.0003)
        if gap >= self._at:
            await self.goes_on.wait()


async def running(finish: tuple[PartPlan, ...] | None = None) -> Run:
    run = await Host().start(a_box_pool(min=2, max=6, blueprint=boxes(finish=finish)))
    await run.until_ready(2)
    return run


@pytest.mark.parametrize("finish", [None, PAGE], ids=["pure", "with a driver"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])  # with a pure finish there is one commit, so 2 gaps
@pytest.mark.parametrize("wait", [0.0, 60.0])
async def test_a_claim_whose_commit_does_not_return_is_refused_in_time_and_its_key_finds_it_later(
    finish: tuple[PartPlan, ...] | None, at: int, wait: float
) -> None:
    run = await running(finish)
    stall = Stall(run, at)
    for _ in range(2):  # a retry while it stands still makes no second claim
        async with asyncio.timeout(BOUND):
            [result] = await asyncio.gather(
                run.claim(wait=wait, key=KEY, body=b"b"), return_exceptions=True
            )
        if isinstance(result, Refusal):
            assert result.code is Code.LEDGER_UNAVAILABLE
            assert "Idempotency-Key" in result.message
    stall.goes_on.set()
    await run.settle(5)
    claim = await run.claim(wait=wait, key=KEY, body=b"b")

    assert claim.state is ClaimState.BOUND
    assert [live.id for live in run.fleet.live_claims()] == [claim.id]
    events = await run.store.events(after=0, limit=100, kind="claim.bound")
    assert [event.claim for event in events] == [claim.id]
    await run.settle(30)
    assert run.ready() == 2
    assert run.breaches() == []
    assert run.forgotten() == set()
    await run.stop()


@pytest.mark.parametrize("finish", [None, PAGE], ids=["pure", "with a driver"])
async def test_a_claim_without_a_key_that_was_refused_in_a_stall_is_nobodys_afterwards(
    finish: tuple[PartPlan, ...] | None,
) -> None:
    run = await running(finish)
    stall = Stall(run)
    with pytest.raises(Refusal):
        await run.claim()
    assert run.fleet.ledger_error
    stall.goes_on.set()
    await run.settle(30)

    assert list(run.fleet.live_claims()) == []
    assert run.fleet.ledger_error == ""
    ended = await run.fleet.ended_claims(None, 10)
    assert {claim.ended_because for claim in ended} <= {EndedBecause.CLAIMANT_GONE}
    assert run.ready() == 2
    assert run.breaches() == []
    await run.stop()


async def test_new_claims_are_refused_at_once_while_the_ledger_stands_still() -> None:
    run = await running()
    stall = Stall(run)
    claiming = asyncio.create_task(run.claim())
    await asyncio.sleep(BOUND)
    ready = run.ready()
    began = run.host.clock.now()
    results = await asyncio.gather(*(run.claim() for _ in range(5)), return_exceptions=True)

    assert codes(results) == [Code.LEDGER_UNAVAILABLE] * 5
    assert run.host.clock.now() == began
    assert run.ready() == ready
    assert codes(await asyncio.gather(claiming, return_exceptions=True)) == [
        Code.LEDGER_UNAVAILABLE
    ]
    stall.goes_on.set()
    await run.settle(10)
    assert (await run.claim()).state is ClaimState.BOUND
    await run.stop()


async def test_a_claim_that_waits_for_a_resource_keeps_its_place_in_a_stall() -> None:
    host = Host(faults=Faults(latency=(20.0, 20.0)))
    run = await host.start(a_box_pool(min=0, max=2))
    waiting = asyncio.create_task(run.claim(wait=300.0))
    await asyncio.sleep(5)
    stall = Stall(run)
    await asyncio.sleep(12)
    assert not waiting.done()
    stall.goes_on.set()

    assert (await waiting).state is ClaimState.BOUND
    await run.stop()


@pytest.mark.parametrize("what", ["renew", "release"])
async def test_a_renewal_and_a_release_are_answered_in_time_and_may_be_repeated(what: str) -> None:
    run = await running()
    claim = await run.claim(ttl=600.0)
    stall = Stall(run)

    async def ask() -> None:
        if what == "renew":
            await run.fleet.renew(claim.id, 900.0, request_id="r")
        else:
            await run.fleet.release(claim.id, request_id="r")

    for _ in range(2):
        async with asyncio.timeout(BOUND):
            with pytest.raises(Refusal) as caught:
                await ask()
        assert caught.value.code is Code.LEDGER_UNAVAILABLE
    stall.goes_on.set()
    await run.settle(10)
    await ask()

    state = (await run.fleet.find_claim(claim.id)).state
    assert state is (ClaimState.BOUND if what == "renew" else ClaimState.ENDED)
    assert run.breaches() == []
    await run.stop()


async def test_a_slow_disk_that_makes_progress_is_no_stall() -> None:
    run = await running()

    async def slow() -> None:
        await asyncio.sleep(STALLED_AFTER * 0.4)

    run.gap = slow
    claims = await asyncio.gather(*(run.claim(wait=120.0) for _ in range(4)))

    assert {claim.state for claim in claims} == {ClaimState.BOUND}
    assert run.fleet.ledger_error == ""
    await run.stop()
