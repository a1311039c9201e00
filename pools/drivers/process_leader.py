"""The first process of a part, held by a pidfd: its end is seen at once, and it is never confused.

A child that has ended is kept as a zombie until its part is removed. So its number, which is also
the number of its group and session, belongs to nobody else while that group is being ended.
After a restart of the daemon a leader is no child any more; then its start time tells it apart.
"""

import errno
import os
import signal
from contextlib import suppress

from .procfs import Identity, read_alive

GROUP = 1 << 2
"""PIDFD_SIGNAL_PROCESS_GROUP (Linux 6.9): reaches the group even when its leader is gone."""


class Leader:
    """`descriptor` is a pidfd; None when there was no file descriptor left for one."""

    __slots__ = ("_child", "descriptor", "identity")

    def __init__(self, identity: Identity, descriptor: int | None, *, child: bool) -> None:
        self.identity = identity
        self.descriptor = descriptor
        self._child = child

    @classmethod
    def of_child(cls, identity: Identity) -> "Leader":
        """Of a child that nobody has waited for."""
        try:
            return cls(identity, os.pidfd_open(identity.pid), child=True)
        except OSError:
            return cls(identity, None, child=True)

    @classmethod
    def hold(cls, identity: Identity) -> "Leader | None":
        """None when that process lives no more. The pidfd is proved to be this process's."""
        try:
            descriptor = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            descriptor = None
        facts = read_alive(identity)
        if facts is None:
            if descriptor is not None:
                os.close(descriptor)
            return None
        return cls(identity, descriptor, child=facts.parent == os.getpid())

    def ended_how(self) -> str:
        """`exited with code 1`, `was killed by SIGKILL`, or that it is not known (no child)."""
        status: os.waitid_result | None = None
        if self._child:
            with suppress(ChildProcessError):
                status = self._waitid(os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is None:
            return "has ended"
        if status.si_code == os.CLD_EXITED:
            return f"exited with code {status.si_status}"
        return f"was killed by {_signal_name(status.si_status)}"

    def reap(self) -> bool:
        """Gives its number back when it has ended. False: it is a child and still runs."""
        if not self._child:
            return True
        try:
            self._child = self._waitid(os.WEXITED | os.WNOHANG) is None
        except ChildProcessError:
            self._child = False
        return not self._child

    def signal_group(self, number: int) -> bool:
        """Signals the whole group. False when this kernel cannot do it, or it cannot be held."""
        if self.descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(self.descriptor, number, None, GROUP)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _waitid(self, options: int) -> os.waitid_result | None:
        if self.descriptor is None:
            return os.waitid(os.P_PID, self.identity.pid, options)
        return os.waitid(os.P_PIDFD, self.descriptor, options)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
