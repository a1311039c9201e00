"""Whose claims a caller may see, and whose it may renew and end."""

from ..pools.claim import Claim
from ..pools.ids import ClaimId
from ..pools.requests import Code, Refusal
from .calls import Call
from .facade import Core


async def own_claim(call: Call, core: Core, claim_id: ClaimId) -> Claim:
    """A claim that the caller may see and end: its own, or any for who operates. Raises `Refusal`."""
    claim = await core.fleet.find_claim(claim_id)
    if not call.operates and claim.claimant.identity != call.caller.identity:
        raise Refusal(
            Code.DENIED,
            f"the claim {claim_id} is another caller's; ask its claimant, or root",
            details={"rule": "own-claims"},
        )
    return claim


async def seen_claim(call: Call, core: Core, claim_id: ClaimId) -> Claim:
    """A claim that the caller may see: its own, or one about which it may decide. Raises `Refusal`."""
    claim = await core.fleet.find_claim(claim_id)
    return claim if sees(call, core, claim) else await own_claim(call, core, claim_id)


def sees(call: Call, core: Core, claim: Claim) -> bool:
    own = call.operates or claim.claimant.identity == call.caller.identity
    return own or core.fleet.approving.may_decide(claim, call.caller)
