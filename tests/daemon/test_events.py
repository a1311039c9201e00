"""Events: listed, resumed, followed, purged under a reader, and never a burden for the daemon."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from stoker.client import Stoker
from stoker.daemon import connections, event_stream, events_api, server
from stoker.daemon.event_stream import EventFeed, Filters, Gap, Item, Silence
from stoker.pools.store import Event, EventListener, NewEvent
from tests.daemon.harness import SOON, Served, a_server
from tests.rig import a_box_pool

ANY = Filters()


def event(seq: int, kind: str = "resource.ready", pool: str = "web") -> Event:
    return Event(seq, 1.7e9, kind, pool, "", "", "", "", {}, "h")


class Source:
    """A ledger's events in memory, which may be purged; counts how often it is read."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.listeners: list[EventListener] = []
        self.reads = 0

    async def events(self, *, after: int, limit: int, **filters: str) -> Sequence[Event]:
        self.reads += 1
        await asyncio.sleep(0)
        wanted = Filters(**filters)
        return [one for one in self.kept if one.seq > after and wanted.match(one)][:limit]

    def on_events(self, listener: EventListener, /) -> None:
        self.listeners.append(listener)

    def happen(self, *events: Event) -> None:
        self.kept.extend(events)
        for listener in self.listeners:
            listener(events)


def a_feed(events: int = 0, *, ring: int = 8) -> tuple[Source, EventFeed]:
    source = Source()
    source.kept = [event(seq) for seq in range(1, events + 1)]
    return source, EventFeed(source, last=events, keep=90 * 86400.0, ring=ring)


async def take(
    count: int, feed: EventFeed, after: int | None, filters: Filters = ANY
) -> list[Item]:
    found: list[Item] = []
    async with asyncio.timeout(SOON), aclosing(feed.follow(after, filters)) as batches:
        async for batch in batches:
            found.extend(batch)
            if len(found) >= count:
                break
    return found[:count]


def seqs(items: Sequence[Item]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Event)]


async def test_a_follower_replays_the_ledger_and_goes_on_live() -> None:
    source, feed = a_feed(5)
    following = asyncio.create_task(take(5, feed, 2), name="following")
    while feed.followers == 0:
        await asyncio.sleep(0)
    source.happen(event(6), event(7))
    assert [3, 4, 5, 6, 7] == seqs(await following)
    assert 0 == feed.followers


async def test_without_since_only_what_comes_is_followed() -> None:
    source, feed = a_feed(5)
    following = asyncio.create_task(take(1, feed, None), name="following")
    while feed.followers == 0:
        await asyncio.sleep(0)
    source.happen(event(6))
    assert [6] == seqs(await following)


async def test_recent_events_come_from_memory() -> None:
    source, feed = a_feed(0)
    source.happen(*[event(seq) for seq in range(1, 6)])
    assert [3, 4, 5] == seqs(await take(3, feed, 2))
    assert 0 == source.reads


async def test_a_long_replay_comes_in_pages_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "REPLAY_PAGE", 10)
    _, feed = a_feed(95)
    assert list(range(1, 96)) == seqs(await take(95, feed, 0))


async def test_events_that_come_during_a_replay_are_not_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "PAGE", 3)
    monkeypatch.setattr(event_stream, "REPLAY_PAGE", 3)
    source, feed = a_feed(20, ring=4)

    async def more() -> None:
        for seq in range(21, 61):
            source.happen(event(seq))
            await asyncio.sleep(0)

    happening = asyncio.create_task(more(), name="more")
    assert list(range(1, 61)) == seqs(await take(60, feed, 0))
    await happening


async def test_a_follower_left_behind_by_the_ring_reads_the_ledger() -> None:
    source, feed = a_feed(0, ring=4)
    async with aclosing(feed.follow(0, ANY)) as batches:
        source.happen(event(1))
        assert [1] == seqs(await anext(batches))
        for seq in range(2, 51):
            source.happen(event(seq))
        assert list(range(2, 51)) == seqs(await anext(batches))


