"""What rules read of a caller, from who the kernel and its token say that it is. Pure.

`Claimant.unknown` lists those of `user`, `groups`, `exe` and `unit` that could not be found out. A rule that
reads one of these has no answer: it ends in an error, which counts against the caller. An empty list of
groups would pass every rule that denies a group.
"""

from ..policies.facts import CallerFacts
from ..pools.claim import Claimant


def caller_facts(claimant: Claimant, host: str, *, operator: bool = False) -> CallerFacts:
    """`host` is the name of this host; `operator`: it is root or the daemon's own user.
    `token` has the claims of a verified token, and never the token.
    """
    token = claimant.token
    return CallerFacts(
        uid=claimant.uid,
        gid=claimant.gid,
        user=claimant.user,
        groups=claimant.groups,
        pid=claimant.pid,
        exe=claimant.exe,
        unit=claimant.unit,
        host=host,
        token={} if token is None else token.claims,
        unknown=claimant.unknown,
        operator=operator,
    )
