"""The local copy of a repository: a bare one, shallow, in the state folder. A cache and nothing more.

Every call starts git, blocks, and raises `Unavailable`, `Refused` or `Damaged`. Nothing is ever checked
out; files are read from the objects of a commit.
"""

import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..documents import MAX_TOTAL
from . import environment
from .access import Access, plain_path, token_header
from .contents import (
    MAX_LISTING,
    Entry,
    Listing,
    check_contents,
    choose,
    parse_batch,
    parse_listing,
)
from .failures import Damaged, Refused, Unavailable, Unexplained, why
from .programs import Bounds, Programs, Result, TooLarge, TooSlow
from .references import candidates, is_commit
from .urls import Location

SEEN = "refs/stoker/seen"
ASK_WITHIN = 30.0
"""Seconds for asking what a ref names."""
FETCH_WITHIN = 120.0
"""Seconds for one fetch."""
MAX_DISK = 512 * 1024 * 1024
"""Bytes of the copy; a fetch beyond that is ended, and an old copy beyond half of it made anew."""
MAX_PACKS = 60
"""Fetches are kept as they came; after so many the copy is made anew."""
DEPTHS = (50, 1_000, 10_000)
"""How far back the applied commit is looked for among the ancestors of the next, step by step."""
MAX_COMMIT = 1024 * 1024
"""Bytes of a commit object; one has a few hundred."""
_REFS = 64 * 1024


