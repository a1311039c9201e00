"""Signatures of what webhooks deliver, out and in: HMAC-SHA256 with the time of sending. Pure.

`Stoker-Signature: t=<Unix time>,v1=<HMAC-SHA256 of "t.body">`, the scheme of Stripe's webhooks. What comes in
counts once: within a window around now, what was taken is remembered, and beside the window nothing is taken.
"""

import hmac
from dataclasses import dataclass, field
from typing import NamedTuple

HEADER = "Stoker-Signature"
TOLERANCE = 300
"""Seconds by which the time of sending may differ from now."""
MOST_REMEMBERED = 10_000


def sign(secret: bytes, body: bytes, now: int) -> str:
    """The header's value."""
    return f"t={now},v1={_mac(secret, body, str(now))}"


def _mac(secret: bytes, body: bytes, sent: str) -> str:
    return hmac.new(secret, f"{sent}.".encode() + body, "sha256").hexdigest()


class Signed(NamedTuple):
    sent: int
    """Unix time."""
    mac: str


def signed(secret: bytes, header: str, body: bytes) -> Signed | None:
    """When it was sent, if its sender has the secret. The comparison takes the same time always."""
    fields: dict[str, str] = {}
    for field_ in header.split(","):
        name, _, value = field_.strip().partition("=")
        fields[name] = value
    sent, said = fields.get("t", ""), fields.get("v1", "").lower()
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 12):
        return None
    mac = _mac(secret, body, sent)
    good = hmac.compare_digest(said.encode("utf-8", "surrogateescape"), mac.encode())
    return Signed(int(sent), mac) if good else None


@dataclass(slots=True)
class Deliveries:
    """What was taken of one sender, as long as it would be taken again.

    A restart forgets it. So nothing is taken that was sent before `since`, when it began to remember.
    """

    since: float
    """Unix time, as all times here."""
    most: int = MOST_REMEMBERED
    _taken: dict[str, int] = field(default_factory=dict[str, int])
    """By MAC, when it was sent."""

    def is_timely(self, sent: int, now: float) -> bool:
        return sent >= self.since and abs(now - sent) <= TOLERANCE

    def cannot_tell(self, sent: int) -> bool:
        """It may have been sent in the very second in which this began to remember, just before that."""
        return sent == int(self.since) and sent < self.since

    def take(self, delivery: Signed, now: float) -> bool:
        """Whether it is taken: it was not before. Asked for what is timely."""
        if delivery.mac in self._taken:
            return False
        if len(self._taken) >= self.most:
            self._forget(now)
        self._taken[delivery.mac] = delivery.sent
        return True

    def _forget(self, now: float) -> None:
        """What is past the window; if that is not enough, all, and nothing as old is taken any more."""
        kept = {mac: sent for mac, sent in self._taken.items() if now - sent <= TOLERANCE}
        past = [sent for sent in self._taken.values() if now - sent > TOLERANCE]
        if len(kept) >= self.most:
            past, kept = [*self._taken.values()], {}
        self._taken = kept
        self.since = max([self.since, *(sent + 1 for sent in past)])
