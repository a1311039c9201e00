"""What policies cost: loading a thousand rules, and deciding with ten and with a thousand.

In this process, without a daemon. A decision touches nothing and waits for nothing, so what is
measured is the time of the processor that it takes: neighbours on the machine do not count. The ten rules are those of one team
as the documentation shows them; the thousand stand in a hundred policies that are all about the
same pool, of which half name a group and half must be evaluated for everybody.
"""

import gc
import time
from datetime import UTC, datetime

from stoker.config.loading import load
from stoker.config.revision import Revision
from stoker.policies.decide import decide
from stoker.policies.facts import CallerFacts, Facts, PoolFacts, RequestFacts
from stoker.policies.index import PoolPolicies, index_of
from stoker.policies.limits import as_given
from stoker.pools.drivers import catalogue

from ..report import Row, Section, at_most, fact, p50, p99
from ..scale import Scale

POLICIES, RULES = 100, 10
DECISIONS = 1000
"""In each repetition."""

POOL = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: box}
spec:
  parameters: {role: {type: string, default: reader}}
  prepare: [{name: site, driver: directory}]
---
apiVersion: stoker/v1
kind: Pool
metadata: {name: web, labels: {team: web, tier: production}}
spec: {blueprint: box, size: {min: 1, max: 3}}
"""
TEN = (
    ("allow", '"web" in caller.groups'),
    ("allow", 'caller.user == "deploy" && caller.unit == "deploy.service"'),
    ("allow", 'caller.unit.startsWith("ci-") && request.labels.all(key, key != "prod")'),
    ("deny", 'request.ttl > duration("4h") && pool.labels.tier == "production"'),
    ("deny", 'request.params.role == "admin" && !("dba" in caller.groups)'),
    ("deny", 'caller.exe.matches("^/tmp/") || caller.exe.endsWith(" (deleted)")'),
    ("deny", "request.count > 3 && usage.activeInPool + request.count > pool.size / 2"),
    ("approve", 'pool.cost.perHour * 8.0 > 100.0 && request.ttl > duration("8h")'),
    ("approve", '!now.inBusinessHours("Europe/Vienna") && pool.labels.tier == "production"'),
    ("deny", 'has(caller.token.exp) && caller.token.iss != "https://login.example.org"'),
)
NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
FACTS = Facts(
    CallerFacts(
        1000, 1000, "ada", ("users", "web", "docker"), 4711, "/usr/bin/python3", "ci-7.service"
    ),
    RequestFacts(ttl=3600.0, reason="OPS-17 try it", labels={"branch": "main"}),
    PoolFacts(
        "web", {"team": "web", "tier": "production"}, 3, 6, param_defaults={"role": "reader"}
    ),
    NOW,
)


def one_policy(name: str, rules: list[tuple[str, str]], more: str = "") -> str:
    lines = "".join(
        f"    - {{name: r{at}, effect: {effect}, when: '{when}'}}\n"
        for at, (effect, when) in enumerate(rules)
    )
    return (
        f"---\napiVersion: stoker/v1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n"
        f"  pools: [web]\n{more}  rules:\n{lines}"
    )


def ten_rules() -> str:
    more = (
        "  limits: {maxTtl: 8h, maxActivePerCaller: 10, ratePerCaller: 100/h}\n"
        "  defaults: {ttl: 30m}\n  forced: {labels: {owner: web}}\n"
        '  reason: {pattern: "^[A-Z]+-[0-9]+ "}\n  approvals: {approvers: \'"ops" in approver.groups\'}\n'
    )
    return POOL + one_policy("web-team", list(TEN), more)


def thousand_rules(salt: int) -> str:
    """Each rule is another expression, so that none is compiled already."""
    text = POOL
    for policy in range(POLICIES):
        rules: list[tuple[str, str]] = []
        for at in range(RULES):
            number = salt * POLICIES * RULES + policy * RULES + at
            if at % 2:
                rules.append(("allow", f'"team-{number}" in caller.groups && request.count < 5'))
            else:
                rules.append(("deny", f'request.ttl > duration("4h") && caller.uid > {number}'))
        text += one_policy(f"p{policy}", rules)
    return text


def loaded(text: str) -> Revision:
    result = load({"a.yaml": text}, catalogue(), "bench")
    assert result.revision is not None, result.problems
    return result.revision


def about_web(revision: Revision) -> PoolPolicies:
    return index_of(revision.policies.values(), revision.pools).of("web")


def timed(about: PoolPolicies, count: int) -> list[float]:
    found: list[float] = []
    gc.collect()
    for _ in range(count):
        began = time.thread_time()
        decide(about, FACTS, counted=as_given(FACTS))
        found.append(time.thread_time() - began)
    return found


async def run(scale: Scale) -> Section:
    loading: list[float] = []
    few, many = about_web(loaded(ten_rules())), about_web(loaded(thousand_rules(0)))
    for salt in range(1, scale.repetitions + 1):
        text = thousand_rules(salt)
        began = time.thread_time()
        about_web(loaded(text))
        loading.append(time.thread_time() - began)
    timed(few, 50)
    timed(many, 5)
    ten = [timed(few, DECISIONS) for _ in range(scale.repetitions)]
    thousand = [timed(many, DECISIONS // 2) for _ in range(scale.repetitions)]
    rows: list[Row] = [
        at_most("load 1,000 rules", loading, "s", 2.0, "<= 2 s"),
        fact("decide, 10 rules, p50", [p50(one) for one in ten], "s"),
        at_most("  p99", [p99(one) for one in ten], "s", 1e-3, "<= 1 ms"),
        fact("decide, 1,000 rules, p50", [p50(one) for one in thousand], "s"),
        at_most("  p99", [p99(one) for one in thousand], "s", 5e-3, "<= 5 ms"),
    ]
    notes = ["time of the processor; nothing is waited for"]
    return Section("Policies: loading and deciding, without the daemon", rows, notes)
