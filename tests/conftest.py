"""What every test gets: an environment without the developer's own settings, and short folders."""

import asyncio
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("everyday", deadline=None, max_examples=100)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "everyday")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mount small disks run where they may: for who is not root, in a namespace."""
    if os.geteuid() == 0:
        return
    for place, item in enumerate(items):
        if item.get_closest_marker("mounts") is not None:
            assert item.parent is not None
            items[place] = InNamespace.from_parent(  # pyright: ignore[reportUnknownMemberType]
                item.parent, name=item.name
            )


class InNamespace(pytest.Item):
    """One test, run by a pytest of its own that is root of its own user and mount namespace."""

    UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")

    def runtest(self) -> None:
        if subprocess.run([*self.UNSHARE, "true"], check=False, capture_output=True).returncode:
            pytest.skip("mounting needs root, or a kernel that lets users make namespaces")
        pytest_itself = Path(sys.executable).with_name("pytest")
        done = subprocess.run(
            [*self.UNSHARE, pytest_itself, "-n", "0", "-p", "no:cacheprovider", self.nodeid],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        return str(excinfo.value)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `STOKER_*` variable and no runtime folder of the person who runs the tests is seen."""
    for name in [name for name in os.environ if name.startswith("STOKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture(autouse=True, scope="session")
def no_blocking_call() -> Iterator[None]:
    """A coroutine or callback of ours that blocks the event loop fails its test."""
    rooms = ["stoker.config", "stoker.daemon", "stoker.pools"]
    with blockbuster_ctx(scanned_modules=rooms) as blockbuster:
        for name, function in blockbuster.functions.items():
            # Active wrappers keep the predicate that they were made with.
            function.deactivate()
            if name.startswith("sqlite3."):
                continue  # a store in memory writes in the loop, and a key is looked up in it
            function.can_block_functions.append(
                ("pools/clock.py", {"read_boot_id"})
            )  # a line of /proc
            function.can_block_predicate = _either(function.can_block_predicate, _asked_by_a_test)
            function.activate()
        yield


def _either(one: Callable[..., bool], other: Callable[[], bool]) -> Callable[..., bool]:
    return lambda *args, **kwargs: other() or one(*args, **kwargs)


def _asked_by_a_test() -> bool:
    """True when a test called plain functions of ours from its coroutine: that is its own time."""
    frame = inspect.currentframe()
    tests = str(ROOT / "tests")
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(tests) and not file.endswith("conftest.py"):
            return True
        if file.startswith(str(ROOT)) and frame.f_code.co_flags & inspect.CO_COROUTINE:
            return False
        frame = frame.f_back
    return False


@pytest.fixture(autouse=True)
def no_loop_left() -> Iterator[None]:
    """Closes the loop that pytest-asyncio makes only in order to put it back after a test.

    It would be garbage later, and its warning would fail whichever test runs then.
    """
    yield
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        policy = asyncio.get_event_loop_policy()  # pyright: ignore[reportDeprecated]
    kept: asyncio.AbstractEventLoop | None
    kept = getattr(getattr(policy, "_local", None), "_loop", None)
    if kept is not None and not kept.is_running():
        kept.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a short path: a Unix socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="stk-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
