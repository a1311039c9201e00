"""The soak's memory of what callers were told: it sees each kind of broken promise."""

from typing import Any

import pytest

from loadtests.promises import Broken, Promises, Told


def told(claim: str = "c-1", resource: str = "folders-1", token: str = "t") -> Told:
    return Told(claim, resource, {"path": "/p", "token": token}, expires_at=0.0)


class Daemon:
    """Answers what a daemon with these claims would."""

    def __init__(self, **claims: tuple[str, str]) -> None:
        self._claims = {name.replace("_", "-"): value for name, value in claims.items()}

    async def show(self, claim: str) -> dict[str, Any] | None:
        if claim not in self._claims:
            return None
        state, resource = self._claims[claim]
        return {"state": state, "resources": [{"id": resource}]}


def test_a_resource_that_serves_two_claims_is_a_broken_promise() -> None:
    promises = Promises()
    promises.told(told("c-1"))
    promises.let_go("c-1")
    with pytest.raises(Broken, match="given to c-1 and to c-2"):
        promises.told(told("c-2"))


def test_a_key_answered_with_another_claim_is_a_broken_promise() -> None:
    with pytest.raises(Broken, match="the key of c-1"):
        Promises().told_again(told("c-1"), told("c-2"))


def test_a_key_answered_with_another_secret_is_a_broken_promise() -> None:
    with pytest.raises(Broken, match=r"other outputs: \{'token'\}"):
        Promises().told_again(told(token="a"), told(token="b"))


async def test_a_claim_that_a_restart_forgot_is_a_broken_promise() -> None:
    promises = Promises()
    promises.told(told())
    with pytest.raises(Broken, match="forgotten"):
        await promises.compare(Daemon())


async def test_a_claim_that_a_restart_ended_is_a_broken_promise() -> None:
    promises = Promises()
    promises.told(told())
    with pytest.raises(Broken, match="is ended"):
        await promises.compare(Daemon(c_1=("ended", "folders-1")))


async def test_a_claim_that_a_restart_moved_is_a_broken_promise() -> None:
    promises = Promises()
    promises.told(told())
    with pytest.raises(Broken, match="folders-2"):
        await promises.compare(Daemon(c_1=("bound", "folders-2")))


async def test_a_claim_that_was_let_go_is_asked_for_no_more() -> None:
    promises = Promises()
    promises.told(told())
    promises.let_go("c-1")
    await promises.compare(Daemon())
    assert (1, 1) == (promises.claims, promises.releases)
