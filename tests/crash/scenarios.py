"""What is going on while the real daemon is cut off: one thing each, small and complete."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crash.callers import Caller

BLUEPRINTS = """\
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: sandbox}}
spec:
  prepare:
    - {{name: work, driver: directory}}
    - name: server
      driver: process
      with: {{command: [sleep, "{seconds}"], cwd: "${{parts.work.path}}"}}
  finish:
    - {{name: pass, driver: token}}
    - {{name: note, driver: file, with: {{path: "${{parts.work.path}}/claim", content: "${{claim.id}}"}}}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
---
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: folder, annotations: {{stoker/accept-destroy: "{gone}"}}}}
spec:
  prepare:
    - {{name: work, driver: directory}}
  finish:
    - {{name: pass, driver: token}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
---
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: moody}}
spec:
  prepare:
    - {{name: work, driver: directory}}
  finish:
    - {{name: pass, driver: token}}
    - name: guard
      driver: process
      with:
        command: [sh, -c, "rm {mood} 2>&- && exit 1; echo up; exec sleep 600"]
        cwd: "${{parts.work.path}}"
      ready: {{log: up, every: 20ms}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
---
apiVersion: stoker/v1
kind: Blueprint
metadata: {{name: lasting}}
spec:
  prepare:
    - {{name: work, driver: directory}}
    - name: server
      driver: process
      with: {{command: [sleep, "{seconds}"], cwd: "${{parts.work.path}}"}}
  finish:
    - {{name: pass, driver: token}}
    - {{name: note, driver: file, with: {{path: "${{parts.work.path}}/claim", content: "${{claim.id}}"}}}}
  outputs:
    path: "${{parts.work.path}}"
    token: {{value: "${{parts.pass.value}}", secret: true}}
  reset:
    parts: [work, server]
    verify: {{exec: [sh, -c, '[ -z "$(ls -A "$0")" ]', "${{parts.work.path}}"], within: 5s, every: 20ms}}
"""

POOL = """\
---
apiVersion: stoker/v1
kind: Pool
metadata: {{name: {name}}}
spec:
  blueprint: {blueprint}
  size: {{min: {min}, max: {max}}}
  lifetime: {{ttl: 1h, maxTtl: 2h}}
  backfill: {{rate: {rate}, burst: {burst}, concurrency: {concurrency}}}
  rollout: {{settle: 20ms}}
"""


POLICY = """\
---
apiVersion: stoker/v1
kind: Policy
metadata: {{name: {pool}}}
spec:
  pools: [{pool}]
  rules: [{{name: operators, effect: allow, when: caller.operator}}]
  limits: {{maxActivePerCaller: {limit}}}
"""

GUARDED = """\
---
apiVersion: stoker/v1
kind: Policy
metadata: {{name: {pool}}}
spec:
  pools: [{pool}]
  rules: [{{name: asks, effect: approve, when: caller.operator}}]
  approvals:
    approvers: approver.uid in [61002, 61004]
    quorum: {quorum}
    breakGlass: {{when: "true", followUp: 1h}}
"""
BOB, ZOE = 61002, 61004
"""Users without a name: those who may approve."""


@dataclass(frozen=True, slots=True)
class Size:
    """One pool, as a scenario declares it."""

    blueprint: str
    min: int
    max: int = 4
    rate: str = "1000/s"
    burst: int = 1
    concurrency: int = 1
    limit: int = 0
    """How many of them a caller may hold, by a policy; 0: there is none."""
    quorum: int = 0
    """How many others have to approve a claim, by a policy; 0: there is none."""


Declared = dict[str, Size]
"""By pool."""


def _nothing(caller: Caller) -> None:
    """Nothing is done."""


@dataclass(frozen=True)
class Scenario:
    name: str
    pools: Declared
    act: Callable[[Caller], None]
    """What goes on; the daemon may die in any call of it."""
    before: Callable[[Caller], None] = _nothing
    """What goes before, with a daemon that lives."""
    after: Callable[[Caller], None] = _nothing
    """What the callers do once the daemon is up again."""
    later: Declared | None = None
    """What is declared by `act`, if it declares."""
    cut_before: str | None = None
    """A first daemon is cut here, in `act`, and then the start of the next one is what goes on."""
    from_the_start: bool = False
    """The daemon's first start is what goes on."""
    votes: bool = False
    """Other users vote in it, and only root can connect as somebody else."""


def declare(caller: Caller, pools: Declared, *, seconds: int = 600, gone: str = "") -> None:
    """`gone`: pools that are accepted to be destroyed."""
    mood = caller.subject.folder / "mood"
    text = BLUEPRINTS.format(seconds=seconds, mood=mood, gone=gone)
    for name, size in pools.items():
        text += POOL.format(
            name=name,
            blueprint=size.blueprint,
            min=size.min,
            max=size.max,
            rate=size.rate,
            burst=size.burst,
            concurrency=size.concurrency,
        )
        if size.limit:
            text += POLICY.format(pool=name, limit=size.limit)
        if size.quorum:
            text += GUARDED.format(pool=name, quorum=size.quorum)
    caller.subject.declare(text)


WEB: Declared = {"web": Size("sandbox", 1)}
EMPTY: Declared = {"web": Size("sandbox", 0)}
MANY: Declared = {"web": Size("sandbox", 2, concurrency=2)}
ONE_BY_ONE: Declared = {"web": Size("sandbox", 2)}
"""It is certain in which order they become ready, and are replaced."""
FOLDERS: Declared = {"web": Size("folder", 1)}
TWO_FOLDERS: Declared = {"web": Size("folder", 2)}
NO_FOLDERS: Declared = {"web": Size("folder", 0)}
ONE_FOLDER: Declared = {"web": Size("folder", 0, max=1)}
LIMITED: Declared = {"web": Size("folder", 2, limit=1)}
APPROVED: Declared = {"web": Size("folder", 1, quorum=2)}
REVIEWED: Declared = {"web": Size("folder", 1, quorum=1)}
MOODY: Declared = {"web": Size("moody", 2)}
SLOW: Declared = {"web": Size("sandbox", 2, rate="1/s", burst=3)}
"""The fourth creation comes seconds after the first: not before the daemon is cut."""
LASTING: Declared = {"lasting": Size("lasting", 1, max=1)}
"""One resource, which serves several claims."""
OLD: Declared = {"web": Size("sandbox", 1), "old": Size("folder", 1)}
NEW: Declared = {"web": Size("sandbox", 1), "new": Size("folder", 1)}


def _claim(caller: Caller) -> None:
    caller.take("web", key="k", wait="20s")


def _claim_up_to_the_limit(caller: Caller) -> None:
    """Whatever the daemon forgot, there is one claim and no second."""
    assert caller.take("web", key="k", wait="20s").claim == caller.by_key["k"]
    for key in ("k2", "k3"):
        answer = caller.claim("web", key=key)
        assert (429, "limit-reached") == (answer.status, answer.json["code"]), answer


def _be_approved(caller: Caller) -> None:
    """Whoever comes back after a death says everything again."""
    answer = caller.claim("web", key="k")
    assert answer.status in {201, 202}, answer
    claim = answer.json["id"]
    for voter in (BOB, ZOE):
        caller.vote(voter, "approve", claim)
    caller.stand_in_line(claim)


def _be_denied(caller: Caller) -> None:
    answer = caller.claim("web", key="k")
    if answer.status == 403:
        assert answer.json["code"] == "approval-rejected", answer
        assert caller.rejected, answer
    else:
        assert answer.status == 202, answer
        caller.vote(BOB, "approve", answer.json["id"])
        caller.vote(ZOE, "reject", answer.json["id"])
    caller.until_refused()


def _break_the_glass(caller: Caller) -> None:
    told = caller.take("web", key="k", wait="20s", reason="it burns", breakGlass=True)
    caller.vote(BOB, "approve", told.claim)


def _claim_another(caller: Caller) -> None:
    caller.take("web", key="other", wait="20s")


def _claim_without_key(caller: Caller) -> None:
    caller.take("web", wait="20s")


def _claim_two(caller: Caller) -> None:
    caller.take("web", key="k", wait="20s", count=2)


def _queue(caller: Caller) -> None:
    answer = caller.claim("web", key="k")
    assert answer.status == 202, answer
    caller.stand_in_line(answer.json["id"])


def _queue_on(caller: Caller) -> None:
    """Asks again with the key: by now the claim may be bound."""
    answer = caller.claim("web", key="k")
    if answer.status == 202:
        caller.stand_in_line(answer.json["id"])
    else:
        assert answer.status == 201, answer


def _release(caller: Caller) -> None:
    assert caller.latest is not None
    caller.release(caller.latest.claim)


def _use_and_release(caller: Caller) -> None:
    """Leaves something in the folder, which the next one must not find."""
    if "k" not in caller.by_key:
        told = caller.take("lasting", key="k", wait="20s")
        mine = Path(told.outputs[0]["path"]) / "mine"
        assert not mine.exists()
        mine.write_text(told.claim)
    for claim in caller.by_key.values():
        caller.release(claim)


def _use_and_release_again(caller: Caller) -> None:
    _use_and_release(caller)
    told = caller.take("lasting", key="another", wait="20s")
    assert ["claim"] == [path.name for path in Path(told.outputs[0]["path"]).iterdir()]
    caller.release(told.claim)


def _hold_one_and_queue(caller: Caller) -> None:
    _claim_another(caller)
    assert caller.claim("web", key="k", wait=None).status == 202


def _give_up(caller: Caller) -> None:
    for claim in caller.waiting | caller.let_go:
        caller.release(claim)


def _expire(caller: Caller) -> None:
    assert caller.latest is not None
    # Whether the renewal is answered or not, from now on the claim may be over.
    caller.let_go.add(caller.latest.claim)
    assert caller.renew(caller.latest, "40ms").status == 200
    _until_over(caller)


def _expire_at_last(caller: Caller) -> None:
    """The renewal that may have been lost is asked for again."""
    assert caller.latest is not None
    assert caller.renew(caller.latest, "40ms").status in {200, 409, 410}
    _until_over(caller)


def _until_over(caller: Caller) -> None:
    assert caller.latest is not None
    where = f"/v1/claims/{caller.latest.claim}"
    caller.subject.until("over", lambda: bool(caller.subject.get(where)["state"] == "ended"))


def _renew(caller: Caller) -> None:
    assert caller.latest is not None
    assert caller.renew(caller.latest, "90m").status == 200


def _change(caller: Caller) -> None:
    declare(caller, NEW, seconds=601, gone="old")


def _roll(caller: Caller) -> None:
    """A canary is made, and then both that are ready are replaced; the one that is bound is not."""
    before = caller.subject.get("/v1/pools/web")["digest"]
    declare(caller, ONE_BY_ONE, seconds=601)

    def rolled() -> bool:
        pool = caller.subject.get("/v1/pools/web")
        return pool["digest"] != before and "rollout" not in pool

    caller.subject.until("rolled", rolled)


def _fill(caller: Caller) -> None:
    declare(caller, MANY)


def _drift(caller: Caller) -> None:
    (ready,) = caller.resources("web", "ready")
    caller.kill_server(ready)
    caller.subject.until("replaced", lambda: [ready] != caller.resources("web", "ready"))


def _hold_old(caller: Caller) -> None:
    caller.take("old", key="k", wait="20s")


def _be_moody(caller: Caller) -> None:
    (caller.subject.folder / "mood").touch()


SCENARIOS = (
    Scenario("claim", WEB, _claim, after=_claim),
    Scenario("claim without a key", FOLDERS, _claim_without_key),
    Scenario("claims under a limit", LIMITED, _claim_up_to_the_limit, after=_claim_up_to_the_limit),
    Scenario("approved claim", APPROVED, _be_approved, after=_be_approved, votes=True),
    Scenario("denied by vote", APPROVED, _be_denied, after=_be_denied, votes=True),
    Scenario("break-glass claim", REVIEWED, _break_the_glass, after=_break_the_glass, votes=True),
    Scenario("cold claim", EMPTY, _claim, after=_claim),
    Scenario("queued claim", NO_FOLDERS, _queue, after=_queue_on),
    Scenario("giving up", ONE_FOLDER, _give_up, before=_hold_one_and_queue, after=_give_up),
    Scenario("renewal", FOLDERS, _renew, before=_claim),
    Scenario("release", WEB, _release, before=_claim, after=_release),
    Scenario("release with reset", LASTING, _use_and_release, after=_use_and_release_again),
    Scenario("expiry", WEB, _expire, before=_claim, after=_expire_at_last),
    Scenario("warm gang", TWO_FOLDERS, _claim_two, after=_claim_two),
    Scenario("backfill", EMPTY, _fill, later=MANY),
    Scenario("first start", MANY, _nothing, from_the_start=True),
    Scenario("config change", OLD, _change, before=_hold_old, later=NEW),
    Scenario("rollout", ONE_BY_ONE, _roll, before=_claim, later=ONE_BY_ONE),
    Scenario("drift", WEB, _drift),
    Scenario("failing finish", MOODY, _claim, before=_be_moody, after=_claim),
    Scenario(
        "restart",
        SLOW,
        _claim,
        before=_claim_another,
        after=_claim,
        cut_before="web#2.note create: not begun",
    ),
)
