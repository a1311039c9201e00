"""Claims as the daemon shows them."""

from datetime import UTC, datetime, timedelta
from typing import Any


def a_claim(*, state: str = "bound", ttl: float = 60.0, **changed: Any) -> dict[str, Any]:
    bound = state == "bound"
    return {
        "id": "c-1",
        "pool": "web",
        "state": state,
        "resources": [{"id": "web-1", "outputs": {"url": "http://x", "n": 3}}] if bound else [],
        "caller": {"uid": 0, "gid": 0, "pid": 1, "user": "root", "exe": "", "unit": ""},
        "revision": "abc",
        "warm": True,
        "timing": {"total": "1.000ms"},
        **(
            {"expiresAt": (datetime.now(UTC) + timedelta(seconds=ttl)).isoformat()} if bound else {}
        ),
        **changed,
    }


def a_problem(status: int, code: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"urn:x:{code}",
        "title": "No",
        "status": status,
        "code": code,
        "detail": "so",
        **more,
    }
