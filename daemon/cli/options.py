"""What commands have in common: `--socket`, `-o`, durations, labels, names to complete."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ...client import Stoker
from ...client.tokens import TOKEN_FILE
from ...config.units import UnitError, parse_duration

COMPLETE_WITHIN = 1.0
"""Seconds that a daemon gets to say which names there are, while somebody waits at a prompt."""

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


def check_duration(_ctx: click.Context, _param: click.Parameter, given: str | None) -> str | None:
    """`90s`, `30m`, `1h30m`: checked here, sent as it was written."""
    if given is not None:
        try:
            parse_duration(given)
        except UnitError as error:
            raise click.BadParameter(f"{error}.") from None
    return given


def examples(*lines: str) -> str:
    """The end of a command's help; the backspace keeps click from filling lines."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def talks(command: AnyCommand) -> AnyCommand:
    """For commands that ask the daemon."""
    command = click.option(
        "--token-file",
        metavar="FILE",
        expose_value=False,
        is_eager=True,
        callback=_use_token,
        help="A file with a bearer token, read for each request. [default: $STOKER_TOKEN_FILE]",
    )(command)
    return click.option(
        "--socket",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The daemon's socket.",
    )(command)


def _use_token(_ctx: click.Context, _param: click.Parameter, given: str | None) -> None:
    """By the variable, so that a COMMAND under a claim, which may ask the daemon too, has it as well."""
    if given is not None:
        os.environ[TOKEN_FILE] = str(Path(given).absolute())


def prints(command: AnyCommand) -> AnyCommand:
    """For commands that print a table or JSON."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        help="What to print: a table for people, JSON for programs. Errors follow it.",
    )(command)


def print_json(value: object) -> None:
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def parse_labels(
    _ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    """`-l team=web`, several times."""
    labels: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is no label; write NAME=VALUE, such as team=web.")
        labels[name] = value
    return labels


def parse_parameters(
    _ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, Any]:
    """`--param greeting=hello`, several times."""
    return dict(_parameter(text, as_json=param.name == "json_params") for text in given)


def _parameter(given: str, *, as_json: bool) -> tuple[str, Any]:
    """`name=text`, or `name:=JSON` for a number, a boolean, a list or an object."""
    name, equals, text = given.partition("=")
    as_json = as_json or name.endswith(":")
    name = name.removesuffix(":")
    if not equals or not name:
        raise click.BadParameter(f"{given!r} is no parameter; write NAME=TEXT or NAME:=JSON.")
    if not as_json:
        return name, text
    try:
        return name, json.loads(text)
    except ValueError as error:
        raise click.BadParameter(
            f"the value of {name!r} is no JSON ({error}); text needs quotes there."
        ) from None


def complete_pools(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return complete(ctx, incomplete, lambda stoker: [str(pool["name"]) for pool in stoker.pools()])


def complete_claims(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return complete(ctx, incomplete, lambda stoker: [claim.id for claim in stoker.claims()])


def complete_resources(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return complete(ctx, incomplete, lambda stoker: [str(one["id"]) for one in stoker.resources()])


def complete(
    ctx: click.Context, incomplete: str, names: Callable[[Stoker], list[str]]
) -> list[CompletionItem]:
    """A shell that completes must never fail or wait: without a daemon there is nothing to offer."""
    chosen = ctx.params.get("socket")
    with suppress(Exception), Stoker(chosen, patience=0, timeout=COMPLETE_WITHIN) as stoker:
        return [CompletionItem(name) for name in names(stoker) if name.startswith(incomplete)]
    return []
