"""`stoker sync`: a new configuration now, and what came of it."""

import click

from ...client import Document, Stoker
from .failing import DENIED, DONE, FAILED, UNAVAILABLE
from .options import examples, print_json, prints, talks
from .show import section
from .status import config_troubles, revision_text


@click.command(
    epilog=examples(
        "git push && stoker sync",
        "stoker sync -o json | jq .config.repository.refused",
    )
)
@prints
@talks
def sync(output: str, socket: str | None) -> int:
    """Look for a new configuration now, instead of at the next poll, and wait until it serves.

    Exits with 1 when what was found is refused or waits for a thaw, with 3 when it is held because it
    would destroy too much, and with 5 when the repository does not answer.
    """
    with Stoker(socket) as stoker:
        found = stoker.sync()
    if output == "json":
        print_json(found)
    else:
        click.echo(f"serving {revision_text(section(found, 'revision'))}")
        for line in config_troubles(section(found, "config")):
            click.echo(line)
        if not found.get("done"):
            click.echo("It is still being looked for; 'stoker status' shows how it goes on.")
    return _code(found)


def _code(found: Document) -> int:
    config = section(found, "config")
    repository = section(config, "repository")
    if not found.get("done") or repository.get("error"):
        return UNAVAILABLE
    if not config.get("ok", True) or repository.get("refused") or config.get("waiting"):
        return FAILED
    return DENIED if config.get("held") else DONE
