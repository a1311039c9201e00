"""Applied, held, left or refused: the whole table."""

from dataclasses import replace

import pytest

from stoker.config.loading import LoadResult
from stoker.config.problems import Problem
from stoker.config.revision import Revision
from stoker.daemon.deciding import Circumstances, Decision, Verdict, decide, is_meant, object_to
from stoker.pools.impact import Standing
from tests.builders import a_revision
from tests.rig import a_box_pool

BASE = a_revision(a_box_pool(min=10), a_box_pool(name="db", min=1), id="base")
SAME = replace(BASE, id="same", commit="c" * 40)
SMALL = a_revision(a_box_pool(min=2), a_box_pool(name="db", min=1), id="small")
FEWER = a_revision(a_box_pool(min=10), id="fewer")
BROKEN = LoadResult(None, (Problem("x", 0, 0, "", "wrong", "mend it"),), "", "test")
AT = Circumstances(BASE, {}, pinned=False, max_destroy=0.3)


def found(revision: Revision) -> LoadResult:
    return LoadResult(revision, (), revision.digest, "test")


@pytest.mark.parametrize(
    ("result", "pinned", "verdict"),
    [
        (BROKEN, False, Verdict.REFUSE),
        (BROKEN, True, Verdict.REFUSE),
        (found(SAME), False, Verdict.APPLY),
        (found(SAME), True, Verdict.LEAVE),
        (found(SMALL), False, Verdict.HOLD),
        (found(SMALL), True, Verdict.LEAVE),
        (found(FEWER), False, Verdict.HOLD),
        (found(replace(FEWER, accepts=frozenset({"db"}))), False, Verdict.APPLY),
        (found(replace(FEWER, accepts=frozenset({"web"}))), False, Verdict.HOLD),
    ],
)
def test_what_becomes_of_what_was_found(result: LoadResult, pinned: bool, verdict: Verdict) -> None:
    decision = decide(result, replace(AT, pinned=pinned))
    assert verdict is decision.verdict
    accepts = result.revision is not None and bool(result.revision.accepts)
    assert bool(decision.because) == (verdict is Verdict.HOLD or accepts)


def test_the_first_revision_of_all_is_applied() -> None:
    first = replace(AT, before=None)
    assert Decision(Verdict.APPLY) == decide(found(a_revision()), first)
    assert Decision(Verdict.APPLY) == decide(found(BASE), first)


def test_what_stands_is_protected_also_when_nobody_can_read_what_it_was_made_from() -> None:
    standing = {"web": Standing({"d": (1.0,)}), "old": Standing({"d": (1.0,)})}
    lost = replace(AT, before=None, standing=standing)
    assert Verdict.HOLD is decide(found(BASE), lost).verdict
    assert ["old"] == [one.pool for one in object_to(BASE, lost)]


def test_the_same_files_are_never_objected_to() -> None:
    standing = {"old": Standing(bound=1)}
    assert () == object_to(SAME, replace(AT, standing=standing))


def test_a_revision_is_named_by_its_id_or_by_the_beginning_of_its_commit() -> None:
    commit = "0123456789abcdef" + "0" * 24
    assert is_meant("0123456789ab", "0123456789ab", commit)
    assert is_meant("0123456", "0123456789ab", commit)
    assert is_meant("0123456789ABCDEF", "0123456789ab", commit)
    assert is_meant(commit, "0123456789ab", commit)
    assert is_meant("0123456", "0123456789ab", "")
    assert not is_meant("012345", "0123456789ab", commit)
    assert not is_meant("1234567", "0123456789ab", commit)
    assert not is_meant("", "0123456789ab", commit)
