"""Proves the chain of the audit, entry by entry, and names what breaks it. Pure.

What a chain of hashes alone cannot show is that its end was cut off, or that all of it was written
anew by somebody who may write the files: for that, keep its head elsewhere and expect it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...config.json_types import Json
from ..store import Event
from . import chain
from .chain import Link
from .lines import Entry, Flaw

MOST_FINDINGS = 100
"""Told in full; the rest is counted."""
PRUNED = "audit.pruned"
"""Says in the audit itself that files of it were removed, because only so many are kept."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where. `what` is altered, missing, replaced, repeated, unreadable or
    unexpected.
    """

    what: str
    place: str
    sentence: str
    first: int = 0
    last: int = 0
    """The numbers of the events it is about; 0 when they are not known."""


@dataclass(slots=True)
class Proof:
    """What was looked at, and what was found."""

    events: int = 0
    start: Link | None = None
    """What the first event follows."""
    end: Link | None = None
    skipped: int = 0
    """Events between those of an excerpt."""
    findings: list[Finding] = field(default_factory=list[Finding])
    further: int = 0
    """Findings beyond those."""
    pruned: int = 0
    """Up to which event the audit itself says that they were removed."""

    @property
    def sound(self) -> bool:
        return not self.findings


class Prover:
    """Give it every entry in order, then `finish`.

    `ledger`: the id of the ledger, when its beginning can be proved. `excerpt`: events may be missing in
    between, as after an export with a filter. `expected`: hashes that are known from elsewhere.
    """

    def __init__(
        self,
        *,
        ledger: str = "",
        excerpt: bool = False,
        whole: bool = False,
        expected: Mapping[int, str] | None = None,
    ) -> None:
        self.proof = Proof()
        self._ledger = ledger
        self._excerpt = excerpt
        self._whole = whole
        self._expected = dict(expected or {})
        self._link: Link | None = None

    def take(self, entry: Entry | Flaw) -> None:
        if isinstance(entry, Flaw):
            self._find("unreadable", entry.place, f"{entry.place} {entry.what}")
            return
        event, place = entry.event, entry.place
        known = self._link
        if known is not None and event.seq <= known.seq:
            self._find(
                "repeated",
                place,
                f"event {event.seq} comes again after event {known.seq}",
                event.seq,
            )
            return
        if known is not None and event.seq > known.seq + 1 and _is_altered(event, entry.previous):
            # Its number may be what was changed: nothing after it is looked at in that light.
            self._altered(entry)
            return
        previous = self._previous(entry, known)
        if _is_altered(event, previous):
            self._altered(entry)
        wanted = self._expected.pop(event.seq, None)
        if wanted not in {None, event.hash}:
            sentence = f"event {event.seq} has the hash {event.hash} and not the expected {wanted}"
            self._find("unexpected", place, sentence, event.seq)
        if event.kind == PRUNED:
            self.proof.pruned = max(self.proof.pruned, _through(event.data.get("through")))
        self._link = self.proof.end = Link(event.seq, event.hash)
        self.proof.events += 1

    def finish(self) -> Proof:
        start, end = self.proof.start, self.proof.end
        if self._whole and start is not None and start.seq > self.proof.pruned:
            which = _events(self.proof.pruned + 1, start.seq)
            sentence = f"{which} missing at the beginning, and no event says that they were pruned"
            self._find("missing", "the beginning", sentence, self.proof.pruned + 1, start.seq)
        for seq in sorted(self._expected):
            if end is None or seq > end.seq:
                last = "it is empty" if end is None else f"it ends with event {end.seq}"
                why = f"event {seq} was expected and {last}: its end was cut off, or it is an old copy"
            else:
                why = f"event {seq} was expected and is not there"
            self._find("missing", "the end", why, seq)
        return self.proof

    def _previous(self, entry: Entry, known: Link | None) -> str:
        """The hash that the entry follows; empty when nobody knows it."""
        seq = entry.event.seq
        if known is None:
            self.proof.start = Link(seq - 1, entry.previous)
            first = chain.genesis(self._ledger).hash if seq == 1 and self._ledger else ""
            if first and entry.previous and entry.previous != first:
                sentence = "event 1 does not begin the chain of this ledger: it is of another one"
                self._find("replaced", entry.place, sentence, 1)
            return entry.previous or first
        if seq > known.seq + 1:
            if self._excerpt:
                self.proof.skipped += seq - known.seq - 1
            else:
                sentence = f"{_events(known.seq + 1, seq - 1)} missing before event {seq}"
                self._find("missing", entry.place, sentence, known.seq + 1, seq - 1)
            return entry.previous
        if entry.previous and entry.previous != known.hash:
            sentence = f"event {seq} does not follow event {known.seq}: one of the two was replaced"
            self._find("replaced", entry.place, sentence, known.seq, seq)
        return entry.previous or known.hash

    def _altered(self, entry: Entry) -> None:
        event = entry.event
        sentence = f"event {event.seq} ({event.kind[:64]}) was changed after it was written"
        self._find("altered", entry.place, sentence, event.seq)

    def _find(self, what: str, place: str, sentence: str, first: int = 0, last: int = 0) -> None:
        if len(self.proof.findings) >= MOST_FINDINGS:
            self.proof.further += 1
            return
        self.proof.findings.append(Finding(what, place, sentence, first, last or first))


def _is_altered(event: Event, previous: str) -> bool:
    """False also when nobody knows what it follows."""
    return bool(previous) and chain.hash_of(previous, chain.canonical(event)) != event.hash


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"


def _through(value: Json) -> int:
    return value if isinstance(value, int) else 0
