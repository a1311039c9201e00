"""Tracebacks for the log: where it happened and what kind of error it was, without what it quotes.

`ValueError: invalid literal for int(): 'hunter2'`: the message of an error that nobody foresaw may
quote whatever was in hand, secrets included, and which of its words are secret nobody knows here.
So a message is shown only for kinds whose messages are made of names in the program and words of
the operating system. Where the message matters to an operator, whoever caught the error has told
it, in a sentence from which the secrets it knew were taken.
"""

import traceback
from collections.abc import Iterator
from typing import cast

HARMLESS = (
    AssertionError,
    AttributeError,
    ImportError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    StopAsyncIteration,
    StopIteration,
    ZeroDivisionError,
)
CAUSED = "\nThe above exception was the direct cause of the following exception:\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n"
DEEPEST = 20
"""Errors of a chain that are shown."""


def format_traceback(error: BaseException) -> str:
    """Like Python's own, without messages that may quote data. No newline at the end."""
    return "\n".join(_lines(error, set(), 0)).rstrip("\n")


def _lines(error: BaseException, seen: set[int], depth: int) -> Iterator[str]:
    seen.add(id(error))
    before, words = error.__cause__, CAUSED
    if before is None and not error.__suppress_context__:
        before, words = error.__context__, DURING
    if before is not None and id(before) not in seen and len(seen) < DEEPEST:
        yield from _lines(before, seen, depth)
        yield _indented(words, depth)
    if error.__traceback__ is not None:
        yield _indented("Traceback (most recent call last):", depth)
        yield _indented("".join(traceback.format_tb(error.__traceback__)).rstrip("\n"), depth)
    yield _indented(_named(error), depth)
    if isinstance(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        for number, each in enumerate(members, start=1):
            if id(each) not in seen and len(seen) < DEEPEST:
                yield _indented(f"---- {number} of {len(members)} ----", depth + 1)
                yield from _lines(each, seen, depth + 1)


def _named(error: BaseException) -> str:
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    if kind in HARMLESS and str(error):
        return f"{name}: {error}"
    return f"{name} (its message may quote data and is left out)" if error.args else name


def _indented(text: str, depth: int) -> str:
    return "\n".join("  " * depth + line for line in text.split("\n")) if depth else text
