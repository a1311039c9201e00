"""Rows of the ledger to and from the objects of the pools.

Plain facts have columns; mappings are JSON, NULL when empty; secrets are JSON, sealed for their
row and column, NULL when there is none. Encoding is on the path of every claim: orjson writes
(it is ten times faster), the standard library reads (it keeps integers of any size).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from sys import intern
from typing import Any, TypeAlias, cast

import orjson

from ...config.json_types import JsonObject
from ..binding import Bind, Binding, Process
from ..claim import OVER, Claim, Claimant, ClaimState, Counted, EndedBecause, Timing, Token
from ..decided import decided_from_json, decided_to_json
from ..expiry import Terms
from ..ids import ClaimId, PartId, ResourceId, part_id
from ..lifecycle import PartState, ResourceState
from ..resource import Half, Health, Part, Resource, nothing
from ..sealing import Sealer
from ..wishes import wish_from_json, wish_to_json
from .approval_rows import approval_from_json, approval_to_json

Row: TypeAlias = tuple[Any, ...]
"""What SQLite takes and gives: None, int, float, str or bytes in each place."""

RESOURCE_COLUMNS = (
    *("id", "version", "pool", "blueprint", "digest", "revision", "state", "created_at"),
    *("changed_at", "ready_at", "claim", "health", "reason", "labels", "uses"),
)
PART_COLUMNS = (
    *("resource", "name", "driver", "provider", "half", "ordinal", "state", "handle", "outputs"),
    *("secrets", "ready"),
)
CLAIM_COLUMNS = (
    *("id", "version", "pool", "state", "key", "body", "over_at", "uid", "gid", "pid", "user"),
    *("exe", "unit", "created_at", "ttl", "max_ttl", "deadline", "bound_at", "expires_at"),
    *("ended_at", "ended_because", "answered", "warm", "revision", "reason", "request_id"),
    *("code", "detail", "queued", "policy", "bind", "finish", "total", "labels", "resources"),
    *("outputs", "params", "secrets", "binding", "terms", "wish", "caller"),
    *("decision", "spent", "spent_day", "approval", "follow_up"),
)
_UNFINISHED = frozenset({ClaimState.PENDING, ClaimState.FINISHING})


def encode_json(value: object, options: int = 0) -> bytes:
    """Compact JSON. What orjson refuses (integers beyond 64 bits, lone surrogates) also works."""
    try:
        return orjson.dumps(value, default=_plain, option=options)
    except TypeError:
        ordered = bool(options & orjson.OPT_SORT_KEYS)
        text = json.dumps(value, default=_plain, separators=(",", ":"), sort_keys=ordered)
        return text.encode("ascii")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    raise TypeError(f"{type(value).__name__} is no JSON value")


def encode_object(value: JsonObject) -> str | None:
    return encode_json(value).decode() if value else None


def text(value: str) -> str:
    """A string that SQLite takes: lone surrogates (undecodable file names) become visible escapes."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def place(table: str, row: str, column: str) -> bytes:
    """What a sealed blob is bound to."""
    return f"{table}\0{row}\0{column}".encode()


def _seal(value: JsonObject, sealer: Sealer, table: str, row: str, column: str) -> bytes:
    return sealer.seal(encode_json(value), place(table, row, column))


def encode_resource(resource: Resource) -> Row:
    """In the order of `RESOURCE_COLUMNS`."""
    return (
        resource.id,
        resource.version,
        resource.pool,
        resource.blueprint,
        resource.digest,
        resource.revision,
        resource.state._value_,
        resource.created_at,
        resource.changed_at,
        resource.ready_at,
        resource.claim,
        resource.health._value_,
        text(resource.reason),
        encode_object(resource.labels),
        resource.uses,
    )


def encode_part(resource: ResourceId, part: Part, sealer: Sealer) -> Row:
    """In the order of `PART_COLUMNS`."""
    return (
        resource,
        part.name,
        part.driver,
        part.provider,
        part.half.value,
        part.ordinal,
        part.state.value,
        encode_object(part.handle),
        encode_object(part.outputs),
        _seal(part.secrets, sealer, "parts", part.id, "secrets") if part.secrets else None,
        encode_object(part.ready),
    )


