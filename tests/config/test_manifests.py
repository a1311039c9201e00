"""The documents as models: unknown keys, wrong types and wrong names, each with its place."""

import pytest

from stoker.config.manifests import Pool, default_burst
from stoker.config.revision import Courtesy
from tests.config.catalogue import BLUEPRINT, POOL, a_blueprint_with, loaded, the_revision, told


def told_of(text: str) -> str:
    problems = told(loaded(text))
    assert len(problems) == 1, problems
    return problems[0]


def a_pool_with(spec: str, metadata: str = "{name: boxes}") -> str:
    return f"""{BLUEPRINT.lstrip()}  {{}}
---
apiVersion: stoker/v1
kind: Pool
metadata: {metadata}
spec:
  blueprint: box
{spec}
"""


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("  size: {mim: 1, max: 3}", "a.yaml:12:3: spec.size: the key 'min' is missing. Write min: …."),
        ("  size: {min: '1', max: 3}", "a.yaml:12:15: spec.size.min: expected a whole number, got '1'. Write it without quotes."),
        ("  size: {min: 1.5, max: 3}", "a.yaml:12:15: spec.size.min: expected a whole number, got 1.5. Write a whole number."),
        ("  size: {min: true, max: 3}", "a.yaml:12:15: spec.size.min: expected a whole number, got true. Write a whole number."),
        ("  size: {min: , max: 3}", "a.yaml:12:15: spec.size.min: expected a whole number, got nothing. Write a value after the colon, or remove the key."),
        ("  size: {min: 0, max: 0}", "a.yaml:12:23: spec.size.max: must be at least 1, not 0. Write another value."),
        ("  size: 3", "a.yaml:12:9: spec.size: expected a mapping, got 3. Write its keys below it, indented, or as { … }."),
        ("  size: {min: 1, max: 3}\n  lifetme: {}", "a.yaml:13:3: spec.lifetme: there is no key 'lifetme' here. Did you mean 'lifetime'?"),
        ("  size: {min: 1, max: 3}\n  lifetime: {max_ttl: 3h}", "a.yaml:13:14: spec.lifetime.max_ttl: there is no key 'max_ttl' here. Did you mean 'maxTtl'?"),
        ("  size: {min: 1, max: 3}\n  lifetime: {ttl: 30}", "a.yaml:13:19: spec.lifetime.ttl: expected a duration such as 30m, got 30. Write a number with its unit."),
        ("  size: {min: 1, max: 3}\n  lifetime: {ttl: 0s}", "a.yaml:13:19: spec.lifetime.ttl: expected a duration above zero, got 0. Write a longer one, such as 30s."),
        ("  size: {min: 1, max: 3}\n  backfill: {burst: 0}", "a.yaml:13:21: spec.backfill.burst: must be at least 1, not 0. Write another value."),
        ("  size: {min: 1, max: 3, auto: {}}", "a.yaml:12:26: spec.size.auto: sizes that follow demand are not supported by this version. Write {min: …, max: …}."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pool_names_place_expectation_and_remedy(spec: str, sentence: str) -> None:
    assert sentence in told(loaded(a_pool_with(spec)))


def test_a_schedule_is_told_to_come_later() -> None:
    problems = told(loaded(a_pool_with("  size: {schedule: []}")))

    assert any("sizes by schedule are not supported by this version" in it for it in problems)


@pytest.mark.parametrize("name", ["Web", "-web", "web-", "a.b", "a_b", "x" * 41, "''"])
def test_names_of_documents_are_plain(name: str) -> None:
    text = a_pool_with("  size: {min: 1, max: 3}", f"{{name: {name}}}")

    assert "a.yaml:9:18: metadata.name: " in told_of(text)


@pytest.mark.parametrize("name", ["site-x", "Site", "1st", "a.b", "true", "in"])
def test_names_of_parts_can_be_read_by_expressions(name: str) -> None:
    text = a_blueprint_with(f"  prepare: [{{name: '{name}', driver: box}}]")

    assert "a.yaml:5:20: spec.prepare[0].name: " in told_of(text)


def test_labels_have_bounds() -> None:
    labels = ", ".join(f"l{n}: x" for n in range(65))
    size = "  size: {min: 1, max: 3}"

    assert "at most 64" in told_of(a_pool_with(size, f"{{name: a, labels: {{{labels}}}}}"))
    assert "at most 63" in told_of(a_pool_with(size, f"{{name: a, labels: {{a: {'x' * 64}}}}}"))
    assert "metadata.labels['a b']" in told_of(a_pool_with(size, "{name: a, labels: {a b: c}}"))


@pytest.mark.parametrize(
    ("ready", "words"),
    [
        ("{}", "expected exactly one of http, tcp, exec and log, got none of them"),
        ("{tcp: x, log: y}", "got tcp and log"),
        ("{exec: []}", "at least 1"),
        ("{http: x, within: 1s, every: 2s}", "longer than within (1s)"),
        ("{http: x, withn: 1s}", "Did you mean 'within'?"),
    ],
)
def test_a_part_has_exactly_one_readiness_check(ready: str, words: str) -> None:
    text = a_blueprint_with(f"  prepare: [{{name: a, driver: box, ready: {ready}}}]")

    assert words in told_of(text)


def test_defaults_are_those_of_the_documentation() -> None:
    pool = the_revision(a_pool_with("  size: {min: 1, max: 3}")).pools["boxes"]

    assert (1800.0, 14400.0, None) == (
        pool.lifetime.ttl, pool.lifetime.max_ttl, pool.lifetime.max_age,
    )  # fmt: skip
    assert (5.0, 1, 4) == (pool.backfill.rate, pool.backfill.burst, pool.backfill.concurrency)
    assert (1000, 60.0) == (pool.queue.max, pool.queue.wait)


def test_the_burst_is_a_tenth_of_a_second_of_the_rate_and_at_least_one() -> None:
    assert [1, 1, 2, 10] == [default_burst(rate) for rate in (0.1, 10.0, 11.0, 100.0)]


def test_what_was_written_reaches_the_revision_in_base_units() -> None:
    spec = """  size: {min: 2, max: 9}
  lifetime: {ttl: 1h, maxTtl: 2h, maxAge: 1d}
  backfill: {rate: 120/m, burst: 7, concurrency: 3}
  queue: {max: 5, wait: 250ms}"""
    pool = the_revision(a_pool_with(spec, "{name: p, labels: {team: web}}")).pools["p"]

    assert {"team": "web"} == pool.labels
    assert (2, 9) == (pool.size.min, pool.size.max)
    assert (3600.0, 7200.0, 86400.0) == (
        pool.lifetime.ttl, pool.lifetime.max_ttl, pool.lifetime.max_age,
    )  # fmt: skip
    assert (2.0, 7, 3) == (pool.backfill.rate, pool.backfill.burst, pool.backfill.concurrency)
    assert (5, 0.25) == (pool.queue.max, pool.queue.wait)


def test_notice_and_grace_are_read_and_nothing_is_kept_where_neither_is_written() -> None:
    size = "  size: {min: 1, max: 3}\n"
    plain = the_revision(a_pool_with(size)).pools["boxes"]
    both = the_revision(a_pool_with(f"{size}  lifetime: {{notice: 5m, grace: 30s}}")).pools["boxes"]
    one = the_revision(a_pool_with(f"{size}  lifetime: {{grace: 30s}}")).pools["boxes"]

    assert None is plain.lifetime.courtesy
    assert Courtesy(300.0, 30.0) == both.lifetime.courtesy
    assert Courtesy(None, 30.0) == one.lifetime.courtesy


def test_a_long_ttl_alone_lengthens_the_default_limit() -> None:
    pool = the_revision(a_pool_with("  size: {min: 1, max: 3}\n  lifetime: {ttl: 1d}")).pools

    assert 86400.0 == pool["boxes"].lifetime.max_ttl


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("kind: Pool", "the key 'apiVersion' is missing"),
        ("apiVersion: stoker/v2\nkind: Pool", "expected 'stoker/v1', got 'stoker/v2'"),
        ("apiVersion: stoker/v1", "the key 'kind' is missing"),
        ("apiVersion: stoker/v1\nkind: Pol", "Did you mean 'Pool'?"),
        ("apiVersion: stoker/v1\nkind: [a]", "there is no kind a list"),
        ("apiVersion: stoker/v1\nkind: Policey", "Did you mean 'Policy'?"),
    ],
)  # fmt: skip
def test_version_and_kind_are_told_first(head: str, words: str) -> None:
    body = POOL.replace("apiVersion: stoker/v1\nkind: Pool", head).replace("boxes", "others")

    assert words in " ".join(told(loaded(f"{a_blueprint_with('  {}')}\n---{body}")))


def test_a_manifest_cannot_be_changed() -> None:
    assert Pool.model_config.get("frozen")
