"""schemathesis finds nothing wrong with the real daemon: all its checks, all its phases, one seed.

It speaks TCP alone, so a forwarder stands between. `schemathesis_hooks` has what it cannot know.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from loadtests.subject import Subject, a_pool
from stoker.daemon.server import ROUTES
from tests.conftest import ROOT

PROGRAM = Path(sys.executable).with_name("schemathesis")
WITHIN = 150
CONFIG = """
# 422 is for what the schema forbids and for what the pool refuses; a check of ours tells them apart.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409", "422", "429", "503"]
# A claim that was ended is shown for a day more: that is promised.
[checks.use_after_free]
enabled = false
# A vote is refused whose signature is not by the secret of a webhook, and schemathesis has none.
[[operations]]
include-path = "/v1/votes/{name}"
[operations.checks.positive_data_acceptance]
expected-statuses = ["401"]
"""


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def forwarded(socket: Path) -> AsyncGenerator[int]:
    """A port of the loopback that leads to the socket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(socket))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.timeout(WITHIN + 30)
async def test_schemathesis_finds_nothing_wrong_with_the_live_socket(short_tmp: Path) -> None:
    subject = Subject(short_tmp)
    subject.declare(a_pool("web", 5, 400))
    (short_tmp / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    async with subject.running(), forwarded(subject.socket) as port:
        await subject.until_all_warm(within=30)
        running = await asyncio.create_subprocess_exec(
            str(PROGRAM),
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            *("--include-path-regex", "."),  # or it leaves out where it reads the description
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--seed", "1", "--max-examples", "30", "--continue-on-failure"),
            *("--request-timeout", "20", "--no-color"),
            cwd=short_tmp,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.daemon.schemathesis_hooks",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(WITHIN):
                report, _ = await running.communicate()
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
        said = report.decode(errors="replace")
        assert 0 == running.returncode, said
        assert f"{len(ROUTES)} selected / {len(ROUTES)} total" in said, said
        status = await subject.get("/v1/status")
        assert status["ledger"]["ok"]
        log = subject.socket.with_suffix(".log").read_text(encoding="utf-8")
        assert "failed unexpectedly" not in log
