"""One run of the core that follows a source of configurations, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from stoker.config.loading import LoadResult, load
from stoker.daemon.metrics import Metrics
from stoker.daemon.steering import Steering
from stoker.daemon.synchroniser import ConfigState, Synchroniser
from stoker.pools.store import Event, KeptRevision
from stoker.pools.switches import Switch, SwitchKind
from tests.rig import ME, Host, Run, VirtualJudge

CONFIG = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: box}
spec:
  prepare: [{name: box, driver: simulated, with: {label: LABEL}}]
  finish: [{name: FINISH, driver: token, with: {kind: random}}]
  outputs: {label: "${parts.box.label}", secret: {value: "${parts.FINISH.value}", secret: true}}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: web}
spec: {blueprint: box, size: {min: 2, max: 6}}
"""


def files(label: str, finish: str = "token") -> dict[str, str]:
    return {"all.yaml": CONFIG.replace("LABEL", label).replace("FINISH", finish)}


class Source:
    """A directory whose contents are put there by the test."""

    remote = False

    def __init__(self) -> None:
        self.queue: asyncio.Queue[LoadResult] = asyncio.Queue()

    async def changes(self) -> AsyncGenerator[LoadResult, None]:
        while True:
            yield await self.queue.get()

    async def sync(self) -> None:
        raise NotImplementedError


class Scene:
    """One run of the daemon that follows a directory."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.run = Run(host)
        self.source = Source()
        self.metrics = Metrics()
        self.run.services.judge = VirtualJudge(
            host.clock, self.metrics.decisions, daemon_uid=ME.uid, host="here"
        )
        self.synchroniser = Synchroniser(
            self.source, self.run.fleet, self.run.services.catalogue, host.clock, self.metrics
        )
        self.steering = Steering(self.synchroniser, self.run.services)
        self.place = "test"
        """Where the source is."""

    @property
    def state(self) -> ConfigState:
        return self.synchroniser.state

    @property
    def serves(self) -> str:
        """The id of the revision."""
        return "" if self.state.revision is None else self.state.revision.id

    async def start(
        self,
        first: dict[str, str],
        kept: KeptRevision | None = None,
        older: Sequence[KeptRevision] = (),
        pin: Switch | None = None,
        *,
        commit: str = "",
    ) -> None:
        await self.run.open()
        self.task = asyncio.create_task(self.synchroniser.follow(kept, older, pin))
        self.steering.remember(pin)
        self.hold(first, commit=commit)
        await asyncio.wait_for(self.synchroniser.applied.wait(), 60)
        await self.run.fleet.start()

    async def again(self, first: dict[str, str]) -> "Scene":
        """After a crash: the next run of the daemon, on what the ledger says."""
        await self.stop()
        scene = Scene(self.host)
        image = scene.run.store.load()
        pin = next((one for one in image.switches if one.kind is SwitchKind.PIN), None)
        await scene.start(first, image.revision, image.older, pin)
        await asyncio.sleep(1)
        return scene

    def hold(self, content: dict[str, str], *, commit: str = "") -> str:
        """The source holds this from now on; the id of that revision."""
        result = load(content, self.run.services.catalogue, self.place, commit=commit)
        self.source.queue.put_nowait(result)
        return (commit or result.digest)[:12]

    async def find(self, content: dict[str, str], *, commit: str = "") -> str:
        """The same, once it was decided about."""
        found = self.hold(content, commit=commit)
        await asyncio.sleep(1)
        return found

    async def told(self, kind: str = "config.") -> list[Event]:
        events = await self.run.store.events(after=0, limit=1000)
        return [event for event in events if event.kind.startswith(kind)]

    async def stop(self) -> KeptRevision | None:
        kept = self.run.store.load().revision
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.run.crash()
        return kept