class Clone:
    def __init__(
        self, folder: Path, location: Location, access: Access, programs: Programs
    ) -> None:
        """`folder` is ours alone and may be deleted at any time between two calls."""
        self.location = location
        self._folder = folder
        self._bare = folder / "objects.git"
        self._home = folder / "home"
        self._access = access
        self._programs = programs
        self._name = candidates(location.ref)[0]

    # The other side

    def tip(self) -> str:
        """The commit that the ref names there now. Asks, and transfers nothing."""
        ref = self.location.ref
        if is_commit(ref):
            return ref
        names = candidates(ref)
        patterns = [*names, *(f"{name}^{{}}" for name in names if name.startswith("refs/tags/"))]
        done = self._talk(["ls-remote", "--quiet", "--", self.location.url, *patterns], ASK_WITHIN)
        found = _parse_refs(done.out)
        present = [name for name in names if name in found]
        if len(present) > 1:
            raise Refused(
                f"{ref!r} is a branch and a tag",
                f"write ref=refs/heads/{ref} or ref=refs/tags/{ref}",
            )
        if not present:
            what = f"there is no branch or tag {ref!r}" if ref else "the repository is empty"
            raise Refused(what, "create it, or name another one with ?ref=NAME")
        self._name = present[0]
        return found.get(f"{present[0]}^{{}}", found[present[0]])

    def fetch(self, depth: int) -> str:
        """Transfers what the ref names, `depth` commits deep; gives back that commit.

        To be called after `tip`; what is fetched may be newer than what `tip` saw.
        """
        self._prepare()
        ref = self.location.ref
        name = ref if is_commit(ref) else self._name
        argv = [
            "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
            f"--depth={depth}", "--", self.location.url, f"+{name}:{SEEN}",
        ]  # fmt: skip
        try:
            self._talk(argv, FETCH_WITHIN)
        except Unexplained as error:
            # Whatever it is, it may be the copy, which costs little to make anew.
            raise Damaged(error.message) from None
        commit = self._resolve(f"{SEEN}^{{commit}}")
        if commit is None:
            raise Refused(
                f"{ref or 'HEAD'} names no commit", "name a branch, a tag of a commit, or a commit"
            )
        return commit

    def _talk(self, argv: list[str], seconds: float) -> Result:
        """git with the credentials. Raises `Unavailable` with what went wrong on the way."""
        self._prepare()
        bounds = Bounds(seconds, _REFS, self._too_large)
        with self._credentials() as (config, keep):
            environ = self._environ(config)
            try:
                done = self._programs.run(["git", *argv], environ, bounds=bounds, keep=keep)
            except TooSlow:
                raise Unavailable(
                    f"the host took longer than {seconds:g} s",
                    "check the host and the size of the repository",
                ) from None
            except TooLarge:
                self.discard()
                raise Unavailable(
                    f"the repository is larger than {MAX_DISK // 2**20} MiB",
                    "keep the configuration in a repository of its own",
                ) from None
        if done.code != 0:
            self._explain(done)
        return done

    def _explain(self, done: Result) -> None:
        text = done.err.decode(errors="replace")
        if any(word in text for word in ("couldn't find remote ref", "not our ref")):
            ref = self.location.ref or "HEAD"
            raise Refused(f"there is no {ref!r} there", "create it, or name another one")
        raise why(done.err)

    # The copy

    def has(self, commit: str) -> bool:
        return self._resolve(f"{commit}^{{commit}}") == commit

    def descends(self, commit: str, ancestor: str) -> bool:
        """Whether the one is an ancestor of the other, or the same. Fetches as deep as it must."""
        for depth in DEPTHS:
            if self._is_ancestor(ancestor, commit):
                return True
            if self.fetch(depth) != commit:
                # The ref has moved on: the next poll decides about what is there now.
                if self._is_ancestor(ancestor, commit):
                    return True
                raise Unavailable("the ref moved while it was read", "wait for the next poll")
            if self._count(commit) < depth:
                break  # no line of ancestors is cut off: the whole history is here
        return self._is_ancestor(ancestor, commit)

    def _is_ancestor(self, ancestor: str, commit: str) -> bool:
        if not self.has(ancestor):
            return False
        done = self._local(["merge-base", "--is-ancestor", ancestor, commit])
        if done.code not in {0, 1}:
            raise Damaged(why(done.err).message)
        return done.code == 0

    def _count(self, commit: str) -> int:
        done = self._local(["rev-list", "--count", f"--max-count={DEPTHS[-1]}", commit, "--"])
        if done.code != 0:
            raise Damaged(why(done.err).message)
        return int(done.out)

    def tree(self, commit: str) -> str | None:
        """The id of the config's folder in the commit; None when there is no such folder."""
        path = self.location.path
        return self._resolve(f"{commit}:{path}" if path else f"{commit}^{{tree}}", "tree")

    def listing(self, tree: str) -> Listing:
        place = self.location.path or "the root of the repository"
        try:
            done = self._local(["ls-tree", "-r", "-z", "-l", "--full-tree", tree], MAX_LISTING)
        except TooLarge:
            raise Refused(
                f"{place} holds too many names", "name the folder of the config with ?path=FOLDER"
            ) from None
        if done.code != 0:
            raise Damaged(why(done.err).message)
        entries, problems = parse_listing(done.out)
        chosen = choose(entries, place)
        return Listing(chosen.files, (*problems, *chosen.problems))

    def read(self, files: Sequence[Entry]) -> dict[str, bytes]:
        """The contents by name; the caller has seen to it that they are within bounds."""
        feed = "".join(f"{one.oid}\n" for one in files).encode()
        bound = MAX_TOTAL + 200 * (len(files) + 1)
        done = self._local(["cat-file", "--batch"], bound, feed=feed)
        contents = parse_batch(done.out, len(files)) if done.code == 0 else None
        if contents is None:
            raise Damaged("objects of the commit are missing")
        return {one.name: content for one, content in zip(files, contents, strict=True)}

    def raw(self, commit: str) -> bytes:
        """The commit object itself."""
        try:
            done = self._local(["cat-file", "commit", commit], MAX_COMMIT)
        except TooLarge:
            raise Refused("the commit object is too large", "make a smaller one", commit) from None
        if done.code != 0:
            raise Damaged(why(done.err).message)
        return done.out

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def local_environment(self) -> dict[str, str]:
        """For programs that need no network and no credentials."""
        return self._environ(())

    def _resolve(self, name: str, kind: str = "commit") -> str | None:
        done = self._local(["cat-file", "--batch-check"], feed=name.encode() + b"\n")
        words = done.out.decode(errors="replace").split()
        if done.code != 0:
            raise Damaged(why(done.err).message)
        return words[0] if len(words) == 3 and words[1] == kind else None

    def _local(self, argv: list[str], out: int = _REFS, *, feed: bytes = b"") -> Result:
        self._prepare()
        try:
            return self._programs.run(
                ["git", *argv], self.local_environment(), feed=feed, bounds=Bounds(30.0, out)
            )
        except TooSlow:
            raise Unavailable("git is slow", "check the disk of the state folder") from None

    def _environ(self, config: Sequence[tuple[str, str]]) -> dict[str, str]:
        return environment.environment(
            os.environ,
            str(self._home),
            str(self._bare),
            config or environment.configuration(self.location, environment.SshFiles()),
        )

    @contextmanager
    def _credentials(self) -> Generator[tuple[Sequence[tuple[str, str]], Sequence[int]]]:
        """The configuration with credentials, and the descriptors that they are read from.

        A token lies in memory that has no name: git and its children inherit it, nobody else finds it.
        """
        location, access = self.location, self._access
        ssh = environment.SshFiles()
        ca = str(access.ca) if access.ca is not None else ""
        if location.scheme == "ssh":
            ssh = environment.SshFiles(
                plain_path(access.key, "configKey") if access.key else "",
                plain_path(access.known_hosts, "configKnownHosts") if access.known_hosts else "",
            )
        if access.token is None or location.scheme not in {"http", "https"}:
            yield environment.configuration(location, ssh, ca=ca), ()
            return
        if location.scheme == "http" and not location.loopback:
            raise Unavailable(
                "a token over http:// could be read by everybody on the way", "use https://"
            )
        content = environment.token_config(location, token_header(access.token))
        descriptor = os.memfd_create("stoker-token")
        try:
            os.write(descriptor, content)
            include = f"/proc/self/fd/{descriptor}"
            yield environment.configuration(location, ssh, ca=ca, include=include), (descriptor,)
        finally:
            os.close(descriptor)

    def _prepare(self) -> None:
        """Makes the copy if there is none; removes what a git that was killed has left in it."""
        if (self._bare / "HEAD").is_file():
            return
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._home.mkdir(mode=0o700, parents=True)
            self._folder.chmod(0o700)
        except OSError as error:
            raise Unavailable(
                f"the copy of the repository cannot be made ({error.strerror})",
                "check the state folder",
            ) from None
        argv = ["git", "init", "--quiet", "--bare", "--template=", "--", str(self._bare)]
        environ = {k: v for k, v in self._environ(()).items() if k != "GIT_DIR"}
        done = self._programs.run(argv, environ)
        if done.code != 0:
            raise Unavailable(
                f"the copy of the repository cannot be made ({why(done.err).message})",
                "check the state folder",
            )

    def tidy(self) -> None:
        """Before a fetch: no stale locks, no halves of packs, and nothing that grows for ever."""
        packs = self._bare / "objects" / "pack"
        for pattern in ("*.lock", "refs/stoker/*.lock", "objects/pack/tmp_*", "objects/tmp_*"):
            for left in self._bare.glob(pattern):
                with suppress(OSError):
                    left.unlink()
        if len(list(packs.glob("*.pack"))) > MAX_PACKS or self._size() > MAX_DISK // 2:
            self.discard()

    def _too_large(self) -> bool:
        return self._size() > MAX_DISK

    def _size(self) -> int:
        total = 0
        for folder, _, names in os.walk(self._bare / "objects"):
            for name in names:
                with suppress(OSError):
                    total += (Path(folder) / name).lstat().st_size
        return total


def checked_files(clone: Clone, tree: str) -> tuple[Mapping[str, bytes], Listing]:
    """The files of a tree, and all that is wrong with them as files."""
    listing = clone.listing(tree)
    files = clone.read(listing.files) if listing.files else {}
    return files, Listing(listing.files, (*listing.problems, *check_contents(files)))


def _parse_refs(output: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in output.decode(errors="replace").splitlines():
        oid, _, name = line.partition("\t")
        if is_commit(oid):
            found[name] = oid
    return found
