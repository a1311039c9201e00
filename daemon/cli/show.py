"""One claim, pool or resource, as lines of `name: value` for people."""

from typing import Any, cast

from ...client import ClaimInfo, Document
from .terminal import about, ago, facts, style, until, value_text

_COLOURS = {
    "bound": "green",
    "ready": "green",
    "pending": "yellow",
    "finishing": "yellow",
    "preparing": "yellow",
    "planned": "yellow",
    "resetting": "yellow",
    "failed": "red",
    "refused": "red",
    "quarantined": "red",
    "drifted": "red",
    "held": "yellow",
}

_ENDS_WITH = {
    "process": "the process that claimed it",
    "connection": "the connection it was claimed on",
}


def section(document: Document, name: str) -> Document:
    """The object of that name; an empty one when there is none."""
    found = document.get(name)
    return cast("Document", found) if isinstance(found, dict) else {}


def colour_of(state: str) -> str:
    return _COLOURS.get(state, "")


def claim_text(claim: ClaimInfo) -> str:
    document = claim.document
    timing = section(document, "timing")
    bound = claim.state == "bound"
    lines = facts(
        [
            ("claim", claim.id),
            ("pool", claim.pool),
            ("state", _state(claim)),
            ("resource", ", ".join(claim.resources)),
            ("caller", caller_text(document)),
            ("reason", document.get("reason")),
            ("labels", _labels(document)),
            ("expires", _when(document.get("expiresAt")) if bound else None),
            ("grace", _when(document.get("graceUntil")) if bound else None),
            ("ends with", _ENDS_WITH.get(claim.bind)),
            ("ended", document.get("endedAt")),
            ("place", claim.position),
            ("to go", about(claim.eta) if claim.eta else None),
            ("approval", _approval(section(document, "approval"))),
            ("asked", _asked(section(document, "approval"))),
            (
                "votes",
                "; ".join(_vote(one) for one in section(document, "approval").get("votes") or ()),
            ),
            ("why", claim.detail or section(document, "waitingFor").get("detail")),
            ("changed", _changes(document)),
            ("chosen", claim.because),
            ("took", _took(timing, warm=bool(document.get("warm"))) if bound else None),
        ]
    )
    several = len(claim.resources) > 1
    sections = [lines]
    for resource, given in zip(claim.resources, claim.each, strict=False):
        outputs = facts([(name, value_text(value)) for name, value in given.items()])
        if outputs:
            sections.append(f"{resource}\n{outputs}" if several else outputs)
    return "\n\n".join(sections)


def _changes(document: Document) -> str:
    """What policies made of what was asked for, as long as it serves to know."""
    return "; ".join(
        f"{one.get('path')} {_said(one.get('before'))} -> {_said(one.get('after'))} by {one.get('policy')}"
        for one in section(document, "decision").get("mutations") or ()
    )


def _said(value: Any) -> str:
    return "(unset)" if value is None else value_text(value)


def _state(claim: ClaimInfo) -> str:
    because = f" ({claim.ended_because})" if claim.ended_because else ""
    return style(claim.state, colour_of(claim.state)) + because


def _approval(approval: Document) -> str:
    """What became of it; of one that waits, until when."""
    outcome = str(approval.get("outcome", ""))
    due = f", deadline {_when(approval.get('deadline'))}" if outcome == "waiting" else ""
    return f"follow-up, {outcome}{due}" if approval.get("brokeGlass") else f"{outcome}{due}"


def _asked(approval: Document) -> str:
    return "; ".join(
        f"{need['approved']} of {need['quorum']} for {need['policy']}: {need['approvers']}"
        for need in approval.get("needs") or ()
    )


def _vote(vote: Document) -> str:
    who = vote.get("user") or (f"uid {vote['uid']}" if "uid" in vote else vote.get("subject"))
    why = f" ({vote.get('reason')})" if vote.get("reason") else ""
    by = f" by the webhook {vote['carriedBy']}" if vote.get("carriedBy") else ""
    return f"{who} says {vote.get('vote')}{by}{why}"


def _when(moment: Any) -> str:
    return f"{until(moment)} ({moment})" if moment else ""


def _took(timing: Document, *, warm: bool) -> str:
    total = str(timing.get("total", "0ms"))
    return f"{total} ({'warm' if warm else 'after it had waited'})"


def caller_text(document: Document) -> str:
    caller = section(document, "caller")
    return str(caller.get("user") or caller.get("uid", ""))


def _labels(document: Document) -> str:
    labels = section(document, "labels")
    return ", ".join(f"{name}={value_text(value)}" for name, value in labels.items())


def pool_text(pool: Document) -> str:
    counts = section(pool, "counts")
    lines = facts(
        [
            ("pool", pool.get("name")),
            ("blueprint", f"{pool.get('blueprint')} ({str(pool.get('digest', ''))[:12]})"),
            ("revision", pool.get("revision")),
            ("labels", _labels(pool)),
            (
                "ready",
                f"{pool.get('ready')} of {pool.get('min')} wanted, {pool.get('max')} at most",
            ),
            ("waiting", pool.get("waiting")),
            ("resources", ", ".join(f"{count} {state}" for state, count in counts.items())),
        ]
    )
    troubles = pool_troubles(pool)
    decisions = [str(one) for one in pool.get("decisions") or ()]
    return "\n".join(
        [
            lines,
            *(f"{style('!', 'red')} {one}" for one in troubles),
            *(["", "Decided last:"] if decisions else []),
            *(f"  {one}" for one in decisions),
        ]
    )


