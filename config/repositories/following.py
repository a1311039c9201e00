"""One look at a repository: is there something new, may it be taken, and what does it say?

Blocks on git and parses; `source` calls it in a thread of its own, one look at a time.
"""

from dataclasses import dataclass, field, replace

from ..catalogue import Catalogue
from ..digests import files_digest
from ..loading import LoadResult, Reuse, load
from ..problems import Problem
from ..revision import Revision
from .access import Verify
from .clone import DEPTHS, Clone, checked_files
from .failures import Damaged, Refused, Unavailable
from .programs import Programs
from .signatures import check_signature
from .urls import Location

SHORT = 12
"""Hex digits of a commit id that are shown; the revision's name."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which commits may be taken."""

    verify: Verify = field(default_factory=Verify)
    allow_rewind: bool = False
    """True: also those that do not descend from the one that is applied."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has found."""

    commit: str
    """What the ref names; empty when it names nothing."""
    result: LoadResult | None
    """None when this was judged before; without a revision when it is refused."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    tree: str
    result: LoadResult


class Follower:
    """Remembers what was judged, so that an unchanged repository costs one question and no parsing."""

    def __init__(
        self, clone: Clone, programs: Programs, catalogue: Catalogue, rules: Rules
    ) -> None:
        self.location: Location = clone.location
        self._clone = clone
        self._programs = programs
        self._catalogue = catalogue
        self._rules = rules
        self._reuse = Reuse()
        self._judged: str | None = None
        """The commit, or the sentence that refused what is no commit."""
        self._refused = False
        self._keys: object = None
        """What the trusted keys were when that was judged."""
        self._loaded: _Loaded | None = None

    def look(self, serving: Revision | None, *, again: bool = False) -> Look:
        """`serving`: what is applied; only what descends from it may follow.

        `again`: judge once more what was refused, because somebody asks for it.
        Raises `Unavailable`, and `Stopped` when the programs were stopped.
        """
        applied = ""
        if serving is not None and serving.source == str(self.location):
            applied = serving.commit
        try:
            return self._look(applied, again=again)
        except Damaged as damage:
            self._clone.discard()
            try:
                return self._look(applied, again=again)
            except Damaged:
                raise Unavailable(
                    f"what it gives cannot be kept ({damage})",
                    "check the repository with 'git fsck', and the disk of the state folder",
                ) from None

    def _look(self, applied: str, *, again: bool) -> Look:
        try:
            commit = self._clone.tip()
            if self._known(commit, applied, again=again):
                return Look(commit, None)
            if not self._clone.has(commit):
                self._clone.tidy()
                deep = applied and not self._rules.allow_rewind
                commit = self._clone.fetch(DEPTHS[0] if deep else 1)
                if self._known(commit, applied, again=again):
                    return Look(commit, None)
        except Refused as refusal:
            told = refusal.message
            known = self._judged == told
            self._judged, self._refused = told, True
            return Look("", None if known else self._refusal(refusal))
        keys = self._rules.verify.stamp()
        try:
            result = self._judge(commit, applied)
        except Refused as refusal:
            result = self._refusal(_about(refusal, commit))
        self._judged, self._refused = commit, result.revision is None
        self._keys = keys
        return Look(commit, result)

    def _known(self, commit: str, applied: str, *, again: bool) -> bool:
        if self._judged is None and commit == applied:
            self._judged = commit  # it was judged in an earlier run, and serves
        afresh = again or self._keys != self._rules.verify.stamp()
        return commit == self._judged and not (afresh and self._refused)

    def _judge(self, commit: str, applied: str) -> LoadResult:
        clone, rules = self._clone, self._rules
        if rules.verify and commit != applied:
            environ = clone.local_environment()
            check_signature(self._programs, environ, rules.verify, clone.raw(commit), commit)
        if applied and not rules.allow_rewind and not clone.descends(commit, applied):
            raise Refused(
                f"it does not descend from the applied commit {applied[:SHORT]}: the history was "
                "rewritten",
                "push a commit on top of the applied one, or allow it with allowRewind",
                commit,
            )
        tree = clone.tree(commit)
        if tree is None:
            path = self.location.path
            raise Refused(
                f"there is no folder {path!r} in it", "commit it, or name another one with ?path=",
                commit,
            )  # fmt: skip
        return self._load(commit, tree)

    def _load(self, commit: str, tree: str) -> LoadResult:
        """The same folder in another commit is not parsed again."""
        if self._loaded is not None and self._loaded.tree == tree:
            result = self._loaded.result
        else:
            files, listing = checked_files(self._clone, tree)
            if listing.problems:
                return LoadResult(
                    None, listing.problems, files_digest(files), str(self.location), commit
                )
            result = load(files, self._catalogue, str(self.location), reuse=self._reuse)
            self._loaded = _Loaded(tree, result)
        if result.revision is None:
            return replace(result, commit=commit)
        revision = replace(result.revision, id=commit[:SHORT], commit=commit)
        return replace(result, revision=revision, commit=commit)

    def _refusal(self, refusal: Refused) -> LoadResult:
        what = f"commit {refusal.commit[:SHORT]}: " if refusal.commit else ""
        place = str(self.location)
        problem = Problem(place, 0, 0, "", f"{what}{refusal.message}", refusal.remedy)
        return LoadResult(None, (problem,), "", place, refusal.commit)


def _about(refusal: Refused, commit: str) -> Refused:
    return Refused(refusal.message, refusal.remedy, refusal.commit or commit)
