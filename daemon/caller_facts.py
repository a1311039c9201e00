"""What rules may read of a caller, under the name `caller`. Pure.

The kernel's facts first; a verified token adds its claims under `token`. `unknown` lists those of `user`,
`groups`, `exe` and `unit` that could not be found out: a rule that reads one of these has no answer, so
whoever asks it must count it against the caller.
"""

from collections.abc import Mapping

from ..config.json_types import Json
from ..pools.claim import Claimant


def caller_facts(claimant: Claimant, host: str) -> dict[str, Json]:
    """`host` is the name of this host. `token` is empty without a token; it never holds the token itself."""
    claims: Mapping[str, Json] = {} if claimant.token is None else claimant.token.claims
    return {
        "uid": claimant.uid,
        "user": claimant.user,
        "gid": claimant.gid,
        "groups": [*claimant.groups],
        "gids": [*claimant.gids],
        "pid": claimant.pid,
        "exe": claimant.exe,
        "unit": claimant.unit,
        "host": host,
        "token": dict(claims),
        "unknown": [*claimant.unknown],
    }
