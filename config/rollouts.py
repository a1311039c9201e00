"""`spec.rollout` of a pool, checked and in base units: budgets that can work, windows that open."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from .documents import Document
from .manifests import Pool
from .problems import Problem
from .revision import RolloutSpec
from .rollout_manifests import Window as WindowManifest
from .spelling import suggestion
from .units import format_duration
from .windows import Window, parse_clock, parse_days

_AT = ("spec", "rollout")


def compile_rollout(document: Document, pool: Pool) -> tuple[RolloutSpec, list[Problem]]:
    """The settings, with the windows that are right, and what is wrong with the others."""
    given = pool.spec.rollout
    problems = list(_contradictions(document, pool))
    windows: list[Window] = []
    for index, window in enumerate(given.windows):
        compiled = _window(document, index, window)
        if isinstance(compiled, Window):
            windows.append(compiled)
        else:
            problems.append(compiled)
    spec = RolloutSpec(
        max_unavailable=given.max_unavailable,
        max_surge=given.max_surge,
        floor=given.floor,
        canary=given.canary,
        settle=given.settle,
        progress_deadline=given.progress_deadline,
        windows=tuple(windows),
    )
    return spec, problems


def _contradictions(document: Document, pool: Pool) -> Iterator[Problem]:
    size, rollout = pool.spec.size, pool.spec.rollout
    surge, floor = rollout.max_surge, rollout.floor
    never_fewer = rollout.max_unavailable.number == 0
    least = 0 if floor is None else floor.of(size.min, up=True)
    if never_fewer and surge.number == 0:
        yield document.problem(
            (*_AT, "maxUnavailable"),
            "maxUnavailable and maxSurge are both 0, so that nothing could ever be replaced",
            "raise one of them",
        )
    elif least > size.min:
        yield document.problem(
            (*_AT, "floor"),
            f"floor ({floor}) is more than size.min ({size.min}), which is all that is kept ready",
            "lower floor or raise size.min",
        )
    elif (
        size.min
        and (size.max <= size.min or surge.number == 0)
        and (never_fewer or least >= size.min)
    ):
        no_more = "size.max leaves no slot beside size.min" if surge.number else "maxSurge is 0"
        key = "maxUnavailable" if never_fewer else "floor"
        value = "0" if never_fewer else f"{floor} of {size.min}"
        yield document.problem(
            (*_AT, key),
            f"{no_more} and {key} is {value}, so that nothing could ever be replaced",
            "let one more exist, or one fewer be ready",
        )
    if rollout.canary and rollout.settle >= rollout.progress_deadline:
        given = "settle" in rollout.model_fields_set
        yield document.problem(
            (*_AT, "settle" if given else "progressDeadline"),
            f"settle ({format_duration(rollout.settle)}) is not shorter than progressDeadline"
            f" ({format_duration(rollout.progress_deadline)}), so that no canary could ever pass",
            "shorten settle or lengthen progressDeadline",
        )


def _window(document: Document, index: int, window: WindowManifest) -> Window | Problem:
    at = (*_AT, "windows", index)
    opens, closes = parse_clock(window.from_), parse_clock(window.to)
    zone = _zone(window.timezone)
    if zone is None:
        return document.problem(
            (*at, "timezone"),
            f"there is no time zone '{window.timezone}'",
            suggestion(window.timezone, available_timezones()),
        )
    if opens is None or closes is None or opens == closes:
        return document.problem(
            (*at, "to"),
            "the window closes when it opens, so that it never does",
            "write another time; for a whole day, from '00:00' to '24:00'",
        )
    if opens == _MIDNIGHT_AFTER:
        return document.problem(
            (*at, "from"), "a window cannot open at 24:00", "write '00:00', with the next day"
        )
    days = frozenset[int]().union(*(parse_days(text) or () for text in window.days))
    return Window(days, opens, closes, zone)


_MIDNIGHT_AFTER = 24 * 60


def _zone(name: str) -> ZoneInfo | None:
    """Once read it is kept by `zoneinfo`, and conversions touch no file."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