async def test_events_that_left_the_ledger_are_told_as_a_gap() -> None:
    source, feed = a_feed(10)
    source.kept = source.kept[6:]
    gap, *rest = await take(5, feed, 2)
    assert isinstance(gap, Gap)
    told = gap.line()
    assert (3, 6, 4, 7) == (told.get("from"), told.get("to"), told["missed"], told["next"])
    assert gap.reason.startswith(
        "4 events, 3 to 6, were moved out of the ledger, which keeps events for 90d."
    )
    assert "audit export --after 2'" in gap.reason
    assert [7, 8, 9, 10] == seqs(rest)


async def test_one_event_that_left_is_told_by_its_number() -> None:
    source, feed = a_feed(3)
    source.kept = source.kept[1:]
    gap, *_ = await take(3, feed, 0)
    assert isinstance(gap, Gap)
    assert gap.reason.startswith("Event 1 was moved out of the ledger")


async def test_when_all_have_left_the_gap_is_told_and_following_goes_on() -> None:
    source, feed = a_feed(10)
    source.kept = []
    following = asyncio.create_task(take(2, feed, 4), name="following")
    while feed.followers == 0:
        await asyncio.sleep(0)
    source.happen(event(11))
    gap, after = await following
    assert isinstance(gap, Gap)
    assert (5, 11, 6) == (gap.first, gap.next, gap.missed)
    assert [11] == seqs([after])


async def test_a_number_from_the_future_is_told_as_another_ledger() -> None:
    source, feed = a_feed(3)
    following = asyncio.create_task(take(2, feed, 99), name="following")
    while feed.followers == 0:
        await asyncio.sleep(0)
    source.happen(event(4))
    gap, after = await following
    assert isinstance(gap, Gap)
    assert (0, 4) == (gap.missed, gap.next)
    assert not {"from", "to"} & set(gap.line())
    assert "since=0" in gap.reason
    assert [4] == seqs([after])


async def test_filters_pass_what_they_name_in_memory_and_from_the_ledger() -> None:
    source, feed = a_feed(0, ring=3)
    kinds = ["claim.bound", "resource.ready", "claim.ended", "resource.gone"] * 3
    for seq, kind in enumerate(kinds, start=1):
        source.happen(event(seq, kind, "web" if seq % 4 < 3 else "db"))
    wanted = Filters(kind="claim.", pool="web")
    assert [1, 5, 9] == seqs(await take(3, feed, 0, wanted))


async def test_a_hole_in_the_numbers_loses_no_event() -> None:
    source, feed = a_feed(0)
    source.happen(event(1), event(2))
    source.happen(event(5), event(6))
    source.happen(event(8), event(11))
    following = asyncio.create_task(take(99, feed, 0), name="following")
    await asyncio.sleep(0.01)
    feed.close()
    assert [1, 2, 5, 6, 8, 11] == seqs(await following)


async def test_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.01)
    _, feed = a_feed(0)
    assert [Silence(), Silence()] == await take(2, feed, None)


async def test_followers_end_when_the_feed_closes() -> None:
    source, feed = a_feed(2)
    following = asyncio.create_task(take(99, feed, 0), name="following")
    while feed.followers == 0:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    source.happen(event(3))
    feed.close()
    assert [1, 2, 3] == seqs(await following)


async def test_the_newest_are_listed_oldest_first() -> None:
    source, feed = a_feed(30)
    assert [28, 29, 30] == [one.seq for one in await feed.newest(ANY, 3)]
    source.happen(*[event(seq, "claim.bound", "db") for seq in range(31, 35)])
    assert [33, 34] == [one.seq for one in await feed.newest(Filters(pool="db"), 2)]
    assert [5, 6] == [one.seq for one in await feed.since(4, ANY, 2)]


# Over the socket


async def add_events(served: Served, count: int) -> None:
    transaction = served.run.store.transaction()
    for number in range(count):
        transaction.add_event(NewEvent("test.happened", data={"number": number, "pad": "x" * 500}))
    await served.run.store.commit(transaction)


