"""Checks across documents and against the drivers."""

import time

import pytest

from stoker.config.loading import Reuse, load
from tests.config.catalogue import (
    BLUEPRINT,
    CATALOGUE,
    POOL,
    a_blueprint_with,
    loaded,
    the_problem,
    the_revision,
    told,
)


def test_a_whole_config_becomes_a_revision() -> None:
    revision = the_revision(
        a_blueprint_with("""
  parameters:
    name: {type: string, default: you}
  prepare:
    - {name: web, driver: server, with: {command: ["${self.ports.http}"], cwd: "${parts.site.path}", ports: [http]},
       ready: {http: "http://127.0.0.1:${self.ports.http}/", within: 5s}}
    - {name: site, driver: box}
  finish:
    - {name: hello, driver: box, with: {colour: "${params.name}"}, dependsOn: [key]}
    - {name: key, driver: secret}
  outputs:
    url: "http://${parts.web.ports.http}"
    token: {value: "${parts.key.value}", secret: true}
    who: "${claim.caller.user}"
    fixed: 3
""")
    )
    blueprint = revision.pools["boxes"].blueprint

    assert ["site", "web"] == [part.name for part in blueprint.prepare]
    assert ["key", "hello"] == [part.name for part in blueprint.finish]
    assert [frozenset(), {"site"}] == [part.needs for part in blueprint.prepare]
    assert {"url": True, "token": False, "who": False, "fixed": True} == {
        output.name: output.early for output in blueprint.outputs
    }
    ready = blueprint.prepare[1].ready
    assert ready is not None
    assert {"http": "http://127.0.0.1:8/", "within": 5.0, "every": 0.25} == ready.render(
        {"self": {"ports": {"http": 8}}}
    )
    assert set(CATALOGUE) == set(revision.providers)


def test_parts_without_references_keep_the_order_of_the_document() -> None:
    parts = "\n".join(f"    - {{name: {name}, driver: box}}" for name in "cabd")

    blueprint = the_revision(a_blueprint_with(f"  prepare:\n{parts}")).pools["boxes"].blueprint

    assert list("cabd") == [part.name for part in blueprint.prepare]


