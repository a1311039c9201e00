"""A process with claims that hang on it: `python -m loadtests.claimant SOCKET POOL COUNT`.

Says "claimed" when it has them all, and then waits to be killed.
"""

import asyncio
import sys
from typing import NoReturn

from .wire import Wire, encode


async def main(socket: str, pool: str, count: int) -> NoReturn:
    wire = await Wire.connect(socket)
    for _ in range(count):
        body = b'{"pool": "%s", "bind": "process", "wait": "60s"}' % pool.encode()
        status, answer = await wire.ask(encode("POST", "/v1/claims", body))
        if status != 201:
            sys.exit(f"a claim was answered {status}: {answer.decode()[:300]}")
    print("claimed", flush=True)
    while True:
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
