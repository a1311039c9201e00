"""The nearest right word, for remedies."""

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 8


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; None when none is near."""
    words = list(known)
    folded = {other.casefold(): other for other in reversed(words)}
    if word.casefold() in folded:
        return folded[word.casefold()]
    found = get_close_matches(word[:64], words, n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """A remedy: the nearest word, or else the words that exist."""
    words = sorted(known)
    near = nearest(word, words)
    if near is not None:
        return f"did you mean '{near}'?"
    if not words:
        return "none exist here"
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"known are {', '.join(words[:_SHOWN])}{more}"
