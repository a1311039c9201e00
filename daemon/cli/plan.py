"""`stoker plan`: what applying a config directory would do, before it is merged."""

from pathlib import Path

import click

from ...config.setting_values import parse_percent
from .failing import Failed
from .options import examples, talks

CHANGE = 10
"""With --exit-code: there is a change, and it would be applied. None of the codes that mean trouble."""


@click.command(
    epilog=examples(
        "stoker plan ./config --live",
        "stoker plan ./config --against 'https://git.example.org/pools.git@main'",
        "stoker plan ./config --against ../main/config -o markdown > comment.md",
        "stoker plan ./config --live --exit-code || echo 'it changes something'",
    )
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--against",
    metavar="URL@REF|DIR",
    help="Compare with what a repository or another directory declares.",
)
@click.option("--live", is_flag=True, help="Compare with what the daemon serves, and what stands.")
@click.option(
    "--max-destroy",
    metavar="PERCENT",
    help="How much of a pool may go unasked. [default: the daemon's with --live, else 30%]",
)
@click.option("--exit-code", "tell", is_flag=True, help="Exit with 10 when there is a change.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    help="What to print: for people, for programs, or for a pull request.",
)
@talks
def plan(  # noqa: PLR0913 - the options of the command
    *,
    folder: Path,
    against: str | None,
    live: bool,
    max_destroy: str | None,
    tell: bool,
    output: str,
    socket: str | None,
) -> int:
    """Show what applying the config directory DIR would create, roll, drain and destroy, and its cost.

    Without --live or --against everything is new. Exits with 1 when DIR is refused, and with 3 when
    it would be held, because it destroys more than may go unasked.
    """
    from .planning import plan_folder  # noqa: PLC0415 - heavy: pydantic, expressions, git

    if live and against:
        raise click.UsageError("Compare with one of the two: --live or --against.")
    limit = _percent(max_destroy)
    if not folder.is_dir():
        raise Failed(f"There is no directory {folder}. Write one with: stoker init {folder}")
    outcome = plan_folder(
        folder, live=live, against=against, limit=limit, output=output, socket=socket
    )
    return CHANGE if outcome.change and tell and not outcome.code else outcome.code


def _percent(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_percent(text)
    except ValueError as error:
        raise click.UsageError(f"--max-destroy: {text!r} does not do; expected {error}.") from None
