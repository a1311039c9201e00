"""The one name for "a JSON value" that every room uses."""

from collections.abc import Mapping
from typing import TypeAlias, Union

Json: TypeAlias = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]
"""What `json.loads` can return."""

JsonObject: TypeAlias = Mapping[str, Json]
"""A JSON object that the holder does not change."""
