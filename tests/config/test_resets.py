"""The `reset` of a Blueprint: what it may say, and what makes it refused."""

import re

import pytest

from stoker.config.loading import load
from stoker.config.revision import Blueprint
from stoker.pools.drivers import catalogue
from tests.config.catalogue import a_blueprint_with, loaded, the_problem, the_revision, told
from tests.conftest import ROOT

PARTS = """
  prepare:
    - {name: site, driver: box}
    - {name: web, driver: server, with: {command: [serve], cwd: "${parts.site.path}", ports: [http]}}
    - {name: admin, driver: secret}
    - {name: crm, driver: cloud, provider: eu, with: {reset: true}}
    - {name: erp, driver: cloud, provider: tidy}
    - {name: old, driver: cloud, provider: eu}
  finish:
    - {name: key, driver: secret}
  outputs:
    token: {value: "${parts.key.value}", secret: true}
"""
PROVIDERS = """
---
apiVersion: stoker/v1
kind: Provider
metadata: {name: eu}
spec: {driver: cloud, with: {region: eu}}
---
apiVersion: stoker/v1
kind: Provider
metadata: {name: tidy}
spec: {driver: cloud, with: {region: eu, reset: true}}
"""
VERIFY = 'verify: {http: "http://127.0.0.1:${parts.web.ports.http}/"}'


def a_config(reset: str, parts: str = PARTS) -> str:
    return a_blueprint_with(f"{parts}  reset: {reset}") + PROVIDERS


def the_blueprint(reset: str) -> Blueprint:
    return the_revision(a_config(reset)).pools["boxes"].blueprint


def test_a_blueprint_without_a_reset_serves_one_claim() -> None:
    blueprint = the_revision(a_blueprint_with(PARTS) + PROVIDERS).pools["boxes"].blueprint

    assert blueprint.reset is None


def test_a_reset_is_compiled_with_its_parts_in_creation_order() -> None:
    reset = the_blueprint(f"{{parts: [web, site], {VERIFY}, maxUses: 3, within: 9s}}").reset

    assert reset is not None
    assert (["site", "web"], 3, 9.0) == (
        [part.name for part in reset.parts],
        reset.max_uses,
        reset.within,
    )
    scope = {"parts": {"web": {"ports": {"http": 81}}}}
    assert {"http": "http://127.0.0.1:81/", "within": 30.0, "every": 0.25} == reset.verify.render(
        scope
    )


def test_a_reset_has_bounds_when_it_says_none() -> None:
    reset = the_blueprint(f"{{{VERIFY}}}").reset

    assert reset is not None
    assert ((), 10, 30.0) == (reset.parts, reset.max_uses, reset.within)


def test_a_part_is_reset_in_place_when_its_own_setting_or_its_providers_says_so() -> None:
    reset = the_blueprint(f"{{parts: [crm, erp, old, web], {VERIFY}}}").reset

    assert reset is not None
    assert {"crm", "erp"} == reset.in_place


