"""`stoker init`, `validate` and `schema`: what can be done with a config directory alone."""

import gc
import json
from pathlib import Path
from typing import Any

import click

from ...config.problems import Problem, Severity
from .failing import Failed
from .options import examples, print_json, prints
from .terminal import clean, style


@click.command(
    epilog=examples(
        "stoker validate ./config",
        "stoker validate ./config -o json",
    )
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@prints
def validate(folder: Path, output: str) -> int:
    """Report everything that is wrong with the config directory DIR: file:line:column, what, and a remedy.

    Exits with 1 when there is an error; warnings alone exit with 0. No daemon is needed.
    """
    from ...config.loading import load_directory  # noqa: PLC0415 - heavy: pydantic, expressions
    from ...policies.testing import checked  # noqa: PLC0415 - heavy
    from ...pools.drivers import catalogue  # noqa: PLC0415 - heavy

    if not folder.is_dir():
        raise Failed(f"There is no directory {folder}. Write one with: stoker init {folder}")
    gc.disable()  # nothing made here is garbage, and looking for some takes a third of the time
    try:
        result = checked(load_directory(folder, catalogue()))
    finally:
        gc.enable()
    errors = len(result.errors)
    if output == "json":
        print_json([problem_json(problem) for problem in result.problems])
        return 1 if errors else 0
    for problem in result.problems:
        click.echo(problem_text(problem, folder))
    warnings = len(result.problems) - errors
    if errors or result.revision is None:
        click.echo(f"\n{_count(errors, 'error')}, {_count(warnings, 'warning')}.", err=True)
        return 1
    pools, revision = result.revision.pools, result.revision.id
    also = f" {_count(warnings, 'warning')}." if warnings else ""
    click.echo(f"{folder} is valid: {_count(len(pools), 'pool')}, revision {revision}.{also}")
    return 0


def problem_text(problem: Problem, folder: Path) -> str:
    """The place first and relative to where people are, so that editors and CI can jump to it."""
    file = Path(problem.file)
    shown = file if file.is_absolute() or file == folder else folder / file
    place = f"{shown}:{problem.line}:{problem.column}" if problem.line else str(shown)
    path = f"{problem.path}: " if problem.path else ""
    warning = problem.severity is Severity.WARNING
    kind = style("warning: ", "yellow") if warning else style("error: ", "red")
    lines = [f"{style(clean(place), 'bold')}: {kind}{clean(path + problem.message)}"]
    if problem.remedy:
        lines.append(f"    {clean(problem.remedy)}")
    return "\n".join(lines)


def problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "remedy": problem.remedy,
        "severity": problem.severity.value,
    }


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@click.command(
    epilog=examples(
        "stoker init ./config",
    )
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Write a starter config directory: a pool of web servers and a pool of work folders.

    Nothing that exists is overwritten.
    """
    from ...config.starter import write_starter  # noqa: PLC0415 - reads package data

    try:
        written = write_starter(folder)
    except FileExistsError as error:
        raise Failed(f"{error}. Name an empty or a new directory.") from None
    except OSError as error:
        raise Failed(f"{folder} cannot be written: {error.strerror or error}.") from None
    for file in written:
        click.echo(f"wrote {file}")
    click.echo(
        f"\nCheck it:  stoker validate {folder}\n"
        f"Run it:    stoker run --config {folder}\n"
        "Use it:    stoker claim web -- sh -c 'curl $STOKER_URL'   (in another terminal)\n"
        f"Change it: {folder / 'README.md'} says where to begin"
    )


@click.command(
    epilog=examples(
        "stoker schema > stoker.schema.json",
        "stoker schema Pool",
    )
)
@click.argument("kind", required=False)
def schema(kind: str | None) -> None:
    """Print the JSON Schema of all documents of a config directory, or of one KIND."""
    from ...config.schema import UnknownKind, json_schema  # noqa: PLC0415 - heavy: pydantic
    from ...pools.drivers import catalogue  # noqa: PLC0415 - heavy

    try:
        found = json_schema(kind, catalogue())
    except UnknownKind as error:
        raise click.UsageError(str(error)) from None
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