PARTS = "  prepare:\n    - {name: site, driver: box}\n"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            "  prepare: [{name: a, driver: bx}]",
            "a.yaml:5:31: spec.prepare[0].driver: there is no driver 'bx'. Did you mean 'box'?",
        ),
        (
            "  prepare: [{name: a, driver: box, with: {color: red}}]",
            "a.yaml:5:43: spec.prepare[0].with.color: there is no key 'color' here. Did you mean 'colour'?",
        ),
        (
            "  prepare: [{name: a, driver: box, with: {size: big}}]",
            "a.yaml:5:49: spec.prepare[0].with.size: expected a whole number, got 'big'. Write a number.",
        ),
        (
            "  prepare: [{name: a, driver: box, with: {labels: {a: 1}}}]",
            "a.yaml:5:55: spec.prepare[0].with.labels.a: expected a text, got 1. Put it in quotes.",
        ),
        (
            "  prepare: [{name: a, driver: box, with: {shape: 3}}]",
            "a.yaml:5:50: spec.prepare[0].with.shape: expected a text or a list, got 3. Put it in quotes.",
        ),
        (
            "  prepare: [{name: a, driver: server}]",
            "a.yaml:5:13: spec.prepare[0].with: the key 'command' is missing. Write command: ….",
        ),
        (
            "  prepare: [{name: a, driver: server, with: {command: [a], cwd: tmp}}]",
            "a.yaml:5:45: spec.prepare[0].with: cwd must be absolute. Write another value.",
        ),
        (
            PARTS + '    - {name: a, driver: box, with: {colour: "x ${parts.sit.path}"}}',
            "a.yaml:7:56: spec.prepare[1].with.colour: 'parts' has no member 'sit'. Did you mean 'site'?",
        ),
        (
            PARTS + '    - {name: a, driver: box, with: {size: "${parts.site.path}"}}',
            "a.yaml:7:46: spec.prepare[1].with.size: the expression gives a string, but an int is needed here.",
        ),
        (
            '  prepare: [{name: a, driver: box, with: {colour: "${params.name}"}}]',
            "a.yaml:5:54: spec.prepare[0].with.colour: 'params' cannot be read here. It is known at claim only; move this part to finish.",
        ),
        (
            '  prepare: [{name: a, driver: box, with: {colour: "${claim.id}"}}]',
            "'claim' cannot be read here. It is known at claim only; move this part to finish.",
        ),
        (
            '  prepare: [{name: a, driver: box, with: {colour: "${self.ports}"}}]',
            "'self' cannot be read here. The driver 'box' allots nothing; remove it.",
        ),
        (
            '  prepare: [{name: a, driver: server, with: {command: ["${self.ports.htp}"], ports: [http]}}]',
            "'self.ports' has no member 'htp'. Did you mean 'http'?",
        ),
        (
            PARTS + '  outputs: {path: "${self.path}"}',
            "'self' cannot be read here. Self is what the driver allots to a part: read it in that part's own with and ready.",
        ),
        (
            '  prepare: [{name: a, driver: box, with: {colour: "${string(size(parts))}"}}]',
            "spec.prepare[0].with.colour: this reads 'parts' as a whole",
        ),
        (
            PARTS + "  finish: [{name: site, driver: box}]",
            "a.yaml:7:19: spec.finish[0].name: there is another part 'site' in line 6. Give one of them another name.",
        ),
        (
            '  prepare: [{name: a, driver: box, with: {colour: "${parts.b.path}"}}]\n  finish: [{name: b, driver: box}]',
            "a.yaml:5:51: spec.prepare[0].with.colour: the part 'b' is made at claim, after this one. Move this part to finish, or that one to prepare.",
        ),
        (
            "  prepare: [{name: a, driver: box, dependsOn: [b]}]\n  finish: [{name: b, driver: box}]",
            "a.yaml:5:48: spec.prepare[0].dependsOn[0]: the part 'b' is made at claim, after this one.",
        ),
        (
            PARTS + "    - {name: b, driver: box, dependsOn: [sites]}",
            "a.yaml:7:42: spec.prepare[1].dependsOn[0]: there is no part 'sites'. Did you mean 'site'?",
        ),
        (
            "  prepare: [{name: a, driver: box, provider: cluod}]",
            "a.yaml:5:46: spec.prepare[0].provider: there is no provider 'cluod'. Did you mean 'box'?".replace(
                "Did you mean 'box'?", "Known are box."
            ),
        ),
        (
            "  prepare: [{name: a, driver: box, provider: cloud}]",
            "the provider 'cloud' is one of the driver 'cloud', not of 'box'. Name another provider or driver.",
        ),
        (
            '  prepare: [{name: a, driver: box, with: {colour: "${parts.a.path}"}}]',
            "a.yaml:5:20: spec.prepare[0].name: the part 'a' needs itself. Read self.… in its place.",
        ),
        (
            "  prepare: [{name: a, driver: box, dependsOn: [b]}, {name: b, driver: box, dependsOn: [c]}, {name: c, driver: box, dependsOn: [a]}]",
            "a.yaml:5:20: spec.prepare[0].name: these parts need each other: a → b → c → a. Remove one of these references.",
        ),
        (
            "  prepare: [{name: a, driver: secret}]\n  outputs: {token: '${parts.a.value}'}",
            "a.yaml:6:20: spec.outputs.token: this reads the secret parts.a.value, but the output is not marked as secret. Write token: {value: …, secret: true}.",
        ),
        (
            "  prepare: [{name: a, driver: secret}]\n  outputs: {all: {value: '${parts.a}'}}",
            "spec.outputs.all.value: this reads the secret parts.a.value",
        ),
        (
            "  parameters: {pin: {type: string, writeOnly: true}}\n  outputs: {pin: '${params.pin}'}",
            "this reads the secret params.pin",
        ),
        (
            "  parameters: {pin: {type: strin}}",
            "a.yaml:5:21: spec.parameters.pin: there is no type 'strin'. Did you mean 'string'?",
        ),
        ("  outputs: {a: null}", "a.yaml:5:16: spec.outputs.a: the output has no value."),
        (
            "  prepare: [{name: a, driver: box, ready: {log: '(?=x)'}}]",
            "a.yaml:5:49: spec.prepare[0].ready.log: this is no pattern",
        ),
        (
            '  prepare: [{name: a, driver: box, ready: {tcp: "1:${parts.b}"}}]',
            "spec.prepare[0].ready.tcp: 'parts' has no member 'b'.",
        ),
    ],
)
def test_a_mistake_in_a_blueprint_names_place_and_remedy(spec: str, sentence: str) -> None:
    problems = told(loaded(a_blueprint_with(spec)))

    assert [True] == [sentence in problem for problem in problems], problems


