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
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

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
        trace = _trace(self, record)
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
        trace = _trace(self, record)
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


def set_up_logs(level: str, form: str, stream: TextIO | None = None) -> None:
    """`level`: a name of `logging`, in any case; `form`: text | json. May be called again."""
    output: TextIO = sys.stderr if stream is None else stream
    lines: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE)
    writer = logging.StreamHandler(output)
    writer.setFormatter(JsonLines() if form == "json" else TextLines(journal=_is_journal(output)))
    listener = logging.handlers.QueueListener(lines, writer)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(BoundedQueue(lines))
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    listener.start()
    atexit.register(_flush, listener, lines)


def _flush(listener: logging.handlers.QueueListener, lines: "queue.Queue[Any]") -> None:
    """At the end what waits is written, unless the reader of the log does not read."""
    thread = listener._thread  # noqa: SLF001 - `stop` would wait for ever
    if thread is not None:
        try:
            lines.put(None, timeout=_FLUSH_WITHIN)
        except queue.Full:
            return
        thread.join(_FLUSH_WITHIN)


def _told(count: int) -> logging.LogRecord:
    return logging.LogRecord(
        __name__, logging.WARNING, __file__, 0, "%d log lines were dropped", (count,), None
    )


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd connected the stream to its journal (`man systemd.exec`, $JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _where(record: logging.LogRecord) -> str:
    return record.name.removeprefix("stoker.")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