def test_a_change_of_the_reset_makes_no_resource_outdated() -> None:
    one, other = the_blueprint(f"{{{VERIFY}}}"), the_blueprint(f"{{parts: [web], {VERIFY}}}")

    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("reset", "sentence"),
    [
        (
            "{parts: [web]}",
            "a.yaml:17:3: spec.reset: the key 'verify' is missing. Write verify: ….",
        ),
        (
            "{parts: [wbe], verify: {exec: [check]}}",
            "a.yaml:17:19: spec.reset.parts[0]: there is no part 'wbe'. Did you mean 'web'?",
        ),
        (
            "{parts: [key], verify: {exec: [check]}}",
            ("a.yaml:17:19: spec.reset.parts[0]: the part 'key' is made for one claim, and removed "
            "with it in any case. Name parts of prepare alone."),
        ),
        (
            "{parts: [web, web], verify: {exec: [check]}}",
            "a.yaml:17:24: spec.reset.parts[1]: the part 'web' is named twice. Remove one of them.",
        ),
        (
            "{parts: [site], verify: {exec: [check]}}",
            ("a.yaml:17:19: spec.reset.parts[0]: the part 'web' reads 'site', and would go on with "
            "what is gone. Name 'web' too."),
        ),
        (
            "{verify: {}}",
            ("a.yaml:17:19: spec.reset.verify: expected exactly one of http, tcp and exec, got none "
            'of them. Write one of them, such as {http: "http://127.0.0.1:${parts.NAME.ports.http}/"}.'),
        ),
        (
            "{verify: {exec: [a], tcp: '1'}}",
            ("a.yaml:17:19: spec.reset.verify: expected exactly one of http, tcp and exec, got tcp "
            'and exec. Write one of them, such as {http: "http://127.0.0.1:${parts.NAME.ports.http}/"}.'),
        ),
        (
            "{verify: {exec: [a], log: up}}",
            ("a.yaml:17:31: spec.reset.verify.log: a line that was written before the claim ended "
            "would prove nothing. Use http, tcp or exec."),
        ),
        (
            "{verify: {exec: [check, '${parts.key.value}']}}",
            ("a.yaml:17:34: spec.reset.verify.exec[1]: the part 'key' is removed before this is "
            "asked. Read parts of prepare alone."),
        ),
        (
            "{verify: {exec: [check, '${claim.id}']}}",
            ("a.yaml:17:37: spec.reset.verify.exec[1]: 'claim' cannot be read here. The claim is "
            "over by then; read parts or resource."),
        ),
        (
            "{verify: {exec: [check, '${self.pid}']}}",
            ("a.yaml:17:37: spec.reset.verify.exec[1]: 'self' cannot be read here. A reset belongs "
            "to no single part; read parts.NAME."),
        ),
        (
            "{verify: {exec: [check, '${parts.site.pth}']}}",
            ("a.yaml:17:48: spec.reset.verify.exec[1]: 'parts.site' has no member 'pth'. Did you "
            "mean 'path'?"),
        ),
        (
            "{verify: {exec: [check]}, maxUses: 0}",
            "a.yaml:17:45: spec.reset.maxUses: must be at least 1, not 0. Write another value.",
        ),
    ],
)  # fmt: skip
def test_a_reset_that_contradicts_itself_is_refused_with_its_place(
    reset: str, sentence: str
) -> None:
    assert [sentence] == told_of(reset)


def told_of(reset: str) -> list[str]:
    return told(loaded(a_config(reset)))


def test_all_parts_that_would_go_on_with_what_is_gone_are_told_at_once() -> None:
    parts = """
  prepare:
    - {name: a, driver: box}
    - {name: b, driver: box, with: {colour: "${parts.a.path}"}}
    - {name: c, driver: box, dependsOn: [b]}
"""
    found = told(loaded(a_config("{parts: [a], verify: {exec: [check]}}", parts)))

    assert ["'b' reads 'a'", "'c' reads 'b'"] == [
        " ".join(one.split("the part ")[1].split()[:3]).rstrip(",") for one in found
    ]


def test_max_uses_without_a_reset_is_refused() -> None:
    problem = the_problem(a_blueprint_with("  maxUses: 3"))

    assert "maxUses means nothing without a reset" in str(problem)
    assert str(problem).startswith("a.yaml:5:3: spec.maxUses: ")


@pytest.mark.parametrize("marked", ["a ${parts.admin.value}", "${parts.admin}", "${parts}"])
def test_a_secret_that_every_claimant_would_be_told_is_refused(marked: str) -> None:
    parts = PARTS + f'    root: {{value: "{marked}", secret: true}}\n'
    (found,) = told(loaded(a_config("{parts: [crm], verify: {exec: [check]}}", parts)))

    assert "every claimant would be told the same secret parts.admin.value" in found
    assert "Move 'admin' to finish, or name it in reset.parts." in found


def test_a_secret_that_is_made_anew_may_be_told_to_each_claimant() -> None:
    parts = PARTS + '    root: {value: "${parts.admin.value}", secret: true}\n'

    revision = the_revision(a_config("{parts: [admin], verify: {exec: [check]}}", parts))

    assert revision.pools["boxes"].blueprint.reset is not None


def test_the_documented_reset_is_valid() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    (spec,) = re.findall(r"```yaml\n(spec:\n(?:.*\n)*?  reset:\n(?:.*\n)*?)```", page)
    head = "apiVersion: stoker/v1\nkind: {}\nmetadata: {{name: {}}}\n"
    provider = "spec: {driver: command, with: {program: [/bin/true]}}\n"
    documents = [
        head.format("Provider", "postgres") + provider,
        head.format("Provider", "roles") + provider,
        head.format("Blueprint", "db") + spec,
        head.format("Pool", "db") + "spec: {blueprint: db, size: {min: 8, max: 8}}\n",
    ]
    result = load({"a.yaml": "---\n".join(documents)}, catalogue(), "the documentation")
    assert [] == [str(problem) for problem in result.problems]
