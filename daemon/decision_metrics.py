"""What is counted of the decisions of policies; part of `metrics`. Called once for each claim and renewal."""

from prometheus_client import CollectorRegistry, Counter

from .tallies import Tallies

_BUCKETS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1,
)  # fmt: skip
MOST_RULES = 1000
"""Series of a counter; rules beyond these are counted together."""


class _ByRule:
    """A counter by outcome, policy and rule, whose series are bounded."""

    def __init__(self, name: str, meaning: str, registry: CollectorRegistry) -> None:
        self._counter = Counter(name, meaning, ["outcome", "policy", "rule"], registry=registry)
        self._children: dict[tuple[str, str, str], Counter] = {}

    def add(self, outcome: str, policy: str, rule: str) -> None:
        child = self._children.get((outcome, policy, rule))
        if child is None:
            if len(self._children) >= MOST_RULES:
                policy = rule = "other"
            child = self._counter.labels(outcome, policy, rule)
            self._children[outcome, policy, rule] = child
        child.inc()


class DecisionMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        tallies = Tallies(
            "stoker_policy_seconds",
            "Time to decide about a claim or a renewal by the policies.",
            (),
            _BUCKETS,
        )
        registry.register(tallies)
        self._seconds = tallies.labels()
        self._decided = _ByRule(
            "stoker_policy_decisions_total",
            "Decisions about claims and renewals, by outcome and by the rule that decided.",
            registry,
        )
        self._shadowed = _ByRule(
            "stoker_policy_shadow_total",
            "Decisions that would be another if all policies were enforced, by what they would be.",
            registry,
        )

    def policy_asked(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    def policy_decided(self, outcome: str, policy: str, rule: str) -> None:
        self._decided.add(outcome, policy, rule)

    def policy_shadowed(self, outcome: str, policy: str, rule: str) -> None:
        self._shadowed.add(outcome, policy, rule)
