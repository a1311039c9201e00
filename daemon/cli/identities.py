"""The `--as-…` options: whose claim an explanation is about, and the facts of it."""

import grp
import os
import pwd
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ...config.units import parse_duration
from .options import parse_parameters

if TYPE_CHECKING:
    from ...config.revision import PoolSpec
    from ...policies.facts import Facts

NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Identity:
    uid: int
    gid: int
    user: str
    groups: tuple[str, ...]
    unit: str
    exe: str
    host: str
    own_uid: int
    """Of whoever runs the command: as which the daemon would run."""
    token: dict[str, Any]
    """What a checked bearer token would say."""
    somebody_else: bool
    """Whether any of the options was given."""

    def facts(self, pool: "PoolSpec", asked: dict[str, Any]) -> "Facts":
        """`asked` holds the options of the request."""
        from ...policies.facts import (  # noqa: PLC0415 - heavy
            Action,
            CallerFacts,
            Facts,
            PoolFacts,
            RequestFacts,
        )

        cost = pool.blueprint.cost
        return Facts(
            CallerFacts(
                uid=self.uid,
                gid=self.gid,
                user=self.user,
                groups=self.groups,
                exe=self.exe,
                unit=self.unit,
                host=self.host,
                token=self.token,
                operator=self.uid in {0, self.own_uid},
            ),
            RequestFacts(
                action=Action.RENEW if asked["renew"] else Action.CLAIM,
                params=asked["params"],
                ttl=None if asked["ttl"] is None else parse_duration(asked["ttl"]),
                count=asked["count"],
                reason=asked["reason"],
                labels=asked["labels"],
                bind=asked["bind"] or "",
                break_glass=asked["break_glass"],
            ),
            PoolFacts(
                name=pool.name,
                labels=pool.labels,
                ready=pool.size.min,
                size=pool.size.min,
                blueprint=pool.blueprint.name,
                cost_per_hour=cost.per_hour,
                cost_centre=cost.centre,
                ttl=pool.lifetime.ttl,
                param_defaults=pool.blueprint.parameters.defaults,
            ),
            _moment(asked["at"]),
        )


def as_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options, and hands over an `identity` made of them."""

    @wraps(command)
    def with_identity(**given: Any) -> Any:
        taken = {name: given.pop(f"as_{name}") for name in (*_NAMES, "token")}
        return command(identity=_identity(**taken), **given)

    found: Callable[..., Any] = click.option(
        "--as-token", "as_token", metavar="NAME=TEXT", multiple=True, callback=parse_parameters,
        help="With a token that says this; NAME:=JSON for what is no text. May be repeated.",
    )(with_identity)  # fmt: skip
    for name, metavar, text in reversed(_OPTIONS):
        many = name == "group"
        kind = click.IntRange(0, 2**32 - 1) if name == "uid" else str
        found = click.option(
            f"--as-{name}", f"as_{name}", metavar=metavar, help=text, multiple=many, type=kind
        )(found)
    return found


_OPTIONS = (
    ("user", "NAME", "As this user, with its id and groups if this host knows it."),
    ("uid", "UID", "As the user with this id."),
    ("group", "NAME", "As a member of this group too. May be repeated."),
    ("unit", "UNIT", "From this systemd unit."),
    ("exe", "PATH", "From this program."),
    ("host", "NAME", "From this host."),
)
_NAMES = tuple(name for name, _, _ in _OPTIONS)


def _identity(  # noqa: PLR0913 - the options
    *,
    user: str | None,
    uid: int | None,
    group: tuple[str, ...],
    unit: str | None,
    exe: str | None,
    host: str | None,
    token: dict[str, Any],
) -> Identity:
    own = os.getuid()
    known = _known(user, own if uid is None and user is None else uid)
    number = uid if uid is not None else known.pw_uid if known is not None else NOBODY
    name = user or (known.pw_name if known is not None else "")
    gid = known.pw_gid if known is not None else NOBODY
    groups = _groups(known) if known is not None else []
    return Identity(
        uid=number,
        gid=gid,
        user=name,
        groups=tuple(dict.fromkeys([*groups, *group])),
        unit=unit or "",
        exe=exe or "",
        host=host or socket.gethostname(),
        own_uid=own,
        token=token,
        somebody_else=any(
            one not in (None, (), {}) for one in (user, uid, group, unit, exe, host, token)
        ),
    )


def _known(user: str | None, uid: int | None) -> pwd.struct_passwd | None:
    try:
        if user is not None:
            return pwd.getpwnam(user)
        return None if uid is None else pwd.getpwuid(uid)
    except KeyError:
        return None


def _groups(known: pwd.struct_passwd) -> list[str]:
    found: list[str] = []
    for gid in os.getgrouplist(known.pw_name, known.pw_gid):
        try:
            found.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue  # a group without a name is none that a rule could name
    return found


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.UsageError(f"{text!r} is no time; write one such as 2030-01-31T12:00:00Z.")
    return moment
