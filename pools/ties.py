"""Which claims hang on which process or connection, and what is told when one of these ends.

One thing is watched once, however many claims hang on it: ten thousand claims of one process need
one file descriptor. It is let go when its last claim is over. A request *holds* what its claim is
going to hang on, from before anything is used up for it until it was answered.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from .binding import REBOOTED, Afterwards, Process, afterwards, process_ended
from .claim import Claim
from .ids import ClaimId
from .processes import Tied
from .services import Services

log = logging.getLogger(__name__)

LOOK_AGAIN = 1.0
"""Seconds between two attempts to take hold of a process of which the host could tell nothing."""

Gone = Callable[[Sequence[ClaimId], str], None]


@dataclass(slots=True)
class _Anchor:
    why: str
    """What is said of its claims when it ends."""
    thing: Tied | None = None
    """None while the host cannot tell: it is looked for again."""
    claims: dict[ClaimId, None] = field(default_factory=dict[ClaimId, None])
    holds: int = 0


class Hold:
    """Keeps something watched for as long as a request is served."""

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release


class Ties:
    def __init__(self, services: Services, gone: Gone) -> None:
        self._services = services
        self._gone = gone
        """Told of the claims whose process or connection has ended, and why."""
        self._anchors: dict[Hashable, _Anchor] = {}
        self._of: dict[ClaimId, Hashable] = {}
        self._processes = 0
        self._closed = False

    @property
    def processes(self) -> int:
        """How many processes are followed."""
        return self._processes

    @property
    def boot(self) -> str:
        """The boot id of now: part of what tells a process from every other one."""
        return self._services.processes.boot

    @property
    def full(self) -> bool:
        """No more processes can be followed: each takes a file descriptor."""
        return self._processes >= self._services.processes.most

    def alive(self, anchor: Hashable) -> bool:
        """It is watched and has not ended."""
        return anchor in self._anchors

    def hold(self, anchor: Hashable, thing: Tied, why: str) -> Hold:
        """Watches `thing` and owns it from now on; one that is watched already is closed again."""
        known = self._anchors.get(anchor)
        if self._closed:
            thing.close()
            return Hold(_nothing)
        if known is None or known.thing is None:
            known = self._watch(anchor, thing, why)
        else:
            thing.close()
        return self._hold(anchor, known)

    def hold_again(self, anchor: Hashable) -> Hold | None:
        """The same for what is watched already; None when it is not."""
        known = self._anchors.get(anchor)
        return None if known is None or known.thing is None else self._hold(anchor, known)

    def tie(self, claim: ClaimId, anchor: Hashable) -> None:
        """The claim ends with `anchor`, which is held."""
        if not self._closed:
            self._anchors[anchor].claims[claim] = None
            self._of[claim] = anchor

    def untie(self, claim: ClaimId) -> None:
        """The claim is over."""
        anchor = self._of.pop(claim, None)
        if anchor is not None:
            known = self._anchors[anchor]
            del known.claims[claim]
            self._let_go_of(anchor, known)

    async def resume(self, claims: Iterable[Claim]) -> dict[ClaimId, str]:
        """After a start: follows again, and returns those whose process has ended, and why."""
        processes = self._services.processes
        gone: dict[ClaimId, str] = {}
        wanted: dict[Process, list[ClaimId]] = {}
        for claim in claims:
            if claim.binding is None:
                continue
            match afterwards(claim.binding, processes.boot):
                case Afterwards.GONE:
                    gone[claim.id] = REBOOTED
                case Afterwards.FOLLOW if claim.binding.process is not None:
                    wanted.setdefault(claim.binding.process, []).append(claim.id)
                case _:
                    continue
        if not wanted:
            return gone
        found = await processes.find(wanted)
        for process, ids in wanted.items():
            if process in found and found[process] is None:
                gone.update(dict.fromkeys(ids, process_ended(process)))
                continue
            self._adopt(process, found.get(process))
            for claim_id in ids:
                self.tie(claim_id, process)
        return gone

    def close(self) -> None:
        """Nothing is told from now on: what ends while the daemon stops is found at the next start."""
        self._closed = True
        for anchor in self._anchors.values():
            if anchor.thing is not None:
                anchor.thing.close()
        self._anchors.clear()
        self._of.clear()

    def _hold(self, anchor: Hashable, known: _Anchor) -> Hold:
        known.holds += 1
        return Hold(lambda: self._release(anchor, known))

    def _release(self, anchor: Hashable, known: _Anchor) -> None:
        known.holds -= 1
        self._let_go_of(anchor, known)

    def _let_go_of(self, anchor: Hashable, known: _Anchor) -> None:
        if not known.claims and not known.holds and self._anchors.get(anchor) is known:
            self._drop(anchor)

    def _watch(self, anchor: Hashable, thing: Tied, why: str) -> _Anchor:
        known = self._anchors.get(anchor)
        if known is None:
            known = self._anchors[anchor] = _Anchor(why)
            self._processes += isinstance(anchor, Process)
        known.thing = thing
        thing.watch(lambda: self._ended(anchor))
        return known

    def _ended(self, anchor: Hashable) -> None:
        known = self._drop(anchor)
        for claim in known.claims:
            del self._of[claim]
        if known.claims:
            self._gone(list(known.claims), known.why)

    def _drop(self, anchor: Hashable) -> _Anchor:
        known = self._anchors.pop(anchor)
        self._processes -= isinstance(anchor, Process)
        if known.thing is not None:
            known.thing.close()
        return known

    # Processes of which the host can tell nothing yet

    def _adopt(self, process: Process, thing: Tied | None) -> None:
        if thing is not None:
            self._watch(process, thing, process_ended(process))
            return
        self._anchors[process] = _Anchor(process_ended(process))
        self._processes += 1
        self._look_again_later()

    def _look_again_later(self) -> None:
        services = self._services

        def look() -> None:
            services.tasks.start(self._look_again(), "follow processes")

        services.timers.at(services.clock.now() + LOOK_AGAIN, look)

    async def _look_again(self) -> None:
        missing = [
            anchor
            for anchor, known in self._anchors.items()
            if known.thing is None and isinstance(anchor, Process)
        ]
        if not missing:
            return
        log.warning("%d processes with claims cannot be followed yet", len(missing))
        found = await self._services.processes.find(missing)
        for process, thing in found.items():
            known = self._anchors.get(process)
            if known is None or known.thing is not None:
                if thing is not None:
                    thing.close()
            elif thing is None:
                self._ended(process)
            else:
                self._watch(process, thing, known.why)
        if len(found) < len(missing):
            self._look_again_later()


def _nothing() -> None:
    """The release of a hold on nothing."""
