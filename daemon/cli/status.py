"""`stoker status`: is it well, and if not, what is wrong and what to do."""

from collections.abc import Mapping

import click

from ...client import Document, Stoker
from .lists import POOL_HEADERS, pool_rows
from .options import examples, print_json, prints, talks
from .show import by_whom, pool_troubles, section
from .terminal import ago, clean, facts, style, table


@click.command(
    epilog=examples(
        "stoker status",
        "stoker status -o json | jq .ready",
    )
)
@prints
@talks
def status(output: str, socket: str | None) -> None:
    """Show how the daemon and its pools are."""
    with Stoker(socket) as stoker:
        daemon = stoker.status()
        if output == "json":
            print_json(daemon)
            return
        pools = stoker.pools()
    click.echo(status_text(daemon))
    if pools:
        click.echo("\n" + table(POOL_HEADERS, pool_rows(pools)))
    for pool in pools:
        for trouble in pool_troubles(pool):
            click.echo(f"{style('!', 'red')} {pool.get('name')}: {clean(trouble)}")


def status_text(daemon: Document) -> str:
    revision = section(daemon, "revision")
    config = section(daemon, "config")
    lines = facts(
        [
            ("daemon", f"stoker {daemon.get('version')}, pid {daemon.get('pid')}"),
            ("up", daemon.get("uptime")),
            ("health", _health(daemon)),
            ("config", _revision(revision)),
            ("state", daemon.get("stateFolder")),
            ("socket", daemon.get("socket")),
            ("tracked", f"{_count(daemon, 'resource')}, {_count(daemon, 'claim')}"),
            ("clock", _clock(str(daemon.get("clockStep", "")))),
            *((str(one["action"]), _set(one)) for one in daemon.get("inForce") or ()),
        ]
    )
    return "\n".join([lines, *_troubles(daemon, config)])


def _set(switch: Document) -> str:
    return f"{switch.get('subject')}, {by_whom(switch)}"


def _health(daemon: Document) -> str:
    if not daemon.get("ready"):
        return style("not ready", "red")
    if not section(daemon, "config").get("ok", True):
        return style("serving an older configuration", "yellow")
    return style("healthy", "green")


def _revision(revision: Document) -> str:
    if not revision:
        return "none was applied yet"
    return (
        f"{revision.get('id')} from {revision.get('source')}, "
        f"applied {ago(revision.get('appliedAt'))} ago"
    )


def _count(daemon: Mapping[str, object], noun: str) -> str:
    number = daemon.get(f"{noun}s")
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _clock(step: str) -> str:
    """The wall clock's distance from steady time matters only once somebody has set it."""
    seconds = step.removeprefix("-")
    return "" if seconds in {"", "0s"} or seconds.endswith("ms") else f"was moved by {step}"


def _troubles(daemon: Document, config: Document) -> list[str]:
    mark = style("!", "red")
    found = [f"{mark} {clean(str(reason))}" for reason in daemon.get("reasons") or ()]
    if not config.get("ok", True):
        since = config.get("brokenSince")
        found.append(
            f"{mark} The config directory has been broken"
            f"{f' for {ago(since)}' if since else ''}; the last good revision is served. "
            "Repair what follows (stoker validate DIR checks it):"
        )
        found += [f"    {clean(str(problem))}" for problem in config.get("problems") or ()]
    error = section(daemon, "ledger").get("error")
    if error:
        found.append(f"{mark} The ledger cannot be written: {clean(str(error))}")
    return found
