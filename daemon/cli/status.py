"""`stoker status`: is it well, and if not, what is wrong and what to do."""

from collections.abc import Mapping

import click

from ...client import Document, Stoker
from .lists import POOL_HEADERS, pool_rows
from .options import examples, print_json, prints, talks
from .show import by_whom, pool_troubles, section
from .terminal import ago, clean, facts, style, table

SHORT = 12
"""Digits of a commit id that are shown."""


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
            ("config", revision_text(revision)),
            ("repository", _repository(section(config, "repository"))),
            ("notify", section(daemon, "notify").get("receiver")),
            ("state", daemon.get("stateFolder")),
            ("socket", daemon.get("socket")),
            ("tracked", f"{_count(daemon, 'resource')}, {_count(daemon, 'claim')}"),
            ("approvals", _approvals(section(daemon, "approvals"))),
            ("clock", _clock(str(daemon.get("clockStep", "")))),
            *((str(one["action"]), _set(one)) for one in daemon.get("inForce") or ()),
        ]
    )
    return "\n".join([lines, *_troubles(daemon, config)])


def _set(switch: Document) -> str:
    if not switch.get("host"):
        return f"{switch.get('subject')}, {by_whom(switch)}"
    file = switch.get("subject") if switch.get("subject") != "*" else ""
    return f"the whole host, {f'by {file}, which is ' if file else ''}{by_whom(switch)}"


def _health(daemon: Document) -> str:
    if not daemon.get("ready"):
        return style("not ready", "red")
    config = section(daemon, "config")
    if not config.get("ok", True) or config.get("held"):
        return style("serving an older configuration", "yellow")
    return style("healthy", "green")


def _repository(repository: Document) -> str:
    """What its ref names, and how fresh that is; empty for a plain directory."""
    if not repository:
        return ""
    asked = repository.get("askedAt")
    fresh = f"asked {ago(asked)} ago" if asked else "has not answered yet"
    seen = str(repository.get("seen") or "")[:SHORT]
    return f"{repository.get('ref') or 'HEAD'} is at {seen}, {fresh}" if seen else fresh


def revision_text(revision: Document) -> str:
    """The revision that serves, where it came from, and since when."""
    if not revision:
        return "none was applied yet"
    return (
        f"{revision.get('id')} from {revision.get('source')}, "
        f"applied {ago(revision.get('appliedAt'))} ago"
    )


def _count(daemon: Mapping[str, object], noun: str) -> str:
    number = daemon.get(f"{noun}s")
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _approvals(undecided: Document) -> str:
    """Empty when nobody has to decide anything."""
    waiting, due = int(undecided.get("waiting", 0)), int(undecided.get("followUps", 0))
    told = [f"{waiting} waiting"] if waiting else []
    told += [f"{due} to follow up"] if due else []
    return f"{', '.join(told)}; see: stoker claims --pending" if told else ""


def _clock(step: str) -> str:
    """The wall clock's distance from steady time matters only once somebody has set it."""
    seconds = step.removeprefix("-")
    return "" if seconds in {"", "0s"} or seconds.endswith("ms") else f"was moved by {step}"


def _troubles(daemon: Document, config: Document) -> list[str]:
    mark = style("!", "red")
    found = [f"{mark} {clean(str(reason))}" for reason in daemon.get("reasons") or ()]
    found += config_troubles(config)
    found += [
        f"{mark} The keys of the token issuer {clean(str(one['issuer']))} cannot be read: "
        f"{clean(str(one['error']))}"
        for one in daemon.get("issuers") or ()
        if one.get("error")
    ]
    notify = section(daemon, "notify")
    if notify.get("error"):
        found.append(
            f"{mark} {notify.get('receiver')} has not been told of events for "
            f"{ago(notify.get('failingSince'))}: {clean(str(notify['error']))}"
        )
    overdue = int(section(daemon, "approvals").get("overdue", 0))
    if overdue:
        found.append(
            f"{mark} Nobody has looked in time at {overdue} of the claims that did without an approval. "
            "See: stoker claims --pending"
        )
    error = section(daemon, "ledger").get("error")
    if error:
        found.append(f"{mark} The ledger cannot be written: {clean(str(error))}")
    return found


def _decided(config: Document) -> list[str]:
    """What waits to be accepted, and what is pinned."""
    found: list[str] = []
    held, pinned, seen = (section(config, name) for name in ("held", "pinned", "seen"))
    if held:
        found.append(
            f"{style('!', 'red')} Revision {held.get('revision')} has been held for "
            f"{ago(held.get('since'))}, because it would destroy too much. If that is wanted: "
            f"stoker apply --accept {held.get('revision')}"
        )
        found += [f"    {clean(str(one))}" for one in held.get("because") or ()]
    if pinned:
        newer = f" The source holds {seen.get('revision')}." if seen else ""
        found.append(
            f"{style('!', 'yellow')} Revision {pinned.get('revision')} is pinned {by_whom(pinned)}."
            f"{newer} End it with: stoker config unpin"
        )
    return found


def config_troubles(config: Document) -> list[str]:
    """What is wrong with the newest configuration, and with the way to it."""
    mark = style("!", "red")
    found: list[str] = []
    repository = section(config, "repository")
    if not config.get("ok", True):
        since = config.get("brokenSince")
        seen = str(section(repository, "refused").get("commit") or "")[:SHORT]
        what = f"The configuration of commit {seen}" if seen else "The configuration"
        found.append(
            f"{mark} {what} has been refused{f' for {ago(since)}' if since else ''}; "
            "the last good revision is served. Repair what follows (stoker validate DIR checks it):"
        )
        found += [f"    {clean(str(problem))}" for problem in config.get("problems") or ()]
    waiting = section(config, "waiting")
    if waiting:
        found.append(
            f"{mark} Revision {waiting.get('revision')} has waited for {ago(waiting.get('since'))}: "
            "it is applied when the host is thawed."
        )
    found += _decided(config)
    error = repository.get("error")
    if error:
        since = repository.get("failingSince")
        found.append(
            f"{mark} The repository could not be asked{f' for {ago(since)}' if since else ''}: "
            f"{clean(str(error))}"
        )
    return found
