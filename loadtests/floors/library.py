"""The library floor: the HTTP server of the daemon, answering the same bytes and doing nothing.

`python -m loadtests.floors.library SOCKET LENGTH`
"""

import asyncio
import sys

import uvloop
from aiohttp import web


async def serve(socket: str, answer: bytes) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(status=201, body=answer, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], b"x" * int(sys.argv[2])))
