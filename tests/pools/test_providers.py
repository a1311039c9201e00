"""Providers are called at their pace, in lanes, and with patience when they throttle."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from stoker.config.revision import ProviderLimits, ProviderSpec
from stoker.pools.driver import Throttled, Unavailable
from stoker.pools.lanes import Lane
from stoker.pools.providers import Provider, Providers
from tests.builders import a_revision
from tests.rig import VirtualClock, a_box_pool, a_part, boxes

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime, pytest.mark.usefixtures("on_the_rig")]


def now() -> float:
    return asyncio.get_running_loop().time()


def a_provider(limits: ProviderLimits | None = None) -> Provider:
    spec = ProviderSpec("simulated", "simulated", limits=limits or ProviderLimits())
    provider = Provider(spec, VirtualClock())
    provider.change(spec)
    return provider


async def call(provider: Provider, lane: Lane, begun: list[float], seconds: float = 0.0) -> None:
    async with provider.turn(lane):
        begun.append(now())
        await asyncio.sleep(seconds)


async def test_a_throttled_call_makes_all_that_follow_wait() -> None:
    provider = a_provider()
    with pytest.raises(Throttled):
        async with provider.turn(Lane.CLAIMS):
            raise Throttled("slower", 5.0)
    began = now()
    begun: list[float] = []
    await asyncio.gather(*(call(provider, lane, begun) for lane in Lane))

    assert all(at - began == pytest.approx(5.0) for at in begun)
    assert provider.throttled == 1


async def test_patience_that_grows_meanwhile_is_kept() -> None:
    provider = a_provider()
    provider.be_patient(2.0)
    began = now()
    begun: list[float] = []
    waiting = asyncio.create_task(call(provider, Lane.CLAIMS, begun))
    await asyncio.sleep(1)
    provider.be_patient(10.0)
    await waiting

    assert begun[0] - began == pytest.approx(11.0)


async def test_a_shorter_patience_does_not_cut_a_longer_one() -> None:
    provider = a_provider()
    provider.be_patient(10.0)
    provider.be_patient(1.0)
    began = now()
    begun: list[float] = []
    await call(provider, Lane.BACKGROUND, begun)

    assert begun[0] - began == pytest.approx(10.0)


async def test_after_the_patience_background_does_not_come_all_at_once() -> None:
    provider = a_provider(ProviderLimits(rate=2.0, burst=1, concurrency=8, reserve=2))
    provider.be_patient(5.0)
    began = now()
    begun: list[float] = []
    await asyncio.gather(*(call(provider, Lane.BACKGROUND, begun) for _ in range(6)))
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun)]

    assert begun[0] - began >= 5.0
    assert min(gaps) >= 0.49


async def test_patience_asked_for_while_background_waits_for_its_pace_is_kept() -> None:
    provider = a_provider(ProviderLimits(rate=0.5, burst=1, concurrency=8, reserve=2))
    began = now()
    begun: list[float] = []
    waiting = [asyncio.create_task(call(provider, Lane.BACKGROUND, begun)) for _ in range(2)]
    await asyncio.sleep(1)
    provider.be_patient(30.0)
    await asyncio.gather(*waiting)

    assert begun[1] - began >= 31.0


async def test_a_claim_does_not_wait_for_the_pace_of_background() -> None:
    provider = a_provider(ProviderLimits(rate=0.1, burst=1, concurrency=4, reserve=1))
    begun: list[float] = []
    waiting = [asyncio.create_task(call(provider, Lane.BACKGROUND, begun)) for _ in range(5)]
    await asyncio.sleep(1)
    began = now()
    claims: list[float] = []
    await call(provider, Lane.CLAIMS, claims)

    assert claims[0] - began < 0.01
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_caller_that_gives_up_while_it_is_patient_leaves_no_place_taken() -> None:
    provider = a_provider(ProviderLimits(concurrency=1, reserve=0))
    provider.be_patient(10.0)
    begun: list[float] = []
    leaving = asyncio.create_task(call(provider, Lane.CLAIMS, begun))
    await asyncio.sleep(1)
    leaving.cancel()
    await asyncio.sleep(0)
    await asyncio.wait_for(call(provider, Lane.CLAIMS, begun), 20)

    assert len(begun) == 1


async def test_new_limits_apply_to_those_who_wait() -> None:
    provider = a_provider(ProviderLimits(concurrency=1, reserve=0))
    begun: list[float] = []
    calls = [asyncio.create_task(call(provider, Lane.CLAIMS, begun, 10.0)) for _ in range(3)]
    await asyncio.sleep(1)
    provider.change(
        ProviderSpec("simulated", "simulated", limits=ProviderLimits(concurrency=3, reserve=0))
    )
    await asyncio.sleep(0.1)

    assert len(begun) == 3
    await asyncio.gather(*calls)


async def test_a_provider_that_was_never_declared_is_not_called_with_made_up_settings() -> None:
    providers = Providers(VirtualClock())
    stranger = providers.get("their-account", "simulated")

    with pytest.raises(Unavailable, match="their-account"):
        _ = stranger.ref
    providers.declare(
        {"their-account": ProviderSpec("their-account", "simulated", {"region": "x"})}
    )
    assert stranger.ref.settings == {"region": "x"}


async def test_what_a_blueprint_was_made_with_is_known_until_nothing_of_it_is_left() -> None:
    providers = Providers(VirtualClock())
    own = replace(a_part("own"), provider="account")
    earlier = a_revision(a_box_pool(blueprint=boxes(digest="old", finish=(own,))))
    declared = {"account": ProviderSpec("account", "simulated", {"region": "x"})}
    providers.remember(replace(earlier, providers=declared))
    account = providers.get("account", "simulated")
    assert {"region": "x"} == account.ref_of("old").settings
    with pytest.raises(Unavailable, match="no longer declared"):
        account.ref_of("another")

    providers.declare({"account": ProviderSpec("account", "simulated", {"region": "y"})})
    assert [{"region": "x"}, {"region": "y"}] == [
        account.ref_of(digest).settings for digest in ("old", "another")
    ]
    providers.keep({"another"})
    assert {"region": "y"} == account.ref_of("old").settings


async def test_a_drivers_own_name_is_a_provider_without_settings() -> None:
    assert Providers(VirtualClock()).get("simulated", "simulated").ref.settings == {}


async def test_a_provider_that_is_no_longer_declared_stays_for_what_was_made_with_it() -> None:
    providers = Providers(VirtualClock())
    providers.declare({"account": ProviderSpec("account", "simulated", {"region": "x"})})
    providers.declare({})

    assert providers.get("account", "simulated").ref.settings == {"region": "x"}


async def test_a_faster_pace_applies_to_those_who_wait_for_the_slower_one() -> None:
    provider = a_provider(ProviderLimits(rate=0.001, burst=1, concurrency=8, reserve=2))
    begun: list[float] = []
    waiting = [asyncio.create_task(call(provider, Lane.BACKGROUND, begun)) for _ in range(4)]
    await asyncio.sleep(1)
    assert len(begun) == 1
    faster = ProviderLimits(rate=10.0, burst=1, concurrency=8, reserve=2)
    provider.change(ProviderSpec("simulated", "simulated", limits=faster))
    await asyncio.sleep(1)
    assert len(begun) == 4
    await asyncio.gather(*waiting)


async def test_without_a_pace_nobody_waits_for_the_old_one() -> None:
    provider = a_provider(ProviderLimits(rate=0.001, burst=1, concurrency=8, reserve=2))
    begun: list[float] = []
    waiting = [asyncio.create_task(call(provider, Lane.BACKGROUND, begun)) for _ in range(4)]
    await asyncio.sleep(1)
    provider.change(ProviderSpec("simulated", "simulated", limits=ProviderLimits()))
    await asyncio.wait_for(asyncio.gather(*waiting), 1)

    assert len(begun) == 4
