"""The loop's floor: a bare protocol that writes a ready-made answer for whatever arrives.

`python -m loadtests.floors.echo SOCKET LENGTH [uvloop]`
"""

import asyncio
import sys
from typing import cast

import uvloop

_HEAD = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


class Echo(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        if self._transport is not None:
            self._transport.write(self._answer)


async def serve(socket: str, length: int) -> None:
    answer = _HEAD.format(length).encode() + b"x" * length
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(lambda: Echo(answer), socket)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run = uvloop.run if "uvloop" in sys.argv[3:] else asyncio.run
    run(serve(sys.argv[1], int(sys.argv[2])))
