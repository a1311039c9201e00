"""Who may speak to the daemon, as long as no policies are declared: its own user and root.

Pure. Called once per connection with the uid that the kernel gives for the peer, and for every
answer that could hold a secret.
"""

from dataclasses import dataclass

ROOT = 0
Identity = tuple[int, str, str]
"""uid, and of a bearer token the issuer and the subject."""
POLICY = "built-in"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and the rule that made it. `reason` is a sentence for the caller."""

    allowed: bool
    rule: str
    reason: str
    policy: str = POLICY


_ROOT = Verdict(True, "root", "root may use every pool")
_OWN_USER = Verdict(True, "daemon-user", "the user that runs the daemon may use every pool")


def decide(caller_uid: int, daemon_uid: int) -> Verdict:
    """May this user claim, and see what others claimed?"""
    if caller_uid == daemon_uid:
        return _OWN_USER
    if caller_uid == ROOT:
        return _ROOT
    return Verdict(
        False,
        "everyone-else",
        f"The user with uid {caller_uid} may not use this daemon: only root and the user that"
        f" runs it (uid {daemon_uid}) may. Call as one of them.",
    )


def may_see_secrets(caller: Identity, claimant: Identity) -> bool:
    """Secret outputs are for the claimant, and for root, who could read them anyway.

    A claim that was made with a token is not for whoever has the same uid and another token, or none.
    """
    return caller == claimant or caller[0] == ROOT or (caller[0], "", "") == claimant