def test_settings_that_hold_expressions_are_checked_once_they_are_rendered() -> None:
    spec = """
  prepare:
    - {name: site, driver: box}
    - {name: a, driver: server, with: {command: ["${parts.site.path}"], cwd: "${parts.site.path}"}}
    - {name: b, driver: box, with: {pause: "${resource.id}", shape: ["${resource.id}"], labels: {a: "${resource.id}"}}}
"""

    assert [] == list(loaded(a_blueprint_with(spec)).problems)


def test_all_problems_of_all_files_are_told_at_once_and_by_place() -> None:
    first = a_blueprint_with(
        "  prepare: [{name: a, driver: bx}, {name: b, driver: box, with: {siz: 1}}]"
    )
    second = POOL.replace("min: 1", "min: 5").replace("boxes", "others")

    problems = loaded(first, **{"b.yaml": second, "c.yaml": "a: ["}).problems

    assert [
        ("a.yaml", "spec.prepare[0].driver"), ("a.yaml", "spec.prepare[1].with.siz"),
        ("b.yaml", "spec.size.min"), ("c.yaml", ""),
    ] == [(problem.file, problem.path) for problem in problems]  # fmt: skip


def test_a_dangling_blueprint_names_the_nearest() -> None:
    problem = the_problem(a_blueprint_with("  {}").replace("blueprint: box", "blueprint: bix"))

    assert "there is no blueprint 'bix'" == problem.message
    assert "did you mean 'box'?" == problem.remedy


def test_a_blueprint_with_mistakes_still_counts_as_known() -> None:
    assert "spec.prepares" == the_problem(a_blueprint_with("  prepares: []")).path


def test_what_an_unreadable_file_may_define_is_not_missed() -> None:
    result = load({"a.yaml": POOL, "b.yaml": BLUEPRINT + "  outputs: ["}, CATALOGUE, "test")

    assert ["b.yaml"] == [problem.file for problem in result.problems]


def test_a_blueprint_that_no_pool_uses_is_no_mistake() -> None:
    other = BLUEPRINT.replace("name: box", "name: other")

    assert the_revision(f"{a_blueprint_with('  {}')}\n---{other}  {{}}")


def test_two_documents_of_one_kind_and_name_name_each_other() -> None:
    problems = loaded(a_blueprint_with("  {}"), **{"b.yaml": POOL}).problems

    assert ["b.yaml:4:18: metadata.name: there is another Pool 'boxes' at a.yaml:9:18. Give one of them another name, or remove it."] == [
        str(problem) for problem in problems
    ]  # fmt: skip


