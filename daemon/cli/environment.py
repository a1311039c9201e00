"""What a command that runs under a claim finds in its environment. Pure.

`STOKER_CLAIM`, `STOKER_POOL`, `STOKER_RESOURCE` and `STOKER_OUTPUTS` (all outputs as one JSON
object), and each output as `STOKER_<NAME>`: in capitals, with `_` for whatever is no letter or
digit. Text stays text; anything else is JSON. Of a claim for several resources these are the first
one's; `STOKER_RESOURCES` names all, and the outputs of the second one are `STOKER_2_<NAME>`.
"""

import json
import re
from collections.abc import Iterator, Mapping

from ...client import ClaimInfo

_OURS = (
    *("STOKER_CLAIM", "STOKER_POOL", "STOKER_RESOURCE", "STOKER_RESOURCES"),
    *("STOKER_OUTPUTS", "STOKER_SOCKET", "STOKER_TOKEN_FILE"),
)
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
    several = len(claim.resources) > 1
    if several:
        found["STOKER_RESOURCES"] = " ".join(claim.resources)
    for name, variable, value in _wanted(claim, several=several):
        text = _text(value)
        problem = _problem(variable, text, taken)
        if problem:
            warnings.append(
                f"The output {name!r} is not in {variable}, because {problem}; "
                f"read it from {'stoker claims -o json' if several else 'STOKER_OUTPUTS'}."
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


def _wanted(claim: ClaimInfo, *, several: bool) -> Iterator[tuple[str, str, object]]:
    """Each output with its variable; those of one of several with its number too."""
    for name in sorted(claim.outputs):
        yield name, variable_of(name), claim.outputs[name]
    for number, outputs in enumerate(claim.each if several else (), start=1):
        for name in sorted(outputs):
            yield name, variable_of(f"{number}_{name}"), outputs[name]


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
