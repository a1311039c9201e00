"""Lines of the audit: what is written is read back, proves itself, and nothing else is taken for one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.store import Event, NewEvent
from stoker.pools.stores import chain
from stoker.pools.stores.chain import Link
from stoker.pools.stores.lines import LONGEST_LINE, Entry, Flaw, read_line, write_line
from stoker.pools.stores.proving import MOST_FINDINGS, Prover
from tests.stores.samples import json_objects, texts

START = chain.genesis("ledger")
events = st.builds(
    NewEvent,
    kind=texts,
    pool=texts,
    resource=texts,
    claim=texts,
    request=texts,
    reason=st.text(max_size=50),
    data=json_objects,
)
moments = st.floats(min_value=0, max_value=4e9)


def a_chain(*drafts: NewEvent, at: float = 1000.5, start: Link = START) -> list[Event]:
    found: list[Event] = []
    for each in drafts:
        found.append(chain.follow(start, at, chain.draft(each)))
        start = Link(found[-1].seq, found[-1].hash)
    return found


def lines_of(events: list[Event], start: Link = START) -> list[bytes]:
    hashes = [start.hash, *[event.hash for event in events]]
    return [write_line(event, previous) for event, previous in zip(events, hashes, strict=False)]


def prove(lines: list[bytes], **more: Any) -> Any:
    prover = Prover(**more)
    for number, line in enumerate(lines):
        prover.take(read_line(line, f"line {number}"))
    return prover.finish()


@given(st.lists(events, min_size=1, max_size=4), moments)
def test_any_event_is_written_read_back_and_proved(drafts: list[NewEvent], at: float) -> None:
    made = a_chain(*drafts, at=at)
    lines = lines_of(made)
    assert all(line.count(b"\n") == 1 and line.endswith(b"}\n") for line in lines)
    assert prove(lines, ledger="ledger", whole=True).sound
    respelled = [json.dumps(json.loads(line), indent=1).encode() for line in lines]
    assert prove(respelled, ledger="ledger", whole=True).sound


@given(st.data())
def test_no_member_of_a_line_can_be_changed(data: st.DataObject) -> None:
    draft = data.draw(events)
    (event,) = a_chain(draft)
    line = json.loads(write_line(event, START.hash))
    member = data.draw(st.sampled_from(sorted(line)))
    other = data.draw(st.integers() | texts | json_objects | moments)
    if other == line[member] and not isinstance(other, bool):
        return
    changed = json.dumps({**line, member: other}).encode()
    assert not prove([changed], ledger="ledger", whole=True).sound


def test_the_recipe_of_the_documentation_proves_a_line() -> None:
    import hashlib

    (event,) = a_chain(NewEvent("claim.bound", reason="so", data={"b": 1, "a": [None]}))
    line = json.loads(write_line(event, START.hash))
    said, previous = line.pop("hash"), line.pop("prev")
    text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert said == hashlib.sha256((previous + text).encode()).hexdigest()


GOOD = json.loads(write_line(a_chain(NewEvent("x"))[0], START.hash))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[]", "no event"),
        (b"{}", "members"),
        (json.dumps({**GOOD, "time": 1}).encode(), "members"),
        (json.dumps({**GOOD, "seq": "1"}).encode(), "another kind"),
        (json.dumps({**GOOD, "seq": True}).encode(), "another kind"),
        (json.dumps({**GOOD, "at": None}).encode(), "another kind"),
        (json.dumps({**GOOD, "at": True}).encode(), "another kind"),
        (json.dumps({**GOOD, "data": []}).encode(), "another kind"),
        (json.dumps({**GOOD, "kind": 1}).encode(), "another kind"),
        (json.dumps({**GOOD, "hash": "F" * 64}).encode(), "another kind"),
        (json.dumps({**GOOD, "prev": ""}).encode(), "which hash"),
        (b" " * (LONGEST_LINE + 1), "longer"),
    ],
)
def test_what_is_no_event_is_named(line: bytes, why: str) -> None:
    flaw = read_line(line, "line 7")
    assert isinstance(flaw, Flaw)
    assert "line 7" == flaw.place
    assert why in flaw.what


def test_findings_are_told_within_bounds_and_the_rest_counted() -> None:
    proof = prove([b"x"] * (MOST_FINDINGS + 5))
    assert (MOST_FINDINGS, 5) == (len(proof.findings), proof.further)


def test_what_is_expected_must_be_there_with_that_hash() -> None:
    made = a_chain(*[NewEvent(f"x.{number}") for number in range(5)])
    lines = lines_of(made)
    assert prove(lines, expected={3: made[2].hash, 5: made[4].hash}).sound
    assert ["unexpected"] == [one.what for one in prove(lines, expected={3: made[3].hash}).findings]
    (cut,) = prove(lines[:3], expected={5: made[4].hash}).findings
    assert "event 5 was expected and it ends with event 3" in cut.sentence
    (gone,) = prove(lines[2:], expected={1: made[0].hash}).findings
    assert "event 1 was expected and is not there" in gone.sentence
    (empty,) = prove([], expected={1: made[0].hash}).findings
    assert "it is empty" in empty.sentence


def test_another_ledgers_events_are_not_this_ones() -> None:
    start = chain.genesis("another")
    lines = lines_of(a_chain(NewEvent("x"), start=start), start)
    (finding,) = prove(lines, ledger="ledger", whole=True).findings
    assert "of another one" in finding.sentence
    assert prove(lines).sound, "a file does not say whose it is"


def test_an_entry_says_what_it_follows() -> None:
    entry = read_line(lines_of(a_chain(NewEvent("x")))[0], "here")
    assert isinstance(entry, Entry)
    assert START.hash == entry.previous
