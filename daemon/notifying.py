"""Tells a receiver of configurations and of approvals: a webhook out, at least once for each event.

The events come from the ledger, in their order, one request each. The ledger keeps the number of the
last one that was delivered, so that a restart goes on after it. A receiver that is away is tried again,
for a day; nothing else waits for it. Made by `service` when there is a `notify.url`.

Each request is signed (`signatures`). docs/webhooks.md shows how to check it.
"""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from ..config.settings import Settings
from ..pools import backoff
from ..pools.store import Event, Image, Store, StoreError
from .answering import encode
from .presentation import show_event
from .shared_secrets import NoSecret, find_secret, read_secret
from .signatures import HEADER, sign
from .status import NotifyFacts

log = logging.getLogger(__name__)

CURSOR = "notify"
CREDENTIAL = "stoker-notify-secret"
PAGE = 100
ANSWER_WITHIN = 10.0
LONGEST_PAUSE = 300.0
"""Seconds between two attempts, at most."""
GIVE_UP_AFTER = 86400.0
"""Seconds after an event from which on it is tried once more and then left out."""


class Refused(Exception):
    """The receiver did not take it: a sentence without the address."""


class Count(Protocol):
    def __call__(self, outcome: str, /) -> None:
        """outcome: delivered | failed | dropped"""


@dataclass(frozen=True, slots=True)
class Receiver:
    url: str
    """May hold credentials, in any of its parts: only `shown` may be seen."""
    secret: Path
    events: frozenset[str]

    @property
    def shown(self) -> str:
        found = urlsplit(self.url)
        return f"{found.scheme}://{(found.hostname or '')}{f':{found.port}' if found.port else ''}"


async def open_notifier(
    settings: Settings, store: Store, image: Image, count: Count
) -> "Notifier | None":
    """None when nobody is to be told. Raises `NoSecret`.

    Whoever is told for the first time is told of what happens from now on.
    """
    if settings.notify_url is None:
        return None
    secret = find_secret(settings.notify_secret_file, CREDENTIAL, os.environ)
    if secret is None:
        raise NoSecret("notify.url needs a secret that signs what is told: notify.secretFile")
    await asyncio.to_thread(read_secret, secret)  # so that a start says what is wrong with it
    return Notifier(
        Receiver(settings.notify_url, secret, frozenset(settings.notify_events)),
        store,
        position=image.cursors.get(CURSOR, image.last_event),
        count=count,
    )


class Notifier:
    def __init__(
        self,
        receiver: Receiver,
        store: Store,
        *,
        position: int,
        count: Count,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`position`: the number of the event that was delivered last."""
        self._receiver = receiver
        self._kinds = ",".join(sorted(receiver.events))
        self._store = store
        self._position = position
        self._count = count
        self._host = socket.gethostname()
        self._wall = wall
        self._chance = chance
        self._newest = position
        self._woken = asyncio.Event()
        self._woken.set()
        self.facts = NotifyFacts(receiver.shown, position)
        store.on_events(self._heard)

    def _heard(self, events: Sequence[Event]) -> None:
        """Called with every commit: costs one look at each kind."""
        wanted = self._receiver.events
        for event in events:
            if event.kind in wanted:
                self._woken.set()
        if events:
            self._newest = events[-1].seq

    async def run(self) -> None:
        """Runs until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN)
        headers = {"User-Agent": "stoker", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            await self._keep()
            while True:
                await self._woken.wait()
                self._woken.clear()
                await self._catch_up(session)

    async def _catch_up(self, session: aiohttp.ClientSession) -> None:
        while True:
            newest = self._newest
            try:
                page = await self._store.events(after=self._position, limit=PAGE, kinds=self._kinds)
            except StoreError as error:
                await self._failed(f"the ledger cannot be read: {error}", 1)
                continue
            for event in page:
                wanted = event.kind in self._receiver.events
                if wanted:
                    await self._deliver(session, event)
                self._position = event.seq
                if wanted:
                    await self._keep()
            if len(page) < PAGE:
                # Nothing that is wanted lies between: what is read next time begins here.
                self._position = max(self._position, newest)
                return

    async def _deliver(self, session: aiohttp.ClientSession, event: Event) -> None:
        """Returns when it was taken, or is too old to go on trying."""
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._post(session, event)
            except Exception as error:  # noqa: BLE001 - whatever a receiver causes, the daemon goes on
                why = _sentence(error)
            else:
                self._count("delivered")
                self.facts = NotifyFacts(self._receiver.shown, event.seq)
                return
            self._count("failed")
            if self._wall() - event.at > GIVE_UP_AFTER:
                self._count("dropped")
                log.error("%s was not told of event %d: %s", self.facts.receiver, event.seq, why)
                return
            await self._failed(why, attempt)

    async def _post(self, session: aiohttp.ClientSession, event: Event) -> None:
        secret = await asyncio.to_thread(read_secret, self._receiver.secret)
        body = encode({**show_event(event), "host": self._host})
        headers: Mapping[str, str] = {
            "Stoker-Event": event.kind,
            "Stoker-Delivery": str(event.seq),
            HEADER: sign(secret, body, int(self._wall())),
        }
        # A redirect could lead anywhere, with a signed request.
        async with session.post(
            self._receiver.url, data=body, headers=headers, allow_redirects=False
        ) as response:
            if not 200 <= response.status < 300:
                raise Refused(f"it answers {response.status}")

    async def _failed(self, why: str, attempt: int) -> None:
        facts = self.facts
        if facts.error != why:
            log.warning("%s cannot be told of events: %s", facts.receiver, why)
        since = self._wall() if facts.failing_since is None else facts.failing_since
        self.facts = NotifyFacts(facts.receiver, facts.delivered, why, since)
        await asyncio.sleep(backoff.delay(attempt, self._chance(), cap=LONGEST_PAUSE))

    async def _keep(self) -> None:
        """What cannot be written now is written with the next one; until then it may be told twice."""
        transaction = self._store.transaction()
        transaction.put_cursor(CURSOR, self._position)
        try:
            await self._store.commit(transaction)
        except StoreError as error:
            log.debug("how far events were told cannot be written: %s", error)


def _sentence(error: Exception) -> str:
    """Never the error's own text, which may quote the address."""
    if isinstance(error, Refused | NoSecret):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"it does not answer within {ANSWER_WITHIN:g}s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be reached ({error.os_error.strerror or type(error.os_error).__name__})"
    return f"the connection failed ({type(error).__name__})"