def test_a_pool_and_a_blueprint_may_share_a_name() -> None:
    assert the_revision(a_blueprint_with("  {}").replace("boxes", "box")).pools["box"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("  size: {min: 4, max: 3}", "spec.size.min: min (4) is more than max (3)."),
        ("  lifetime: {ttl: 2h, maxTtl: 1h}", "spec.lifetime.ttl: ttl (2h) is longer than maxTtl (1h)."),
        ("  lifetime: {notice: 30m}", "spec.lifetime.notice: notice (30m) is not shorter than ttl (30m), so that every claim would expire soon from its first moment on."),
        ("  lifetime: {ttl: 3h, grace: 2h}", "spec.lifetime.grace: grace (2h) is longer than 1h."),
        ("  lifetime: {ttl: 1m, grace: 2m}", "spec.lifetime.grace: grace (2m) is longer than ttl (1m)."),
        ("  lifetime: {maxTtl: 1m}", "spec.lifetime.maxTtl: the ttl of 30m, which holds when none is written, is longer than maxTtl (1m)."),
    ],
)  # fmt: skip
def test_a_pool_that_contradicts_itself_is_refused(change: str, sentence: str) -> None:
    text = a_blueprint_with("  {}").rstrip() + "\n" + change + "\n"
    if "size" in change:
        text = text.replace("  size: {min: 1, max: 3}\n", "")

    assert sentence in str(the_problem(text))


