"""The library floor: aiohttp's low-level server, as the daemon uses it, but doing nothing.

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

    server = web.Server(handle, access_log=None, keepalive_timeout=300, auto_decompress=False)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.UnixSite(runner, socket, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], b"x" * int(sys.argv[2])))
