"""The guard of the event loop sees a blocking call of ours, and lets the tests' own ones be."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from blockbuster import BlockingError

from stoker.config import json_types

BLOCKS = "import time\nasync def block():\n    time.sleep(0.0001)\n"


async def test_a_coroutine_of_ours_that_blocks_the_loop_fails() -> None:
    room = Path(json_types.__file__).with_name("planted.py")
    names: dict[str, object] = {}
    exec(compile(BLOCKS, str(room), "exec"), names)
    block = cast("Callable[[], Awaitable[None]]", names["block"])
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await block()


async def test_a_test_may_block() -> None:
    time.sleep(0.0001)
