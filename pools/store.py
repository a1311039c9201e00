"""The ledger's contract: what the daemon writes down, when, and what a restart reads back.

One writer, group commit: everything handed over while the last commit ran goes into the next.
`commit` returns when its writes are durable (they survive power loss), and replies leave after
that. All writes of one transaction are durable together or not at all.

A transaction is encoded when a `put` is called, so the caller may go on changing the object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..config.json_types import Json, JsonObject
from .claim import Claim
from .ids import ClaimId, PartId, ResourceId
from .resource import Part, Resource, nothing
from .retention import Retention
from .rollout import Rollout
from .switches import Switch
from .usage import Past, Spent


class StoreError(Exception):
    """The ledger cannot be written or read: the message says why and what to do."""


class StoreLocked(StoreError):
    """Another daemon has this state folder."""


class StoreCorrupt(StoreError):
    """The file is not a ledger of ours, is damaged, or is from a newer version."""


class NewEvent(NamedTuple):
    """One line of the audit, before the ledger has numbered it. Never holds a secret."""

    kind: str
    """`<object>.<past participle>`, for example `claim.bound` or `resource.ready`."""
    pool: str = ""
    resource: str = ""
    claim: str = ""
    request: str = ""
    reason: str = ""
    data: JsonObject = nothing()


class Event(NamedTuple):
    """A durable event. `at` is wall-clock seconds at the time of writing.

    `hash` is SHA-256 over the previous event's hash and this event's canonical JSON, so that a
    change of history shows.
    """

    seq: int
    at: float
    kind: str
    pool: str
    resource: str
    claim: str
    request: str
    reason: str
    data: JsonObject
    hash: str


class Head(NamedTuple):
    """The end of the chain: the number and hash of the newest durable event.

    Kept elsewhere, it shows later that the end of the audit was not cut off.
    """

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class KeptRevision:
    """A revision that was applied, with the files it was read from: the last known good."""

    id: str
    source: str
    applied_at: float
    files: Mapping[str, str]
    """Empty in a list."""
    commit: str = ""
    """The whole id of the Git commit; empty for a plain directory."""


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """What `resume_clock` needs of the last run."""

    boot_id: str | None = None
    offset: float = 0.0
    last_seen: float = 0.0


@dataclass(slots=True)
class Image:
    """Everything live, as a restart finds it."""

    resources: list[Resource] = field(default_factory=list[Resource])
    claims: list[Claim] = field(default_factory=list[Claim])
    """Those that are not over."""
    revision: KeptRevision | None = None
    """The last one that was applied."""
    older: Sequence[KeptRevision] = ()
    """Those before it from which resources stand, newest first."""
    anchor: ClockAnchor = field(default_factory=ClockAnchor)
    last_event: int = 0
    switches: list[Switch] = field(default_factory=list[Switch])
    """What operators have set, the oldest first."""
    rollouts: list[Rollout] = field(default_factory=list[Rollout])
    """Those that are not over, by pool."""
    cursors: Mapping[str, int] = field(default_factory=dict[str, int])
    """How far readers of the events have come, by their names: the number of the last one."""
    follow_ups: list[Claim] = field(default_factory=list[Claim])
    """Those that are over and did without an approval that they needed: somebody has to look at that."""
    past: list[Past] = field(default_factory=list[Past])
    """How many claims of the last day are over, by user, pool and second."""
    spent: list[Spent] = field(default_factory=list[Spent])
    """What claims that are over cost, by user, pool and day."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the writing has come."""

    answered: int
    """Transactions that were written or refused since the start."""
    waiting: int
    """Transactions that have no answer yet, those on their way to the disk included."""


class Done(Protocol):
    """What is called when a submitted transaction is durable, or was refused."""

    def __call__(self, error: StoreError | None, /) -> None: ...


