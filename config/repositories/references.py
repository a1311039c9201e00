"""Names of branches, tags, commits and folders, as far as they are handed to git. Pure."""

import re

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What `git check-ref-format` forbids, and beyond that whatever is not printable.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_LONGEST = 200
_KINDS = ("refs/heads/", "refs/tags/")


def is_commit(text: str) -> bool:
    """True for a whole commit id. Shortened ones are not taken: another commit may come to share it."""
    return _COMMIT.fullmatch(text) is not None


def check_reference(text: str) -> str:
    """A branch, a tag or a commit, as given. Raises ValueError with what was expected."""
    if is_commit(text):
        return text
    if text.startswith("-"):
        raise ValueError("a ref that does not begin with '-', which git would take for an option")
    if (
        _FORBIDDEN.search(text)
        or not text.isprintable()
        or text.startswith("/")
        or text.endswith(("/", "."))
        or text in {"", "@"}
        or any(part.startswith(".") or part.endswith(".lock") for part in text.split("/"))
    ):
        raise ValueError("the name of a branch or of a tag, or a whole commit id")
    if len(text.encode()) > _LONGEST:
        raise ValueError(f"a ref of at most {_LONGEST} bytes")
    if text.startswith("refs/") and not text.startswith(_KINDS):
        raise ValueError(
            "a branch (refs/heads/…) or a tag (refs/tags/…); under other refs anybody may put commits"
        )
    return text


def check_folder(text: str) -> str:
    """A folder below the repository's root, without slashes at its ends. Raises ValueError."""
    folder = text.strip("/")
    parts = folder.split("/")
    if ".." in parts:
        raise ValueError("a path inside the repository, without '..'")
    if folder.startswith("-"):
        raise ValueError("a path that does not begin with '-'")
    if not folder.isprintable() or any(part in {"", ".", ".git"} for part in parts):
        raise ValueError("a folder of the repository, such as path=config/production")
    if len(folder.encode()) > _LONGEST:
        raise ValueError(f"a path of at most {_LONGEST} bytes")
    return folder


def candidates(ref: str) -> tuple[str, ...]:
    """The full names that a ref may have in the other repository."""
    if not ref:
        return ("HEAD",)
    if ref.startswith(_KINDS):
        return (ref,)
    return tuple(f"{kind}{ref}" for kind in _KINDS)
