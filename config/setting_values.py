"""How the text of a setting becomes its value. Called by `settings`; each says what it expected."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .repositories.urls import Location, is_location, parse_location
from .spelling import nearest
from .units import UnitError, parse_duration

_PORT = re.compile(r":?[0-9]+")
_TOLD = re.compile(
    r"config\.[a-z-]+|access\.denied|claim\.(approval-(requested|lapsed)|approved|rejected|voted|break-glass(-reviewed)?)"
)
"""Events of which a receiver can be told: those of other claims come too often."""

Parser = Callable[[str], object]
"""Text to value; raises ValueError with what was expected."""


class Address(NamedTuple):
    """Where to listen with TCP."""

    host: str
    port: int


def parse_path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path without a NUL byte")
    return Path(text).expanduser()


def parse_config(text: str) -> Path | Location:
    if is_location(text):
        return parse_location(text)
    if "?ref=" in text or "?path=" in text:
        raise ValueError("file://PATH?ref=NAME for a repository on this host, or a plain directory")
    return parse_path(text)


def parse_yes_or_no(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return text.lower() == "true"


def parse_socket(text: str) -> Path:
    path = parse_path(text)
    if len(os.fsencode(path)) > 107:
        raise ValueError("a shorter path: the kernel allows 107 bytes for a socket")
    return path


def parse_mode(text: str) -> int:
    try:
        mode = int(text.removeprefix("0o"), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError("an octal mode such as 0660")
    return mode


def parse_address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT such as 127.0.0.1:9464")
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - ":9464" means everywhere, as usual


def parse_local_address(text: str) -> Address:
    """As `parse_address`, but a port alone means this host alone."""
    return parse_address(f"127.0.0.1:{text.removeprefix(':')}" if _PORT.fullmatch(text) else text)


def parse_event_kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if not all(_TOLD.fullmatch(kind) for kind in kinds):
        raise ValueError(
            "kinds of events such as config.applied,config.refused, or claim.approval-requested"
        )
    return kinds


def parse_receiver(text: str) -> str:
    """An address that is told of events."""
    found = urlsplit(text)
    plain = re.fullmatch(r"[\x21-\x7e]+", text) is not None and "#" not in text
    if not plain or found.scheme not in {"http", "https"} or not found.hostname:
        raise ValueError("an address such as https://hooks.example.org/stoker")
    return text


def one_of(*words: str) -> Parser:
    def parse(text: str) -> str:
        if text.lower() not in words:
            near = nearest(text.lower(), words)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"one of {', '.join(words)}{hint}")
        return text.lower()

    return parse


def span(lowest: float, example: str) -> Parser:
    def parse(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except UnitError:
            seconds = -1.0
        if seconds < lowest:
            raise ValueError(f"a duration of {lowest:g}s or more, such as {example}")
        return seconds

    return parse


def parse_percent(text: str) -> float:
    """`30%` to 0.3."""
    digits = text.removesuffix("%").rstrip()
    if not text.endswith("%") or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", digits, re.ASCII):
        raise ValueError("a share from 0% to 100%, such as 30%")
    if float(digits) > 100:
        raise ValueError("a share from 0% to 100%, such as 30%")
    return float(digits) / 100


def parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise ValueError("a whole number from 1 on")
    return int(text)


def parse_events(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1000 <= int(text) <= 1_000_000_000:
        raise ValueError("a whole number from 1000 on")
    return int(text)
