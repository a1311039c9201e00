"""What a single YAML value means, by the core schema of YAML 1.2 and within JSON.

`yes`, `on`, `12:30` and `2020-01-01` are texts; what could be read in two ways, or is no JSON, is
refused. Called by `yaml_nodes`.
"""

import math
import re

import yaml

from .json_types import Json
from .problems import Place

CORE = "tag:yaml.org,2002:"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "null": type(None), "bool": bool, "int": int, "float": (int, float), "str": str,
}  # fmt: skip
_INT = re.compile(r"[-+]?(?:[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, Json] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class YamlError(Exception):
    """Something that a config's YAML may not hold.

    Raised where reading cannot go on; a mere wrong value or key is collected and read as a text.
    """

    def __init__(self, place: Place, message: str, remedy: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.remedy = remedy


_NUMERIC = ("+", "-", ".", *"0123456789")
"""What every number begins with."""


def scalar_value(event: yaml.ScalarEvent, place: Place) -> Json:
    """The value of a scalar. Raises YamlError for one that is no JSON value."""
    text: str = event.value
    tag = event.tag
    if tag is not None and tag != "!":
        kind = tag.removeprefix(CORE)
        if kind == tag or kind not in _TYPES:
            raise unknown_tag(tag, place)
        return text if kind == "str" else _tagged(text, kind, place)
    return text if tag == "!" or event.style else _plain(text, place)


def _tagged(text: str, kind: str, place: Place) -> Json:
    value = _plain(text, place)
    if not isinstance(value, _TYPES[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise YamlError(place, f"{text[:80]!r} is no {kind}", f"remove the tag !!{kind}")
    return float(value) if kind == "float" and isinstance(value, int) else value


def _plain(text: str, place: Place) -> Json:
    """A scalar without quotes, by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if not text.startswith(_NUMERIC):
        return text  # as most scalars are; looking for a number would take most of the time
    if _INT.fullmatch(text):
        return _integer(text, place)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isfinite(value):
            return value
        raise YamlError(
            place, f"the number {text[:40]} is too large", "put it in quotes if it is a text"
        )
    if _NOT_FINITE.fullmatch(text):
        raise YamlError(place, f"{text} is no number that can be used", "put it in quotes")
    return text


def _integer(text: str, place: Place) -> int:
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        # YAML 1.1 reads 0644 as octal, YAML 1.2 as decimal, and people mean either or a text.
        octal = f"0o{digits.lstrip('0') or '0'}"
        remedy = f'write "{text[:40]}" in quotes for a text, or {octal[:40]} for an octal number'
        raise YamlError(place, f"{text[:40]} can be read in two ways", remedy)
    if len(digits) > 22:
        raise _too_large(text, place)
    base = {"0x": 16, "0o": 8}.get(digits[:2], 10)
    value = int(digits, base) * (-1 if text[0] == "-" else 1)
    if not -(2**63) <= value < 2**63:
        raise _too_large(text, place)
    return value


def _too_large(text: str, place: Place) -> YamlError:
    return YamlError(
        place, f"the number {text[:40]} does not fit in 64 bits", "put it in quotes if it is a text"
    )


def unknown_tag(tag: str, place: Place) -> YamlError:
    shown = "!!" + tag.removeprefix(CORE) if tag.startswith(CORE) else tag
    return YamlError(
        place, f"the tag {shown[:80]} is not supported", "remove it and write the plain value"
    )
