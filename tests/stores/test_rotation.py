"""Old events leave the ledger for files: the chain holds, and no crash loses or doubles one."""

import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.pools.retention import Retention
from stoker.pools.store import StoreError
from stoker.pools.stores import rotation, trail
from stoker.pools.stores.proving import Proof, Prover
from stoker.pools.stores.rotation import Rotation
from stoker.pools.stores.segments import Segment, SegmentWriter, end_of, segments
from stoker.pools.stores.trail import IN_LEDGER, Trail
from tests.stores.disks import Folder, OpenStore, put
from tests.stores.samples import an_event

RETENTION = Retention(seconds=1000.0, events=10_000, files=3)
LATE = 1_700_000_000.0


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "state", "thread")


async def filled(disk: Folder, count: int = 450) -> OpenStore:
    """One event a second, from 1000.0 on."""
    store = disk.open()
    for number in range(0, count, 50):
        disk.time = 1000.0 + number
        await put(store, *[an_event(reason=str(one)) for one in range(50)])
    return store


def prove(disk: Folder, **expected: int) -> Proof:
    with Trail(disk.path) as opened:
        prover = Prover(ledger=opened.ledger, whole=True)
        for entry in opened.walk():
            prover.take(entry)
    return prover.finish()


def numbers(disk: Folder, after: int = 0) -> list[int]:
    with Trail(disk.path) as opened:
        return [entry.event.seq for entry in opened.walk(after)]  # type: ignore[union-attr]


async def ledger_numbers(store: OpenStore) -> list[int]:
    return [event.seq for event in await store.events(after=0, limit=10_000)]


