"""The floors alone: what this machine could do at best, without the daemon."""

from ..floors import measured
from ..generator import Outcome
from ..report import Row, Section, fact, p50
from ..scale import Scale, folder

ANSWER = 620
"""Bytes of a claim's answer; the other scenarios take the length of a real one."""


async def run(scale: Scale) -> Section:
    found: dict[str, list[Outcome]] = {}
    with folder() as where:
        for _ in range(scale.repetitions):
            for name, outcome in {
                "aiohttp": await measured.library(where, ANSWER, scale.sequential),
                "echo, uvloop": await measured.echo(where, ANSWER, scale.sequential),
                "echo, asyncio": await measured.echo(
                    where, ANSWER, scale.sequential, loop="asyncio"
                ),
                "durable row": await measured.append(where, ANSWER, scale.sequential),
                "64: aiohttp": await measured.library(
                    where, ANSWER, scale.concurrent, clients=scale.clients
                ),
                "64: echo, uvloop": await measured.echo(
                    where, ANSWER, scale.concurrent, clients=scale.clients
                ),
                "64: echo, asyncio": await measured.echo(
                    where, ANSWER, scale.concurrent, clients=scale.clients, loop="asyncio"
                ),
                "64: durable rows": await measured.append(
                    where, ANSWER, scale.concurrent, writers=scale.clients
                ),
            }.items():
                found.setdefault(name, []).append(outcome)
    return Section("Floors, without the daemon", [_row(*item) for item in found.items()])


def _row(name: str, outcomes: list[Outcome]) -> Row:
    if name.startswith("64: "):
        return fact(name, [outcome.rate for outcome in outcomes], "/s")
    return fact(f"{name}, p50", [p50(outcome.latencies) for outcome in outcomes], "s")
