"""The command driver: the contract over both programs of its documentation, and bad programs."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import uvloop

from stoker.config.json_types import Json, JsonObject
from stoker.pools.clock import SteadyClock
from stoker.pools.driver import (
    Driver,
    DriverError,
    Exhausted,
    Made,
    NotFound,
    PartRef,
    PartRequest,
    Presence,
    ProviderRef,
    Rejected,
    Throttled,
    Unavailable,
)  # fmt: skip
from stoker.pools.drivers.command import create_driver
from stoker.pools.drivers.context import DriverContext
from stoker.pools.ids import PartId
from tests.conftest import ROOT
from tests.drivers.contract import ONE, OTHER, DriverContract, Harness

DOCUMENTATION = ROOT / "docs/drivers/command.md"


def example(name: str, folder: Path) -> Path:
    """Writes a program of the documentation to the folder."""
    found = re.search(
        rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```",
        DOCUMENTATION.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found, f"{DOCUMENTATION} has no example {name}"
    path = folder / name
    path.write_text(found[1], encoding="utf-8")
    path.chmod(0o755)
    return path


class CommandHarness(Harness):
    watches = False
    resets = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.program = example(self.script, folder)
        self.things = folder / "things"
        self.things.mkdir()

    script: str
    suffix = ""

    def build(self) -> Driver:
        return create_driver(DriverContext(self.things, SteadyClock(0)))

    def path(self, part: PartId) -> Path:
        return self.things / f"{part}{self.suffix}"

    def bad_settings(self, part: PartId) -> JsonObject:
        return {"program": []}

    async def exists(self, part: PartId) -> bool:
        return self.path(part).exists()


class TicketsHarness(CommandHarness):
    """The program is the provider's."""

    script = "tickets.py"
    suffix = ".ticket"
    cuts = (0.0, 0.01, 0.03, 0.08)

    def provider(self) -> ProviderRef:
        program: Json = [sys.executable, "-S", str(self.program)]
        return ProviderRef("tickets", {"program": program, "with": {"folder": str(self.things)}})

    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        return {"with": {"title": "a title"}}

    async def spoil(self, part: PartId) -> None:
        self.path(part).write_text("torn")

    async def soil(self, part: PartId) -> None:
        ticket = json.loads(self.path(part).read_text())
        self.path(part).write_text(json.dumps({**ticket, "title": "mine", "notes": "secret"}))

    async def soiled(self, part: PartId) -> bool:
        return self.path(part).exists() and "secret" in self.path(part).read_text()

    async def remove(self, part: PartId) -> None:
        self.path(part).unlink()

    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        paths = [self.things / name for name in (f"{near}.ticket.bak", "notes.txt", "a b.ticket")]
        for path in paths:
            path.write_text("theirs")
        return lambda: all(path.read_text() == "theirs" for path in paths)


class FoldersHarness(CommandHarness):
    """The program is the part's own."""

    script = "folders.sh"
    cuts = (0.0, 0.002, 0.01)

    def settings(self, part: PartId, allotted: JsonObject) -> JsonObject:
        return {"program": [str(self.program), str(self.things)], "timeout": "20s"}

    async def spoil(self, part: PartId) -> None:
        (self.path(part) / "broken").touch()

    async def soil(self, part: PartId) -> None:
        (self.path(part) / ".inner").mkdir(exist_ok=True)
        (self.path(part) / ".inner" / "mine").write_text("secret")

    async def soiled(self, part: PartId) -> bool:
        return bool(list(self.path(part).glob("*"))) or (self.path(part) / ".inner").exists()

    async def remove(self, part: PartId) -> None:
        await asyncio.to_thread(lambda: self.path(part).rmdir())

    async def plant_strangers(self, near: PartId) -> Callable[[], bool]:
        (self.things / f"{near}.bak").mkdir()
        (self.things / "notes").mkdir()
        return lambda: len(list(self.things.iterdir())) == 2


