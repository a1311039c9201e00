"""Reads `/etc/stoker/stoker.yaml`: one mapping of words to words. Called by `settings`."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGEST = 64 * 1024
"""Bytes. Ten settings need less than one."""


@dataclass(frozen=True, slots=True)
class FileValue:
    """A setting as it was written, in the file or elsewhere."""

    place: str
    """`/etc/stoker/stoker.yaml:3:8`, `STOKER_STATE` or `--state`."""
    text: str
    folder: Path
    """What a relative path is relative to."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A value that may be a word, a list or a mapping, with the place of each."""

    place: str
    folder: Path
    """What a relative path is relative to."""
    word: str | None = None
    items: "tuple[Tree, ...] | None" = None
    members: "tuple[tuple[str, Tree], ...] | None" = None


@dataclass(slots=True)
class SettingsFile:
    values: dict[str, FileValue] = field(default_factory=dict[str, FileValue])
    problems: list[str] = field(default_factory=list[str])
    trees: dict[str, Tree] = field(default_factory=dict[str, Tree])
    """What stands below the words that take more than one value."""


def read_settings_file(
    path: Path,
    *,
    must_exist: bool,
    groups: Collection[str] = (),
    trees: Collection[str] = (),
) -> SettingsFile:
    """Never raises: what is wrong stands in `problems`.

    `groups`: the words that take a mapping; what stands in it is named `WORD.NAME`. `trees`: those
    that take anything, read by whoever knows them.
    """
    found = SettingsFile()
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        if must_exist or not isinstance(error, FileNotFoundError):
            found.problems.append(
                f"{path}: the settings file cannot be read: {error.strerror or error}"
            )
        return found
    if len(content) > LARGEST:
        found.problems.append(f"{path}: the file is larger than 64 KiB; settings need far less")
        return found
    _read_yaml(path, content, found, groups, trees)
    return found


def _read_yaml(
    path: Path,
    content: bytes,
    found: SettingsFile,
    groups: Collection[str],
    trees: Collection[str],
) -> None:
    import yaml  # noqa: PLC0415 - most hosts have no settings file, and every start would pay for it

    try:
        # The base loader leaves every scalar as it was written: 0660 stays an octal mode.
        root = yaml.compose(content.decode(), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        found.problems.append(f"{path}{place}: this is no YAML: {what}")
        return
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        found.problems.append(f"{path}: expected settings such as 'state: /var/lib/stoker'")
        return
    pairs: list[tuple[str, Any, Any]] = []
    for key, value in root.value:
        if str(key.value) in groups and isinstance(value, yaml.MappingNode):
            pairs += [(f"{key.value}.{inner.value}", inner, one) for inner, one in value.value]
        else:
            pairs.append((str(key.value), key, value))
    for name, key, value in pairs:
        place = f"{path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if name in found.values or name in found.trees:
            found.problems.append(f"{place}: {name!r} is set twice; leave one of them")
        elif name in trees:
            found.trees[name] = _tree(path, value)
        elif isinstance(value, yaml.ScalarNode):
            found.values[name] = FileValue(place, str(value.value), path.parent)
        else:
            found.problems.append(f"{place}: {name!r} takes one value, not a list or a mapping")


def _tree(path: Path, node: Any) -> Tree:
    place = f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    if isinstance(node.value, str):
        return Tree(place, path.parent, word=node.value)
    if node.id == "sequence":
        return Tree(place, path.parent, items=tuple(_tree(path, one) for one in node.value))
    members = tuple((str(key.value), _tree(path, one)) for key, one in node.value)
    return Tree(place, path.parent, members=members)
