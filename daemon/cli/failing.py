"""Failures: the exit code of each, and how it is told on standard error."""

import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from ...client import Denied, NotFound, StokerError, Unavailable
from .terminal import about, clean, style

DONE, FAILED, USAGE, DENIED, NOT_FOUND, UNAVAILABLE = range(6)
"""What the exit codes mean; `stoker claim POOL -- COMMAND` passes on the command's own instead."""
LONG = 120.0
"""Seconds from which on a wait is told in minutes and hours."""


class Failed(Exception):
    """A command could not do its job. The message is a sentence with a remedy."""

    def __init__(self, message: str, code: str = "failed", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code


class Ended(BaseException):
    """A signal wants this process to end; it passes through everything that catches errors."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(error: BaseException) -> int:
    if isinstance(error, Failed):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return error.exit_code
    kinds = ((Denied, DENIED), (NotFound, NOT_FOUND), (Unavailable, UNAVAILABLE))
    return next((code for kind, code in kinds if isinstance(error, kind)), FAILED)


def report(error: Exception, args: Sequence[str] = ()) -> int:
    """Tells the error, as a sentence or (with `-o json`) as a problem document; its exit code."""
    if isinstance(error, click.Abort):
        return 130
    if os.environ.get("STOKER_TRACEBACK"):
        raise error
    if wants_json(args):
        click.echo(json.dumps(problem_of(error), ensure_ascii=False), err=True)
    elif isinstance(error, click.UsageError):
        error.show()
    else:
        click.echo(f"{style('Error:', 'red', sys.stderr)} {sentence_of(error)}", err=True)
    return exit_code_of(error)


def sentence_of(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        return clean(error.format_message())
    text = clean(str(error), keep_lines=True) or type(error).__name__
    if not isinstance(error, StokerError | Failed | OSError):
        return f"{type(error).__name__}: {text} (STOKER_TRACEBACK=1 shows where)"
    if text.split(maxsplit=1)[0].isalpha():  # and not the id of something, to be copied
        text = text[0].upper() + text[1:]
    text += "" if text.endswith((".", "?", "!")) else "."
    if isinstance(error, StokerError) and error.retry_after:
        return f"{text}\nTry again in {_wait(error.retry_after)}."
    return text


def _wait(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < LONG else about(seconds)


def problem_of(error: Exception) -> dict[str, Any]:
    if isinstance(error, StokerError):
        return error.as_problem()
    code = "usage" if isinstance(error, click.UsageError) else getattr(error, "code", "failed")
    return {
        "type": "about:blank",
        "title": type(error).__name__,
        "code": str(code),
        "detail": sentence_of(error),
    }


def wants_json(args: Sequence[str]) -> bool:
    """Read from the words themselves, because the error may be that they cannot be parsed."""
    ours = list(args)[: list(args).index("--")] if "--" in args else list(args)
    pairs = itertools.pairwise(ours)
    return bool({"-ojson", "-o=json", "--output=json"} & set(ours)) or any(
        one in {"-o", "--output"} and two == "json" for one, two in pairs
    )