async def test_events_are_listed_and_resumed_by_number(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim()).json
        listed = await served.caller.get("/v1/events")
        assert "application/x-ndjson" == listed.headers["Content-Type"]
        numbers = [line["seq"] for line in listed.lines]
        assert sorted(set(numbers)) == numbers
        await add_events(served, 5)
        ours = await served.caller.get("/v1/events?kind=test.")
        numbers = [line["seq"] for line in ours.lines]
        later = await served.caller.get(f"/v1/events?kind=test.&since={numbers[1]}&limit=2")
        assert numbers[2:4] == [line["seq"] for line in later.lines]
        of_claim = await served.caller.get(f"/v1/events?claim={claim['id']}")
        assert {claim["id"]} == {line["claim"] for line in of_claim.lines}
        asked = next(line["requestId"] for line in of_claim.lines if "requestId" in line)
        of_request = await served.caller.get(f"/v1/events?request={asked}")
        assert {asked} == {line["requestId"] for line in of_request.lines}
        kinds = await served.caller.get("/v1/events?kind=claim.")
        assert {"claim"} == {line["kind"].partition(".")[0] for line in kinds.lines}


async def test_events_are_followed_live_until_the_daemon_stops(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        url = "http://stoker/v1/events?follow=1&kind=claim."
        async with asyncio.timeout(SOON), served.caller.session.get(url) as response:
            claim = (await served.caller.claim()).json
            line = json.loads(await response.content.readline())
            assert ("claim.bound", claim["id"]) == (line["kind"], line["claim"])
            served.server.refuse_new()
            rest = await response.content.read()
        assert all(json.loads(line)["kind"].startswith("claim.") for line in rest.splitlines())


async def test_an_empty_line_shows_that_a_quiet_stream_lives(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.02)
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        url = "http://stoker/v1/events?follow=1&kind=never"
        async with asyncio.timeout(SOON), served.caller.session.get(url) as response:
            assert b"\n" == await response.content.readline()


async def test_a_reader_that_stops_reading_slows_nobody_and_misses_nothing(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "RING", 16)
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        last = (await served.caller.get("/v1/events")).lines[-1]["seq"]
        reader, writer = await asyncio.open_unix_connection(str(served.settings.socket), limit=1024)
        ask = f"GET /v1/events?follow=1&kind=test.&since={last} HTTP/1.0\r\n\r\n"
        writer.write(ask.encode())
        await reader.readuntil(b"\r\n\r\n")
        total = 3000
        for _ in range(total // 100):
            await add_events(served, 100)
        async with asyncio.timeout(SOON):
            assert 201 == (await served.caller.claim()).status
        transports = [one.transport for one in served.server.door.present]
        assert max(one.get_write_buffer_size() for one in transports if one) < 512 * 1024
        numbers: list[int] = []
        async with asyncio.timeout(SOON):
            while len(numbers) < total:
                numbers.append(json.loads(await reader.readline())["seq"])
        assert total == len(set(numbers))
        assert sorted(numbers) == numbers
        writer.close()


async def test_a_follower_cut_off_for_not_reading_goes_on_where_it_was(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_WITHIN", 0.2)
    monkeypatch.setattr(server, "SWEEP_EVERY", 0.05)
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        feed = served.server.host.feed
        assert feed is not None
        with Stoker(served.settings.socket) as stoker:
            events = stoker.events(follow=True, since=feed.last, kind="test.")
            first = asyncio.create_task(asyncio.to_thread(next, events), name="first")
            while not feed.followers:
                await asyncio.sleep(0.01)
            total = 3000
            for _ in range(total // 100):
                await add_events(served, 100)
            numbers = [(await first)["seq"]]
            async with asyncio.timeout(SOON):
                while feed.followers:
                    await asyncio.sleep(0.01)
            while len(numbers) < total:
                numbers.append((await asyncio.to_thread(next, events))["seq"])
            assert list(range(numbers[0], numbers[0] + total)) == numbers
            await asyncio.to_thread(events.close)  # type: ignore[attr-defined]


async def test_a_follower_that_hangs_up_is_forgotten(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        feed = served.server.host.feed
        assert feed is not None
        _, writer = await asyncio.open_unix_connection(str(served.settings.socket))
        writer.write(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(SOON):
            while not feed.followers:
                await asyncio.sleep(0.01)
            assert 1 == feed.followers
            writer.close()
            while feed.followers:
                await asyncio.sleep(0.01)


async def test_followers_are_bounded(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_api, "MAX_FOLLOWERS", 1)
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        first: Any = await served.caller.session.get("http://stoker/v1/events?follow=1")
        reply = await served.caller.get("/v1/events?follow=1")
        assert (503, "busy") == (reply.status, reply.json["code"])
        first.close()
