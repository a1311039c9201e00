"""What is said of resources that serve several claims."""

import pytest

from stoker.pools.explaining.of_blueprints import BlueprintFacts, explain_blueprint
from stoker.pools.explaining.of_resources import ResourceFacts, explain_resource
from stoker.pools.explaining.shape import Present
from stoker.pools.ids import ClaimId
from stoker.pools.lifecycle import ResourceState
from tests.builders import a_resource
from tests.rig import boxes, reusable


def test_a_blueprint_says_how_often_a_resource_serves_and_what_is_brought_back() -> None:
    told = " ".join(explain_blueprint(BlueprintFacts(reusable(max_uses=7, within=20.0))).why)
    assert "A released resource serves again, up to 7 claims, if within 20s" in told
    assert "box is brought back and reset.verify passes; otherwise it is removed." in told


def test_a_blueprint_without_a_reset_says_that_a_resource_serves_one_claim() -> None:
    told = " ".join(explain_blueprint(BlueprintFacts(boxes())).why)
    assert "A released resource is removed: it serves one claim." in told


@pytest.mark.parametrize("uses", [1, 4])
def test_a_resource_that_is_being_reset_says_after_which_claim(uses: int) -> None:
    resource = a_resource(state=ResourceState.RESETTING)
    resource.claim, resource.uses = ClaimId("c-1"), uses
    found = explain_resource(ResourceFacts(resource.id, Present(10.0), resource, digest="d1"))
    assert "It is being reset after c-1" in found.why[0]
    assert (uses, "resetting") == (found.facts["uses"], found.facts["state"])
