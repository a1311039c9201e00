"""Readiness checks, asked of real servers and programs."""

import asyncio
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from stoker.config.json_types import Json, JsonObject
from stoker.pools.clock import SteadyClock
from stoker.pools.driver import NotFound, Rejected, Unavailable
from stoker.pools.readiness import Check, CheckKind, NotReady, Readiness, parse_check

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def readiness() -> AsyncIterator[Readiness]:
    async with Readiness(SteadyClock(0.0)) as readiness:
        yield readiness


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert isinstance(port, int)
    return port


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """An HTTP server; its URL."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(conversation: Conversation) -> AsyncGenerator[int]:
    """A TCP server; its port."""
    server = await asyncio.start_server(conversation, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answering(status: int) -> Handler:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    return answer


def with_args(*command: str) -> JsonObject:
    words: list[Json] = list(command)
    return {"exec": words}


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("status", [200, 204, 302, 399])
async def test_an_answer_below_400_is_ready(readiness: Readiness, status: int) -> None:
    async with serving(answering(status)) as url:
        assert await readiness.probe({"http": url}) is None


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_an_answer_from_400_on_is_not_ready(readiness: Readiness, status: int) -> None:
    async with serving(answering(status)) as url:
        assert f"{url} answered {status}" == await readiness.probe({"http": url})


async def test_a_redirection_is_not_followed(readiness: Readiness) -> None:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(answer) as url:
        assert await readiness.probe({"http": url}) is None
    assert ["/"] == asked


async def test_an_endless_body_is_not_read(readiness: Readiness) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with serving(answer) as url, asyncio.timeout(2):
        assert await readiness.probe({"http": url}) is None


async def test_a_refused_connection_is_said(readiness: Readiness, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/"
    assert f"{url} refused the connection" == await readiness.probe({"http": url})
    address = f"127.0.0.1:{free_port}"
    assert f"{address} refused the connection" == await readiness.probe({"tcp": address})


async def test_a_server_that_hangs_up_is_not_ready(readiness: Readiness) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with talking(hang_up) as port:
        reason = await readiness.probe({"http": f"http://127.0.0.1:{port}/"})
    assert reason is not None
    assert "closed the connection without an answer" in reason


async def test_a_server_that_talks_no_http_is_not_ready(readiness: Readiness) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with talking(talk) as port:
        reason = await readiness.probe({"http": f"http://127.0.0.1:{port}/"})
    assert reason is not None
    assert "no HTTP" in reason


async def test_a_server_that_says_nothing_is_given_up(
    readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.pools.readiness.PROBE_TIMEOUT", 0.1)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with talking(say_nothing) as port:
        url = f"http://127.0.0.1:{port}/"
        assert f"{url} gave no answer within 100ms" == await readiness.probe({"http": url})


async def test_the_proxy_of_the_environment_is_not_asked(
    readiness: Readiness, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    async with serving(answering(200)) as url:
        assert await readiness.probe({"http": url}) is None


async def test_a_listening_port_is_ready_by_number_and_by_address(readiness: Readiness) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert await readiness.probe({"tcp": port}) is None
        assert await readiness.probe({"tcp": str(port)}) is None
        assert await readiness.probe({"tcp": f"localhost:{port}"}) is None
        assert await readiness.probe({"tcp": f"[::ffff:127.0.0.1]:{port}"}) is None


async def test_a_program_that_succeeds_is_ready(readiness: Readiness) -> None:
    assert await readiness.probe(with_args("true")) is None


async def test_a_program_that_fails_is_quoted_shortly(readiness: Readiness) -> None:
    script = "echo first; echo " + "x" * 1000 + "; echo 'no space'; exit 4"
    reason = await readiness.probe(with_args("sh", "-c", script))
    assert "sh ended with exit code 4: no space" == reason


async def test_a_program_with_endless_output_is_bounded(
    readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.pools.readiness.PROBE_TIMEOUT", 0.2)
    reason = await readiness.probe(with_args("yes", "word" * 200))
    assert reason is not None
    assert reason.startswith("yes did not end within 200ms: word")
    assert len(reason) < 300


async def test_a_program_that_does_not_exist_is_said(readiness: Readiness) -> None:
    reason = await readiness.probe(with_args("/no/such/program"))
    assert "/no/such/program cannot be run: No such file or directory" == reason


async def test_a_program_killed_by_a_signal_is_said(readiness: Readiness) -> None:
    assert "sh was killed by signal 9" == await readiness.probe(with_args("sh", "-c", "kill -9 $$"))


async def test_what_a_program_leaves_running_is_killed_and_not_waited_for(
    readiness: Readiness, tmp_path: Path
) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid"
    async with asyncio.timeout(2):
        assert await readiness.probe(with_args("sh", "-c", script)) is None
    await gone(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_question_kills_its_program(readiness: Readiness, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    asking = asyncio.create_task(readiness.probe(with_args("sh", "-c", script)), name="asking")
    async with asyncio.timeout(5):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await gone(int((tmp_path / "pid").read_text()))


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return
            if state == "Z":
                return
            await asyncio.sleep(0.01)


async def test_a_line_of_the_log_makes_ready(readiness: Readiness, tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    check: JsonObject = {"log": r"listening on port \d+$", "within": 5}
    waiting = asyncio.create_task(readiness.wait_until_ready(check, log_path=log), name="waiting")
    await asyncio.sleep(0.05)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"starting\nlistening on po")
        await asyncio.sleep(0.05)
        assert not waiting.done()
        writer.write(b"rt 80\nmore\n")
        await waiting


async def test_a_line_on_stderr_makes_ready_too(readiness: Readiness, tmp_path: Path) -> None:
    (tmp_path / "stderr.log").write_text("up and running\n")
    check: JsonObject = {"log": "running", "within": 5}
    await readiness.wait_until_ready(check, log_path=tmp_path / "stdout.log")


async def test_a_log_that_was_rotated_is_read_from_its_start(
    readiness: Readiness, tmp_path: Path
) -> None:
    log = tmp_path / "stdout.log"
    log.write_text("x\n" * 1000)
    check: JsonObject = {"log": "^up$", "within": 5}
    waiting = asyncio.create_task(readiness.wait_until_ready(check, log_path=log), name="waiting")
    await asyncio.sleep(0.1)
    log.write_text("up\n")
    await waiting


async def test_a_log_without_the_line_is_said_with_the_pattern(
    readiness: Readiness, tmp_path: Path
) -> None:
    (tmp_path / "stdout.log").write_bytes(b"\xff\xfe no text \x00" * 100_000)
    check: JsonObject = {"log": "up$", "within": "100ms"}
    with pytest.raises(NotReady, match="not ready after 100ms: no line of the log matches 'up\\$'"):
        await readiness.wait_until_ready(check, log_path=tmp_path / "stdout.log")


async def test_a_pattern_that_would_take_for_ever_elsewhere_is_quick(
    readiness: Readiness, tmp_path: Path
) -> None:
    (tmp_path / "stdout.log").write_text("a" * 50_000 + "\n")
    check: JsonObject = {"log": "(a+)+$b", "within": "50ms"}
    began = time.monotonic()
    with pytest.raises(NotReady):
        await readiness.wait_until_ready(check, log_path=tmp_path / "stdout.log")
    assert time.monotonic() - began < 2


async def test_a_log_that_was_right_once_stays_right(readiness: Readiness) -> None:
    assert await readiness.probe({"log": "up"}) is None


async def test_a_server_is_ready_soon_after_it_is_up(readiness: Readiness, free_port: int) -> None:
    waiting = asyncio.create_task(
        readiness.wait_until_ready({"tcp": free_port, "within": 10}), name="waiting"
    )
    await asyncio.sleep(0.1)
    assert not waiting.done()
    with socket.create_server(("127.0.0.1", free_port)):
        began = time.monotonic()
        await waiting
    assert time.monotonic() - began < 0.3


async def test_the_end_of_the_wait_says_what_was_met_last(
    readiness: Readiness, free_port: int
) -> None:
    url = f"http://127.0.0.1:{free_port}/"
    with pytest.raises(NotReady) as late:
        await readiness.wait_until_ready({"http": url, "within": "150ms", "every": 0.02})
    assert f"not ready after 150ms: {url} refused the connection" == str(late.value)


async def test_waiting_ends_at_once_when_the_part_is_gone(
    readiness: Readiness, free_port: int
) -> None:
    looks = 0

    async def still_there() -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise NotFound("process 4711 exited with code 1")

    check: JsonObject = {"tcp": free_port, "within": "1h", "every": "10m"}
    began = time.monotonic()
    with pytest.raises(NotFound, match="exited with code 1"):
        await readiness.wait_until_ready(check, still_there=still_there)
    assert time.monotonic() - began < 2


async def test_an_answer_of_something_else_does_not_make_a_dead_part_ready(
    readiness: Readiness,
) -> None:
    """A part whose port was taken dies of it, while the thief answers."""
    there = [True, False]

    async def still_there() -> None:
        if not there.pop(0):
            raise NotFound("process 4711 exited with code 1")

    async with serving(answering(200)) as url:
        with pytest.raises(NotFound):
            await readiness.wait_until_ready({"http": url}, still_there=still_there)


async def test_time_spent_suspended_does_not_fail_what_is_ready_afterwards() -> None:
    class SuspendedClock(SteadyClock):
        jumped = 0.0

        def now(self) -> float:
            self.jumped += 1000.0
            return self.jumped

    with socket.create_server(("127.0.0.1", 0)) as server:
        async with Readiness(SuspendedClock(0.0)) as readiness:
            await readiness.wait_until_ready({"tcp": server.getsockname()[1], "within": "10s"})


async def test_without_descriptors_nothing_is_said_about_the_part(
    readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert await readiness.probe({"http": "http://127.0.0.1:1/"}) is not None
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for check in ({"http": "http://127.0.0.1:1/"}, {"tcp": 1}, with_args("true")):
            with pytest.raises(Unavailable, match="on this host"):
                await readiness.probe(check)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_hundreds_of_questions_at_once_are_all_answered(readiness: Readiness) -> None:
    async with serving(answering(200)) as url:
        answers = await asyncio.gather(*[readiness.probe({"http": url}) for _ in range(300)])
    assert [None] * 300 == answers


async def test_closing_leaves_no_descriptor_and_no_program() -> None:
    async with serving(answering(200)) as url:
        async with Readiness(SteadyClock(0.0)) as readiness:
            await readiness.probe({"http": url})
            await readiness.probe(with_args("true"))
        await asyncio.sleep(0.05)
        before = descriptors()
        async with Readiness(SteadyClock(0.0)) as readiness:
            await readiness.probe({"http": url})
            await readiness.probe({"tcp": 1})
            await readiness.probe(with_args("sh", "-c", "exit 1"))
            asking = asyncio.create_task(readiness.probe(with_args("sleep", "600")), name="asking")
            await asyncio.sleep(0.05)
            asking.cancel()
        await asyncio.sleep(0.05)
        assert before == descriptors()


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"tcp": 80}, Check(CheckKind.TCP, ("127.0.0.1:80",), 30.0, 0.25)),
        ({"tcp": "db:5432", "within": 5}, Check(CheckKind.TCP, ("db:5432",), 5.0, 0.25)),
        ({"log": "up", "every": "2s"}, Check(CheckKind.LOG, ("up",), 30.0, 2.0)),
        ({"exec": ["a", "b"]}, Check(CheckKind.EXEC, ("a", "b"), 30.0, 0.25)),
        ({"exec": ["a"], "every": 0}, Check(CheckKind.EXEC, ("a",), 30.0, 0.01)),
    ],
)
def test_a_check_is_parsed(check: JsonObject, expected: Check) -> None:
    assert expected == parse_check(check)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ({}, "exactly one of"),
        ({"tcp": 80, "log": "x"}, "exactly one of"),
        ({"tcp": 80, "until": 3}, "'until'"),
        ({"tcp": 0}, "ready.tcp must be host:port"),
        ({"tcp": "localhost"}, "ready.tcp must be host:port"),
        ({"tcp": True}, "ready.tcp must be host:port"),
        ({"http": "ftp://x/"}, "ready.http must be a URL"),
        ({"http": "http:///path"}, "ready.http must be a URL"),
        ({"http": "http://x:99999/"}, "ready.http"),
        ({"http": 3}, "ready.http must be text"),
        ({"exec": []}, "ready.exec must be a list"),
        ({"exec": "true"}, "ready.exec must be a list"),
        ({"exec": ["a", 3]}, "ready.exec must be text"),
        ({"log": "("}, "ready.log is no regular expression"),
        ({"tcp": 80, "within": "soon"}, "ready.within"),
        ({"tcp": 80, "every": -1}, "ready.every must be a duration"),
        ({"tcp": 80, "every": True}, "ready.every must be a duration"),
    ],
)
def test_a_check_that_can_never_pass_is_rejected_in_words(check: JsonObject, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        parse_check(check)


async def test_a_log_check_needs_a_log(readiness: Readiness) -> None:
    with pytest.raises(Rejected, match="needs a driver that writes a log"):
        await readiness.wait_until_ready({"log": "up"})


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 of its own making, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + made.public_bytes(Encoding.PEM)
    )
    return path


@asynccontextmanager
async def serving_tls(certificate: Path) -> AsyncGenerator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with serving(answering(200), context) as url:
        yield url.replace("http:", "https:")


async def test_a_certificate_that_is_not_trusted_is_not_ready_and_says_what_to_do(
    readiness: Readiness, certificate: Path
) -> None:
    async with serving_tls(certificate) as url:
        reason = await readiness.probe({"http": url})
    assert reason is not None
    assert "certificate that this host does not trust (self-signed certificate)" in reason
    assert "verify: false" in reason


async def test_a_certificate_is_not_looked_at_when_the_check_says_so(
    readiness: Readiness, certificate: Path
) -> None:
    async with serving_tls(certificate) as url:
        assert await readiness.probe({"http": url, "verify": False}) is None
        assert await readiness.probe({"http": url, "verify": True}) is not None


ASK = """
import asyncio, sys
from stoker.pools.clock import SteadyClock
from stoker.pools.readiness import Readiness

async def ask():
    async with Readiness(SteadyClock(0.0)) as readiness:
        print(await readiness.probe({"http": sys.argv[1]}))

asyncio.run(ask())
"""


@pytest.mark.parametrize(("host", "said"), [("127.0.0.1", "None"), ("localhost", "not trust")])
async def test_a_certificate_of_an_authority_that_this_host_trusts_is_ready_under_its_name_alone(
    certificate: Path, host: str, said: str
) -> None:
    async with serving_tls(certificate) as url:
        asking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASK, url.replace("127.0.0.1", host)),
            env={**os.environ, "SSL_CERT_FILE": str(certificate)},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asking.communicate()
    assert said in output.decode()


async def test_https_asked_of_a_server_that_talks_no_tls_is_said(readiness: Readiness) -> None:
    async with serving(answering(200)) as url:
        reason = await readiness.probe({"http": url.replace("http:", "https:")})
    assert reason is not None
    assert "cannot be spoken to over TLS" in reason
