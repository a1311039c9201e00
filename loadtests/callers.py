"""The callers of a soak: each claims, does something with it, and lets go, until told to stop."""

import asyncio
import json
import random
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from .promises import Broken, Promises, Told
from .soak_subject import SoakSubject

FOREVER = "1h"
SOON = "2s"


class Caller:
    """One caller with a connection of its own."""

    def __init__(
        self, number: int, subject: SoakSubject, promises: Promises, chance: random.Random
    ) -> None:
        self.number = number
        self._subject = subject
        self._promises = promises
        self._chance = chance
        self._count = 0

    async def work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._once()

    async def _once(self) -> None:
        self._count += 1
        key = f"caller-{self.number}-{self._count}"
        expires = self._chance.random() < 0.1
        pool = "servers" if self._chance.random() < 0.1 else "folders"
        ask = {"pool": pool, "ttl": SOON if expires else FOREVER, "wait": "30s"}
        told = await self._claim(key, ask)
        if told is None:
            return
        if expires:
            await self._let_expire(told)
            return
        self._promises.told(told)
        await self._use(told, key, ask)
        if self._chance.random() < 0.02:
            return  # kept to the end: it must live through every kill
        self._promises.held.pop(told.claim)  # from here on it may be over
        await self._subject.release(told.claim)
        self._promises.releases += 1

    async def _claim(self, key: str, ask: dict[str, str]) -> Told | None:
        """None: refused in a way that asks to come again."""
        status, answer = await self._ask("POST", "/v1/claims", ask, key=key)
        if status == 201:
            return _told(answer)
        if status == 200 and ask["ttl"] == SOON and _has_expired(answer):
            return None  # the answer was lost in a kill, and the start took longer than the claim lasts
        if status not in {202, 429, 503}:
            raise Broken(f"a claim was answered {status}: {answer}")
        if status == 202:
            await self._subject.release(answer["id"])
        await asyncio.sleep(0.2)
        return None

    async def _use(self, told: Told, key: str, ask: dict[str, str]) -> None:
        self._check_that_it_exists(told)
        await asyncio.sleep(self._chance.choice([0.0, 0.02, 0.2, 1.0]))
        doing = self._chance.random()
        if doing < 0.3:
            status, answer = await self._ask("POST", "/v1/claims", ask, key=key)
            if status != 201:
                raise Broken(f"the key of {told.claim} was answered {status}: {answer}")
            self._promises.told_again(told, _told(answer))
        elif doing < 0.4:
            path = f"/v1/claims/{told.claim}/renew"
            status, answer = await self._ask("POST", path, {"ttl": FOREVER})
            if status != 200:
                raise Broken(f"the renewal of {told.claim} was answered {status}: {answer}")
            self._promises.renewals += 1
        self._check_that_it_exists(told)

    def _check_that_it_exists(self, told: Told) -> None:
        path = Path(str(told.outputs["path"]))
        if not path.is_dir():
            raise Broken(f"{told.claim} is bound to {told.resource}, whose folder {path} is gone")

    async def _let_expire(self, told: Told) -> None:
        """Waits for the end that was agreed; the claim must then end by itself, and not before."""
        if self._promises.served.setdefault(told.resource, told.claim) != told.claim:
            raise Broken(f"{told.resource} was given to two claims, one of them {told.claim}")
        self._promises.claims += 1
        while time.time() < told.expires_at + 15:
            now = await self._subject.show(told.claim)
            state = now["state"] if now else "forgotten"
            if state in {"ending", "ended"}:
                if time.time() < told.expires_at - 0.05:
                    raise Broken(f"{told.claim} ended before its time")
                return
            await asyncio.sleep(0.3)
        raise Broken(f"{told.claim} is not over 15 s after it expired")

    async def _ask(
        self, method: str, path: str, body: dict[str, str], *, key: str = ""
    ) -> tuple[int, dict[str, Any]]:
        return await self._subject.ask(
            *(method, path, json.dumps(body).encode()), key=key, promises=self._promises
        )


def _has_expired(answer: dict[str, Any]) -> bool:
    """At its time, and not before."""
    ends = datetime.fromisoformat(answer["expiresAt"]).timestamp()
    return answer["endedBecause"] == "expired" and time.time() >= ends


def _told(answer: dict[str, Any]) -> Told:
    resource = answer["resources"][0]
    expires_at = datetime.fromisoformat(answer["expiresAt"]).timestamp()
    return Told(answer["id"], resource["id"], resource["outputs"], expires_at)