def encode_claim(claim: Claim, sealer: Sealer) -> Row:
    """In the order of `CLAIM_COLUMNS`. Drops what the claim's state no longer needs."""
    state, timing, claimant = claim.state, claim.timing, claim.claimant
    over = state in OVER
    decision, approval = claim.decision, claim.approval
    unfinished = state in _UNFINISHED
    params = claim.params if unfinished or (decision is not None and not over) else None
    secrets = None if over else claim.secrets
    return (
        claim.id,
        claim.version,
        claim.pool,
        state._value_,
        claim.key,
        claim.body,
        over_since(claim) if over else None,
        claimant.uid,
        claimant.gid,
        claimant.pid,
        text(claimant.user),
        text(claimant.exe),
        text(claimant.unit),
        claim.created_at,
        claim.ttl,
        claim.max_ttl,
        claim.deadline,
        claim.bound_at,
        claim.expires_at,
        claim.ended_at,
        claim.ended_because.value if claim.ended_because else None,
        claim.answered,
        claim.warm,
        claim.revision,
        text(claim.reason),
        text(claim.request_id),
        claim.code,
        text(claim.detail),
        timing.queued,
        timing.policy,
        timing.bind,
        timing.finish,
        timing.total,
        encode_object(claim.labels),
        " ".join(claim.resources) or None,
        encode_object(claim.outputs),
        _seal(params, sealer, "claims", claim.id, "params") if params else None,
        _seal(secrets, sealer, "claims", claim.id, "secrets") if secrets else None,
        None if claim.binding is None else _encode_binding(claim.binding),
        None if claim.terms is None else _encode_terms(claim.terms),
        None if claim.wish is None else encode_json(wish_to_json(claim.wish)).decode(),
        _encode_caller(
            claimant.groups, claimant.gids, claimant.identity[1:] if claimant.token else ()
        )
        if claimant.groups or claimant.token is not None
        else None,
        None if decision is None else encode_json(decided_to_json(decision)).decode(),
        claim.spent,
        claim.spent_day,
        None if approval is None else encode_json(approval_to_json(approval)).decode(),
        approval.deadline if approval is not None and claim.needs_follow_up else None,
    )


@lru_cache(maxsize=1024)
def _encode_caller(groups: tuple[str, ...], gids: tuple[int, ...], token: tuple[str, ...]) -> str:
    """What the kernel's numbers do not say: the groups, and issuer and subject of its token, if any.

    Kept, because the claims of one caller share it.
    """
    return encode_json([groups, gids, token]).decode()


def _decode_claimant(facts: Sequence[Any], encoded: str | None) -> Claimant:
    uid, gid, pid, user, exe, unit = facts
    if encoded is None:
        return Claimant(uid, gid, pid, user, exe, unit)
    groups, gids, named = json.loads(encoded)
    token = Token(*named) if named else None
    return Claimant(uid, gid, pid, user, exe, unit, tuple(groups), tuple(gids), token=token)


@lru_cache(maxsize=1024)
def counted_as(uid: int, encoded: str | None) -> Counted:
    """Who the claims of one row count for, from what `_encode_caller` wrote."""
    named = () if encoded is None else json.loads(encoded)[2]
    return (named[0], named[1]) if named else uid


def _encode_binding(binding: Binding) -> str:
    process = binding.process
    whose = None if process is None else [process.pid, process.start, process.boot]
    return encode_json({"to": binding.to.value, "process": whose}).decode()


def _decode_binding(encoded: str) -> Binding:
    known = json.loads(encoded)
    process = known["process"]
    return Binding(Bind(known["to"]), None if process is None else Process(*process))


def _encode_terms(terms: Terms) -> str:
    return encode_json([terms.notice, terms.grace, terms.announced, terms.lapsed]).decode()


def over_since(claim: Claim) -> float:
    """From when the day of a claim that is over is counted: never too early."""
    return claim.deadline if claim.ended_at is None else claim.ended_at


