"""Log lines on standard error: text for people, JSON for collectors.

Lines go through a bounded queue to a thread of their own, so that a reader that stopped reading
never stops the event loop. When the queue is full lines are dropped, and their number is told
as soon as there is room. Callers log facts, never request bodies, outputs or parameters.
"""

import atexit
import json
import logging
import logging.handlers
import os
import queue
import re
import select
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from .tracebacks import format_traceback

QUEUE = 10_000
"""Lines that may wait."""
_FLUSH_WITHIN = 2.0

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextLines(logging.Formatter):
    """`12:00:00.250 warning daemon.server: sentence key=value`; one line, tracebacks below it."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {key}={value}" for key, value in _facts(record).items())
        sentence = f"{_where(record)}: {record.getMessage()}{facts}".replace("\n", "\\n")
        text = _CONTROL.sub(_escaped, sentence)
        trace = _trace(record)
        if trace:
            text = f"{text}\n{_CONTROL.sub(_escaped, trace)}"
        if self._journal:  # it stamps lines itself and reads the priority of each
            level = _PRIORITY.get(record.levelname, 6)
            return "\n".join(f"<{level}>{line}" for line in text.split("\n"))
        time = _moment(record).strftime("%H:%M:%S.%f")[:-3]
        return f"{time} {record.levelname.lower():7} {text}"


class JsonLines(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, and the record's own facts."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(record).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
            "level": record.levelname.lower(),
            "logger": _where(record),
            "message": record.getMessage(),
            **_facts(record),
        }
        trace = _trace(record)
        if trace:
            line["exception"] = trace
        return json.dumps(line, ensure_ascii=False, default=str)


class BoundedQueue(logging.handlers.QueueHandler):
    """Drops what does not fit, and says how much once there is room again."""

    dropped = 0
    """Lines lost since the start."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(lines)
        self._untold = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # formatted in this very process: nothing needs to be made picklable

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._untold:
                self.queue.put_nowait(_told(self._untold))
                self._untold = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._untold += 1
            BoundedQueue.dropped += 1


class LineWriter:
    """Writes the queue's lines in a thread, with `os.write`.

    Neither a handler nor Python's own stream is used there: both hold a lock while they write,
    for which the end of the program would wait as long as nobody reads.
    """

    def __init__(
        self,
        lines: "queue.Queue[logging.LogRecord | None]",
        formatter: logging.Formatter,
        stream: TextIO,
    ) -> None:
        self._lines = lines
        self._formatter = formatter
        self._stream = stream
        self._fd = _descriptor(stream)
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
        self._thread.start()

    def end(self, within: float = _FLUSH_WITHIN) -> None:
        """Writes what waits, unless that takes longer: then nobody reads."""
        try:
            self._lines.put(None, timeout=within)
        except queue.Full:
            return
        self._thread.join(within)

    def _run(self) -> None:
        while (record := self._lines.get()) is not None:
            try:
                self._write(self._formatter.format(record) + "\n")
            except Exception:  # noqa: BLE001, S112 - a line that cannot be written is lost, no more
                continue

    def _write(self, text: str) -> None:
        if self._fd is None:
            self._stream.write(text)
            return
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select([], [self._fd], [])


def set_up_logs(level: str, form: str, stream: TextIO | None = None) -> None:
    """`level`: a name of `logging`, in any case; `form`: text | json. May be called again."""
    output: TextIO = sys.stderr if stream is None else stream
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE)
    formatter = JsonLines() if form == "json" else TextLines(journal=_is_journal(output))
    writer = LineWriter(lines, formatter, output)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(BoundedQueue(lines))
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    atexit.register(writer.end)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _told(count: int) -> logging.LogRecord:
    return logging.LogRecord(
        __name__, logging.WARNING, __file__, 0, "%d log lines were dropped", (count,), None
    )


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd connected the stream to its journal (`man systemd.exec`, $JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    fd = _descriptor(stream)
    if fd is None:
        return False
    found = os.fstat(fd)
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _where(record: logging.LogRecord) -> str:
    return record.name.removeprefix("stoker.")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _trace(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return format_traceback(error) if error is not None else ""


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
