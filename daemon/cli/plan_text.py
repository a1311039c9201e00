"""What `stoker plan` prints: for people, for programs, and for a pull request. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...config.checking import ACCEPT
from ...config.units import format_duration
from ...policies.comparing import PolicyChange
from ...pools.impact import Fate, Impact, Objection, PoolImpact
from .replays import Replay
from .replays import as_json as difference_json
from .terminal import clean, style, table

HEADERS = ("POOL", "CHANGE", "CREATED", "ROLLED", "DRAINED", "DESTROYED", "COST/H")

SHORT = 0.1
"""Seconds that nobody has to be told of."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What applying a directory would do."""

    revision: str
    """Of the directory."""
    against: str
    """What it is compared with, in a few words."""
    impact: Impact
    objections: tuple[Objection, ...]
    """Why it would be held; empty when it would be applied."""
    policies: tuple[PolicyChange, ...] = ()
    """What it does to who may claim."""
    replayed: Replay | None = None
    """What it would have made of the decisions that the daemon recorded; None where none was asked."""
    live: bool = False
    """It was compared with what stands, not with what is declared."""
    pinned: str = ""
    """The revision that is pinned, so that nothing is applied now."""
    frozen: bool = False
    """The host is, so that nothing is applied now."""

    @property
    def change(self) -> bool:
        return bool(self.impact) or bool(self.policies)


def as_json(plan: Planned) -> dict[str, Any]:
    found = plan.impact
    document: dict[str, Any] = {
        "revision": plan.revision,
        "against": plan.against,
        "live": plan.live,
        "change": plan.change,
        "held": [one.because for one in plan.objections],
        "summary": {
            "created": found.created,
            "rolled": found.rolled,
            "drained": found.drained,
            "destroyed": found.destroyed,
            "costPerHour": _cost(found.cost),
        },
        "pools": [_pool_json(one) for one in found.pools],
        "providers": list(found.providers),
        "policies": [
            {
                "policy": one.policy,
                "what": one.what,
                "direction": one.direction.value,
                "sentence": one.sentence,
            }
            for one in plan.policies
        ],
    }
    if plan.live:
        document["frozen"] = plan.frozen
    if plan.replayed is not None:
        document["decisions"] = {
            "lookedAt": plan.replayed.looked_at,
            "different": [difference_json(*one) for one in plan.replayed.different],
        }
    return {**document, "pinned": plan.pinned} if plan.pinned else document


def _pool_json(one: PoolImpact) -> dict[str, Any]:
    return {
        "name": one.pool,
        "fate": one.fate.value,
        "size": {"before": one.size[0], "after": one.size[1]},
        "settings": [
            {"path": field.path, "before": field.before, "after": field.after}
            for field in one.settings
        ],
        "outdatedBecause": list(one.outdated_because),
        "standing": one.standing,
        "created": one.created,
        "rolled": one.rolled,
        "rollTakes": format_duration(round(one.roll_takes, 1)),
        "rollWindows": list(one.roll_in),
        "drained": one.drained,
        "destroyed": one.destroyed,
        "costPerHour": _cost(one.cost),
    }


def _cost(cost: tuple[float, float]) -> dict[str, float]:
    return {"before": round(cost[0], 6), "after": round(cost[1], 6)}


