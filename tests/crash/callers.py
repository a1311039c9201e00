"""Who claims from a real daemon, and what they were told: the promises that it has to keep."""

import os
import signal
from dataclasses import dataclass, field
from typing import Any

from tests.crash.subject import Answer, Subject


@dataclass(frozen=True, slots=True)
class Told:
    """An answer "it is yours": what must stay true of it."""

    claim: str
    pool: str
    resources: tuple[str, ...]
    outputs: tuple[dict[str, Any], ...]
    """Of each of them."""


@dataclass
class Caller:
    """Asks the daemon, and remembers every answer over its deaths."""

    subject: Subject
    told: dict[str, Told] = field(default_factory=dict[str, Told])
    """By claim."""
    waiting: set[str] = field(default_factory=set[str])
    """Claims that were answered 202: they must become bound."""
    let_go: set[str] = field(default_factory=set[str])
    """Claims whose end was asked for or is due: they may, and in the end must, be over."""
    by_key: dict[str, str] = field(default_factory=dict[str, str])
    """The claim that was answered for a key: every retry must get the same."""
    votes: dict[str, set[tuple[int, str]]] = field(default_factory=dict[str, set[tuple[int, str]]])
    """Those that were answered, by claim: who said what."""
    rejected: set[str] = field(default_factory=set[str])
    """Claims that somebody was asked to reject: they must never become bound."""
    in_the_dark: int = 0
    """Claims without a key that were not answered: each may have left one bound until it expires."""
    latest: Told | None = None

    def claim(self, pool: str, *, key: str = "", **more: object) -> Answer:
        if not key:
            self.in_the_dark += 1
        answer = self.subject.ask("POST", "/v1/claims", {"pool": pool, **more}, key=key)
        if not key:
            self.in_the_dark -= 1
        elif answer.status in {201, 202}:
            assert self.by_key.setdefault(key, answer.json["id"]) == answer.json["id"]
        if answer.status == 201:
            self._remember(answer.json)
        elif answer.status == 202:
            self.waiting.add(answer.json["id"])
        return answer

    def take(self, pool: str, *, key: str = "", **more: object) -> Told:
        """A claim that has to be served."""
        answer = self.claim(pool, key=key, **more)
        assert answer.status == 201, answer
        assert self.latest is not None
        return self.latest

    def stand_in_line(self, claim: str) -> None:
        """Waits until a claim that was answered 202 is bound."""
        found = self.subject.get(f"/v1/claims/{claim}?wait=20s")
        assert found["state"] == "bound", found
        self._remember(found)

    def vote(self, uid: int, word: str, claim: str) -> None:
        """`approve` or `reject`."""
        if word == "reject":
            self.rejected.add(claim)
            self.waiting.discard(claim)
        answer = self.subject.ask("POST", f"/v1/claims/{claim}/{word}", {}, uid=uid)
        assert answer.status == 200, answer
        self.votes.setdefault(claim, set()).add((uid, word))

    def until_refused(self) -> None:
        def refused() -> bool:
            found = [self.subject.get(f"/v1/claims/{claim}") for claim in self.rejected]
            return all(claim["state"] == "refused" for claim in found)

        self.subject.until("refused", refused)

    def renew(self, told: Told, ttl: str) -> Answer:
        return self.subject.ask("POST", f"/v1/claims/{told.claim}/renew", {"ttl": ttl})

    def release(self, claim: str) -> None:
        self.let_go.add(claim)
        self.waiting.discard(claim)
        answer = self.subject.ask("DELETE", f"/v1/claims/{claim}")
        assert answer.status == 200, answer
        assert answer.json["state"] in {"ending", "ended"}, answer

    def kill_server(self, resource: str) -> None:
        """Ends the process of a resource behind the daemon's back."""
        for one in self.subject.processes().marked[f"{resource}.server"]:  # type: ignore[index]
            os.kill(one.facts.pid, signal.SIGKILL)

    def resources(self, pool: str, state: str) -> list[str]:
        found = self.subject.get(f"/v1/resources?pool={pool}&state={state}")["items"]
        return sorted(one["id"] for one in found)

    def _remember(self, shown: dict[str, Any]) -> None:
        """Fails when what is told now is not what was told before."""
        assert shown["state"] == "bound", shown
        handed = shown["resources"]
        assert len(handed) == shown.get("count", 1), "all or none"
        assert all(one["outputs"]["token"] for one in handed), "it comes with its secrets"
        told = Told(
            shown["id"],
            shown["pool"],
            tuple(one["id"] for one in handed),
            tuple(one["outputs"] for one in handed),
        )
        assert self.told.setdefault(told.claim, told) == told
        for other in self.told.values():
            over = told.pool == "lasting" and other.claim in self.let_go
            shared = set(other.resources) & set(told.resources)
            assert over or other.claim == told.claim or not shared, "leased twice"
        self.waiting.discard(told.claim)
        self.latest = told
