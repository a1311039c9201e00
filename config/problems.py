"""What is wrong with the config directory: the one form in which every check says it.

    web.yaml:12:5: spec.size.min: expected a whole number, got '3'. Write it without quotes.

Made by the parsing and checking modules, printed by `stoker validate`, kept in the daemon's status.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .spelling import nearest

__all__ = ["Place", "Problem", "Severity", "errors", "nearest", "sort"]


class Severity(StrEnum):
    ERROR = "error"
    """The revision cannot be used."""
    WARNING = "warning"
    """The revision can be used, and somebody should look."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file's text, counted from 1. Columns count characters."""

    line: int = 0
    """0 when the problem is about the file as a whole."""
    column: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence about one place, with what to do about it."""

    file: str
    """The path below the config root; the root itself when there is no file to name."""
    line: int
    column: int
    path: str
    """Inside the document: `spec.size.min`; empty for the file or the document as a whole."""
    message: str
    """What is wrong, without the full stop."""
    remedy: str = ""
    """What to write instead, without the full stop."""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        path = f"{self.path}: " if self.path else ""
        mark = "warning: " if self.severity is Severity.WARNING else ""
        sentences = [_sentence(text) for text in (self.message, _capital(self.remedy)) if text]
        return f"{self.file}{place}: {mark}{path}{' '.join(sentences)}"


def sort(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By place, each problem once."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda it: (it.file, it.line, it.column, it.path, it.message)))


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those that make a revision unusable."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
