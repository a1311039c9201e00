"""In which order the parts of a blueprint are made. Pure graph work."""

from collections.abc import Mapping, Sequence


def in_order(names: Sequence[str], needs: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Every name after all that it needs; otherwise in the order given.

    What a cycle holds back comes last, in the order given, so that the rest can still be checked.
    Needs outside `names` are taken as met.
    """
    known = frozenset(names)
    waiting = {name: set(needs.get(name, frozenset()) & known) for name in names}
    ordered: list[str] = []
    while True:
        free = next((name for name, missing in waiting.items() if not missing), None)
        if free is None:
            return (*ordered, *waiting)
        del waiting[free]
        ordered.append(free)
        for missing in waiting.values():
            missing.discard(free)


def cycles(
    names: Sequence[str], needs: Mapping[str, frozenset[str]]
) -> tuple[tuple[str, ...], ...]:
    """The ways that lead back to their start, such as `(a, b, a)`; each name in at most one."""
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for name in names:
        way = _way_back(name, needs, done)
        if way:
            found.append(way)
            done.update(way)
    return tuple(found)


def _way_back(start: str, needs: Mapping[str, frozenset[str]], done: set[str]) -> tuple[str, ...]:
    """The shortest way from a name to itself, past none of `done`."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    for way in ways:  # grows while it is walked: breadth first
        for need in sorted(needs.get(way[-1], frozenset())):
            if need == start and start not in done:
                return (*way, start)
            if need not in seen and need not in done:
                seen.add(need)
                ways.append((*way, need))
    return ()