def pool_troubles(pool: Document) -> list[str]:
    """What is wrong with a pool, or keeps it from serving, in sentences."""
    found = _set_by_operators(pool)
    breaker = section(pool, "breaker")
    if breaker.get("state") not in {None, "closed"}:
        probe = f"; the next attempt is {until(breaker['until'])}" if breaker.get("until") else ""
        error = str(breaker.get("lastError", "")).rstrip(".")
        found.append(
            f"The blueprint {pool.get('blueprint')} failed {breaker.get('failures')} times in a row: "
            f"{error}{probe}. Repair it in the config directory."
        )
    if pool.get("drifted"):
        found.append(f"{pool['drifted']} drifted from what was made; unclaimed ones are replaced.")
    if pool.get("unverified"):
        found.append(f"{pool['unverified']} not yet looked at since the daemon started.")
    rollout = section(pool, "rollout")
    if rollout:
        found.append(_rolled(pool, rollout))
    elif pool.get("outdated"):
        found.append(f"{pool['outdated']} made from an earlier blueprint.")
    stuck = section(pool, "counts").get("quarantined")
    if stuck:
        found.append(
            f"{stuck} cannot be proved gone and keep their slots. See: "
            f"stoker resources --pool {pool.get('name')} --state quarantined"
        )
    held = section(pool, "counts").get("held")
    if held:
        found.append(
            f"{held} held for inspection, with their slots. See: "
            f"stoker resources --pool {pool.get('name')} --state held"
        )
    if pool.get("frozen"):
        found.append("Frozen with the whole host: nothing is made. See: stoker status")
    if pool.get("draining") and not section(pool, "drain"):
        found.append("It is draining: it left the config, and goes when its claims have ended.")
    return found


def _rolled(pool: Document, rollout: Document) -> str:
    """How far a changed blueprint has come."""
    reason, left = str(rollout.get("reason", "")).rstrip("."), f"{pool.get('outdated', 0)} outdated"
    if rollout.get("stage") == "paused":
        return (
            f"The rollout is paused: {reason}. What served before serves on. Repair the blueprint, or "
            f"try again with: stoker resume {pool.get('name')}"
        )
    if rollout.get("waits"):
        opens = f", until {until(rollout['opensAt'])}" if rollout.get("opensAt") else ""
        return f"A rollout waits ({left}): {rollout['waits']}{opens}."
    doing = "a canary is tried" if rollout.get("stage") == "canary" else "it is rolling"
    return f"The blueprint changed {ago(rollout.get('startedAt'))} ago, and {doing} ({left})."


def _set_by_operators(pool: Document) -> list[str]:
    found: list[str] = []
    pause, drain, refresh = (section(pool, name) for name in ("pause", "drain", "refresh"))
    name, place = pool.get("name"), pool.get("pausedAt")
    if place:
        found.append(f"Paused in the configuration ({place}).")
    if pause:
        found.append(f"Paused {by_whom(pause)}. End it with: stoker resume {name}")
    if drain:
        which = "--all" if drain.get("host") else name
        found.append(f"Drained {by_whom(drain)}. End it with: stoker resume {which}")
    if refresh:
        found.append(f"Refreshed {by_whom(refresh)}; older ones are being replaced.")
    return found


def by_whom(switch: Document) -> str:
    """`by ada 4m ago, ends in 1h: the disk is replaced`."""
    by = section(switch, "by")
    who = by.get("user") or f"uid {by.get('uid')}"
    end = f", ends {until(switch['until'])}" if switch.get("until") else ""
    reason = f": {switch['reason']}" if switch.get("reason") else ""
    return f"by {who} {ago(switch.get('since'))} ago{end}{reason}".rstrip(".")


def resource_text(resource: Document) -> str:
    lines = facts(
        [
            ("resource", resource.get("id")),
            ("pool", resource.get("pool")),
            ("state", style(str(resource.get("state")), colour_of(str(resource.get("state"))))),
            ("health", resource.get("health")),
            ("why", resource.get("reason")),
            ("claim", resource.get("claim")),
            ("hold", by_whom(hold) if (hold := section(resource, "hold")) else None),
            ("uses", resource.get("uses")),
            ("blueprint", f"{resource.get('blueprint')} ({str(resource.get('digest', ''))[:12]})"),
            ("revision", resource.get("revision")),
            ("labels", _labels(resource)),
            ("age", ago(resource.get("createdAt"))),
        ]
    )
    parts = [_part(part) for part in resource.get("parts") or ()]
    return "\n".join([lines, *(["", "Parts:"] if parts else []), *parts])


def _part(part: Document) -> str:
    outputs = facts([(name, value_text(value)) for name, value in part["outputs"].items()])
    indented = "".join(f"\n    {line}" for line in outputs.splitlines())
    return f"  {part['name']} ({part['driver']}, {part['half']}): {part['state']}{indented}"
