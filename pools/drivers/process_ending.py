"""Ending a part's processes: which of them belong to it, and how each is signalled for certain.

A process belongs to a part when it carries the part's mark, or is in the group or session of the
part's first process while that one is known for certain. A bare number is never trusted: it may
belong to somebody else by now. Called in the process driver's threads.
"""

import os
import signal
from collections.abc import Collection
from contextlib import suppress

from ..ids import PartId
from .process_leader import Leader
from .procfs import Identity, ProcessFacts, Snapshot, read_facts


def find_first(snapshot: Snapshot, part: PartId) -> Identity | None:
    """The part's first process, when only its mark is known: the oldest that leads a session."""
    for marked in snapshot.marked.get(part, ()):
        facts = marked.facts
        if facts.pid == facts.group == facts.session:
            return facts.identity
    return None


def members(snapshot: Snapshot, part: PartId, first: Identity | None) -> list[ProcessFacts]:
    """The living processes of a part. `first` is its first process, alive or not."""
    found = {one.facts.pid: one.facts for one in snapshot.marked.get(part, ())}
    if first is not None and _leads(snapshot, first, found.values()):
        for facts in snapshot.processes.values():
            if facts.alive and first.pid in (facts.group, facts.session):
                found[facts.pid] = facts
    return list(found.values())


def _leads(snapshot: Snapshot, first: Identity, marked: Collection[ProcessFacts]) -> bool:
    """Whether the group and session with that number are the part's.

    They are while their leader exists, even as a zombie. They also are while a marked process is
    in them: the number of a group is not used again before its last member has gone.
    """
    there = snapshot.processes.get(first.pid)
    if there is not None:
        return there.identity == first
    return any(first.pid in (facts.group, facts.session) for facts in marked)


def signal_members(
    targets: Collection[ProcessFacts], first: Identity | None, leader: Leader | None, number: int
) -> None:
    """Signals them all: the first one's group in one step, so that nothing forked escapes."""
    in_group = [facts for facts in targets if first is not None and facts.group == first.pid]
    if first is not None and in_group and _signal_group(first, leader, number):
        targets = [facts for facts in targets if facts not in in_group]
    for facts in targets:
        _signal_one(facts.identity, number)


def _signal_group(first: Identity, leader: Leader | None, number: int) -> bool:
    if leader is not None and leader.signal_group(number):
        return True
    # Older kernels signal groups by number alone, so the leader is looked at once more.
    facts = read_facts(first.pid)
    if facts is None or facts.identity != first or facts.group != first.pid:
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(first.pid, number)
    return True


def _signal_one(identity: Identity, number: int) -> None:
    """Signals one process by a pidfd that is proved to be its own."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    try:
        facts = read_facts(identity.pid)
        if facts is not None and facts.identity == identity:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
