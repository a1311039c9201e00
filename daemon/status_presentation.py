"""Turns what the daemon and its configuration say of themselves into what the API answers. Pure."""

from collections.abc import Mapping

from ..config.json_types import Json
from ..config.repositories.facts import RepositoryFacts
from ..config.units import format_duration
from ..pools.impact import Standing
from ..pools.store import KeptRevision
from ..pools.switches import Switch
from .jwks import KeyFacts
from .presentation import ToWall, rfc3339, show_host, show_switch
from .status import NotifyFacts, RevisionFacts, StatusFacts
from .status_answers import (
    ConfigJson,
    IssuerJson,
    KeptRevisionJson,
    LedgerJson,
    NamedRevisionJson,
    NotifyJson,
    RefusedJson,
    RepositoryJson,
    RevisionJson,
    StandingJson,
    StandingPoolJson,
    StatusJson,
    SyncJson,
)


def show_config(facts: StatusFacts, to_wall: ToWall) -> ConfigJson:
    config: ConfigJson = {"ok": facts.config_ok, "problems": list(facts.config_problems)}
    if facts.config_broken_since is not None:
        config["brokenSince"] = rfc3339(to_wall(facts.config_broken_since))
    if facts.config_held is not None:
        held = facts.config_held
        config["held"] = {
            **_named(held.id, held.commit),
            "because": list(held.because),
            "since": rfc3339(to_wall(held.since)),
        }
    if facts.waiting is not None:
        waiting = facts.waiting
        config["waiting"] = {
            **_named(waiting.id, waiting.commit),
            "source": waiting.source,
            "since": rfc3339(to_wall(waiting.applied_at)),
        }
    if facts.config_pin is not None:
        pin = facts.config_pin
        config["pinned"] = {"revision": pin.subject, **show_switch(pin, to_wall)}
    if facts.config_seen is not None:
        config["seen"] = _named(facts.config_seen.id, facts.config_seen.commit)
    if facts.repository is not None:
        config["repository"] = _repository(facts.repository, to_wall)
    return config


def _named(revision: str, commit: str) -> NamedRevisionJson:
    return {"revision": revision, "commit": commit} if commit else {"revision": revision}


def _repository(facts: RepositoryFacts, to_wall: ToWall) -> RepositoryJson:
    shown: RepositoryJson = {"url": facts.url}
    if facts.ref:
        shown["ref"] = facts.ref
    if facts.path:
        shown["path"] = facts.path
    if facts.seen and facts.seen_at is not None:
        shown["seen"] = facts.seen
        shown["seenAt"] = rfc3339(to_wall(facts.seen_at))
    if facts.asked_at is not None:
        shown["askedAt"] = rfc3339(to_wall(facts.asked_at))
    if facts.refused is not None:
        refused: RefusedJson = {
            "because": facts.refused.because,
            "since": rfc3339(to_wall(facts.refused.since)),
        }
        if facts.refused.commit:
            refused["commit"] = facts.refused.commit
        shown["refused"] = refused
    if facts.error and facts.failing_since is not None:
        shown["error"] = facts.error
        shown["failingSince"] = rfc3339(to_wall(facts.failing_since))
    return shown


def _revision(facts: RevisionFacts, to_wall: ToWall) -> RevisionJson:
    shown: RevisionJson = {
        "id": facts.id,
        "source": facts.source,
        "appliedAt": rfc3339(to_wall(facts.applied_at)),
    }
    if facts.commit:
        shown["commit"] = facts.commit
    return shown


def show_kept(
    kept: KeptRevision, serving: RevisionFacts | None, pin: Switch | None, to_wall: ToWall
) -> KeptRevisionJson:
    """With its files, if it has them."""
    serves = serving is not None and (kept.id, kept.source) == (serving.id, serving.source)
    revision = _revision(RevisionFacts(kept.id, kept.source, kept.applied_at, kept.commit), to_wall)
    shown = KeptRevisionJson(**revision, serving=serves, pinned=serves and pin is not None)  # type: ignore[typeddict-item]
    if kept.files:
        files: dict[str, Json] = dict(kept.files)
        shown["files"] = files
    return shown


def show_standing(
    pools: Mapping[str, Standing], serving: RevisionFacts | None, limit: float, to_wall: ToWall
) -> StandingJson:
    shown: StandingJson = {
        "maxDestroy": limit,
        "pools": {name: _standing(pools[name]) for name in sorted(pools)},
    }
    if serving is not None:
        shown["revision"] = _revision(serving, to_wall)
    return shown


def _standing(pool: Standing) -> StandingPoolJson:
    ready: dict[str, Json] = {
        digest: [round(age, 3) for age in ages] for digest, ages in pool.ready.items()
    }
    shown: StandingPoolJson = {
        "ready": ready,
        "coming": pool.coming,
        "bound": pool.bound,
        "held": pool.held,
    }
    if pool.creation is not None:
        shown["creation"] = round(pool.creation, 6)
    return shown


def show_sync(facts: StatusFacts, to_wall: ToWall, *, done: bool) -> SyncJson:
    shown: SyncJson = {"done": done, "config": show_config(facts, to_wall)}
    if facts.revision is not None:
        shown["revision"] = _revision(facts.revision, to_wall)
    return shown


def show_status(facts: StatusFacts, to_wall: ToWall) -> StatusJson:
    ledger: LedgerJson = {"ok": facts.ledger_ok, "head": str(facts.head)}
    if facts.ledger_error:
        ledger["error"] = facts.ledger_error
    shown: StatusJson = {
        "version": facts.version,
        "pid": facts.pid,
        "uptime": format_duration(round(facts.uptime)),
        "stateFolder": facts.state_folder,
        "socket": facts.socket,
        "ready": facts.ready,
        "reasons": list(facts.reasons),
        "config": show_config(facts, to_wall),
        "ledger": ledger,
        "pools": facts.pools,
        "resources": facts.resources,
        "claims": facts.claims,
        "approvals": {
            "waiting": facts.approvals.waiting,
            "followUps": facts.approvals.follow_ups,
            "overdue": facts.approvals.overdue,
        },
        "clockStep": format_duration(round(facts.clock_step, 3)),
        "host": show_host(facts.host, to_wall),
        "inForce": [
            {"action": one.kind.value, "subject": one.subject, **show_switch(one, to_wall)}
            for one in facts.in_force
        ],
    }
    if facts.revision is not None:
        shown["revision"] = _revision(facts.revision, to_wall)
    if facts.issuers:
        shown["issuers"] = [_issuer(one) for one in facts.issuers]
    if facts.notify is not None:
        shown["notify"] = _notify(facts.notify)
    return shown


def _notify(facts: NotifyFacts) -> NotifyJson:
    shown: NotifyJson = {"receiver": facts.receiver, "delivered": facts.delivered}
    if facts.error and facts.failing_since is not None:
        shown["error"] = facts.error
        shown["failingSince"] = rfc3339(facts.failing_since)
    return shown


def _issuer(facts: KeyFacts) -> IssuerJson:
    shown: IssuerJson = {
        "issuer": facts.issuer,
        "keys": facts.keys,
        "age": format_duration(round(facts.age)),
    }
    if facts.error:
        shown["error"] = facts.error
    return shown
