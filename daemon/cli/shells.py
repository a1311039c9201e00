"""`stoker completion` and `stoker version`."""

import importlib.metadata
import platform

import click

from .group import cli
from .options import print_json, prints


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion script of SHELL.

    \b
    Examples:
      eval "$(stoker completion bash)"                            (in ~/.bashrc)
      eval "$(stoker completion zsh)"                             (in ~/.zshrc)
      stoker completion fish > ~/.config/fish/completions/stoker.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only here

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "stoker", "_STOKER_COMPLETE").source())


@click.command()
@prints
def version(output: str) -> None:
    r"""Print the version of this program; `stoker status` has the daemon's.

    \b
    Example:
      stoker version
    """
    number = importlib.metadata.version("stoker")
    if output == "json":
        print_json({"version": number, "python": platform.python_version()})
    else:
        click.echo(f"stoker {number} (Python {platform.python_version()})")
