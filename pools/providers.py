"""The pace at which each provider is called: concurrency, rate, and patience when it throttles."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from asyncio_throttle import Throttler

from ..config.revision import ProviderLimits, ProviderSpec
from .clock import Clock
from .driver import ProviderRef
from .lanes import Gate, Lane
from .pacing import throttler


class Provider:
    """One provider's limits at work."""

    def __init__(self, spec: ProviderSpec, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self._gate = Gate(spec.limits.concurrency, spec.limits.reserve)
        self._pace = _pace(spec.limits)
        self._patience = 0.0
        self.throttled = 0

    @property
    def ref(self) -> ProviderRef:
        return ProviderRef(self.spec.name, self.spec.settings)

    def change(self, spec: ProviderSpec) -> None:
        if spec.limits != self.spec.limits:
            self._gate.resize(spec.limits.concurrency, spec.limits.reserve)
            self._pace = _pace(spec.limits)
        self.spec = spec

    def be_patient(self, after: float) -> None:
        """The provider throttles: no call before `after` seconds have passed."""
        self.throttled += 1
        self._patience = max(self._patience, self._clock.now() + after)

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[None]:
        """Waits for one call's turn in its lane."""
        async with self._gate.turn(lane):
            await self._be_patient()
            if self._pace is not None and lane is Lane.BACKGROUND:
                # A claim never waits for background's pace; a provider that minds says Throttled.
                await self._pace.acquire()
            yield

    async def _be_patient(self) -> None:
        wait = self._patience - self._clock.now()
        if wait > 0:
            await asyncio.sleep(wait)


class Providers:
    """All providers by name. One that is no longer declared stays for what was made with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._providers: dict[str, Provider] = {}

    def declare(self, specs: Mapping[str, ProviderSpec]) -> None:
        for name, spec in specs.items():
            known = self._providers.get(name)
            if known is None:
                self._providers[name] = Provider(spec, self._clock)
            else:
                known.change(spec)

    def get(self, name: str, driver: str) -> Provider:
        """The provider, or one with default limits when nothing was declared under the name."""
        found = self._providers.get(name)
        if found is None:
            found = self._providers[name] = Provider(ProviderSpec(name, driver), self._clock)
        return found


def _pace(limits: ProviderLimits) -> Throttler | None:
    return None if limits.rate is None else throttler(limits.rate, limits.burst)
