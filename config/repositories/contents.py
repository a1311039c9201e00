"""The files of a commit: what git lists and gives, checked before any of it is read as YAML. Pure.

The bounds are those of a config directory. Whatever a checkout on some file system would turn into
something else (links, names that differ by case alone, pointers to large files) is refused by name.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from ..documents import MAX_FILE, MAX_FILES, MAX_TOTAL
from ..problems import Problem
from ..trees import SUFFIXES

LFS = b"version https://git-lfs.github.com/spec/"
LINK, SUBMODULE = "120000", "160000"
MAX_ENTRIES = 50_000
"""Names looked at in all."""
MAX_LISTING = 16 * 1024 * 1024
"""Bytes of the list of all names."""
_SHOWN = 20
"""Of one kind of problem; more would hide the others."""


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    """Below the config's root, with slashes."""
    mode: str
    oid: str
    size: int
    """Bytes; 0 for what is no file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files that are to be read, and what is wrong with others."""

    files: tuple[Entry, ...]
    problems: tuple[Problem, ...]


def parse_listing(output: bytes) -> tuple[list[Entry], list[Problem]]:
    """The output of `git ls-tree -r -z -l`. Hidden names are left out, as in a directory."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for record in output.split(b"\0")[:-1]:
        facts, _, raw = record.partition(b"\t")
        mode, _, oid, size = facts.decode("ascii").split()
        if any(part.startswith(b".") for part in raw.split(b"/")):
            continue
        name = raw.decode(errors="backslashreplace")
        if not _well_named(raw):
            shown = name.encode("unicode_escape").decode("ascii")
            problems.append(
                _problem(shown, "the file's name is no printable UTF-8 text", "rename it")
            )
            continue
        entries.append(Entry(name, mode, oid, 0 if size == "-" else int(size)))
    return entries, problems


def choose(entries: list[Entry], place: str) -> Listing:
    """Which files to read, in the order of their names. `place` says to people where the root is."""
    problems: list[Problem] = []
    if len(entries) > MAX_ENTRIES:
        message = f"the folder holds more than {MAX_ENTRIES} names"
        problems.append(_problem(place, message, "name the folder of the config with ?path=FOLDER"))
        return Listing((), tuple(problems))
    problems += _odd(entries)
    files = sorted(
        (one for one in entries if _is_file(one) and one.name.endswith(SUFFIXES)),
        key=lambda one: one.name,
    )
    problems += _too_large(files, place)
    problems += _colliding(files)
    return Listing(() if problems else tuple(files), tuple(problems))


def check_contents(files: Mapping[str, bytes]) -> tuple[Problem, ...]:
    """What only the content tells: pointers of Git LFS."""
    return tuple(
        _problem(
            name,
            "this is a pointer of Git LFS, not the file itself",
            "keep configuration out of LFS: 'git lfs untrack' it and commit it again",
        )
        for name, content in files.items()
        if content.startswith(LFS)
    )


def _is_file(entry: Entry) -> bool:
    return entry.mode not in {LINK, SUBMODULE}


def _odd(entries: list[Entry]) -> list[Problem]:
    links = [one.name for one in entries if one.mode == LINK]
    modules = [one.name for one in entries if one.mode == SUBMODULE]
    return [
        *(
            _problem(
                name,
                "this is a symbolic link, and links in a repository are not followed",
                "commit a copy of what it points to, or move the link out of the config's folder",
            )
            for name in links[:_SHOWN]
        ),
        *(
            _problem(
                name,
                "this is a submodule, and submodules are not fetched",
                "commit its files, or move it out of the config's folder",
            )
            for name in modules[:_SHOWN]
        ),
    ]


def _too_large(files: list[Entry], place: str) -> list[Problem]:
    huge = [one for one in files if one.size > MAX_FILE]
    problems = [
        _problem(
            one.name,
            f"the file has {one.size} bytes and may have {MAX_FILE}",
            "split it into several files",
        )
        for one in huge[:_SHOWN]
    ]
    if len(files) > MAX_FILES:
        message = f"there are {len(files)} files, and {MAX_FILES} may be"
        problems.append(_problem(place, message, "join some of them"))
    elif not huge and sum(one.size for one in files) > MAX_TOTAL:
        message = f"the files are more than {MAX_TOTAL} bytes in all"
        problems.append(_problem(place, message, "move what is no config elsewhere"))
    return problems


def _colliding(files: list[Entry]) -> list[Problem]:
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for one in files:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", one.name).casefold())
        other = seen.setdefault(key, one.name)
        if other != one.name and len(problems) < _SHOWN:
            message = f"the name differs from {other} by case or form of letters alone"
            problems.append(
                _problem(one.name, message, "rename one: on some disks they are one file")
            )
    return problems


def _well_named(raw: bytes) -> bool:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return False
    return name.isprintable() and len(raw) <= 1024


def _problem(file: str, message: str, remedy: str) -> Problem:
    return Problem(file, 0, 0, "", message, remedy)


def parse_batch(output: bytes, expected: int) -> list[bytes] | None:
    """The contents that `git cat-file --batch` gave, in order; None when they are not all there."""
    contents: list[bytes] = []
    at = 0
    while len(contents) < expected:
        end = output.find(b"\n", at)
        words = output[at:end].split()
        if end < 0 or len(words) != 3 or not words[2].isdigit():
            return None
        size = int(words[2])
        content = output[end + 1 : end + 1 + size]
        if len(content) != size:
            return None
        contents.append(content)
        at = end + 1 + size + 1
    return contents
