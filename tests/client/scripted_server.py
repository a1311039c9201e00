"""A real HTTP server on a Unix socket that answers as a test says, cut replies included."""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[socket.socket], bool]
"""Writes to the connection; True keeps it open for another request."""


def reply(
    status: int = 200, document: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    return raw(_whole(status, document, headers))


def raw(content: bytes, *, keep: bool = True) -> Answer:
    def answer(connection: socket.socket) -> bool:
        connection.sendall(content)
        return keep

    return answer


def cut() -> Answer:
    """The request was read, and then the daemon died."""
    return raw(b"", keep=False)


def cut_within(document: object) -> Answer:
    """The daemon died in the middle of its answer."""
    return raw(_whole(201, document, None)[:-5], keep=False)


def chunked(*chunks: bytes, end: bool = True, head: str = "") -> Answer:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    start = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n".encode()
    return raw(start + body + (b"0\r\nX-Trailer: 1\r\n\r\n" if end else b""), keep=end)


def silence(until: threading.Event) -> Answer:
    """Never answers, until the test is over."""

    def answer(_: socket.socket) -> bool:
        until.wait(30)
        return False

    return answer


def _whole(status: int, document: object, headers: Mapping[str, str] | None) -> bytes:
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class ScriptedServer:
    """Answers the requests in the order they come with `answers`; the last one is used again."""

    path: Path
    answers: list[Answer] = field(default_factory=list[Answer])
    decide: Callable[[Seen], Answer] | None = None
    """Answers by what is asked, instead of in order."""
    seen: list[Seen] = field(default_factory=list[Seen])
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="scripted server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink()
        self.drop_idle()

    def drop_idle(self) -> None:
        """As a daemon that closes connections that were idle for long."""
        for connection in self._open:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _answer_to(self, request: Seen) -> Answer:
        if self.decide is not None:
            return self.decide(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while True:
                    request = _read(stream)
                    if request is None:
                        return
                    with self._lock:
                        self.seen.append(request)
                        answer = self._answer_to(request)
                    if not answer(connection):
                        return
        except OSError:
            return


def _read(stream: Any) -> Seen | None:
    first = stream.readline().decode()
    if not first:
        return None
    method, path, _ = first.split(" ")
    headers: dict[str, str] = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Seen(method, path, headers, body)
