"""Ports for the parts that listen: set aside before a part is made, until it is forgotten.

They come from a range outside the one from which the kernel serves outgoing connections, so
nothing takes one by accident. A port is proved free by binding it, on every address at once.
Called by the process driver, in the event loop: binding never waits.
"""

import errno
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..driver import Exhausted
from ..ids import PartId
from .failures import explained

FIRST, LAST = 20_000, 31_999
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def candidate_ports(ephemeral: Path = EPHEMERAL) -> Sequence[int]:
    """The range without what the kernel gives to outgoing connections.

    Where somebody has widened that to all ports, nothing would be left; then all are candidates.
    """
    try:
        low, high = (int(word) for word in ephemeral.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        low, high = LAST + 1, LAST + 1
    chosen = [port for port in range(FIRST, LAST + 1) if not low <= port <= high]
    return chosen or range(FIRST, LAST + 1)


def is_free(port: int) -> bool:
    """True when nothing is bound to the port, on any address, over TCP or UDP.

    Without SO_REUSEADDR the wildcard address conflicts with every other one, 127.0.0.1 included,
    and with connections that are still being closed. Raises `Exhausted` without descriptors.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as probe:
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind(("", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                if family == socket.AF_INET6 and error.errno in _NO_SUCH_FAMILY:
                    continue
                with explained(f"binding port {port}"):
                    raise
    return True


class PortReservations:
    """Who has which port. Two parts of one daemon never have the same one."""

    def __init__(self, candidates: Sequence[int], *, start: int | None = None) -> None:
        self._candidates = candidates
        # Going round in order keeps a port unused for long after it was given back.
        self._next = random.randrange(len(candidates)) if start is None else start  # noqa: S311
        self._ports: dict[PartId, dict[str, int]] = {}
        self._taken: set[int] = set()

    def of(self, part: PartId) -> Mapping[str, int]:
        return self._ports.get(part, {})

    def reserve(self, part: PartId, ports: Mapping[str, int]) -> None:
        """Notes ports that the part has already (the daemon was restarted)."""
        self._ports.setdefault(part, {}).update(ports)
        self._taken.update(ports.values())

    def free(self, part: PartId) -> None:
        for port in self._ports.pop(part, {}).values():
            if not any(port in ports.values() for ports in self._ports.values()):
                self._taken.discard(port)

    def untaken(self) -> Iterator[int]:
        """Each candidate that no part has, once round, from where the last search ended."""
        for _ in range(len(self._candidates)):
            port = self._candidates[self._next % len(self._candidates)]
            self._next += 1
            if port not in self._taken:
                yield port

    def exhausted(self) -> Exhausted:
        return Exhausted(
            f"no port from {self._candidates[0]} to {self._candidates[-1]} is free: "
            f"{len(self._taken)} are set aside for parts and something else has the rest"
        )
