"""What callers hold and had, counted as claims come and go, is what the claims say."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.pools.claim import Claim, Claimant, ClaimState, advance
from stoker.pools.ids import ClaimId
from stoker.pools.usage import DAY, HOUR, MINUTE, SECOND, Past, Spent, Usage, pools_of
from stoker.pools.wishes import Wish

NOW = 1_000_000.0
TODAY = 20_000


def a_claim(
    number: int = 1,
    *,
    uid: int = 1000,
    groups: tuple[str, ...] = ("web",),
    pool: str = "web",
    wish: Wish | None = None,
    labels: dict[str, str] | None = None,
    at: float = NOW,
    spent: float = 0.0,
) -> Claim:
    return Claim(
        id=ClaimId(f"c-{number}"),
        pool=pool,
        claimant=Claimant(uid, uid, 1, groups=groups),
        created_at=at,
        ttl=60.0,
        max_ttl=600.0,
        deadline=at + 60,
        labels=dict(labels or {}),
        wish=wish,
        spent=spent,
        spent_day=TODAY,
    )


def bound(claim: Claim) -> Claim:
    advance(claim, ClaimState.BOUND)
    claim.bound_at = claim.created_at
    return claim


def hold(usage: Usage, claim: Claim) -> Claim:
    usage.hold(claim, pools_of(claim))
    return bound(claim)


def test_a_claim_counts_for_its_user_its_groups_its_labels_and_its_pool() -> None:
    usage = Usage()
    hold(usage, a_claim(wish=Wish(count=3), groups=("web", "dev"), labels={"team": "a"}))

    assert (3, 3, 0) == (usage.active(1000), usage.active_in(1000, "web"), usage.active(7))
    assert (3, 0) == (usage.active(1000, ("w*",)), usage.active(1000, ("db",)))
    assert {"web": 3, "dev": 3} == usage.active_of_groups(("web", "dev", "none"))
    assert (3, 0) == (usage.active_of_group("dev", ("*",)), usage.active_of_group("dev", ("db",)))
    assert (3, 0) == tuple(usage.active_of_label(f"team={it}", ("*",)) for it in ("a", "b"))


def test_claims_without_a_label_count_as_one_value_of_it() -> None:
    usage = Usage()
    hold(usage, a_claim(1, labels={"team": "a"}))
    hold(usage, a_claim(2))
    hold(usage, a_claim(3, labels={"team": ""}, pool="db"))

    assert 2 == usage.active_of_label("team=", ("*",))
    assert 1 == usage.active_of_label("team=", ("web",))


def test_a_claim_that_ends_is_held_no_more_and_was_made_all_the_same() -> None:
    usage = Usage()
    claim = hold(usage, a_claim(spent=2.0))
    usage.leave(claim)
    usage.leave(claim)

    assert 0 == usage.active(1000)
    assert 1 == usage.claims_within(1000, HOUR, ("*",), NOW)
    assert 2.0 == usage.spent_on(1000, TODAY)
    assert {} == usage.active_of_groups(("web",))


def test_a_claim_that_came_to_nothing_was_never_made() -> None:
    usage = Usage()
    claim = a_claim(spent=2.0)
    usage.hold(claim, pools_of(claim))
    usage.leave(claim)

    assert (0, 0, 0.0) == (
        usage.active(1000),
        usage.claims_within(1000, DAY, ("*",), NOW),
        usage.spent_on(1000, TODAY),
    )


def test_a_claim_on_several_pools_counts_once_until_one_serves_it() -> None:
    usage = Usage()
    claim = a_claim(wish=Wish(pools=("web", "spare")), spent=1.0)
    usage.hold(claim, pools_of(claim))

    assert (1, 1, 1) == (
        usage.active(1000),
        usage.active(1000, ("web",)),
        usage.active(1000, ("spare",)),
    )
    claim.pool = "spare"
    usage.settle(claim, 5.0)
    assert (1, 0, 1) == (
        usage.active(1000),
        usage.active(1000, ("web",)),
        usage.active(1000, ("spare",)),
    )
    assert 5.0 == usage.spent_on(1000, TODAY) == claim.spent
    assert 1 == usage.claims_within(1000, HOUR, ("*",), NOW)


def test_windows_never_count_too_little_and_forget_in_time() -> None:
    usage = Usage()
    for number in range(100):
        hold(usage, a_claim(number, at=NOW + number))
    end = NOW + 99
    for window in (SECOND, MINUTE, HOUR, DAY):
        exact = sum(1 for number in range(100) if NOW + number > end - window)
        counted = usage.claims_within(1000, window, ("*",), end)
        assert exact <= counted <= exact + window / 60 + 1
    assert 0 == usage.claims_within(1000, MINUTE, ("*",), end + 62)
    assert 0 == usage.claims_within(1000, MINUTE, ("db",), end)


def test_a_renewal_costs_what_it_adds_and_another_day_begins_at_nothing() -> None:
    usage = Usage()
    claim = hold(usage, a_claim(spent=1.0))
    usage.charge(claim, TODAY, 0.5)
    assert (1.5, 1.5) == (claim.spent, usage.spent_on(1000, TODAY))
    usage.charge(claim, TODAY, -0.5)
    assert (1.0, 1.0) == (claim.spent, usage.spent_on(1000, TODAY))
    usage.charge(claim, TODAY + 1, 0.25)
    assert (0.25, TODAY + 1) == (claim.spent, claim.spent_day)
    assert (0.0, 0.25) == (usage.spent_on(1000, TODAY), usage.spent_on(1000, TODAY + 1))


@dataclass(frozen=True)
class Act:
    number: int
    what: str
    uid: int
    pool: str
    label: str
    count: int


ACTS = st.builds(
    Act,
    st.integers(0, 6),
    st.sampled_from(["claim", "fail", "end"]),
    st.integers(1, 2),
    st.sampled_from(["web", "db"]),
    st.sampled_from(["", "a", "b"]),
    st.integers(1, 3),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTS, max_size=25))
def test_after_any_history_the_counts_are_those_of_the_living_claims_and_a_restart_agrees(
    acts: list[Act],
) -> None:
    usage, living, over = Usage(), dict[int, Claim](), list[Claim]()
    for at, act in enumerate(acts):
        known = living.pop(act.number, None)
        if known is not None:
            if act.what == "end":
                bound(known)
                over.append(known)
            usage.leave(known)
        else:
            labels = {"team": act.label} if act.label else {}
            wish = Wish(act.count)
            claim = a_claim(
                1000 * at + act.number,
                uid=act.uid, groups=(f"g{act.uid}", "all"), pool=act.pool,
                wish=wish, labels=labels, at=NOW + at, spent=1.0,
            )  # fmt: skip
            usage.hold(claim, pools_of(claim))
            living[act.number] = claim

    past = [Past(it.claimant.uid, it.pool, float(int(it.created_at)), 1) for it in over]
    spent = [Spent(it.claimant.uid, it.pool, TODAY, it.spent) for it in over]
    anew = Usage()
    anew.restore([replace(claim) for claim in living.values()], past, spent, NOW + 100)

    def held(uid: int, globs: tuple[str, ...], label: str | None = None) -> int:
        return sum(
            claim.count
            for claim in living.values()
            if claim.claimant.uid == uid
            and ("*" in globs or claim.pool in globs)
            and (label is None or claim.labels.get("team", "") == label)
        )

    for counted in (usage, anew):
        assert [] == counted.breaches(living.values())
        for globs in (("*",), ("web",), ("web", "db")):
            assert [held(uid, globs) for uid in (1, 2)] == [
                counted.active(uid, globs) for uid in (1, 2)
            ]
            assert [sum(held(uid, globs, it) for uid in (1, 2)) for it in ("", "a", "b")] == [
                counted.active_of_label(f"team={it}", globs) for it in ("", "a", "b")
            ]
        everybody = sum(held(uid, ("*",)) for uid in (1, 2))
        assert everybody == counted.active_of_group("all", ("*",))
        for uid in (1, 2):
            made = [*living.values(), *over]
            mine = [claim for claim in made if claim.claimant.uid == uid]
            assert len(mine) == counted.claims_within(uid, HOUR, ("*",), NOW + 100)
            assert len(mine) == counted.spent_on(uid, TODAY)
