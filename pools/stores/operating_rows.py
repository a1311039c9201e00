"""Rows of what is under way by order or by change: switches and rollouts, to and from their objects."""

from ..rollout import Rollout, Stage
from ..switches import Operator, Switch, SwitchKind
from .encoding import Row, text

ROLLOUT_COLUMNS = (
    *("pool", "digest", "previous", "revision", "stage", "started_at", "since", "reason"),
)
SWITCH_COLUMNS = ("kind", "subject", "uid", "user", "reason", "since", "until")


def encode_switch(switch: Switch) -> Row:
    """In the order of `SWITCH_COLUMNS`."""
    return (
        switch.kind.value,
        text(switch.subject),
        switch.by.uid,
        text(switch.by.user),
        text(switch.reason),
        switch.since,
        switch.until,
    )


def decode_switch(row: Row) -> Switch:
    kind, subject, uid, user, reason, since, until = row
    return Switch(SwitchKind(kind), subject, Operator(uid, user), reason, since, until)


def encode_rollout(rollout: Rollout) -> Row:
    """In the order of `ROLLOUT_COLUMNS`."""
    return (
        rollout.pool,
        rollout.digest,
        rollout.previous,
        rollout.revision,
        rollout.stage.value,
        rollout.started_at,
        rollout.since,
        text(rollout.reason),
    )


def decode_rollout(row: Row) -> Rollout:
    pool, digest, previous, revision, stage, started_at, since, reason = row
    return Rollout(pool, digest, previous, revision, Stage(stage), started_at, since, reason)