class Transaction(Protocol):
    """Collects writes; hand it to `Store.commit` once."""

    def put_resource(self, resource: Resource) -> None:
        """Writes the resource's row, without its parts. An older version is ignored."""
        ...

    def put_part(self, resource: Resource, part: Part) -> None: ...

    def drop_part(self, part: PartId) -> None: ...

    def drop_resource(self, resource: ResourceId) -> None:
        """Deletes the resource and its parts."""
        ...

    def put_claim(self, claim: Claim) -> None:
        """Writes the claim and, when it has one, its idempotency key.

        Raises nothing here; a key that already belongs to another claim fails the commit with
        `StoreError`. Secrets of a claim that is over are erased by this write.
        """
        ...

    def drop_claim(self, claim: ClaimId) -> None:
        """Forgets a claim that nobody was told of, and frees its key."""
        ...

    def put_revision(self, revision: KeptRevision) -> None:
        """Writes the one that is applied now. Some of those before it are kept as the history."""
        ...

    def put_anchor(self, anchor: ClockAnchor) -> None: ...

    def put_cursor(self, reader: str, event: int) -> None:
        """Writes how far a reader of the events has come."""
        ...

    def put_switch(self, switch: Switch) -> None:
        """Writes what an operator has set; of each kind a subject has one."""
        ...

    def drop_switch(self, switch: Switch) -> None:
        """Forgets the one of that kind and subject, whatever else it says."""
        ...

    def put_rollout(self, rollout: Rollout) -> None:
        """Writes the rollout of a pool. One that began earlier never replaces one that began later.

        The revision in which its previous blueprint stands is kept as long as the rollout.
        """
        ...

    def drop_rollout(self, rollout: Rollout) -> None:
        """Forgets it, unless the pool has one that began later."""
        ...

    def add_event(self, event: NewEvent) -> None:
        """The very same object, added again after a commit that failed, is written once at most."""
        ...


class Store(Protocol):
    """The ledger. Opened by its constructor's classmethod `open`, which raises `StoreError`."""

    def load(self) -> Image: ...

    def transaction(self) -> Transaction: ...

    def serves(self, revision: str) -> None:
        """Events say from now on that they happened under this revision: `data.revision`."""
        ...

    async def commit(self, transaction: Transaction, *, urgent: bool = False) -> None:
        """Returns when durable; raises `StoreError` when nothing of it was written.

        Urgent ones (claims) go before the rest. Two transactions about one resource are never
        under way at once: whoever owns the resource awaits the first.

        When the waiting caller is cancelled the write may still happen.
        """
        ...

    def submit(self, transaction: Transaction, done: Done, *, urgent: bool = False) -> None:
        """As `commit`, for who cannot be cancelled: `done` is called once, in the event loop.

        It is given None when all is durable, and the error when nothing of it was written.
        """
        ...

    def find_key(self, key: bytes) -> Claim | None:
        """The claim of an idempotency key, also an ended one, until a day after its end.

        Called on the path of every keyed claim: one indexed look-up.
        """
        ...

    async def claim(self, claim: ClaimId) -> Claim | None:
        """One claim, also an ended one."""
        ...

    async def ended_claims(self, *, pool: str | None, limit: int) -> Sequence[Claim]:
        """The newest claims that are over, newest first."""
        ...

    async def revisions(self) -> Sequence[KeptRevision]:
        """The history: the one that was applied last first, without their files."""
        ...

    async def revision(self, id: str, source: str) -> KeptRevision | None:  # noqa: A002
        """One of the history, with its files."""
        ...

    async def events(self, *, after: int, limit: int, **filters: str) -> Sequence[Event]:
        """Events with `seq > after`, oldest first.

        Filters: kind (a prefix), kinds (whole ones, by commas), pool, resource, claim, request.
        """
        ...

    def on_events(self, listener: "EventListener") -> None:
        """`listener` is called in the event loop with each commit's events, in order."""
        ...

    async def purge(self, *, keys_before: float) -> int:
        """Deletes keys and claims over since before `keys_before` (steady seconds); how many rows."""
        ...

    async def rotate(self, retention: Retention, *, today: float) -> int:
        """Moves old events to files, some thousands at most; returns how many: 0 when none is due.

        `today` is wall seconds. At no moment an event is in neither of them, and the chain goes on from
        the files to the ledger.
        """
        ...

    def head(self) -> Head:
        """The end of the chain. Costs nothing: asked for each status."""
        ...

    def progress(self) -> Progress:
        """Costs nothing: asked every second, to notice a disk that stands still."""
        ...

    def statistics(self) -> Mapping[str, Json]:
        """Commits, rows, batch sizes, seconds: for metrics and status."""
        ...

    async def close(self) -> None: ...


class EventListener(Protocol):
    def __call__(self, events: Sequence[Event], /) -> None: ...
