"""The ledger's events as a history, in words."""

from collections.abc import Iterable, Mapping

from ...config.json_types import Json, JsonObject
from ...config.units import format_duration
from ..store import Event
from .shape import Happening
from .words import listed

TROUBLES = frozenset(
    {"resource.failed", "resource.drifted", "resource.quarantined", "resource.reset-failed"}
)
"""Of all that happens to a pool's resources, what tells something about the pool."""


def history(events: Iterable[Event], subject: str = "") -> tuple[Happening, ...]:
    """Oldest first. `subject`: what the reader knows already, and each line need not repeat."""
    return tuple(Happening(one.at, one.kind, _detail(one, subject)) for one in events)


def of_pool(events: Iterable[Event]) -> tuple[Happening, ...]:
    """Without the daily life of its resources."""
    return history(one for one in events if one.kind in TROUBLES or not _of_resources(one))


def _of_resources(event: Event) -> bool:
    return event.kind.startswith(("resource.", "claim."))


def _detail(event: Event, subject: str) -> str:
    about = [one for one in (event.claim, event.resource) if one and one != subject]
    said = [" ".join(about), *_data(event.kind, event.data), event.reason]
    if event.request and not event.kind.startswith("resource."):
        said.append(f"request {event.request}")
    return "; ".join(filter(None, said))


def _data(kind: str, data: JsonObject) -> Iterable[str]:
    match kind:
        case "claim.bound" | "claim.pending":
            yield _caller(data)
            if "warm" in data:
                yield "warm" if data["warm"] else "after it had waited"
            if "ttl" in data:
                yield f"for {_span(data['ttl'])}"
        case "claim.voted" | "claim.break-glass-reviewed":
            yield _ballot(data)
        case "resource.reset" | "resource.reset-failed":
            yield f"uses: {data.get('uses')}"
        case "claim.renewed":
            yield f"for {_span(data.get('ttl'))} from then"
        case _:
            code, parts = data.get("code"), data.get("parts")
            if code:
                yield str(code)
            if isinstance(parts, list) and parts:
                yield f"parts {listed([str(part) for part in parts])}"


def _ballot(data: JsonObject) -> str:
    """`approve by ada (uid 1000), by the webhook chat`."""
    by = data.get("by")
    who = by if isinstance(by, dict) else {}
    named = str(who.get("user") or who.get("subject") or "somebody")
    uid = f" (uid {who['uid']})" if "uid" in who else ""
    carried = f", by the webhook {data['carriedBy']}" if data.get("carriedBy") else ""
    return f"{data.get('vote', 'a vote')} by {named}{uid}{carried}"


def _caller(data: Mapping[str, Json]) -> str:
    known = [f"{name} {data[name]}" for name in ("uid", "pid") if name in data]
    return " ".join(known)


def _span(value: Json) -> str:
    return format_duration(value) if isinstance(value, int | float) else "?"