def as_text(plan: Planned) -> str:
    if not plan.change:
        return f"No change compared with {plan.against}."
    mark = style("!", "red")
    paragraphs = [
        [f"Compared with {plan.against}:"],
        [table(HEADERS, [_row(one) for one in plan.impact.pools])] if plan.impact.pools else [],
        [clean(one) for one in _sentences(plan)],
        [clean(one) for one in _decisions(plan)],
        [_summary(plan.impact), *(f"{mark} {clean(one)}" for one in _warnings(plan))],
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def as_markdown(plan: Planned) -> str:
    """For a comment on a pull request."""
    if not plan.change:
        return f"**stoker plan**: no change compared with {plain(plan.against)}."
    lines = [f"**stoker plan**, compared with {plain(plan.against)}", ""]
    if plan.impact.pools:
        lines += ["| " + " | ".join(HEADERS) + " |", "|---|---" + "|--:" * 4 + "|---|"]
        lines += ["| " + " | ".join(_row(one)) + " |" for one in plan.impact.pools]
        lines.append("")
    lines += [f"- {plain(one)}" for one in _sentences(plan)]
    lines += [f"- {plain(one)}" for one in _decisions(plan)]
    lines += ["", _summary(plan.impact)]
    lines += [line for one in _warnings(plan) for line in ("", f"> ⚠️ {plain(one)}")]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Names and settings are the author's: none of them becomes markup."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!@" else sign for sign in clean(text))


def _row(one: PoolImpact) -> list[str]:
    counts = (one.created, one.rolled, one.drained, one.destroyed)
    return [one.pool, _change(one), *(str(count or "-") for count in counts), _costs(one.cost)]


def _change(one: PoolImpact) -> str:
    if one.fate is not Fate.CHANGED:
        return one.fate.value
    if one.outdated_because:
        return "rolled"
    return "resized" if one.size[0] != one.size[1] else "changed"


def _costs(cost: tuple[float, float]) -> str:
    before, after = (f"{one:.4g}" for one in cost)
    return before if before == after else f"{before} → {after}"


def _sentences(plan: Planned) -> Iterator[str]:
    for one in plan.impact.pools:
        if one.settings:
            said = ", ".join(
                f"{field.path} from {field.before or '(unset)'} to {field.after or '(unset)'}"
                for field in one.settings
            )
            yield f"{one.pool}: {said}"
        if one.outdated_because:
            yield f"{one.pool}: rolled, because {'; '.join(one.outdated_because)}{_time(one)}"
        if one.fate is Fate.REMOVED:
            drained = f", {one.drained} live out their claims" if one.drained else ""
            yield f"{one.pool}: no new claims, ready ones go{drained}"
    for name in plan.impact.providers:
        yield f"the provider {name} changes"
    for change in plan.policies:
        yield f"{change.direction.value}: {change.sentence}"


def _decisions(plan: Planned) -> Iterator[str]:
    """Of the decisions that the daemon recorded lately: those that would come out differently."""
    found = plan.replayed
    if found is not None and found.looked_at:
        yield f"claims: {found.summary}"
        for group in found.groups():
            yield f"claims: {group}"


def _time(one: PoolImpact) -> str:
    said: list[str] = []
    if one.roll_takes >= SHORT:
        count = "1 new one takes" if one.rolled == 1 else f"{one.rolled} new ones take"
        said.append(f"{count} {format_duration(round(one.roll_takes, 1))} or longer")
    if one.roll_in:
        said.append(f"only within {' or '.join(one.roll_in)}")
    return f" ({', '.join(said)})" if said else ""


def _summary(found: Impact) -> str:
    return (
        f"Plan: {found.created} to create, {found.rolled} to roll, {found.drained} to drain, "
        f"{found.destroyed} to destroy. Cost per hour: {_costs(found.cost)}."
    )


def _warnings(plan: Planned) -> Iterator[str]:
    for one in plan.objections:
        yield f"It would be held: {one.because}."
    pools = sorted({one.pool for one in plan.objections if one.pool})
    if plan.objections:
        names = (
            f", or annotate any document of it with {ACCEPT}: {', '.join(pools)}" if pools else ""
        )
        yield f"If that is wanted, accept it once it is there (stoker apply --accept REVISION){names}."
    if plan.pinned:
        yield f"Revision {plan.pinned} is pinned: nothing else is applied until 'stoker config unpin'."
    if plan.frozen:
        yield "The host is frozen: nothing is applied until it is thawed; 'stoker status' says by whom."
