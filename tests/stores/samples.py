"""Rows worth writing: full ones for examples, any ones for hypothesis."""

import dataclasses
import string

from hypothesis import strategies as st

from stoker.config.json_types import Json
from stoker.pools.binding import Bind, Binding, Process
from stoker.pools.claim import OVER, Claim, Claimant, ClaimState, EndedBecause, Timing, Token
from stoker.pools.expiry import Terms
from stoker.pools.ids import ClaimId, ResourceId, part_id
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.resource import Half, Health, Part, Resource
from stoker.pools.store import NewEvent
from stoker.pools.wishes import Wish

SECRET = "xyzzy-plugh-hollow-voice"
KEY = bytes(range(32))


def a_resource(
    name: str = "web-k3v9q2xa",
    *,
    version: int = 1,
    state: ResourceState = ResourceState.READY,
    claim: str | None = None,
    reason: str = "made and verified",
    created_at: float = 1000.0,
    parts: int = 0,
    revision: str = "0123456789ab",
) -> Resource:
    resource = Resource(
        id=ResourceId(name),
        pool=name.rpartition("-")[0],
        blueprint="web-sandbox",
        digest="d" * 64,
        revision=revision,
        created_at=created_at,
        state=state,
        version=version,
        changed_at=created_at + 1,
        ready_at=created_at + 2,
        claim=None if claim is None else ClaimId(claim),
        health=Health.HEALTHY,
        reason=reason,
        labels={"team": "web"},
        uses=3,
    )
    resource.parts = [a_part(resource, f"part{number}", ordinal=number) for number in range(parts)]
    return resource


def a_part(
    resource: Resource, name: str = "server", *, ordinal: int = 0, secret: str = SECRET
) -> Part:
    return Part(
        id=part_id(resource.id, name),
        name=name,
        driver="process",
        provider="process",
        half=Half.PREPARE,
        ordinal=ordinal,
        state=PartState.VERIFIED,
        handle={"pid": 4711, "started": 123456},
        outputs={"ports": {"http": 40123}},
        secrets={"password": secret},
        ready={"http": "http://127.0.0.1:40123/", "within": 10.0},
    )


def a_claim(
    name: str = "c-0123456789abcdef",
    *,
    version: int = 1,
    state: ClaimState = ClaimState.BOUND,
    key: bytes | None = KEY,
    created_at: float = 1000.0,
    ended_at: float | None = None,
    secret: str = SECRET,
) -> Claim:
    ended = state is ClaimState.ENDED
    return Claim(
        id=ClaimId(name),
        pool="web",
        claimant=Claimant(1000, 100, 4711, "ada", "/usr/bin/python3", "session-1.scope"),
        created_at=created_at,
        ttl=1800.0,
        max_ttl=14400.0,
        deadline=created_at + 60,
        state=state,
        version=version,
        labels={"build": "17"},
        reason="a test",
        request_id="r-0123456789ab",
        key=key,
        body=b"\x01" * 32,
        answered=True,
        resources=[ResourceId("web-k3v9q2xa")],
        bound_at=created_at + 0.5,
        expires_at=created_at + 1800.5,
        outputs={"url": "http://127.0.0.1:40123/"},
        secrets={"token": secret},
        warm=False,
        revision="0123456789ab",
        timing=Timing(0.1, 0.2, 0.3, 0.4, 1.0),
        ended_at=ended_at if ended_at is not None or not ended else created_at + 100,
        ended_because=EndedBecause.RELEASED if ended else None,
    )


def an_event(kind: str = "claim.bound", *, reason: str = "", **more: str) -> NewEvent:
    return NewEvent(kind=kind, reason=reason, data={"warm": True}, **more)


def as_kept(claim: Claim) -> Claim:
    """The claim without what its state makes the ledger drop."""
    kept = dataclasses.replace(claim)
    if claim.state not in {ClaimState.PENDING, ClaimState.FINISHING}:
        kept.params = {}
    if claim.state in OVER:
        kept.secrets = {}
    return kept


# For hypothesis. Names are as the ids and the config room make them; texts are anything at all.

names = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12)
texts = st.text(max_size=20)
moments = st.floats(allow_nan=False, allow_infinity=False)
json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | moments | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)
small_integers = st.integers(min_value=0, max_value=2**32)


@st.composite
def resources(draw: st.DrawFn) -> Resource:
    return Resource(
        id=ResourceId(draw(names)),
        pool=draw(names),
        blueprint=draw(names),
        digest=draw(names),
        revision=draw(names),
        created_at=draw(moments),
        state=draw(st.sampled_from(ResourceState)),
        version=draw(small_integers),
        changed_at=draw(moments),
        ready_at=draw(st.none() | moments),
        claim=draw(st.none() | names.map(ClaimId)),
        health=draw(st.sampled_from(Health)),
        reason=draw(texts),
        labels=draw(json_objects),
    )


@st.composite
def parts(draw: st.DrawFn, resource: Resource) -> Part:
    name = draw(names)
    return Part(
        id=part_id(resource.id, name),
        name=name,
        driver=draw(names),
        provider=draw(names),
        half=draw(st.sampled_from(Half)),
        ordinal=draw(small_integers),
        state=draw(st.sampled_from(PartState)),
        handle=draw(json_objects),
        outputs=draw(json_objects),
        secrets=draw(json_objects),
        ready=draw(json_objects),
    )


processes = st.builds(Process, small_integers, st.integers(min_value=0, max_value=2**62), names)
bindings = st.builds(
    Binding, st.sampled_from((Bind.PROCESS, Bind.CONNECTION)), st.none() | processes
)
terms = st.builds(Terms, st.none() | moments, moments, st.none() | moments, st.booleans())
wishes = st.builds(
    Wish,
    count=st.integers(1, 64),
    select=texts,
    pools=st.lists(names, max_size=3).map(tuple),
    labels=json_objects,
    ttl=st.none() | moments,
    because=texts,
)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    claimant = Claimant(
        uid=draw(small_integers),
        gid=draw(small_integers),
        pid=draw(small_integers),
        user=draw(texts),
        exe=draw(texts),
        unit=draw(texts),
        groups=draw(st.lists(texts, max_size=2).map(tuple)),
        token=draw(st.none() | st.builds(Token, texts, texts)),
    )
    return Claim(
        id=ClaimId(draw(names)),
        pool=draw(names),
        claimant=claimant,
        created_at=draw(moments),
        ttl=draw(moments),
        max_ttl=draw(moments),
        deadline=draw(moments),
        state=draw(st.sampled_from(ClaimState)),
        version=draw(small_integers),
        params=draw(json_objects),
        labels=draw(json_objects),
        reason=draw(texts),
        request_id=draw(texts),
        key=draw(st.none() | st.binary(min_size=32, max_size=32)),
        body=draw(st.binary(max_size=32)),
        answered=draw(st.booleans()),
        resources=draw(st.lists(names.map(ResourceId), max_size=3)),
        bound_at=draw(st.none() | moments),
        expires_at=draw(st.none() | moments),
        outputs=draw(json_objects),
        secrets=draw(json_objects),
        warm=draw(st.booleans()),
        revision=draw(names),
        timing=Timing(*(draw(moments) for _ in range(5))),
        ended_at=draw(st.none() | moments),
        ended_because=draw(st.none() | st.sampled_from(EndedBecause)),
        code=draw(names),
        detail=draw(texts),
        binding=draw(st.none() | bindings),
        terms=draw(st.none() | terms),
        wish=draw(st.none() | wishes),
    )
