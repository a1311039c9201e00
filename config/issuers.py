"""Whose bearer tokens are accepted: `identity.issuers` of the settings file.

    identity:
      issuers:
        - issuer: https://login.example.org/
          audience: stoker
          jwks: https://login.example.org/keys.json     # or a file
          algorithms: [RS256]
          leeway: 60s
          maxStale: 24h

Only asymmetric algorithms: with a shared secret, whoever can check a token can also make one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from .settings_file import Tree
from .spelling import suggestion
from .units import UnitError, parse_duration

T = TypeVar("T")

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
ALGORITHMS_UNLESS_TOLD = ("RS256", "ES256", "EdDSA")
LEEWAY, REFRESH, MAX_STALE = 60.0, 600.0, 86400.0
MOST_ISSUERS = 20
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_LEEWAY = 600.0


@dataclass(frozen=True, slots=True)
class Issuer:
    """One party whose tokens count. Widths are seconds."""

    issuer: str
    """Compared with the token's `iss`, letter by letter."""
    audience: tuple[str, ...]
    """One of these must be in the token's `aud`."""
    jwks: str | Path
    """Where its public keys are: an https address, or a file."""
    algorithms: tuple[str, ...] = ALGORITHMS_UNLESS_TOLD
    leeway: float = LEEWAY
    """By so much the clocks of the two may differ."""
    refresh: float = REFRESH
    """How often the keys are fetched again."""
    max_stale: float = MAX_STALE
    """How long keys count that could not be fetched again."""


def read_issuers(tree: Tree, problems: list[str]) -> tuple[Issuer, ...]:
    """What stands below `identity`. What is wrong is added to `problems`."""
    members = _members(tree, {"issuers"}, "identity", problems)
    listed = members.get("issuers")
    if listed is None:
        problems.append(f"{tree.place}: expected 'issuers', a list")
        return ()
    if not listed.items or len(listed.items) > MOST_ISSUERS:
        problems.append(f"{listed.place}: expected a list of 1 to {MOST_ISSUERS} issuers")
        return ()
    found: list[Issuer] = []
    for one in listed.items:
        issuer = _issuer(one, problems)
        if issuer is None:
            continue
        if any(known.issuer == issuer.issuer for known in found):
            problems.append(
                f"{one.place}: the issuer {issuer.issuer!r} is listed twice; give the one entry "
                "all of its audiences"
            )
        found.append(issuer)
    return tuple(found)


_FIELDS = {"issuer", "audience", "jwks", "algorithms", "leeway", "refresh", "maxStale"}


def _issuer(tree: Tree, problems: list[str]) -> Issuer | None:
    before = len(problems)
    members = _members(tree, _FIELDS, "an issuer", problems)
    needed = ("issuer", "audience", "jwks")
    problems += [f"{tree.place}: an issuer needs {one!r}" for one in needed if one not in members]

    def take(name: str, read: Callable[[Tree], T], default: T) -> T:
        if name not in members:
            return default
        try:
            return read(members[name])
        except (ValueError, UnitError) as error:
            problems.append(f"{members[name].place}: {name!r}: expected {error}")
            return default

    nowhere: str | Path = ""
    issuer = Issuer(
        issuer=take("issuer", _word, ""),
        audience=take("audience", _words, ()),
        jwks=take("jwks", _jwks, nowhere),
        algorithms=take("algorithms", _algorithms, ALGORITHMS_UNLESS_TOLD),
        leeway=take("leeway", _span(0.0, _LONGEST_LEEWAY), LEEWAY),
        refresh=take("refresh", _span(10.0, 86400.0), REFRESH),
        max_stale=take("maxStale", _span(0.0, 30 * 86400.0), MAX_STALE),
    )
    return issuer if len(problems) == before else None


def _members(tree: Tree, known: set[str], what: str, problems: list[str]) -> Mapping[str, Tree]:
    if tree.members is None:
        problems.append(f"{tree.place}: expected a mapping with {', '.join(sorted(known))}")
        return {}
    found: dict[str, Tree] = {}
    for name, value in tree.members:
        if name not in known:
            problems.append(f"{value.place}: {what} has no {name!r}; {suggestion(name, known)}")
        elif name in found:
            problems.append(f"{value.place}: {name!r} is set twice; leave one of them")
        else:
            found[name] = value
    return found


def _word(tree: Tree) -> str:
    if not tree.word:
        raise ValueError("a word")
    return tree.word


def _words(tree: Tree) -> tuple[str, ...]:
    """A word, or a list of them."""
    if tree.items is None:
        return (_word(tree),)
    if not tree.items:
        raise ValueError("at least one")
    return tuple(_word(one) for one in tree.items)


def _jwks(tree: Tree) -> str | Path:
    text = _word(tree)
    if "://" not in text:
        return tree.folder / Path(text).expanduser()
    parts = urlsplit(text)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        if parts.hostname and not parts.username and not parts.password:
            return text
        raise ValueError("an address with a host, and without a user or a password")
    raise ValueError("an https:// address or a file: over http anybody on the way could put keys")


def _algorithms(tree: Tree) -> tuple[str, ...]:
    given = _words(tree)
    for name in given:
        if name not in ALGORITHMS:
            why = (
                "nobody signs such tokens"
                if name.lower() == "none"
                else "whoever can check such a token can make one"
                if name.startswith("HS")
                else f"there is no {name!r}"
            )
            raise ValueError(f"some of {', '.join(ALGORITHMS)}; {why}")
    return given


def _span(lowest: float, highest: float) -> Callable[[Tree], float]:
    def read(tree: Tree) -> float:
        seconds = parse_duration(_word(tree))
        if not lowest <= seconds <= highest:
            raise ValueError(f"a duration from {lowest:g}s to {highest:g}s")
        return seconds

    return read
