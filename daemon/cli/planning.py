"""How `stoker plan` comes to its answer: what is compared, and with what. Loaded when it is asked."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click

from ...client import Document, Stoker
from ...config.catalogue import Catalogue
from ...config.loading import load, load_directory
from ...config.policies.rules import PolicySpec
from ...config.problems import Problem
from ...config.repositories.access import Access
from ...config.repositories.failures import Unavailable
from ...config.repositories.reading_once import read_once
from ...config.repositories.urls import (
    BadLocation,
    Location,
    is_location,
    parse_location,
    with_ref,
    without_secrets,
)
from ...config.revision import Revision
from ...policies.comparing import policy_changes
from ...policies.testing import checked
from ...pools.drivers import catalogue
from ...pools.impact import (
    MAX_DESTROY,
    Standing,
    accepted_by,
    as_declared,
    impact,
    objections,
)
from .directories import problem_json, problem_text
from .failing import DENIED, DONE, FAILED, UNAVAILABLE, Failed
from .options import print_json
from .plan_text import Planned, as_json, as_markdown, as_text, plain
from .replays import MOST, recorded, replay
from .show import section


@dataclass(frozen=True, slots=True)
class Base:
    """What is compared with."""

    name: str
    revision: Revision | None
    standing: Mapping[str, Standing]
    max_destroy: float
    live: bool = False
    pinned: str = ""
    frozen: bool = False
    decisions: Sequence[Document] | None = None
    """Events with what was decided about claims; None where no daemon was asked."""


class Outcome(NamedTuple):
    code: int
    """To exit with."""
    change: bool


def plan_folder(
    folder: Path,
    *,
    live: bool,
    against: str | None,
    limit: float | None,
    output: str,
    socket: str | None,
) -> Outcome:
    """Prints it. Raises `Failed`, and `StokerError` where the daemon is asked."""
    known = catalogue()
    result = checked(load_directory(folder, known))
    if result.revision is None:
        _print_refusal(result.errors, folder, output)
        return Outcome(FAILED, change=False)
    if live:
        base = _live(socket, known, limit)
    else:
        base = _declared(against, known, MAX_DESTROY if limit is None else limit)
    return _compare(base, result.revision, output)


def _compare(base: Base, revision: Revision, output: str) -> Outcome:
    found = impact(base.revision, revision, base.standing)
    accepted = accepted_by(base.revision, revision)
    objected = objections(found, base.max_destroy, accepted)
    before = dict[str, PolicySpec]() if base.revision is None else base.revision.policies
    policies = policy_changes(before, revision.policies)
    replayed = None
    if base.decisions is not None and base.revision is not None:
        replayed = replay(base.decisions, base.revision, revision)
    planned = Planned(
        revision.id, base.name, found, objected, policies, replayed,
        live=base.live, pinned=base.pinned, frozen=base.frozen,
    )  # fmt: skip
    if output == "json":
        print_json(as_json(planned))
    else:
        click.echo(as_markdown(planned) if output == "markdown" else as_text(planned))
    return Outcome(DENIED if objected else DONE, planned.change)


def _print_refusal(problems: Sequence[Problem], folder: Path, output: str) -> None:
    errors = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    if output == "json":
        print_json({"problems": [problem_json(problem) for problem in problems]})
    elif output == "markdown":
        click.echo(f"**stoker plan**: refused, {errors}\n")
        for problem in problems:
            click.echo(f"- {plain(str(problem))}")
    else:
        for problem in problems:
            click.echo(problem_text(problem, folder))
        click.echo(f"\nRefused: {errors}.", err=True)


def _live(socket: str | None, known: Catalogue, limit: float | None) -> Base:
    with Stoker(socket) as stoker:
        standing = stoker.standing()
        serving = section(standing, "revision")
        kept = stoker.revision(str(serving["id"])) if serving else {}
        status = stoker.status()
        decisions = recorded(stoker, MOST)
    pinned = section(section(status, "config"), "pinned")
    result = load(kept.get("files") or {}, known, str(kept.get("source", "")))
    if kept and result.revision is None:
        raise Failed(
            f"The revision {serving['id']} that the daemon serves cannot be read by this stoker: "
            f"{result.errors[0]}. Use the version that the daemon has ('stoker status')."
        )
    return Base(
        name=f"revision {serving['id']}, which serves, and what stands"
        if serving
        else "a daemon that serves nothing yet",
        revision=result.revision if kept else None,
        standing={name: _standing(one) for name, one in section(standing, "pools").items()},
        max_destroy=float(standing["maxDestroy"]) if limit is None else limit,
        live=True,
        pinned=str(pinned.get("revision", "")),
        frozen=bool(section(status, "host").get("frozen")),
        decisions=decisions,
    )


def _standing(pool: dict[str, Any]) -> Standing:
    return Standing(
        ready={digest: tuple(ages) for digest, ages in section(pool, "ready").items()},
        coming=int(pool["coming"]),
        bound=int(pool["bound"]),
        held=int(pool["held"]),
        creation=pool.get("creation"),
    )


def _declared(against: str | None, known: Catalogue, limit: float) -> Base:
    if against is None:
        return Base("nothing: everything is new", None, {}, limit)
    name, revision = _read(against, known)
    return Base(f"what {name} declares", revision, as_declared(revision), limit)


def _read(against: str, known: Catalogue) -> tuple[str, Revision]:
    """A directory, or a repository with its ref: URL@REF, or URL?ref=REF&path=FOLDER."""
    if not is_location(against):
        other = Path(against)
        if not other.is_dir():
            raise Failed(f"There is no directory {other} to compare with.")
        result, name = load_directory(other, known), str(other)
    else:
        try:
            location = parse_location(with_ref(against))
        except BadLocation as error:
            shown = without_secrets(against)
            raise click.UsageError(f"--against: {shown!r} does not do; expected {error}.") from None
        name = str(location)
        try:
            result = read_once(location, _access(location), known)
        except Unavailable as error:
            raise Failed(f"{name} cannot be asked: {error}", "unavailable", UNAVAILABLE) from None
    if result.revision is None:
        raise Failed(f"What {name} declares is refused itself: {result.errors[0]}")
    return name, result.revision


def _access(location: Location) -> Access:
    """The credentials that the environment names; those of this host's settings are for its own repository."""

    def named(credential: str) -> Path | None:
        path = os.environ.get(f"STOKER_CONFIG_{credential}")
        return Path(path) if path else None

    access = Access(
        token=named("TOKEN"), key=named("KEY"), known_hosts=named("KNOWN_HOSTS"), ca=named("CA")
    )
    if access.token is not None and location.scheme == "http" and not location.loopback:
        raise Failed(
            "A token over http:// could be read by everybody on the way. Use https://, or unset "
            "STOKER_CONFIG_TOKEN"
        )
    return access
