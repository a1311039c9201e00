"""What is said of a blueprint: who reads what, in which order parts are made, and what they cost."""

import pytest

from stoker.config.loading import load
from stoker.config.revision import Blueprint
from stoker.pools.drivers import catalogue
from stoker.pools.explaining.of_blueprints import BlueprintFacts, explain_blueprint
from stoker.pools.part_times import Measured

SITE = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: site}
spec:
  parameters:
    greeting: {type: string, default: hello}
    password: {type: string, writeOnly: true}
    unused: {type: integer, default: 1}
  prepare:
    - name: server
      driver: process
      with: {command: [python3, -m, http.server], cwd: "${parts.root.path}"}
      ready: {log: started}
    - {name: root, driver: directory}
    - {name: spare, driver: directory, dependsOn: [server]}
  finish:
    - name: page
      driver: file
      with:
        path: "${parts.root.path}/index.html"
        content: "${params.greeting} ${params.password} ${claim.id}"
    - {name: key, driver: token}
  outputs:
    path: "${parts.root.path}"
    hello: "${params.greeting}"
    key: {value: "${parts.key.value}", secret: true}
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: web}
spec: {blueprint: site, size: {min: 1, max: 2}}
"""
PURE = frozenset({"token"})


@pytest.fixture(name="blueprint")
def _blueprint() -> Blueprint:
    loaded = load({"site.yaml": SITE}, catalogue(), source="test")
    assert loaded.revision is not None, loaded.problems
    return loaded.revision.pools["web"].blueprint


def test_each_parameter_names_what_reads_it(blueprint: Blueprint) -> None:
    found = explain_blueprint(BlueprintFacts(blueprint, ("web",), PURE))
    assert "The parameter greeting is used by the part page and the output hello." in found.why
    assert "The parameter password (secret) is used by the part page." in found.why
    assert "The parameter unused is used by nothing." in found.why
    parameters = found.facts["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["password"] == {"usedBy": ["part page"], "required": True, "secret": True}


def test_the_order_is_told_with_who_reads_whom(blueprint: Blueprint) -> None:
    found = explain_blueprint(BlueprintFacts(blueprint, ("web",), PURE)).why
    assert "Ahead of demand it makes root, server and spare, one after the other." in found
    server = next(one for one in found if one.startswith("server (process)"))
    assert "reads root.path;" in server
    spare = next(one for one in found if one.startswith("spare (directory)"))
    assert "reads no other part and comes after server (dependsOn);" in spare
    page = next(one for one in found if one.startswith("page (file)"))
    assert "reads root.path, claim.id, params.greeting and params.password;" in page


def test_what_a_part_costs_is_measured_and_says_from_how_many(blueprint: Blueprint) -> None:
    times = {
        "server": Measured(0.3, 0.05, 0.25, 0.9, samples=12, made=40),
        "page": Measured(0.002, 0.001, 0.0, 0.002, samples=1, made=1),
    }
    whole = Measured(0.4, 0, 0, 1.0, samples=12, made=40)
    found = explain_blueprint(BlueprintFacts(blueprint, ("web",), PURE, times, whole))
    text = " ".join(found.why)
    assert (
        "it takes 300ms, of that 50ms in the driver and 250ms until its check passed (median of 12 "
        "samples, the slowest 900ms)."
    ) in text
    assert "which takes 400ms in all (median of 12 samples" in text
    assert "none was made since the daemon started, so its time is not known" in text
    assert (
        "key (token) reads no other part; it is pure: nothing outside the ledger is made." in text
    )
    assert found.why[0] == (
        "A claim that finds one ready waits for page, 2.00ms by the medians, within 30s "
        "(finishWithin)."
    )


def test_a_claim_of_pure_parts_waits_for_no_provider(blueprint: Blueprint) -> None:
    pure = explain_blueprint(BlueprintFacts(blueprint, ("web",), PURE | {"file"}))
    assert "waits for no provider: what is made for it (page and key) is pure" in pure.why[0]


def test_its_outputs_say_which_are_secret_and_which_are_made_for_each_claim(
    blueprint: Blueprint,
) -> None:
    found = explain_blueprint(BlueprintFacts(blueprint, ("web", "web2"), PURE))
    assert found.summary == (
        "site makes 3 parts ahead of demand and 2 parts at a claim; it is used by the pools web and "
        "web2."
    )
    assert "The outputs hello and key are made for each claim." in found.why
    assert "The output path reads nothing of the claim." in found.why
    assert "key is secret: shown to the claimant and root alone." in found.why