class TestTickets(DriverContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
        async with TicketsHarness(tmp_path).opened() as harness:
            yield harness


class TestFolders(DriverContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
        async with FoldersHarness(tmp_path).opened() as harness:
            yield harness


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Driver]:
    driver = create_driver(DriverContext(tmp_path, SteadyClock(0)))
    await driver.open(lambda part: None)
    yield driver
    await driver.close()


def a_request(script: str, given: JsonObject | None = None, **settings: Json) -> PartRequest:
    """A part whose program is a line of shell; it is given `given`."""
    settings["program"] = ["/bin/sh", "-c", script]
    settings["with"] = dict(given or {})
    return PartRequest(ONE, "web", settings, {}, ProviderRef("command"))


def a_part(script: str) -> PartRef:
    return PartRef(ONE, ProviderRef("command"), {"program": ["/bin/sh", "-c", script]})


PRESENT = """cat >/dev/null; echo '{"state": "present"}'"""


async def test_the_documented_request_is_what_a_program_gets(driver: Driver) -> None:
    script = """printf '{"state": "present", "outputs": {"got": %s}}' "$(cat)" """
    provider = ProviderRef("tickets", {"with": {"folder": "/srv/tickets", "title": "general"}})
    request = PartRequest(
        PartId("web-k3v9q2xa.ticket"),
        "web",
        {"program": ["/bin/sh", "-c", script], "with": {"title": "for web"}},
        {},
        provider,
    )
    made = await driver.create(request)
    documented = re.search(
        r"## The request\n\n```json\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL
    )
    assert documented
    assert json.loads(documented[1]) == made.outputs["got"]


def test_a_program_is_asked_in_the_loop_of_the_daemon_too(tmp_path: Path) -> None:
    async def ask() -> Made:
        driver = create_driver(DriverContext(tmp_path, SteadyClock(0)))
        await driver.open(lambda part: None)
        try:
            return await driver.create(a_request(PRESENT))
        finally:
            await driver.close()

    with closing(uvloop.new_event_loop()) as loop:
        made = loop.run_until_complete(ask())
    assert ["/bin/sh", "-c", PRESENT] == made.handle["program"]


async def test_the_handle_that_create_returned_comes_back(driver: Driver) -> None:
    made = await driver.create(
        a_request("""cat >/dev/null; echo '{"state": "present", "handle": {"number": 7}}'""")
    )
    looking = """grep -q '"handle": {"number": 7}' && echo '{"state": "drifted", "detail": "7"}'"""
    part = PartRef(
        ONE, ProviderRef("command"), {**made.handle, "program": ["/bin/sh", "-c", looking]}
    )
    assert (Presence.DRIFTED, "7") == (
        (await driver.observe(part)).presence,
        (await driver.observe(part)).detail,
    )


async def test_what_a_part_gives_its_program_is_not_kept_in_the_ledger(driver: Driver) -> None:
    request = a_request(PRESENT, {"password": "correct horse"})
    made = await driver.create(request)
    assert "correct horse" not in json.dumps([made.handle, driver.intend(request)])


async def test_secrets_are_in_no_argument_and_no_environment(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_TEST_SECRET", "from-the-daemon")
    script = """cat >/dev/null; env >&2; tr '\\0' ' ' </proc/$$/cmdline >&2; exit 3"""
    with pytest.raises(Unavailable) as failure:
        await driver.create(a_request(script, {"password": "correct horse"}))
    assert "PATH=" in str(failure.value)
    assert "from-the-daemon" not in str(failure.value)
    assert "•••" not in str(failure.value)


@pytest.mark.parametrize(
    ("error", "kind", "after"),
    [
        ({"code": "throttled", "message": "Slowly.", "after": 7}, Throttled, 7),
        ({"code": "exhausted", "message": "Full."}, Exhausted, 30),
        ({"code": "rejected", "message": "No such size."}, Rejected, None),
        ({"code": "unavailable", "message": "Try later."}, Unavailable, None),
        ({"code": "not-found", "message": "Gone."}, NotFound, None),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
async def test_errors_of_a_program_become_those_of_the_contract(
    driver: Driver, error: Json, kind: type[DriverError], after: float | None, status: int
) -> None:
    script = f"cat >/dev/null; echo '{json.dumps({'error': error})}'; exit {status}"
    with pytest.raises(kind) as failure:
        await driver.destroy(a_part(script))
    assert after == getattr(failure.value, "after", None)


async def test_destroy_ends_only_when_the_program_says_absent(driver: Driver) -> None:
    await driver.destroy(a_part(PRESENT))
    with pytest.raises(NotFound):
        await driver.destroy(a_part("""cat >/dev/null; echo '{"state": "absent"}'"""))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo garbage", "not one JSON object"),
        ("echo 'hunter2-is-secret'", "not one JSON object"),
        ("printf '\\377\\376'", "UTF-8"),
        ("""echo '{"state": "present", "outputs": {"n": NaN}}'""", "UTF-8"),
        ("""echo '{"state": "present", "outputs": {"n": "\\\\ud800"}}'""", "UTF-8"),
        ("true", "not one JSON object"),
        ("echo '[]'", "no usable answer"),
        ("""echo '{"state": "presnt"}'""", "state"),
        ("""echo '{"state": "present", "ouputs": {}}'""", "ouputs"),
        ("""echo '{"state": "absent"}'""", "not present"),
        ("echo '{}'", "not present"),
        ("""echo '{"state": "present"}'; exit 4""", "exit code 4"),
        ("echo so it goes >&2; exit 9", "exit code 9.*so it goes"),
        ("kill -9 $$", "signal 9"),
        ("yes '[' | head -c 200000 | tr -d '\\n'", "not"),
    ],
)
async def test_an_unusable_answer_is_unavailable_with_the_reason(
    driver: Driver, script: str, words: str
) -> None:
    with pytest.raises(Unavailable, match=words) as failure:
        await driver.create(a_request(f"cat >/dev/null; {script}"))
    assert "hunter2" not in str(failure.value), "stdout may hold secrets"


async def test_what_was_given_to_a_program_is_blotted_out_of_its_stderr(driver: Driver) -> None:
    script = "cat >&2; exit 1"
    with pytest.raises(Unavailable) as failure:
        await driver.create(a_request(script, {"deep": [{"password": "correct horse"}]}))
    assert "correct horse" not in str(failure.value)
    assert "•••" in str(failure.value)


async def test_only_the_end_of_stderr_is_kept(driver: Driver) -> None:
    script = "cat >/dev/null; yes noise | head -c 5000000 >&2; echo the-end >&2; exit 1"
    with pytest.raises(Unavailable, match="the-end") as failure:
        await driver.create(a_request(script))
    assert len(str(failure.value)) < 5000


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program-anywhere", "/etc/passwd"])
async def test_a_program_that_cannot_be_started_is_rejected(driver: Driver, program: str) -> None:
    request = PartRequest(ONE, "web", {"program": [program]}, {}, ProviderRef("command"))
    with pytest.raises(Rejected, match=program):
        await driver.create(request)


async def test_a_part_without_a_program_is_rejected(driver: Driver) -> None:
    with pytest.raises(Rejected, match="no program"):
        await driver.create(PartRequest(ONE, "web", {}, {}, ProviderRef("command")))


async def test_a_program_that_takes_too_long_is_ended_with_its_children(
    driver: Driver, tmp_path: Path
) -> None:
    script = f"trap '' TERM; sleep 60 & echo $! $$ > {tmp_path}/pids; wait; sleep 60"
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"longer than 0\.3 s"):
        await driver.create(a_request(script, timeout="300ms"))
    assert time.monotonic() - began < 5
    await gone(tmp_path / "pids")


async def test_a_cancelled_call_ends_its_program_first(driver: Driver, tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! $$ > {tmp_path}/pids; wait"
    call = asyncio.create_task(driver.create(a_request(script)), name="create")
    async with asyncio.timeout(10):
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().strip():
            await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await gone(tmp_path / "pids")


@pytest.mark.parametrize("turns", range(8))
async def test_a_call_cancelled_while_its_program_starts_leaves_none_of_it_running(
    driver: Driver, tmp_path: Path, turns: int
) -> None:
    script = f"sleep 60 & echo $! $$ > {tmp_path}/pids; wait"
    call = asyncio.create_task(driver.create(a_request(script)), name="create")
    for _ in range(turns):
        await asyncio.sleep(0)
        time.sleep(0.01)  # the program gets ahead of the loop
    call.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({call})
    assert call.cancelled()
    if (tmp_path / "pids").exists():
        await gone(tmp_path / "pids")


async def gone(pids: Path) -> None:
    """Waits until none of the processes runs (an orphan stays a zombie until init reaps it)."""
    async with asyncio.timeout(5):
        for pid in map(int, pids.read_text().split()):
            while running(pid):
                await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_too_much_output_is_cut_while_it_is_read(driver: Driver) -> None:
    with pytest.raises(Unavailable, match="more than 65536 bytes"):
        await driver.create(a_request("cat >/dev/null; yes", outputLimit="64KiB"))


async def test_a_program_that_reads_nothing_is_no_problem(driver: Driver) -> None:
    request = a_request("""echo '{"state": "present"}'""", {"big": "x" * 500_000})
    await driver.create(request)


async def test_a_child_that_keeps_stdout_open_does_not_hold_the_answer_up(
    driver: Driver, tmp_path: Path
) -> None:
    script = (
        f"""cat >/dev/null; sleep 60 & echo $! > {tmp_path}/pid; echo '{{"state": "present"}}'"""
    )
    began = time.monotonic()
    await driver.create(a_request(script))
    assert time.monotonic() - began < 10
    os.kill(int((tmp_path / "pid").read_text()), 9)


async def test_listing_asks_each_program_once_and_leaves_out_what_has_no_id(
    driver: Driver, tmp_path: Path
) -> None:
    for name, answer in (("a", '["web-aaaaaaaa.x", "stranger"]'), ("b", '["web-bbbbbbbb.x"]')):
        script = f"cat >/dev/null; echo >> {tmp_path}/{name}; echo '{{\"parts\": {answer}}}'"
        for _ in range(3):
            driver.watch(a_part(script))
    assert {"web-aaaaaaaa.x", "web-bbbbbbbb.x"} == await driver.list_owned()
    assert ["\n", "\n"] == [(tmp_path / name).read_text() for name in "ab"]


async def test_an_orphan_is_removed_by_the_program_that_listed_it(driver: Driver) -> None:
    script = """read -r request; case $request in
        *'"list"'*) echo '{"parts": ["web-k3v9q2xa.thing"]}';;
        *) echo '{"state": "absent"}';;
    esac"""
    driver.watch(PartRef(OTHER, ProviderRef("command"), {"program": ["/bin/sh", "-c", script]}))
    orphan = PartRef(ONE, ProviderRef("command"), {})
    with pytest.raises(Rejected, match="no program"):
        await driver.destroy(orphan)
    assert {ONE} == await driver.list_owned()
    with pytest.raises(NotFound):
        await driver.destroy(orphan)


async def test_a_list_that_one_program_cannot_give_is_no_list(driver: Driver) -> None:
    driver.watch(a_part("""cat >/dev/null; echo '{"parts": []}'"""))
    driver.watch(a_part("exit 1"))
    with pytest.raises(Unavailable, match="exit code 1"):
        await driver.list_owned()


async def test_a_program_that_is_no_more_holds_up_listing_only_once(driver: Driver) -> None:
    driver.watch(PartRef(ONE, ProviderRef("command"), {"program": ["/no/such/program"]}))
    with pytest.raises(Unavailable, match="/no/such/program"):
        await driver.list_owned()
    assert frozenset() == await driver.list_owned()