def a_provider(spec: str, name: str = "mine") -> str:
    head = f"apiVersion: stoker/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    return f"{head}---\n{a_blueprint_with('  {}')}"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("{driver: clowd}", "a.yaml:4:16: spec.driver: there is no driver 'clowd'. Did you mean 'cloud'?"),
        ("{driver: cloud}", "a.yaml:4:7: spec.with: the key 'region' is missing. Write region: …."),
        ("{driver: cloud, with: {regin: x, region: y}}", "a.yaml:4:30: spec.with.regin: there is no key 'regin' here. Did you mean 'region'?"),
        ("{driver: box, with: {a: 1}}", "a.yaml:4:21: spec.with: providers of the driver 'box' have no settings. Remove with."),
        ("{driver: box, limits: {concurrency: 4, reserve: 4}}", "spec.limits.reserve: reserve (4) leaves nothing of concurrency (4) for backfill."),
        ("{driver: cloud, with: {region: '${claim.id}'}}", "a.yaml:4:38: spec.with.region: a provider is there before any resource, so it has nothing to read."),
        ("{driver: box, limits: {burst: 4}}", "spec.limits.burst: burst means nothing without a rate."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_provider_names_place_and_remedy(spec: str, sentence: str) -> None:
    assert sentence in str(the_problem(a_provider(spec)))


def test_a_provider_cannot_take_the_name_of_another_driver() -> None:
    problem = the_problem(a_provider("{driver: cloud, with: {region: x}}", "box"))

    assert "'box' is the name of a driver, and this is a provider of 'cloud'" == problem.message


def test_a_provider_has_its_settings_and_limits() -> None:
    text = a_provider("{driver: cloud, with: {region: x}, limits: {rate: 50/s, concurrency: 8}}")
    provider = the_revision(text).providers["mine"]

    assert ("cloud", {"region": "x"}) == (provider.driver, provider.settings)
    assert (50.0, 5, 8, 2) == (
        provider.limits.rate, provider.limits.burst, provider.limits.concurrency, provider.limits.reserve,
    )  # fmt: skip


def digest(spec: str) -> str:
    return the_revision(a_blueprint_with(spec)).pools["boxes"].blueprint.digest


SPEC = """
  parameters: {name: {type: string, default: x}}
  prepare: [{name: a, driver: box, with: {size: 1}, ready: {log: up}}]
  finish: [{name: b, driver: secret}]
  outputs: {path: "${parts.a.path}"}
  cost: {perHour: 1}
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("size: 1", "size: 2"), ("log: up", "log: down"), ("name: a", "name: c"),
        ("driver: secret", "driver: box"), ("default: x", "default: y"), ("path: ", "way: "),
    ],
)  # fmt: skip
def test_whatever_decides_how_a_resource_is_made_changes_the_digest(
    before: str, after: str
) -> None:
    changed = SPEC.replace(before, after).replace(
        "parts.a", "parts.c" if after == "name: c" else "parts.a"
    )

    assert digest(SPEC) != digest(changed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("perHour: 1", "perHour: 2"), ("{size: 1}", "{ size: 1 }"),
        ("log: up", "log: up, within: 9s"), ("  cost", "  finishWithin: 9s\n  cost"),
    ],
)  # fmt: skip
def test_what_makes_no_other_resource_keeps_the_digest(before: str, after: str) -> None:
    assert digest(SPEC) == digest(SPEC.replace(before, after))


def test_the_settings_of_a_provider_change_the_digest_and_its_limits_do_not() -> None:
    def of(region: str, rate: str) -> str:
        spec = f"{{driver: cloud, with: {{region: {region}}}, limits: {{rate: {rate}}}}}"
        text = a_provider(spec).replace(
            "  {}\n", "  prepare: [{name: a, driver: cloud, provider: mine}]\n"
        )
        return the_revision(text).pools["boxes"].blueprint.digest

    assert of("here", "1/s") == of("here", "2/s")
    assert of("here", "1/s") != of("there", "1/s")


def test_a_blueprint_compiled_while_a_file_was_broken_is_compiled_again() -> None:
    reuse = Reuse()
    text = a_blueprint_with("  prepare: [{name: a, driver: cloud, provider: gone}]")
    load({"a.yaml": text, "b.yaml": "["}, CATALOGUE, "test", reuse=reuse)

    whole = load({"a.yaml": text}, CATALOGUE, "test", reuse=reuse)

    assert ["there is no provider 'gone'"] == [problem.message for problem in whole.problems]


def test_expressions_have_a_bound() -> None:
    many = ", ".join(f"l{n}: '${{resource.id}}'" for n in range(600))
    spec = f"  prepare: [{{name: a, driver: box, with: {{labels: {{{many}}}}}}}]"
    started = time.monotonic()

    assert "more than 500 texts with expressions" in the_problem(a_blueprint_with(spec)).message
    assert time.monotonic() - started < 2


def test_thousands_of_mistakes_are_told_quickly() -> None:
    pools = "---".join(
        POOL.replace("boxes", f"p{n}").replace("blueprint: box", f"blueprint: bx{n}")
        for n in range(900)
    )
    files = {
        f"{n}.yaml": BLUEPRINT.replace("name: box", f"name: b{n}") + "  {}" for n in range(900)
    }
    keys = ", ".join(f"k{n}: 1" for n in range(20_000))
    wide = a_blueprint_with(f"  prepare: [{{name: a, driver: box, with: {{{keys}}}}}]")
    started = time.monotonic()

    problems = loaded(pools, **files, **{"wide.yaml": wide}).problems

    assert len(problems) > 900
    assert time.monotonic() - started < 30


def test_an_unknown_key_hides_nothing_else_that_is_wrong_with_the_document() -> None:
    pool = """
apiVersion: stoker/v1
kind: Pool
metadata: {name: boxes, colour: red}
spec:
  blueprint: boxs
  size: {min: 5, max: 2, mx: 3}
  lifetime: {ttl: 5h, maxTtl: 1h}
  bakfill: {rate: 5/s}
"""
    said = [str(problem) for problem in loaded(f"{BLUEPRINT}\n---{pool}").problems]

    for words in ("'colour'", "'mx'", "'bakfill'", "'boxs'", "min", "maxTtl"):
        assert any(words in each for each in said), (words, said)
    assert len(said) >= 6, said


def test_an_unknown_key_of_a_blueprint_does_not_hide_its_bad_expressions() -> None:
    text = a_blueprint_with("""
  prepare:
    - {name: site, driver: box, with: {colour: "${parts.nowhere.path}"}, colour: red}
""")
    said = [str(problem) for problem in loaded(text).problems]

    assert any("'colour'" in each for each in said), said
    assert any("nowhere" in each for each in said), said