class Decoder:
    """Makes objects of rows. One decoder per load, so that equal strings and labels are shared."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._seen: dict[str, JsonObject] = {}

    def resources(self, rows: Iterable[Row]) -> list[Resource]:
        return [self._resource(row) for row in rows]

    def parts(self, rows: Sequence[Row]) -> Iterable[tuple[ResourceId, Part]]:
        """Decodes whole columns at once: faster, and the keys of all objects are shared."""
        handles = _decode_column([row[7] for row in rows])
        outputs = _decode_column([row[8] for row in rows])
        readies = _decode_column([row[10] for row in rows])
        ids = [part_id(ResourceId(row[0]), row[1]) for row in rows]
        opened = [
            self._plain(row[9], "parts", identity, "secrets")
            for row, identity in zip(rows, ids, strict=True)
        ]
        decoded = zip(handles, outputs, readies, _decode_column(opened), strict=True)
        for row, identity, (handle, output, ready, secrets) in zip(rows, ids, decoded, strict=True):
            part = Part(
                id=identity,
                name=intern(row[1]),
                driver=intern(row[2]),
                provider=intern(row[3]),
                half=_HALVES[row[4]],
                ordinal=row[5],
                state=_PART_STATES[row[6]],
                handle=handle,
                outputs=output,
                secrets=secrets,
                ready=ready,
            )
            yield ResourceId(row[0]), part

    def claims(self, rows: Iterable[Row]) -> list[Claim]:
        return [self.claim(row) for row in rows]

    def claim(self, row: Row) -> Claim:
        (identity, version, pool, state, key, body, _over, *facts) = row
        claimant = _decode_claimant(facts[:6], facts[34])
        ended_because = facts[13]
        return Claim(
            id=ClaimId(identity),
            version=version,
            pool=intern(pool),
            state=_CLAIM_STATES[state],
            key=key,
            body=body,
            claimant=claimant,
            created_at=facts[6],
            ttl=facts[7],
            max_ttl=facts[8],
            deadline=facts[9],
            bound_at=facts[10],
            expires_at=facts[11],
            ended_at=facts[12],
            ended_because=None if ended_because is None else EndedBecause(ended_because),
            answered=bool(facts[14]),
            warm=bool(facts[15]),
            revision=intern(facts[16]),
            reason=facts[17],
            request_id=facts[18],
            code=facts[19],
            detail=facts[20],
            timing=Timing(facts[21], facts[22], facts[23], facts[24], facts[25]),
            labels=self._shared(facts[26]),
            resources=[ResourceId(each) for each in (facts[27] or "").split()],
            outputs=decode_object(facts[28]),
            params=self._open(facts[29], "claims", identity, "params"),
            secrets=self._open(facts[30], "claims", identity, "secrets"),
            binding=None if facts[31] is None else _decode_binding(facts[31]),
            terms=None if facts[32] is None else Terms(*json.loads(facts[32])),
            wish=None if facts[33] is None else wish_from_json(decode_object(facts[33])),
            decision=None if facts[35] is None else decided_from_json(decode_object(facts[35])),
            spent=facts[36],
            spent_day=facts[37],
            approval=None if facts[38] is None else approval_from_json(decode_object(facts[38])),
        )

    def _resource(self, row: Row) -> Resource:
        return Resource(
            id=ResourceId(row[0]),
            version=row[1],
            pool=intern(row[2]),
            blueprint=intern(row[3]),
            digest=intern(row[4]),
            revision=intern(row[5]),
            state=_RESOURCE_STATES[row[6]],
            created_at=row[7],
            changed_at=row[8],
            ready_at=row[9],
            claim=None if row[10] is None else ClaimId(row[10]),
            health=_HEALTHS[row[11]],
            reason=intern(row[12]),
            labels=self._shared(row[13]),
            uses=row[14],
        )

    def _shared(self, encoded: str | None) -> JsonObject:
        """Labels repeat: equal ones become one object."""
        if encoded is None:
            return nothing()
        known = self._seen.get(encoded)
        if known is None:
            known = self._seen[encoded] = decode_object(encoded)
        return known

    def _open(self, sealed: bytes | None, table: str, row: str, column: str) -> JsonObject:
        return decode_object(self._plain(sealed, table, row, column))

    def _plain(self, sealed: bytes | None, table: str, row: str, column: str) -> str | None:
        """The JSON text that was sealed."""
        if sealed is None:
            return None
        return self._sealer.open(sealed, place(table, row, column)).decode()


def decode_object(encoded: str | None) -> JsonObject:
    return nothing() if encoded is None else cast("JsonObject", json.loads(encoded))


def _decode_column(column: Sequence[str | None]) -> Iterable[JsonObject]:
    present = ",".join([each for each in column if each is not None])
    decoded = iter(cast("list[JsonObject]", json.loads(f"[{present}]")))
    return [nothing() if each is None else next(decoded) for each in column]


def _by_value(states: Iterable[Any]) -> dict[str, Any]:
    return {state.value: state for state in states}


_RESOURCE_STATES: dict[str, ResourceState] = _by_value(ResourceState)
_PART_STATES: dict[str, PartState] = _by_value(PartState)
_CLAIM_STATES: dict[str, ClaimState] = _by_value(ClaimState)
_HALVES: dict[str, Half] = _by_value(Half)
_HEALTHS: dict[str, Health] = _by_value(Health)


def part_key(part: PartId) -> tuple[str, str]:
    """The primary key of a part's row (part names hold no dot)."""
    resource, _, name = part.rpartition(".")
    return resource, name
