"""How far a changed blueprint has come, what it waits for, and what serves meanwhile."""

from collections.abc import Iterator

from ...config.units import format_duration
from ..rollout import Stage, budget, canaries
from .pool_facts import PoolFacts
from .shape import Coming
from .words import be, quoted, span, within

_DIGEST = 12


def stands_still(facts: PoolFacts) -> Iterator[str]:
    """What keeps the rollout from going on."""
    rollout = facts.status.rollout
    if rollout is None:
        return
    if rollout.stage is Stage.PAUSED:
        yield (
            f"The rollout of {rollout.digest[:_DIGEST]} has been paused for "
            f"{span(facts.present.now - rollout.since)}: {quoted(rollout.reason)}. The blueprint before "
            f"({rollout.previous[:_DIGEST]}) serves on, until another revision changes the blueprint or "
            f"'stoker resume {facts.spec.name}' tries again."
        )
    elif rollout.waits:
        opens = ""
        if rollout.opens_at is not None:
            opens = f"; a window opens {within(rollout.opens_at - facts.present.now)}"
        yield f"The rollout waits: {quoted(rollout.waits)}{opens}."


def outdated(facts: PoolFacts) -> Iterator[str]:
    """What becomes of those that are not up to date."""
    rollout, count, rules = facts.status.rollout, facts.snapshot.outdated, facts.spec.rollout
    limits = budget(facts.spec)
    if rollout is not None and rollout.stage is Stage.CANARY:
        need = canaries(facts.spec)
        yield (
            f"The blueprint changed {span(facts.present.now - rollout.started_at)} ago. First "
            f"{need} (rollout.canary) {be(need)} made of it and must stay healthy for "
            f"{format_duration(rules.settle)} (rollout.settle); until then the one before serves."
        )
    if not count or (rollout is not None and rollout.stage is Stage.PAUSED):
        return
    order = "before" if facts.snapshot.holding else "after"
    yield (
        f"{count} of the ready ones {be(count)} outdated: made to an earlier blueprint or before a "
        f"refresh, and handed out {order} the others. They are replaced with {limits.surge} more than "
        f"size.min at most (rollout.maxSurge), and {limits.least} ready at least "
        "(rollout.maxUnavailable, rollout.floor)."
    )


def comes(facts: PoolFacts) -> Iterator[Coming]:
    rollout, under = facts.status.rollout, facts.snapshot.rolling
    if rollout is None or under is None or rollout.stage is Stage.PAUSED:
        return
    present = facts.present
    if rollout.opens_at is not None:
        yield Coming.when("a window of its rollout opens", rollout.opens_at, present)
    if rollout.waits:
        return
    if under.proves_at is not None and rollout.stage is Stage.CANARY:
        yield Coming.when(
            "a canary has proved itself, if it stays healthy", under.proves_at, present
        )
    deadline = under.memory.progress_at + facts.spec.rollout.progress_deadline
    yield Coming.when("its rollout is paused, unless it makes progress", deadline, present)
