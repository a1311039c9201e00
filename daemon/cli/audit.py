"""`stoker audit`: proves, copies and sums up the audit, from the daemon's files alone."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...config.units import UnitError, parse_duration
from ..until import UntilError, parse_until
from .failing import DONE, FAILED, NOT_FOUND, USAGE, Failed
from .options import AnyCommand, examples, print_json, prints
from .terminal import clean, style

if TYPE_CHECKING:
    from ...pools.store import Event
    from ...pools.stores.lines import Entry, Flaw
    from ...pools.stores.proving import Proof
    from ...pools.stores.trail import Trail

TELL_EVERY = 0.2
"""Seconds between two looks at how far it is, on a terminal."""


@click.group(
    epilog=examples(
        "stoker audit verify",
        "stoker audit export --since 24h day.jsonl",
        "stoker audit report --by week",
        "stoker audit head",
    ),
)
def audit() -> None:
    """Prove, copy and sum up what happened, from the daemon's state folder.

    Only reads; the daemon may run or not.
    """


def _of_state(command: AnyCommand) -> AnyCommand:
    return click.option(
        "--state",
        metavar="DIR",
        help="The daemon's state folder. [default: as of 'stoker run']",
    )(command)


def _check_head(
    _ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]
) -> dict[int, str]:
    heads: dict[int, str] = {}
    for text in given:
        number, _, digest = text.partition(":")
        if not (number.isascii() and number.isdigit() and len(number) <= 18 and len(digest) == 64):
            raise click.BadParameter(f"{text!r} is no head; write SEQ:HASH as of 'audit head'.")
        heads[int(number)] = digest.lower()
    return heads


def _check_moment(_ctx: click.Context, _param: click.Parameter, given: str | None) -> float | None:
    """Wall seconds: of a moment, or so long ago."""
    if given is None:
        return None
    try:
        return time.time() - parse_duration(given)
    except UnitError:
        pass
    try:
        text = f"{given}T00:00:00Z" if len(given) == len("2026-01-31") else given
        wall = parse_until(text).wall
    except UntilError:
        wall = None
    if wall is None:
        raise click.BadParameter(
            f"{given!r} is no moment; write 2026-01-31, 2026-01-31T12:00:00Z, or 24h for that long ago."
        )
    return wall


def _between(command: AnyCommand) -> AnyCommand:
    when = "2026-01-31, 2026-01-31T12:00:00Z, or 24h for that long ago"
    command = click.option(
        "--until", metavar="WHEN", callback=_check_moment, help="Only events before then."
    )(command)
    return click.option(
        "--since", metavar="WHEN", callback=_check_moment, help=f"Only events from then on: {when}."
    )(command)


@audit.command(
    epilog=examples(
        "stoker audit verify",
        "stoker audit verify --expect 4711:9f2b…   # a head that was kept elsewhere",
        "stoker audit verify january.jsonl february.jsonl",
        "stoker audit verify --excerpt claims.jsonl",
    )
)
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False)
)
@_of_state
@click.option(
    "--expect",
    multiple=True,
    metavar="SEQ:HASH",
    callback=_check_head,
    help="The event with this number must have this hash; may be repeated.",
)
@click.option(
    "--excerpt", is_flag=True, help="FILE was exported with a filter: events may be missing."
)
@prints
def verify(
    *,
    files: tuple[Path, ...],
    state: str | None,
    expect: dict[int, str],
    excerpt: bool,
    output: str,
) -> int:
    """Prove that no event was changed or removed since it was written.

    Without FILE: of the state folder, files of old events included. With FILE: of exports, read as one.
    Exits with 1 and names each missing or altered event when the chain is broken. That its newest
    events were cut off shows only against a head that was kept elsewhere: see --expect and 'audit head'.
    """
    from ...pools.stores.proving import Prover  # noqa: PLC0415 - heavy

    if excerpt and not files:
        raise Failed("--excerpt is for files; the state folder has everything.", "usage", USAGE)
    if files:
        prover = Prover(excerpt=excerpt, expected=expect)
        proof = _prove(prover, _of_files(files), None)
    else:
        with _trail(state) as trail:
            prover = Prover(ledger=trail.ledger, whole=True, expected=expect)
            proof = _prove(prover, trail.walk(), trail.head().seq)
    if output == "json":
        print_json(_proof_json(proof))
    else:
        _print_proof(proof, whole=not files)
    return DONE if proof.sound else FAILED


def _prove(prover: Any, entries: "Iterator[Entry | Flaw]", last: int | None) -> "Proof":
    for entry in _told(entries, "proved", last):
        prover.take(entry)
    proof: Proof = prover.finish()
    return proof


def _print_proof(proof: "Proof", *, whole: bool) -> None:
    for finding in proof.findings:
        place = clean(finding.place)
        click.echo(f"{style(finding.what, 'red')}: {clean(finding.sentence)} ({place})")
    if proof.further:
        click.echo(f"… and {proof.further} more")
    start, end = proof.start, proof.end
    if end is None or start is None:
        click.echo("There are no events.")
        return
    which = f"{proof.events} events, {start.seq + 1} to {end.seq}"
    if proof.sound:
        click.echo(f"{style('Sound', 'green')}: {which}; the head is {end.seq}:{end.hash}")
    else:
        broken = len(proof.findings) + proof.further
        told = "1 finding" if broken == 1 else f"{broken} findings"
        click.echo(f"{style('Broken', 'red')}: {told} in {which}.")
    if proof.skipped:
        click.echo(f"It is an excerpt: {proof.skipped} events in between are not in it.")
    last = min(proof.pruned, start.seq)
    if last and whole:
        click.echo(f"Events up to {last} were pruned (audit.files), as the audit says itself.")


def _proof_json(proof: "Proof") -> dict[str, object]:
    return {
        "sound": proof.sound,
        "events": proof.events,
        "first": proof.start.seq + 1 if proof.start is not None else None,
        "head": f"{proof.end.seq}:{proof.end.hash}" if proof.end is not None else None,
        "skipped": proof.skipped,
        "findings": [
            {
                "what": one.what,
                "place": one.place,
                "sentence": one.sentence,
                "first": one.first,
                "last": one.last,
            }
            for one in proof.findings
        ],
        "further": proof.further,
    }


@audit.command(epilog=examples("stoker audit head", "stoker audit head | ssh vault 'cat >> heads'"))
@_of_state
@prints
def head(*, state: str | None, output: str) -> None:
    """Print number and hash of the newest event, to be kept where this host cannot change it.

    'stoker audit verify --expect SEQ:HASH' then proves that nothing up to there was cut off or
    written anew.
    """
    with _trail(state) as trail:
        found = trail.head()
    if output == "json":
        print_json({"seq": found.seq, "hash": found.hash})
    else:
        click.echo(f"{found.seq}:{found.hash}")


@audit.command(
    epilog=examples(
        "stoker audit export all.jsonl",
        "stoker audit export --append all.jsonl       # what came since",
        "stoker audit export --kind claim. --since 2026-01-01 | gzip > claims.gz",
    )
)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@_of_state
@_between
@click.option(
    "--kind", "kinds", multiple=True, metavar="PREFIX", help="Only kinds that begin so; repeatable."
)
@click.option(
    "--after", type=click.IntRange(0), metavar="NUMBER", help="Only events after this number."
)
@click.option("--append", is_flag=True, help="Go on in FILE after its last event.")
def export(  # noqa: PLR0913 - the command's options
    *,
    file: Path | None,
    state: str | None,
    since: float | None,
    until: float | None,
    kinds: tuple[str, ...],
    after: int | None,
    append: bool,
) -> int:
    """Copy events to FILE, or to standard output: one JSON object a line, with its hashes.

    Each line holds the hash of its event (hash) and of the one before (prev), so that
    'stoker audit verify FILE' can prove it anywhere. Resume with --after, or with --append.
    """
    from .audit_export import copy, open_target  # noqa: PLC0415 - heavy

    if append and (file is None or after is not None):
        raise Failed("--append goes on in FILE by itself; leave out --after.", "usage", USAGE)

    def wanted(event: "Event") -> bool:
        return (
            (since is None or event.at >= since)
            and (until is None or event.at < until)
            and (not kinds or event.kind.startswith(kinds))
        )

    with _trail(state) as trail, open_target(file, append=append) as target:
        first = after or target.reached
        last = trail.head().seq
        if first > last:
            raise Failed(
                f"There is no event {first} yet: the newest is {last}. This is another ledger, or an "
                "older copy.",
                "not-found",
                NOT_FOUND,
            )
        # From the one before, whose hash the first line needs.
        told = _told(trail.walk(max(0, first - 1)), "read", last)
        copied = copy(told, target, first, wanted)
    for flaw in copied.flaws:
        click.echo(f"{flaw.place} {flaw.what}; it was left out.", err=True)
    if file is not None:
        click.echo(f"{copied.lines} events were written to {file}.", err=True)
    return FAILED if copied.flaws else DONE


@audit.command(
    epilog=examples(
        "stoker audit report --since 7d",
        "stoker audit report --by month --since 2026-01-01 -o json",
    )
)
@_of_state
@_between
@click.option(
    "--by",
    type=click.Choice(["day", "week", "month"]),
    default="day",
    help="What one period is, in UTC.",
)
@prints
def report(
    *, state: str | None, since: float | None, until: float | None, by: str, output: str
) -> int:
    """Sum up who claimed what and for how long, refusals, operator actions and config changes."""
    from ...pools.moments import rfc3339  # noqa: PLC0415 - heavy
    from ...pools.stores.lines import Flaw  # noqa: PLC0415 - heavy
    from ..audit_report import Reporter, as_json  # noqa: PLC0415 - heavy
    from .audit_tables import tables  # noqa: PLC0415 - heavy

    reporter = Reporter(by=by, since=since, until=until)
    flaws = 0
    with _trail(state) as trail:
        for entry in _told(trail.walk(), "read", trail.head().seq):
            if isinstance(entry, Flaw):
                flaws += 1
            else:
                reporter.take(entry.event)
    made = reporter.finish(min(time.time(), until or time.time()))
    if output == "json":
        print_json(as_json(made, rfc3339))
    else:
        click.echo(tables(made))
    if flaws:
        click.echo(f"{flaws} events cannot be read: see 'stoker audit verify'.", err=True)
    return FAILED if flaws else DONE


def _trail(state: str | None) -> "Trail":
    from ...config.settings import SettingsError, load_settings  # noqa: PLC0415 - heavy
    from ...pools.store import StoreError  # noqa: PLC0415 - heavy
    from ...pools.stores.trail import Trail  # noqa: PLC0415 - heavy

    try:
        folder = load_settings({"state": state}).state
    except SettingsError as error:
        listed = "\n".join(f"  {problem}" for problem in error.problems)
        raise Failed(f"The settings are wrong.\n{listed}", "settings", USAGE) from None
    try:
        return Trail(folder)
    except StoreError as error:
        raise Failed(str(error), "ledger") from None


def _of_files(files: tuple[Path, ...]) -> "Iterator[Entry | Flaw]":
    from ...pools.stores.segments import read_lines  # noqa: PLC0415 - heavy

    for file in files:
        try:
            yield from read_lines(file, str(file))
        except OSError as error:
            raise Failed(f"{file} cannot be read: {error.strerror}.", "unreadable") from None


def _told(
    entries: "Iterator[Entry | Flaw]", done: str, last: int | None
) -> "Iterator[Entry | Flaw]":
    """Shows on a terminal how far it is."""
    if not sys.stderr.isatty():
        yield from entries
        return
    next_at = time.monotonic() + TELL_EVERY
    show: Callable[[str], None] = lambda text: click.echo(f"\r\x1b[K{text}", nl=False, err=True)  # noqa: E731
    for number, entry in enumerate(entries, start=1):
        yield entry
        if number % 512 == 0 and time.monotonic() >= next_at:
            next_at = time.monotonic() + TELL_EVERY
            show(f"{number:,} events {done}" + (f", up to {last:,}" if last else ""))
    show("")
