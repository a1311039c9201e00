"""Which revision an event of the configuration is about, as people name it. Pure, and light to import."""

from collections.abc import Mapping
from typing import Any

SHORT = 12
"""Digits of a commit that are shown."""


def revision_told(kind: str, data: Mapping[str, Any]) -> str:
    """Empty when it is about none: what was refused and is no commit has no name."""
    if (
        kind == "config.refused"
    ):  # the revision that it says beside the commit is the one that serves on
        return str(data.get("commit") or "")[:SHORT]
    return str(data.get("commit") or data.get("revision") or "")[:SHORT]
