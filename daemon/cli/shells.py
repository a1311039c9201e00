"""`stoker completion` and `stoker version`."""

import importlib.metadata
import platform

import click

from .group import cli
from .options import examples, print_json, prints


@click.command(
    epilog=examples(
        'eval "$(stoker completion bash)"                            (in ~/.bashrc)',
        'eval "$(stoker completion zsh)"                             (in ~/.zshrc)',
        "stoker completion fish > ~/.config/fish/completions/stoker.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only here

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "stoker", "_STOKER_COMPLETE").source())


@click.command(
    epilog=examples(
        "stoker version",
    )
)
@prints
def version(output: str) -> None:
    """Print the version of this program; `stoker status` has the daemon's."""
    number = importlib.metadata.version("stoker")
    if output == "json":
        print_json({"version": number, "python": platform.python_version()})
    else:
        click.echo(f"stoker {number} (Python {platform.python_version()})")
