"""The pace at which each provider is called: concurrency, rate, and patience when it throttles."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager

from asyncio_throttle import Throttler

from ..config.json_types import JsonObject
from ..config.revision import ProviderLimits, ProviderSpec, Revision
from .clock import Clock
from .driver import ProviderRef, Throttled, Unavailable
from .lanes import Gate, Lane
from .pacing import retune, throttler

UNLIMITED = 1e9
"""Calls per second: a pace that holds nobody up."""


class Provider:
    """One provider's limits at work."""

    def __init__(self, spec: ProviderSpec, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self._gate = Gate(spec.limits.concurrency, spec.limits.reserve)
        self._pace = _pace(spec.limits)
        self._patience = 0.0
        self._settings: dict[str, JsonObject] = {}
        """By the digest of a blueprint: those that were declared beside it."""
        self.declared = False
        self.throttled = 0

    @property
    def ref(self) -> ProviderRef:
        """Raises `Unavailable` for a provider that no revision of this run declared.

        What was made with it is neither looked at nor removed with settings that may be wrong:
        in another account everything seems absent.
        """
        if not self.declared and self.spec.name != self.spec.driver:
            raise Unavailable(
                f"the provider {self.spec.name} is no longer declared; declare it again, so that "
                "what was made with it can be looked after and removed"
            )
        return ProviderRef(self.spec.name, self.spec.settings)

    def ref_of(self, digest: str) -> ProviderRef:
        """With the settings that were declared beside the blueprint of this digest, if they are known.

        Where they name an account or an endpoint, what was made with them is there, and nowhere else: in
        the one that is declared now it would seem absent. The blueprint before a change is made with them, too,
        as long as it serves. Raises `Unavailable` as `ref` does.
        """
        settings = self._settings.get(digest)
        return self.ref if settings is None else ProviderRef(self.spec.name, settings)

    def remember(self, digest: str, settings: JsonObject) -> None:
        self._settings[digest] = settings

    def keep(self, digests: AbstractSet[str]) -> None:
        """Forgets the settings of all others."""
        self._settings = {one: self._settings[one] for one in self._settings.keys() & digests}

    @property
    def patient_until(self) -> float:
        """Steady seconds: it throttled, and is not called before. Past when it did not."""
        return self._patience

    def change(self, spec: ProviderSpec) -> None:
        self.declared = True
        if spec.limits != self.spec.limits:
            self._gate.resize(spec.limits.concurrency, spec.limits.reserve)
            self._change_pace(spec.limits)
        self.spec = spec

    def _change_pace(self, limits: ProviderLimits) -> None:
        """Also for those who wait for their turn already."""
        before = self._pace
        if before is None:
            self._pace = _pace(limits)
        elif limits.rate is None:
            retune(before, UNLIMITED, 1)
            self._pace = None
        else:
            retune(before, limits.rate, limits.burst)

    def be_patient(self, after: float) -> None:
        """The provider throttles: no call before `after` seconds have passed."""
        self.throttled += 1
        self._patience = max(self._patience, self._clock.now() + after)

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncGenerator[None]:
        """Waits for one call's turn in its lane. If the call is throttled, all that follow wait."""
        async with self._gate.turn(lane):
            await self._come_up(lane)
            try:
                yield
            except Throttled as error:
                self.be_patient(error.after)
                raise

    async def _come_up(self, lane: Lane) -> None:
        """Waits until the provider wants calls again, and for the pace."""
        while True:
            await self._be_patient()
            if self._pace is None or lane is Lane.CLAIMS:
                # A claim never waits for background's pace; a provider that minds says Throttled.
                return
            await self._pace.acquire()
            if self._patience <= self._clock.now():
                return

    async def _be_patient(self) -> None:
        wait = self._patience - self._clock.now()
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self._patience - self._clock.now()  # it may have grown meanwhile


class Providers:
    """All providers by name. One that is no longer declared stays for what was made with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._providers: dict[str, Provider] = {}

    def declare(self, specs: Mapping[str, ProviderSpec]) -> None:
        for name, spec in specs.items():
            known = self._providers.get(name)
            if known is None:
                known = self._providers[name] = Provider(spec, self._clock)
            known.change(spec)

    def remember(self, revision: Revision) -> None:
        """With which settings its blueprints are made, also when others are declared now."""
        for pool in revision.pools.values():
            for plan in (*pool.blueprint.prepare, *pool.blueprint.finish):
                spec = revision.providers.get(plan.provider)
                if spec is not None:
                    provider = self.get(plan.provider, plan.driver)
                    provider.remember(pool.blueprint.digest, spec.settings)

    def keep(self, digests: AbstractSet[str]) -> None:
        """`digests`: of which something stands, or may yet be made."""
        for provider in self._providers.values():
            provider.keep(digests)

    def get(self, name: str, driver: str) -> Provider:
        """The provider, or one with default limits when nothing was declared under the name."""
        found = self._providers.get(name)
        if found is None:
            found = self._providers[name] = Provider(ProviderSpec(name, driver), self._clock)
        return found


def _pace(limits: ProviderLimits) -> Throttler | None:
    return None if limits.rate is None else throttler(limits.rate, limits.burst)
