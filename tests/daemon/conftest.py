"""The socket is tested on both loops where they differ: in how they cut what arrives into pieces."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

Factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
ON_BOTH = {"test_server_bad_input", "test_binding"}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Factories:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]]
    factories = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH:
        factories["uvloop"] = uvloop.new_event_loop
    return factories
