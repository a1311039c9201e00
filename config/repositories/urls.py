"""Which repositories may be followed, and how their addresses are written. Pure.

Whatever git could take for an option, for a command or for a helper of another transport is refused
here, by name, before git is started. An address never holds a secret, so it can be shown anywhere.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ..spelling import suggestion
from .references import check_folder, check_reference

SCHEMES = ("https", "ssh", "file", "http")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_SCP = re.compile(r"(?P<user>[^/@:]*)@(?P<host>\[[^\]/]*\]|[^/:\[]*):(?P<path>.*)", re.DOTALL)
_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?"
)
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]")
_SECRET = re.compile(r"(?<=://)[^/?#]*@|(?<=::)[^/?#]*@")
_LONGEST = 2048
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class BadLocation(ValueError):
    """Why an address is refused: a sentence with a remedy, that quotes no secret."""


@dataclass(frozen=True, slots=True)
class Location:
    """What to follow. Its text is what people may see: it holds no secret."""

    url: str
    """As git takes it, without the query."""
    scheme: str
    """https, http, ssh or file."""
    host: str
    """Empty for a file."""
    ref: str = ""
    """A branch, a tag or a whole commit id; empty: whatever HEAD of the repository names."""
    path: str = ""
    """The folder of the config below the repository's root; empty: the root."""

    def __str__(self) -> str:
        query = "&".join(
            f"{name}={value}" for name, value in (("ref", self.ref), ("path", self.path)) if value
        )
        return f"{self.url}?{query}" if query else self.url

    @property
    def loopback(self) -> bool:
        return self.host in _LOOPBACK

    @property
    def origin(self) -> str:
        """Scheme, host and port of an http address: what a token is sent to, and nothing else."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}/"


def is_location(text: str) -> bool:
    """True for what is meant as the address of a repository, well-formed or not; else it is a path."""
    return bool("://" in text or _HELPER.match(text) or _SCP.fullmatch(text.partition("?")[0]))


def without_secrets(text: str) -> str:
    """The text of an address as it may be shown: who stands before an @ is left out."""
    return _SECRET.sub("…@", text)


def with_ref(text: str) -> str:
    """`URL@REF` as `URL?ref=REF`; what stands before a host (`git@…`) is no ref."""
    address, question, query = text.partition("?")
    scheme, mark, rest = address.rpartition("://")
    base, at, ref = rest.rpartition("@")
    whole = "/" in base if mark else ":" in base
    if not at or not ref or not whole:
        return text
    more = f"&{query}" if question else ""
    return f"{scheme}{mark}{base}?ref={ref}{more}"


def parse_location(text: str) -> Location:
    """Raises `BadLocation`."""
    if len(text) > _LONGEST:
        raise BadLocation(f"an address of at most {_LONGEST} characters")
    if re.search(r"[^\x21-\x7e]", text) or re.search(r"[\x00-\x20\x7f]", unquote(text)):
        raise BadLocation("an address without spaces, control characters and letters beyond ASCII")
    if _HELPER.match(text):
        helper = text.partition("::")[0]
        raise BadLocation(
            f"https://, ssh:// or file://; '{helper}::' asks git to run a helper program, which "
            "is never done"
        )
    if "#" in text:
        raise BadLocation("no '#'; write the branch as ?ref=NAME and the folder as &path=FOLDER")
    address, _, query = text.partition("?")
    ref, path = _parse_query(query)
    found = _URL.fullmatch(address)
    if found is not None:
        return _parse_url(found["scheme"].lower(), found["rest"], ref, path)
    found = _SCP.fullmatch(address)
    if found is None:
        raise BadLocation("an address such as https://git.example.org/ops/pools.git?ref=main")
    return _parse_scp(found["user"], found["host"], found["path"], ref, path)


def _parse_query(query: str) -> tuple[str, str]:
    values = {"ref": "", "path": ""}
    given: set[str] = set()
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if name not in values:
            raise BadLocation(f"no parameter {name!r}; {suggestion(name, values)}")
        if name in given:
            raise BadLocation(f"{name} once")
        given.add(name)
        values[name] = unquote(value, errors="strict")
        if not equals or not value:
            raise BadLocation(f"a value for {name}, or no {name} at all")
    try:
        ref = check_reference(values["ref"]) if values["ref"] else ""
        path = check_folder(values["path"]) if values["path"] else ""
    except ValueError as error:
        raise BadLocation(str(error)) from None
    return ref, path


def _parse_url(scheme: str, rest: str, ref: str, path: str) -> Location:
    if scheme not in SCHEMES:
        why = ": it proves nobody's identity" if scheme == "git" else ""
        raise BadLocation(f"https://, ssh:// or file://; {scheme}:// is not followed{why}")
    authority, slash, below = rest.partition("/")
    if scheme == "file":
        if authority:
            raise BadLocation("three slashes and a whole path: file:///srv/pools.git")
        _check_path(below)
        return Location(f"file:///{below}", scheme, "", ref, path)
    user, at, place = authority.rpartition("@")
    if at and scheme != "ssh":
        raise BadLocation(
            "an address without a user or a password, which everybody would see; put the token "
            "into a file and name it with configToken"
        )
    if ":" in user:
        raise BadLocation("an address without a password; name a deploy key with configKey")
    if at:
        _check_user(user)
    host, port = _split_port(place)
    _check_host(host)
    if not slash or not below:
        raise BadLocation(f"the repository's path after {host}")
    _check_path(below)
    url = f"{scheme}://{user}{at}{host}{port}/{below}"
    return Location(url, scheme, host, ref, path)


def _parse_scp(user: str, host: str, below: str, ref: str, path: str) -> Location:
    _check_user(user)
    _check_host(host)
    if below.startswith("-") or not below.strip("/"):
        raise BadLocation("a path after the colon that does not begin with '-'")
    _check_path(below)
    return Location(f"{user}@{host}:{below}", "ssh", host, ref, path)


def _split_port(place: str) -> tuple[str, str]:
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place, ""
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise BadLocation("a port from 1 to 65535")
    return host, f":{port}"


def _check_user(user: str) -> None:
    if not _USER.fullmatch(user):
        raise BadLocation("a plain user name before the @, such as git@")


def _check_host(host: str) -> None:
    if not (_HOST.fullmatch(host) or _IPV6.fullmatch(host)) or len(host) > 253:
        raise BadLocation("the name or the address of a host, such as git.example.org")


def _check_path(below: str) -> None:
    decoded = unquote(below)
    if ".." in decoded.split("/"):
        raise BadLocation("a path without '..'")
    if not below.strip("/"):
        raise BadLocation("the repository's path")
