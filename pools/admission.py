"""Whether a new claim may begin, and as what: the pool is open, the policies let it, the form fits.

Everything here happens in one go with the registration of the claim, which is what makes counted
limits hold (`usage`).
"""

import json
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TypeAlias

from ..config.json_types import Json
from ..config.revision import PoolSpec
from .approvals import Approval, Need
from .choosing import check_wish, named_pools, ttl_too_long, waits_for
from .claim import Claim, Claimant
from .decided import Decided, decided_to_json
from .expiry import Terms
from .gates import undeclared
from .judging import Asked, Asking, Denial, Place, Renewal, Ruling, as_ruled, with_record
from .pool import Pool
from .refusals import stopping, together
from .requests import ClaimRequest, Code, Refusal, accepted_params, typed_params
from .services import Services
from .store import NewEvent, StoreError
from .usage import pools_of
from .wishes import Wish

log = logging.getLogger(__name__)

HOUR, DAY = 3600.0, 86400.0


Admitted: TypeAlias = tuple[Claim, list[Pool], Mapping[str, Refusal]]
"""A new claim, the pools that may serve it, best first, and why others that it names cannot."""


class Admission:
    def __init__(
        self, services: Services, pools: Mapping[str, Pool], is_stopping: Callable[[], bool]
    ) -> None:
        self._services = services
        self._pools = pools
        self._is_stopping = is_stopping

    def admit(self, request: ClaimRequest) -> Admitted:
        """Raises `Refusal`."""
        if request.wish is not None:
            return self._admit_wish(request, request.wish)
        pool = self._open_pool(request.pool)
        ruled, ruling = self._judge(request, pool.serving)
        claim = self._new_claim(ruled, ruling, pool.serving)
        _ask(claim, ruling.asking)
        return claim, [pool], {}

    def _admit_wish(self, request: ClaimRequest, wish: Wish) -> Admitted:
        """For several resources, certain ones, or of one of several pools: see `wishing`."""
        pools: list[Pool] = []
        ruled: list[tuple[ClaimRequest, Ruling]] = []
        others: dict[str, Refusal] = {}
        for pool in named_pools(request, wish, self._pools):
            spec = pool.serving
            try:
                self._open_pool(spec.name)
                found = self._judge(request, spec)
                check_wish(wish, found[0], spec)
            except Refusal as refusal:
                others[spec.name] = refusal
            else:
                pools.append(pool)
                ruled.append(found)
        if not pools:
            raise _all_refused(others)
        pools, ruled = _at_once_before_approved(pools, ruled)
        claim = self._new_claim(*ruled[0], pools[0].serving)
        decisions: dict[str, Decided] = {}
        for pool, (_, ruling) in zip(pools, ruled, strict=True):
            if ruling.decided is not None:
                decisions[pool.spec.name] = ruling.decided
        waits_for(claim, request, pools, others, decisions=decisions)
        _ask(claim, ruled[0][1].asking)
        return claim, pools, others

    def _open_pool(self, name: str) -> Pool:
        if self._is_stopping():
            raise stopping()
        pool = self._known(name)
        if pool.gate.shut:
            raise pool.shut_because()
        if self._services.ledger_error:
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"claims cannot be written down: {self._services.ledger_error}",
                retry_after=2.0,
            )
        return pool

    def _judge(self, request: ClaimRequest, spec: PoolSpec) -> tuple[ClaimRequest, Ruling]:
        """What is asked for as policies shape it. They see parameters in their own types."""
        services = self._services
        _check_ttl(request, spec)
        if request.params:
            request = request._replace(params=typed_params(request, spec))
        ruling = services.judge.claim(request, self._place(spec), services.usage)
        return as_ruled(request, ruling), ruling

    def place_of(self, name: str) -> Place:
        """Raises `Refusal` for a pool that there is not."""
        return self._place(self._known(name).serving)

    def _known(self, name: str) -> Pool:
        pool = self._pools.get(name)
        if pool is None:
            known = ", ".join(sorted(self._pools)) or "none"
            raise Refusal(Code.NO_SUCH_POOL, f"there is no pool {name}; the pools are: {known}")
        return pool

    def _place(self, spec: PoolSpec) -> Place:
        members = self._services.inventory.members(spec.name)
        return Place(spec, members.ready, members.occupied)

    def _new_claim(self, request: ClaimRequest, ruling: Ruling, spec: PoolSpec) -> Claim:
        """`request` as it was ruled."""
        _check_ttl(request, spec)
        lifetime, courtesy = spec.lifetime, spec.lifetime.courtesy
        clock = self._services.clock
        now = clock.now()
        claim = Claim(
            id=self._services.ids.claim(),
            pool=spec.name,
            claimant=request.claimant.kept,
            created_at=now,
            ttl=lifetime.ttl if request.ttl is None else request.ttl,
            max_ttl=lifetime.max_ttl,
            deadline=now + (spec.queue.wait if request.wait is None else request.wait),
            params=accepted_params(request, spec),
            labels=request.labels,
            reason=request.reason,
            request_id=request.request_id,
            key=request.key,
            body=request.body,
            binding=None if request.tie is None else request.tie.binding,
            terms=None if courtesy is None else Terms(courtesy.notice, courtesy.grace),
            wish=request.wish,
            decision=ruling.decided,
            record=ruling.record,
            spent_day=int(clock.to_wall(now) // DAY),
        )
        claim.timing.policy = ruling.seconds
        claim.spent = cost_of(claim, spec, claim.ttl)
        return claim

    # Approvals

    def again(self, claim: Claim) -> tuple[Need, ...]:
        """Which approvals policies ask for by now, of a claim that has been approved.

        Raises `Denial` when they deny it, or would make something else of it, and another `Refusal` when
        one of its pools is no longer declared: nobody could be asked about that one, and a start might
        find it declared again.
        """
        assert claim.approval is not None
        if digest_of(claim) != claim.approval.digest:
            raise Denial(Code.DENIED, "it is not what was approved; claim again")
        needs: list[Need] = []
        for name in pools_of(claim):
            pool = self._pools.get(name)
            if pool is None:
                raise undeclared(name)
            asked = _asked(claim, name)
            place = self._place(pool.serving)
            ruling = self._services.judge.again(claim, asked, place, self._services.usage)
            if (ruling.ttl, ruling.params, ruling.labels) != asked:
                why = "policies would shape the claim differently by now; claim again"
                raise Denial(Code.DENIED, why, record=ruling.record)
            if ruling.asking is not None:
                needs += ruling.asking.needs
        return tuple(needs)

    def patience(self, claim: Claim) -> float:
        """For how many seconds it may wait in line."""
        pools = [self._pools[name] for name in pools_of(claim) if name in self._pools]
        return max((pool.spec.queue.wait for pool in pools), default=0.0)

    async def note(self, request: ClaimRequest, denial: Denial) -> None:
        """Writes a denial down before it is told. If the ledger refuses, it is told all the same."""
        self._services.telemetry.claim_refused(request.pool, denial.code)
        event = NewEvent(
            "claim.refused",
            pool=request.pool,
            request=request.request_id,
            reason=denial.message,
            data=with_record(_who(request.claimant, denial), denial.record),
        )
        await self._note(event)

    # Renewals

    def renewed(self, claim: Claim, ttl: float | None, by: Claimant, remaining: float) -> Ruling:
        """Whether and for how long a claim may last on. Raises `Denial`."""
        pool = self._pools.get(claim.pool)
        spec = PoolSpec.undeclared(claim.pool) if pool is None else pool.serving
        renewal = Renewal(claim, by, ttl, remaining)
        return self._services.judge.renew(renewal, self._place(spec), self._services.usage)

    def charge(self, claim: Claim, seconds: float) -> Callable[[], None]:
        """The claim costs so many seconds more. Gives what takes that back."""
        services = self._services
        pool = self._pools.get(claim.pool)
        if pool is None or not pool.serving.blueprint.cost.per_hour:
            return _nothing
        day = int(services.clock.to_wall(services.clock.now()) // DAY)
        cost = cost_of(claim, pool.serving, seconds)
        services.usage.charge(claim, day, cost)
        return lambda: services.usage.charge(claim, day, -cost)

    async def note_renewal(self, claim: Claim, by: Claimant, request: str, denial: Denial) -> None:
        event = NewEvent(
            "claim.renewal-refused",
            pool=claim.pool,
            resource=claim.only_resource,
            claim=claim.id,
            request=request,
            reason=denial.message,
            data=with_record(_who(by, denial), denial.record),
        )
        await self._note(event)

    async def _note(self, event: NewEvent) -> None:
        transaction = self._services.store.transaction()
        transaction.add_event(event)
        try:
            await self._services.commit(transaction)
        except StoreError as error:
            log.warning("a denial could not be written down: %s (%s)", event.reason, error)


def _check_ttl(request: ClaimRequest, spec: PoolSpec) -> None:
    if request.ttl is not None and request.ttl > spec.lifetime.max_ttl:
        raise ttl_too_long(request.ttl, spec.lifetime.max_ttl, spec.name)


Ruled = tuple[ClaimRequest, Ruling]


def _at_once_before_approved(
    pools: list[Pool], ruled: list[Ruled]
) -> tuple[list[Pool], list[Ruled]]:
    """Of several pools those that serve at once, if there are any; else all, with all they ask for.

    Which of them will serve it then, nobody knows yet.
    """
    ranks = [_rank(ruling) for _, ruling in ruled]
    best = [number for number, rank in enumerate(ranks) if rank == min(ranks)]
    pools, ruled = [pools[number] for number in best], [ruled[number] for number in best]
    asking = [ruling.asking for _, ruling in ruled if ruling.asking is not None]
    if not asking:
        return pools, ruled
    needs = {need.policy: need for one in asking for need in one.needs}
    together = asking[0]._replace(
        needs=tuple(needs[policy] for policy in sorted(needs)),
        within=min(one.within for one in asking),
    )
    first, ruling = ruled[0]
    return pools, [(first, ruling._replace(asking=together)), *ruled[1:]]


def _rank(ruling: Ruling) -> int:
    """0: at once; 1: at once, and somebody has to look at it; 2: once it is approved."""
    return 0 if ruling.asking is None else 1 if ruling.asking.broke_glass else 2


def digest_of(claim: Claim) -> str:
    """SHA-256 over all that was asked for, and by whom."""
    wish = claim.wish
    said = {
        "by": list(claim.claimant.identity),
        "pools": list(pools_of(claim)),
        "params": claim.params,
        "ttl": claim.ttl,
        "labels": claim.labels,
        "reason": claim.reason,
        "bind": "" if claim.binding is None else claim.binding.to.value,
        "count": claim.count,
        "select": "" if wish is None else wish.select,
        "decided": {}
        if wish is None
        else {pool: decided_to_json(one) for pool, one in wish.decisions.items()},
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _ask(claim: Claim, asking: Asking | None) -> None:
    """The claim waits for an approval, if it needs one, and for no resource before it has that."""
    if asking is None:
        return
    claim.approval = Approval(
        digest=digest_of(claim),
        needs=asking.needs,
        asked_at=claim.created_at,
        deadline=claim.created_at + asking.within,
        broke_glass=asking.broke_glass,
        facts=asking.facts,
    )
    if claim.approval.waits:
        claim.deadline = claim.approval.deadline


def _asked(claim: Claim, pool: str) -> Asked:
    """What was approved, as far as policies shape it."""
    decided = claim.decision
    if claim.wish is not None and claim.wish.pools:
        decided = claim.wish.decisions.get(pool)
    if decided is None:
        return Asked(claim.ttl, claim.params, claim.labels)
    return Asked(decided.ttl, {**claim.params, **decided.params}, decided.labels)


def cost_of(claim: Claim, spec: PoolSpec, seconds: float) -> float:
    return spec.blueprint.cost.per_hour * seconds / HOUR * claim.count


def _who(caller: Claimant, denial: Denial) -> dict[str, Json]:
    return {"code": denial.code.value, **caller.told()}


def _nothing() -> None:
    """There is nothing to take back."""


def _all_refused(others: Mapping[str, Refusal]) -> Refusal:
    """One "no" for all; a denial when policies said one of them, so that it is written down."""
    refusal = together(others)
    denials = [one for one in others.values() if isinstance(one, Denial)]
    if not denials or isinstance(refusal, Denial):
        return refusal
    return Denial(
        refusal.code,
        refusal.message,
        record=denials[0].record,
        retry_after=refusal.retry_after,
        details=refusal.details,
    )
