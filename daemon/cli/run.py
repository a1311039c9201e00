"""`stoker run`: settings from everywhere, then the daemon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ...config.settings import SETTINGS, SettingsError, load_settings
from .failing import USAGE, Failed
from .options import examples


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    for setting in reversed(SETTINGS):
        shown = f"{setting.help} [default: {setting.default.replace('`', '')}]"
        command = click.option(setting.flag, setting.field, metavar=setting.metavar, help=shown)(
            command
        )
    return command


@click.command(
    epilog=examples(
        "stoker run --config ./config",
        "stoker run --config ./config --state ./state --socket ./stoker.sock",
        "stoker run --config 'git@git.example.org:ops/pools.git?ref=main'",
        "stoker run --metrics 127.0.0.1:9464 --log-format json",
    )
)
@_with_settings
@click.option(
    "--settings",
    "settings_file",
    metavar="FILE",
    help="Where settings are read from. [default: /etc/stoker/stoker.yaml]",
)
def run(settings_file: str | None, **flags: str | None) -> int:
    """Run the daemon in the foreground, until TERM or Ctrl-C.

    A flag beats a STOKER_* variable, which beats the settings file. Stopping leaves what was made, and the claims,
    as they are; starting again goes on with them.
    """
    try:
        settings = load_settings(flags, settings_file=settings_file)
    except SettingsError as error:
        listed = "\n".join(f"  {problem}" for problem in error.problems)
        raise Failed(f"The settings are wrong.\n{listed}", "settings", USAGE) from None
    # A daemon that has run before serves its last good revision even when the directory is away.
    if (
        isinstance(settings.config, Path)
        and not settings.config.is_dir()
        and not _has_run(settings.state)
    ):
        raise Failed(
            f"There is no config directory at {settings.config}. "
            f"Name yours with --config DIR, or write one with: stoker init {settings.config}",
            "no-config",
            USAGE,
        )
    from ..service import run as serve  # noqa: PLC0415 - all that the daemon needs is loaded here
    from ..stopping import end_soon  # noqa: PLC0415

    code = serve(settings)
    end_soon(code)
    return code


def _has_run(state: Path) -> bool:
    try:
        return any(state.iterdir())
    except OSError:
        return False
