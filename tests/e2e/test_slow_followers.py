"""Readers of events that stop reading, on a real daemon: nobody waits for them, and they miss nothing."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtests.subject import Subject, a_pool
from loadtests.wire import Wire, encode
from stoker.client import Stoker

FOLLOWERS = 100
CLAIMS = 2000
CLIENTS = 8
SLACK = 256 * 1024
"""Bytes that a follower which reads nothing may cost the daemon, at most."""


def newest_event(subject: Subject) -> int:
    with Stoker(subject.socket) as stoker:
        return int(next(iter(stoker.events(limit=1)))["seq"])


def stalled(subject: Subject, since: int) -> socket.socket:
    """Asks for all events and then reads nothing."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(subject.socket))
    connection.settimeout(20)
    connection.sendall(
        f"GET /v1/events?follow=1&since={since} HTTP/1.0\r\nHost: x\r\n\r\n".encode()
    )
    return connection


async def claim_and_release(subject: Subject, count: int) -> list[float]:
    """Seconds that each claim took."""
    took: list[float] = []
    left = list(range(count))
    claim = encode("POST", "/v1/claims", b'{"pool": "web", "wait": "20s"}')

    async def client() -> None:
        wire = await Wire.connect(str(subject.socket))
        while left:
            left.pop()
            began = time.perf_counter()
            status, body = await wire.ask(claim)
            took.append(time.perf_counter() - began)
            assert 201 == status, body
            await wire.ask(encode("DELETE", f"/v1/claims/{json.loads(body)['id']}"))
        wire.close()

    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    return sorted(took)


def read_on(connection: socket.socket, last: int) -> list[int]:
    """The numbers of all events that come, up to `last`."""
    seqs: list[int] = []
    with connection.makefile("rb") as stream:
        while stream.readline().strip():
            continue  # the head
        while not seqs or seqs[-1] < last:
            line = stream.readline()
            assert line, "the stream ended"
            if line.strip():
                seqs.append(int(json.loads(line)["seq"]))
    return seqs


@pytest.mark.serial
async def test_followers_that_stop_reading_cost_little_memory_slow_no_claim_and_miss_nothing(
    short_tmp: Path,
) -> None:
    subject = Subject(short_tmp)
    subject.declare(a_pool("web", 40, 400))
    async with subject.running():
        await subject.until_all_warm(within=30)
        alone = await claim_and_release(subject, CLAIMS // 4)
        before = subject.resident()
        since = newest_event(subject)
        with ExitStack() as stack:
            followers = [stack.enter_context(stalled(subject, since)) for _ in range(FOLLOWERS)]
            watched = await claim_and_release(subject, CLAIMS)
            grown = subject.resident() - before
            newest = newest_event(subject)
            print(
                f"grown by {grown / FOLLOWERS / 1024:.0f} KiB for each of {FOLLOWERS} followers;"
                f" {newest - since} events; median claim {watched[len(watched) // 2] * 1000:.2f} ms,"
                f" alone {alone[len(alone) // 2] * 1000:.2f} ms"
            )
            for follower in (followers[0], followers[-1]):
                seqs = await asyncio.to_thread(read_on, follower, newest)
                assert list(range(since + 1, newest + 1)) == seqs[: newest - since]
        assert grown < FOLLOWERS * SLACK
        assert watched[len(watched) // 2] < 3 * alone[len(alone) // 2] + 0.005
