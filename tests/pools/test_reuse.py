"""Which released resources may serve another claim: a pure decision, each reason by itself."""

from dataclasses import replace

import pytest

from stoker.config.revision import Lifetime, PoolSpec
from stoker.pools.ids import PartId
from stoker.pools.lifecycle import PartState, ResourceState
from stoker.pools.resource import Half, Health, Part, Resource
from stoker.pools.reuse import Circumstances, Demand, why_not
from stoker.pools.switches import Operator, Switch, SwitchKind
from tests.builders import a_resource
from tests.rig import a_box_pool, an_output, boxes, reusable

USUAL = Circumstances()
WANTED = Demand(ready=0, resetting=0, waiting=0)
SPEC = a_box_pool(min=1, max=3, blueprint=reusable(max_uses=3), lifetime=Lifetime(max_age=100.0))


def a_used_one(**more: object) -> Resource:
    used = a_resource(state=ResourceState.BOUND, ready_at=0.0)
    return replace(used, **{"uses": 1, **more})  # type: ignore[arg-type]


def why(
    resource: Resource | None = None,
    spec: PoolSpec = SPEC,
    demand: Demand | None = WANTED,
    *,
    now: float = 10.0,
    pool: Circumstances = USUAL,
) -> str:
    return why_not(resource or a_used_one(), spec, demand, now, pool)


def test_one_that_the_pool_lacks_is_used_again() -> None:
    assert why() == ""


def test_without_a_declared_reset_nothing_is_used_again() -> None:
    assert why(spec=a_box_pool(min=1)) == "its blueprint declares no reset"


@pytest.mark.parametrize(("uses", "may"), [(1, True), (2, True), (3, False), (4, False)])
def test_the_last_use_is_the_last(uses: int, may: bool) -> None:
    assert (why(a_used_one(uses=uses)) == "") is may


@pytest.mark.parametrize(("now", "may"), [(89.0, True), (90.0, False), (500.0, False)])
def test_one_that_would_be_replaced_for_its_age_is_not_used_again(now: float, may: bool) -> None:
    assert (why(now=now) == "") is may


@pytest.mark.parametrize(
    ("demand", "may"),
    [
        (Demand(ready=1, resetting=0, waiting=0), False),
        (Demand(ready=0, resetting=1, waiting=0), False),
        (Demand(ready=1, resetting=0, waiting=1), True),
        (Demand(ready=1, resetting=1, waiting=1), False),
        (None, True),
    ],
)
def test_one_more_than_is_wanted_is_not_used_again(demand: Demand | None, may: bool) -> None:
    assert (why(demand=demand) == "") is may


def test_neither_a_drifted_nor_an_outdated_nor_an_undeclared_one_is_used_again() -> None:
    assert why(a_used_one(health=Health.DRIFTED)) == "it has drifted"
    assert why(a_used_one(digest="d0")) == "the blueprint has changed"
    assert why(pool=Circumstances(up_to_date=False)) == "it is from before a refresh"
    emptied = Circumstances("the pool is no longer declared")
    assert why(pool=emptied) == "the pool is no longer declared"


def test_one_that_is_to_be_kept_for_inspection_is_not_used_again() -> None:
    hold = Switch(SwitchKind.HOLD, "web-1", Operator(0), "look at it", 0.0)
    assert why(a_used_one(hold=hold)) == "it is to be kept for inspection"


@pytest.mark.parametrize(
    ("read", "in_place", "may"),
    [
        ("${parts.box.name}", True, True),
        ("${parts.box.secret}", True, False),
        ("${parts.box}", True, False),
        ("${parts}", True, False),
        ("${parts.box.secret}", False, True),
        ("${parts.token.value}", True, True),
    ],
)
def test_a_secret_that_was_told_and_would_stay_ends_the_resource(
    read: str, in_place: bool, may: bool
) -> None:
    blueprint = replace(boxes(), outputs=(an_output("told", read, secret=True),))
    spec = replace(SPEC, blueprint=reusable(blueprint, in_place=in_place))
    resource = a_used_one()
    for name, half in (("box", Half.PREPARE), ("token", Half.FINISH)):
        resource.parts.append(
            Part(
                PartId(f"{resource.id}.{name}"),
                name,
                "simulated",
                "simulated",
                half,
                len(resource.parts),
                PartState.VERIFIED,
                secrets={"secret": "s", "value": "v"},
            )
        )
    assert (why(resource, spec) == "") is may
