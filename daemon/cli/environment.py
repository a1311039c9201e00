"""What a command that runs under a claim finds in its environment. Pure.

`STOKER_CLAIM`, `STOKER_POOL`, `STOKER_RESOURCE` and `STOKER_OUTPUTS` (all outputs as one JSON
object), and each output as `STOKER_<NAME>`: in capitals, with `_` for whatever is no letter or
digit. Text stays text; anything else is JSON.
"""

import json
import re
from collections.abc import Mapping

from ...client import ClaimInfo

_OURS = ("STOKER_CLAIM", "STOKER_POOL", "STOKER_RESOURCE", "STOKER_OUTPUTS", "STOKER_SOCKET")
"""Names that outputs do not take: `stoker release $STOKER_CLAIM` must work inside the command."""
LARGEST = 128 * 1024 - 1
"""Bytes of one variable with its name: what the kernel takes."""


def variable_of(output: str) -> str:
    return "STOKER_" + re.sub(r"[^A-Za-z0-9]", "_", output).upper()


def with_outputs(environ: Mapping[str, str], claim: ClaimInfo) -> tuple[dict[str, str], list[str]]:
    """The environment, and a sentence for each output that has no variable of its own."""
    found = dict(environ)
    found["STOKER_CLAIM"] = claim.id
    found["STOKER_POOL"] = claim.pool
    found["STOKER_RESOURCE"] = claim.resources[0] if claim.resources else ""
    everything = json.dumps(dict(claim.outputs), ensure_ascii=False)
    found["STOKER_OUTPUTS"] = everything
    taken: dict[str, str] = {}
    warnings: list[str] = []
    for name in sorted(claim.outputs):
        variable = variable_of(name)
        text = _text(claim.outputs[name])
        problem = _problem(variable, text, taken)
        if problem:
            warnings.append(
                f"The output {name!r} is not in {variable}, because {problem}; "
                "read it from STOKER_OUTPUTS."
            )
            continue
        taken[variable] = name
        found[variable] = text
    if _size("STOKER_OUTPUTS", everything) > LARGEST:
        del found["STOKER_OUTPUTS"]
        warnings.append(
            "All outputs together are too large for STOKER_OUTPUTS; read them with: "
            f"stoker claims {claim.id} -o json"
        )
    return found, warnings


def _problem(variable: str, text: str, taken: Mapping[str, str]) -> str:
    if variable in _OURS:
        return "that name is stoker's own"
    if variable in taken:
        return f"the output {taken[variable]!r} has that name too"
    if "\0" in text:
        return "it has a NUL character"
    if _size(variable, text) > LARGEST:
        return "it is too large for an environment"
    return ""


def _size(variable: str, text: str) -> int:
    return len(variable) + len(text.encode("utf-8", "surrogatepass")) + 2


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
