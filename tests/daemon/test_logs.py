"""Log lines: one a record, no forged ones, and none that stops the daemon."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stoker.daemon.logs import BoundedQueue, JsonLines, TextLines, set_up_logs
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before, level


def a_record(message: str, level: int = logging.WARNING, **facts: object) -> logging.LogRecord:
    record = logging.LogRecord("stoker.daemon.server", level, "f.py", 1, message, (), None)
    vars(record).update(facts)
    record.created = 1_700_000_000.25
    return record


def test_a_json_line_has_the_facts_of_its_record() -> None:
    line = json.loads(JsonLines().format(a_record("a sentence", requestId="r-1")))
    expected = {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "daemon.server",
        "message": "a sentence",
        "requestId": "r-1",
    }
    assert expected == line


def test_a_text_line_is_for_people() -> None:
    text = TextLines(journal=False).format(a_record("a sentence", requestId="r-1"))
    assert "22:13:20.250 warning daemon.server: a sentence requestId=r-1" == text


def test_a_line_cannot_be_forged_by_its_data() -> None:
    record = a_record("no pool web\n12:00:00 info daemon: all is well\x1b[2J\x9b")
    text = TextLines(journal=False).format(record)
    assert 1 == len(text.splitlines())
    assert "\x1b" not in text
    assert "\\x1b[2J\\x9b" in text
    assert 1 == len(JsonLines().format(record).splitlines())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_stays_with_its_line(form: str) -> None:
    try:
        raise NotImplementedError("a reason")
    except NotImplementedError:
        record = a_record("it failed", logging.ERROR)
        record.exc_info = sys.exc_info()
    formatter = JsonLines() if form == "json" else TextLines(journal=False)
    text = formatter.format(record)
    assert "NotImplementedError: a reason" in text
    assert form == "text" or "NotImplementedError: a reason" in json.loads(text)["exception"]


def test_the_journal_gets_priorities_on_every_line() -> None:
    try:
        raise NotImplementedError("a reason")
    except NotImplementedError:
        record = a_record("it failed", logging.ERROR)
        record.exc_info = sys.exc_info()
    lines = TextLines(journal=True).format(record).splitlines()
    assert {"<3>"} == {line[:3] for line in lines}


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    import queue

    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(2)
    handler = BoundedQueue(lines)
    before = BoundedQueue.dropped
    for number in range(5):
        handler.enqueue(a_record(f"line {number}"))
    assert 3 == BoundedQueue.dropped - before
    lines.get()
    lines.get()
    handler.enqueue(a_record("after"))
    told, after = lines.get(), lines.get()
    assert told is not None
    assert after is not None
    assert ["3 log lines were dropped", "after"] == [told.getMessage(), after.getMessage()]


def test_a_reader_that_does_not_read_stops_neither_the_program_nor_its_end() -> None:
    """A pipe holds 64 KiB; the program writes a megabyte and ends although nobody reads."""
    program = """
import logging, sys
from stoker.daemon.logs import set_up_logs
set_up_logs("info", "text")
for number in range(20000):
    logging.getLogger("stoker.test").info("line %d %s", number, "x" * 50)
print("done", flush=True)
"""
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=write, timeout=30,
            check=True, cwd=ROOT,
        )  # fmt: skip
    finally:
        os.close(read)
        os.close(write)
    assert b"done\n" == done.stdout


def test_everything_waiting_is_written_at_the_end() -> None:
    program = """
import logging
from stoker.daemon.logs import set_up_logs
set_up_logs("info", "json")
logging.getLogger("stoker.test").debug("not this")
for number in range(500):
    logging.getLogger("stoker.test").info("line %d", number)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=30, check=True, cwd=ROOT
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [f"line {number}" for number in range(500)] == [line["message"] for line in lines]


def test_logs_may_be_set_up_again() -> None:
    stream = io.StringIO()
    set_up_logs("warning", "text", stream)
    set_up_logs("debug", "text", stream)
    assert 1 == len(logging.getLogger().handlers)
    assert logging.DEBUG == logging.getLogger().level


SECRET = "hunter2-hunter2"


def a_failure(kind: str) -> Exception:
    """An error that quotes a secret, as nobody foresaw."""
    try:
        match kind:
            case "value":
                int(SECRET)
            case "key":
                dict[str, int]()[SECRET]
            case "cause":
                try:
                    int(SECRET)
                except ValueError as error:
                    raise RuntimeError(f"cannot read {SECRET}") from error
            case "context":
                try:
                    int(SECRET)
                except ValueError:
                    dict[str, int]()[SECRET]
            case "note":
                failure = AttributeError("no attribute 'x'")
                failure.add_note(SECRET)
                raise failure
            case _:
                raise ExceptionGroup(SECRET, [ValueError(SECRET), a_failure("cause")])
    except Exception as error:
        return error
    raise AssertionError(kind)


@pytest.mark.parametrize("form", [JsonLines(), TextLines(journal=False), TextLines(journal=True)])
@pytest.mark.parametrize("kind", ["value", "key", "cause", "context", "note", "group"])
def test_a_traceback_says_where_and_what_kind_and_quotes_no_data(
    form: logging.Formatter, kind: str
) -> None:
    record, error = a_record("a driver failed"), a_failure(kind)
    record.exc_info = (type(error), error, error.__traceback__)
    text = form.format(record)
    assert SECRET not in text
    assert "a_failure" in text
    assert type(error).__name__ in text


def test_a_traceback_keeps_what_the_operating_system_and_the_program_say() -> None:
    record = a_record("it failed")
    for error, said in (
        (OSError(24, "Too many open files", "/etc/x"), "[Errno 24] Too many open files"),
        (AttributeError("'NoneType' object has no attribute 'x'"), "no attribute 'x'"),
    ):
        record.exc_info = (type(error), error, None)
        assert said in TextLines(journal=False).format(record)
