"""The load generator: a process of its own, so that client and server do not share a core's time.

`run_load` starts it with a job on standard input and reads its outcome from standard output.
"""

import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass, field

import uvloop

from .wire import Wire, WireError, encode


@dataclass(frozen=True, slots=True)
class Job:
    """`count` times the same request, from `clients` keep-alive connections in a closed loop."""

    socket: str
    path: str
    body: str
    count: int
    clients: int = 1
    method: str = "POST"
    expect: int = 201
    seconds: float = 0.0
    """Stop after so long, even if `count` is not reached; 0: never."""
    pause: float = 0.0
    """Seconds that each client waits between an answer and its next request."""
    warm: bool = False
    """Every answer must be a claim that says `warm: true`; anything else fails the run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times in seconds, in the order of completion."""

    latencies: list[float]
    elapsed: float
    ids: list[str] = field(default_factory=list[str])
    started_at: float = 0.0
    """Wall-clock seconds."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.elapsed


async def run_load(job: Job) -> Outcome:
    """Runs the job in a new process. Raises `WireError` when an answer was not as expected."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.generator"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(json.dumps(asdict(job)).encode())
    if process.returncode != 0:
        raise WireError(f"the load generator failed on {job.method} {job.path}")
    return Outcome(**json.loads(output))


async def _generate(job: Job) -> Outcome:
    request = encode(job.method, job.path, job.body.encode())
    wires = [await _open(job.socket) for _ in range(job.clients)]
    left = job.count
    latencies: list[float] = []
    bodies: list[bytes] = []
    stop_at = time.perf_counter() + job.seconds if job.seconds else float("inf")

    async def client(wire: Wire) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            status, body = await wire.ask(request)
            ended = time.perf_counter()
            if status != job.expect:
                raise WireError(f"{status} instead of {job.expect}: {body.decode()[:300]}")
            latencies.append(ended - began)
            bodies.append(body)
            if ended > stop_at:
                return
            if job.pause:
                await asyncio.sleep(job.pause)

    gc.collect()
    gc.freeze()
    gc.disable()
    started_at, began = time.time(), time.perf_counter()
    await asyncio.gather(*[client(wire) for wire in wires])
    elapsed = time.perf_counter() - began
    for wire in wires:
        wire.close()
    ids = [_id_of_warm(body) for body in bodies] if job.warm else []
    return Outcome(latencies, elapsed, ids, started_at)


async def _open(socket: str) -> Wire:
    """A connection over which one request has been made: who calls is known from then on."""
    wire = await Wire.connect(socket)
    await wire.ask(encode("GET", "/healthz"))
    return wire


def _id_of_warm(body: bytes) -> str:
    """A cold claim measures a provider, not the daemon: it may never be counted."""
    claim = json.loads(body)
    if claim["warm"] is not True or claim["state"] != "bound":
        raise WireError(f"claim {claim['id']} is {claim['state']}, warm: {claim['warm']}")
    return str(claim["id"])


def main() -> None:
    job = Job(**json.load(sys.stdin))
    try:
        outcome = uvloop.run(_generate(job))
    except (WireError, OSError) as problem:
        sys.exit(f"generator: {problem}")
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