async def test_old_events_are_moved_and_the_chain_goes_on_from_the_file(disk: Folder) -> None:
    store = await filled(disk)
    assert 250 == await store.rotate(RETENTION, today=2250.0 - 0.001)
    assert list(range(251, 452)) == await ledger_numbers(store)
    (segment,) = segments(disk.path / "audit")
    assert (1, 250) == (segment.first, segment.last)
    assert 0o600 == stat.S_IMODE(segment.path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(segment.path.parent.stat().st_mode)
    told = (await store.events(after=450, limit=1))[0]
    assert "audit.rotated" == told.kind
    assert (segment.path.name, 250) == (told.data["file"], told.data["last"])
    proof = prove(disk)
    assert (451, []) == (proof.events, proof.findings)
    assert 201 == await store.verify_chain()
    await store.close()
    again = disk.open()
    assert 451 == again.load().last_event
    await again.close()
    assert [] == prove(disk).findings


async def test_nothing_is_moved_before_it_is_worth_a_file(disk: Folder) -> None:
    store = await filled(disk)
    assert 0 == await store.rotate(RETENTION, today=2000.0 + RETENTION.slack)
    assert not (disk.path / "audit").exists()
    assert 150 == await store.rotate(RETENTION, today=2000.0 + RETENTION.slack + 1)
    assert 0 == await store.rotate(RETENTION, today=2000.0 + RETENTION.slack + 1)
    await store.close()


async def test_an_old_date_between_new_ones_stays(disk: Folder) -> None:
    store = disk.open()
    for time in (1000.0, 2000.0, 1001.0):
        disk.time = time
        await put(store, an_event())
    assert 1 == await store.rotate(RETENTION, today=2500.0)
    assert [2, 3, 4] == await ledger_numbers(store)
    await store.close()


async def test_more_events_than_the_ledger_may_hold_are_moved_however_young(disk: Folder) -> None:
    store = await filled(disk)
    few = Retention(seconds=1e10, events=100, files=3)
    assert 361 == await store.rotate(few, today=LATE)
    assert list(range(362, 452)) == await ledger_numbers(store)
    assert 0 == await store.rotate(few, today=LATE)
    assert [] == prove(disk).findings
    await store.close()


async def test_a_file_holds_a_bounded_number_of_events(
    disk: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "SEGMENT_EVENTS", 120)
    store = await filled(disk)
    disk.time = LATE  # what is said of the rotation is young
    moved = [await store.rotate(RETENTION, today=LATE) for _ in range(5)]
    assert [120, 120, 120, 90, 0] == moved
    assert [] == prove(disk).findings
    await store.close()


async def test_only_so_many_files_are_kept_and_the_audit_says_so(
    disk: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "SEGMENT_EVENTS", 100)
    store = await filled(disk)
    for _ in range(4):
        await store.rotate(RETENTION, today=LATE)
    kept = segments(disk.path / "audit")
    assert [101, 201, 301] == [segment.first for segment in kept]
    proof = prove(disk)
    assert [] == proof.findings
    assert proof.start is not None
    assert (100, 100) == (proof.start.seq, proof.pruned)
    kept[0].path.unlink()
    assert 100 == prove(disk).pruned
    assert ["missing"] == [finding.what for finding in prove(disk).findings]
    assert "events 101 to 200 are missing" in prove(disk).findings[0].sentence
    await store.close()


async def test_what_was_moved_is_read_on_from_any_number(disk: Folder) -> None:
    store = await filled(disk)
    await store.rotate(RETENTION, today=2250.0)
    for after in (0, 1, 249, 250, 251, 300, 451, 999):
        assert list(range(after + 1, 452)) == numbers(disk, after)
    await store.close()


class Cut(BaseException):
    """The daemon ends here."""


class Cutter:
    """Lets so many steps happen; the next one is cut off before or after its effect."""

    def __init__(self, steps: int, *, after: bool) -> None:
        self.left = steps
        self.after = after

    def wrap(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left < 0 and not self.after:
                raise Cut
            result = effect(*args, **more)
            if self.left < 0:
                raise Cut
            return result

        return step

    def wrap_async(self, effect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left < 0 and not self.after:
                raise Cut
            result = await effect(*args, **more)
            if self.left < 0:
                raise Cut
            return result

        return step


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
async def test_a_crash_after_any_step_neither_loses_nor_doubles_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    monkeypatch.setattr(rotation, "SEGMENT_EVENTS", 150)
    monkeypatch.setattr(rotation, "_CHUNK", 70)
    real_unlink = rotation.unlink_all
    few = Retention(seconds=1000.0, events=10_000, files=1)
    steps, cut = 0, True
    while cut:
        disk = Folder(tmp_path / f"state {steps}", "inline")
        store = await filled(disk, 300)
        cutter = Cutter(steps, after=after)

        class Dying(SegmentWriter):
            write = cutter.wrap(SegmentWriter.write)
            finish = cutter.wrap(SegmentWriter.finish)

            def give_up(self) -> None:
                self._stream.close()

        with monkeypatch.context() as patch:
            patch.setattr(rotation, "SegmentWriter", Dying)
            patch.setattr(rotation, "unlink_all", cutter.wrap(real_unlink))
            dying = Rotation(
                disk.path / "audit", store.look, cutter.wrap_async(store.write_background)
            )
            try:
                while await dying.step(few, today=2299.0):
                    pass
                cut = False
            except Cut:
                pass
        store.kill()
        assert [] == prove(disk).findings, (steps, after)
        again = disk.open()
        while await again.rotate(few, today=2299.0):
            pass
        kept = segments(disk.path / "audit")
        assert not list((disk.path / "audit").glob("*.partial"))
        seen = numbers(disk, kept[0].first - 1)
        assert list(range(kept[0].first, again.head().seq + 1)) == seen
        assert [] == prove(disk).findings
        rotated = await again.events(after=0, limit=1000, kind="audit.rotated")
        assert len({str(event.data) for event in rotated}) == len(rotated)
        await again.close()
        steps += 1
    assert steps > 10


async def test_a_file_that_is_not_what_the_ledger_wrote_takes_nothing_from_the_ledger(
    disk: Folder,
) -> None:
    store = await filled(disk)
    await store.rotate(RETENTION, today=2250.0)
    (segment,) = segments(disk.path / "audit")
    content = segment.path.read_bytes()
    first = await ledger_numbers(store)
    for name in (
        "0000000000000251-0000000000000300.jsonl",
        "0000000000000001-0000000000000300.jsonl",
    ):
        segment.path.with_name(name).write_bytes(content)
        with pytest.raises(StoreError, match="stay in the ledger"):
            await store.rotate(RETENTION, today=LATE)
        segment.path.with_name(name).unlink()
    assert first == await ledger_numbers(store)
    await store.close()


async def test_a_folder_that_cannot_be_written_leaves_everything_in_the_ledger(
    disk: Folder,
) -> None:
    store = await filled(disk)
    (disk.path / "audit").write_text("in the way")
    with pytest.raises(StoreError, match="stay in the ledger until they can"):
        await store.rotate(RETENTION, today=LATE)
    assert 450 == len(await ledger_numbers(store))
    await store.close()


async def test_a_rotation_under_the_eyes_of_a_reader_hides_nothing(
    disk: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_CHUNK", 40)
    store = await filled(disk)
    seen: list[tuple[int, bool]] = []
    with Trail(disk.path) as opened:
        for entry in opened.walk():
            seen.append((entry.event.seq, entry.place == IN_LEDGER))  # type: ignore[union-attr]
            if len(seen) == 60:
                assert 250 == await store.rotate(RETENTION, today=2250.0)
    assert list(range(1, 452)) == [number for number, _ in seen]
    assert {True, False} == {place for _, place in seen}
    await store.close()


FORGERIES: dict[str, tuple[Callable[[list[bytes]], None], str, int]] = {
    "a word": (
        lambda lines: _replace(lines, 41, b'"reason":"41"', b'"reason":"no"'),
        "altered",
        42,
    ),
    "a date": (lambda lines: _replace(lines, 41, b'"at":1000.0', b'"at":1001.0'), "altered", 42),
    "a hash": (lambda lines: _rehash(lines, 41), "altered", 42),
    "a line removed": (lambda lines: lines.__delitem__(41), "missing", 42),
    "the first line removed": (lambda lines: lines.__delitem__(0), "missing", 1),
    "a line twice": (lambda lines: lines.insert(41, lines[41]), "repeated", 42),
    "a line cut off": (lambda lines: _cut(lines, 41), "unreadable", 0),
    "rewritten with its hash": (lambda lines: _rewrite(lines, 41), "replaced", 42),
    "the last lines removed": (lambda lines: lines.__delitem__(slice(240, None)), "unreadable", 0),
    "of great depth": (lambda lines: _depth(lines, 41), "unreadable", 0),
}


def _replace(lines: list[bytes], at: int, old: bytes, new: bytes) -> None:
    assert old in lines[at]
    lines[at] = lines[at].replace(old, new)


def _rehash(lines: list[bytes], at: int) -> None:
    line = json.loads(lines[at])
    lines[at] = json.dumps({**line, "hash": "0" * 64}).encode() + b"\n"


def _cut(lines: list[bytes], at: int) -> None:
    lines[at] = lines[at][:50] + b"\n"


def _depth(lines: list[bytes], at: int) -> None:
    lines[at] = b"[" * 100_000 + b"\n"


def _rewrite(lines: list[bytes], at: int) -> None:
    from stoker.pools.stores import chain
    from stoker.pools.stores.lines import Entry, read_line, write_line

    entry = read_line(lines[at], "")
    assert isinstance(entry, Entry)
    event = entry.event._replace(reason="nothing to see")
    event = event._replace(hash=chain.hash_of(entry.previous, chain.canonical(event)))
    lines[at] = write_line(event, entry.previous)


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_file_is_found_and_the_event_named(disk: Folder, forgery: str) -> None:
    store = await filled(disk)
    await store.rotate(RETENTION, today=2250.0)
    await store.close()
    (segment,) = segments(disk.path / "audit")
    lines = segment.path.read_bytes().splitlines(keepends=True)
    forge, what, number = FORGERIES[forgery]
    forge(lines)
    segment.path.write_bytes(b"".join(lines))
    first = prove(disk).findings[0]
    assert what == first.what, first
    assert number in {first.first, first.last, 0}
    assert not number or str(number) in first.sentence


@pytest.mark.parametrize(
    ("sql", "what", "number"),
    [
        ("UPDATE events SET reason = 'nothing' WHERE seq = 42", "altered", 42),
        ("UPDATE events SET at = at + 1 WHERE seq = 42", "altered", 42),
        ("UPDATE events SET data = '{}' WHERE seq = 42", "altered", 42),
        ("UPDATE events SET hash = '" + "0" * 64 + "' WHERE seq = 100", "altered", 100),
        ("DELETE FROM events WHERE seq = 42", "missing", 42),
        ("DELETE FROM events WHERE seq <= 42", "missing", 1),
        (
            "INSERT OR REPLACE INTO meta SELECT 'chain', '42 ' || hash FROM events WHERE seq = 42",
            "",
            0,
        ),
        ("UPDATE meta SET value = 'another' WHERE name = 'ledger'", "altered", 1),
    ],
)
async def test_a_forged_ledger_is_found_and_the_event_named(
    disk: Folder, sql: str, what: str, number: int
) -> None:
    store = await filled(disk, 100)
    await store.close()
    disk.tamper(sql)
    findings = prove(disk).findings
    assert [what] * bool(what) == [finding.what for finding in findings]
    if what:
        assert number == findings[0].first


@pytest.mark.parametrize(
    "what",
    [
        "data = '{'",
        "data = x'ff'",
        "reason = x'00ff'",
        "at = 'soon'",
        "hash = ''",
        "kind = 7 + x''",
    ],
)
async def test_a_row_that_makes_no_sense_is_named(disk: Folder, what: str) -> None:
    store = await filled(disk, 100)
    await store.close()
    disk.tamper(f"UPDATE events SET {what} WHERE seq = 42")
    findings = prove(disk).findings
    assert findings
    assert any("event 42" in finding.sentence for finding in findings)
    assert not any("event 50" in finding.sentence for finding in findings)


async def test_a_forged_number_hides_nothing_that_comes_after_it(disk: Folder) -> None:
    store = await filled(disk)
    await store.rotate(RETENTION, today=2250.0)
    await store.close()
    (segment,) = segments(disk.path / "audit")
    lines = segment.path.read_bytes().splitlines(keepends=True)
    lines[41] = lines[41].replace(b'"seq":42', b'"seq":4200000')
    segment.path.write_bytes(b"".join(lines))
    disk.tamper("UPDATE events SET reason = 'no' WHERE seq = 300")
    seen = numbers(disk)
    assert 4200000 in seen
    assert 451 == seen[-1]
    assert any("event 300" in finding.sentence for finding in prove(disk).findings)


async def test_a_beginning_that_was_cut_off_with_a_forged_anchor_is_found(disk: Folder) -> None:
    store = await filled(disk, 100)
    await store.close()
    disk.tamper("INSERT INTO meta SELECT 'chain', '42 ' || hash FROM events WHERE seq = 42")
    disk.tamper("DELETE FROM events WHERE seq <= 42")
    (finding,) = prove(disk).findings
    assert ("missing", 1, 42) == (finding.what, finding.first, finding.last)
    assert "no event says that they were pruned" in finding.sentence


async def test_the_end_of_a_file_is_read_without_the_rest(tmp_path: Path, disk: Folder) -> None:
    store = await filled(disk)
    await store.rotate(RETENTION, today=2250.0)
    await store.close()
    (segment,) = segments(disk.path / "audit")
    end = end_of(segment.path)
    assert end is not None
    assert 250 == end.seq
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert end_of(empty) is None
    assert [Segment(1, 250, segment.path)] == segments(segment.path.parent)
