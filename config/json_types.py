"""The one name for "a JSON value" that every room uses."""

from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
"""What `json.loads` can return."""

JsonObject: TypeAlias = Mapping[str, Json]
"""A JSON object that the holder does not change."""
