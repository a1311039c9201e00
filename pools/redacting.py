"""Keeps secrets out of sentences. Pure.

What a driver or an expression complains about may quote a setting, and a setting may hold what
another part gave as a secret. Sentences end in events, logs, reasons and answers, so before they
do, every secret that is known is taken out of them.
"""

from collections.abc import Iterator

from ..config.json_types import Json, JsonObject

HIDDEN = "•••"
SHORTEST = 6
"""Characters. Shorter values say little, and blotting them out would make sentences unreadable."""


def redact(sentence: str, *secrets: JsonObject) -> str:
    """The sentence with every text in `secrets`, at any depth, blotted out."""
    for text in sorted({text for each in secrets for text in _texts(each)}, key=len, reverse=True):
        sentence = sentence.replace(text, HIDDEN)
    return sentence


def _texts(value: Json | JsonObject) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) >= SHORTEST:
            yield value
            yield value.encode("unicode_escape").decode()  # as `repr` shows it
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif not isinstance(value, int | float | None):
        for each in value.values():
            yield from _texts(each)
