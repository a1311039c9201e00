"""The facts that the conditions of policies may read: a versioned part of the public surface.

`docs/policies.md` describes each of them, and a test compares the two. `stoker.policies.facts`
fills them.
"""

from collections.abc import Mapping

from ..shapes import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    LIST,
    MAP,
    STRING,
    TIMESTAMP,
    Environment,
    Shape,
)

FACTS_VERSION = 1
"""Raised when a fact goes or changes its meaning. A new fact leaves it as it is."""

CALLER = Shape.object(
    {
        "uid": INT,
        "user": STRING,
        "gid": INT,
        "groups": LIST,
        "pid": INT,
        "exe": STRING,
        "unit": STRING,
        "host": STRING,
        "operator": BOOL,
        "token": MAP,
    }
)
REQUEST = Shape.object(
    {
        "action": STRING,
        "pool": STRING,
        "params": MAP,
        "ttl": DURATION,
        "count": INT,
        "reason": STRING,
        "labels": MAP,
        "bind": STRING,
        "breakGlass": BOOL,
    }
)
POOL = Shape.object(
    {
        "name": STRING,
        "labels": MAP,
        "ready": INT,
        "size": INT,
        "blueprint": STRING,
        "cost": Shape.object({"perHour": DOUBLE, "centre": STRING}),
    }
)
USAGE = Shape.object(
    {
        "active": INT,
        "activeInPool": INT,
        "activeOfGroup": MAP,
        "claimsLastHour": INT,
        "spendToday": DOUBLE,
    }
)


def _roots_of_members(objects: Mapping[str, Shape]) -> dict[str, list[str]]:
    """Member to the roots that have it: `uid` is sooner written alone than misspelt."""
    found: dict[str, list[str]] = {}
    for root, shape in objects.items():
        for name in shape.members or ():
            if name not in objects:
                found.setdefault(name, []).append(root)
    return found


_OBJECTS = {"caller": CALLER, "request": REQUEST, "pool": POOL, "usage": USAGE}
_ROOTS = {**_OBJECTS, "now": TIMESTAMP}
_ELSEWHERE = {
    **{
        name: f"write {' or '.join(f'{root}.{name}' for root in roots)}"
        for name, roots in _roots_of_members(_OBJECTS).items()
    },
    "claim": "here it is called request",
    **dict.fromkeys(
        ("resource", "parts", "self", "outputs"),
        "a policy decides before there is a resource; read pool or request",
    ),
}
_NOT_BEFORE = "it is known only to approvers; read caller, who claims"

CLAIMS = Environment(_ROOTS, {**_ELSEWHERE, "approver": _NOT_BEFORE})
"""For rules, scopes, canaries and break-glass."""
APPROVALS = Environment({**_ROOTS, "approver": CALLER}, _ELSEWHERE)
"""For `approvers`: the same, with the one who wants to approve."""
