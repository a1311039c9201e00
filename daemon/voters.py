"""Who a webhook says that somebody is, as a `Claimant`: a user of this host, the subject of a token, or both.

What the directory of users knows of a user is asked here, and not believed of the sender: its number and its
groups. Of a subject there is nobody to ask, so what a token would say of it is as the sender says.
"""

import asyncio
import grp
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ..config.json_types import JsonObject
from ..pools.approvals import NO_UID
from ..pools.claim import Claimant, Token
from ..pools.requests import Code, Refusal
from ..pools.resource import nothing

WITHIN = 2.0
"""Seconds. The directory may be on another host."""
NOT_BY_HEARSAY = ("pid", "exe", "unit")
"""Facts that only a connection has: a rule that reads one admits nobody."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of a person, by the sender of a webhook."""

    user: str = ""
    issuer: str = ""
    subject: str = ""
    claims: JsonObject = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class _User:
    uid: int
    gids: tuple[int, ...]
    groups: tuple[str, ...]


class Voters:
    """Owns the threads that ask the directory."""

    def __init__(self) -> None:
        self._directory = ThreadPoolExecutor(2, thread_name_prefix="voters")

    async def find(self, said: Said) -> Claimant:
        """Raises `Refusal`."""
        token = None
        if said.subject:
            claims = {**said.claims, "iss": said.issuer, "sub": said.subject}
            token = Token(said.issuer, said.subject, claims)
        if not said.user:
            unknown = ("uid", "gid", "user", "groups", *NOT_BY_HEARSAY)
            return Claimant(NO_UID, NO_UID, 0, unknown=unknown, token=token)
        found = await self._look_up(said.user)
        return Claimant(
            found.uid,
            found.gids[0],
            0,
            said.user,
            groups=found.groups,
            gids=found.gids,
            unknown=NOT_BY_HEARSAY,
            token=token,
        )

    async def _look_up(self, user: str) -> _User:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WITHIN):
                return await loop.run_in_executor(self._directory, _look_up, user)
        except KeyError:
            why = f"this host has no user {user}; name one of its users, or the subject of a token"
            raise Refusal(Code.VOTER_UNKNOWN, why) from None
        except (TimeoutError, OSError):
            why = "the directory of users does not answer; sign anew, and try again"
            raise Refusal(Code.CALLER_UNKNOWN, why, retry_after=1.0) from None

    def close(self) -> None:
        self._directory.shutdown(wait=False, cancel_futures=True)


def _look_up(user: str) -> _User:
    found = pwd.getpwnam(user)
    if found.pw_name != user:  # some directories are not particular about letters
        raise KeyError(user)
    gids = os.getgrouplist(user, found.pw_gid)
    first = (found.pw_gid, *(gid for gid in gids if gid != found.pw_gid))
    return _User(found.pw_uid, first, tuple([name for name in map(_group, first) if name]))


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
