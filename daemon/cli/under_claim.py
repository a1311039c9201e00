"""Runs a command with a claim: renewed meanwhile, released at the end, whatever the end.

The command stays in our process group, so the terminal treats both as one job: Ctrl-C and Ctrl-Z
reach it directly. What the kernel sends to the whole group is therefore not passed on; what
somebody sends to us alone (`kill`, systemd, a CI runner) is. Signals are taken with sigwait in the
main thread, where `si_code` tells one from the other and no handler can interrupt the release.
"""

import errno
import os
import signal
import sys
import threading

import click

from ...client import Claim, StokerError
from .environment import with_outputs
from .failing import report
from .terminal import about, clean, style

SI_KERNEL = 0x80
"""`si_code` of a signal that the kernel made, such as the terminal's."""
KILL_AFTER = 10.0
"""Seconds between TERM and KILL for a command whose claim is lost."""
_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGALRM,
)
_BY_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGWINCH})


def run_under(claim: Claim, command: list[str], *, kill_when_lost: bool) -> int:
    """The exit code of the command: its own, or 128+N when signal N ended it."""
    waited = {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    # Blocked before any thread is started, so that every thread has them blocked and they wait here.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*waited, signal.SIGCHLD})
    watch = _Loss(claim, kill=kill_when_lost)
    claim.on_lost = watch.lost
    try:
        claim.start_renewing()
        code = _run(command, claim, before, waited, watch)
    finally:
        watch.over()
        _release(claim)
        # What came after the command's end has nobody left to reach.
        while signal.sigtimedwait({*waited, signal.SIGCHLD}, 0) is not None:
            continue
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return code


def _run(
    command: list[str],
    claim: Claim,
    mask: "set[signal.Signals | int]",
    waited: set[signal.Signals],
    watch: "_Loss",
) -> int:
    environment, warnings = with_outputs(os.environ, claim.info)
    for warning in warnings:
        _say(warning)
    try:
        child = os.posix_spawnp(
            command[0],
            command,
            environment,
            setsigmask=mask,
            # Python ignores these two, and whoever is started would go on ignoring them.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        return _not_started(command[0], error)
    watch.guards(child)
    return _wait_for(child, waited)


def _wait_for(child: int, waited: set[signal.Signals]) -> int:
    leads_session = os.getsid(0) == os.getpid()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        info = signal.sigwaitinfo({*waited, signal.SIGCHLD})
        number = signal.Signals(info.si_signo)
        if number is signal.SIGCHLD:
            continue
        had_it = info.si_code == SI_KERNEL and number in _BY_TERMINAL
        if had_it and not (number is signal.SIGHUP and leads_session):
            continue
        os.kill(child, number)  # not reaped yet, so the pid is still the command's


def _not_started(program: str, error: OSError) -> int:
    """As shells do: 127 when there is no such program, 126 when it cannot be run."""
    if error.errno == errno.E2BIG:
        _say("The outputs are too large for an environment; read them with: stoker claims ID.")
        return 126
    _say(f"{clean(program)} cannot be started: {error.strerror}.")
    return 127 if error.errno == errno.ENOENT else 126


def _release(claim: Claim) -> None:
    """Failing here must not hide how the command ended; the claim then ends when it expires."""
    if claim.lost is not None:
        return
    try:
        claim.release()
    except StokerError as error:
        report(error)
        expires = f" at {claim.expires_at:%H:%M:%S} UTC" if claim.expires_at else ""
        _say(f"The claim {claim.id} could not be released and ends when it expires{expires}.")


def _say(sentence: str) -> None:
    click.echo(f"{style('stoker:', 'yellow', sys.stderr)} {sentence}", err=True)


class _Loss:
    """What happens when the claim is lost while the command runs. Called from the renewing thread."""

    def __init__(self, claim: Claim, *, kill: bool) -> None:
        self._claim = claim
        self._kill = kill
        self._over = threading.Event()
        self._handle: int | None = None
        """A pidfd, because a pid may be somebody else's by the time it is used."""
        self._started = threading.Event()
        self._lock = threading.Lock()

    def guards(self, child: int) -> None:
        with self._lock:
            self._handle = os.pidfd_open(child)
        self._started.set()

    def lost(self, error: StokerError) -> None:
        _say(f"The claim {self._claim.id} is lost: {clean(str(error))}")
        if not self._kill:
            _say("The command goes on; its resource may be gone at any moment.")
            return
        _say(f"The command is told to end; it is killed after {about(KILL_AFTER)}.")
        self._started.wait(KILL_AFTER)
        self._send(signal.SIGTERM)
        if not self._over.wait(KILL_AFTER):
            self._send(signal.SIGKILL)

    def over(self) -> None:
        self._over.set()
        self._started.set()
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _send(self, number: signal.Signals) -> None:
        with self._lock:
            if self._handle is not None:
                try:
                    signal.pidfd_send_signal(self._handle, number)
                except ProcessLookupError:
                    return
