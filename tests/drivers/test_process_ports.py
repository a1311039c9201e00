"""Ports are set aside, proved free, kept until forgotten, and never given twice."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.config.json_types import Json
from stoker.pools.driver import Exhausted, PartRef, PartRequest, Rejected, Unavailable
from stoker.pools.drivers.ports import FIRST, LAST, PortReservations, candidate_ports, is_free
from stoker.pools.ids import PartId
from tests.drivers.processes import (
    PART,
    PROVIDER,
    ProcessHost,
    a_host,
    a_ref,
    a_request,
    is_running,
    kill_all,
    pid_of,
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_all(tmp_path)


def asking_for(*names: str, part: PartId = PART) -> PartRequest:
    wanted: list[Json] = list(names)
    return PartRequest(part, "web", {"ports": wanted}, {}, PROVIDER)


async def allotted(host: ProcessHost, *names: str, part: PartId = PART) -> dict[str, int]:
    ports = (await host.driver.allot(asking_for(*names, part=part)))["ports"]
    assert isinstance(ports, dict)
    return {name: port for name, port in ports.items() if isinstance(port, int)}


async def test_each_name_gets_a_port_of_its_own(state: Path) -> None:
    async with a_host(state) as host:
        ports = await allotted(host, "http", "metrics")
        assert {"http", "metrics"} == set(ports)
        assert 2 == len(set(ports.values()))
        assert all(FIRST <= port <= LAST for port in ports.values())


async def test_asking_again_gives_the_same_ports(state: Path) -> None:
    async with a_host(state) as host:
        assert await allotted(host, "http") == await allotted(host, "http")


async def test_a_part_without_ports_gets_none(state: Path) -> None:
    async with a_host(state) as host:
        assert {"ports": {}} == await host.driver.allot(a_request())


async def test_what_is_no_list_of_names_is_rejected(state: Path) -> None:
    async with a_host(state) as host:
        with pytest.raises(Rejected, match="list of names"):
            await host.driver.allot(PartRequest(PART, "web", {"ports": "http"}, {}, PROVIDER))


async def test_no_two_parts_have_the_same_port_until_one_is_forgotten(state: Path) -> None:
    async with a_host(state) as host:
        free = [port for port in range(FIRST, LAST) if is_free(port)][:2]
        host.driver.have_ports(PortReservations(free, start=0))
        other = PartId("web-bbbbbbbb.server")
        first, second = await allotted(host, "http"), await allotted(host, "http", part=other)
        assert set(free) == {first["http"], second["http"]}
        third = PartId("web-cccccccc.server")
        with pytest.raises(Exhausted, match="no port from"):
            await host.driver.allot(asking_for("http", part=third))
        host.driver.forget(PART)
        assert first == await allotted(host, "http", part=third)


async def test_a_refused_allotment_keeps_nothing(state: Path) -> None:
    async with a_host(state) as host:
        free = next(port for port in range(FIRST, LAST) if is_free(port))
        host.driver.have_ports(PortReservations([free]))
        with pytest.raises(Exhausted):
            await host.driver.allot(asking_for("http", "metrics"))
        assert {"http": free} == await allotted(host, "http", part=PartId("web-bbbbbbbb.server"))


async def test_a_port_in_use_is_passed_over(state: Path) -> None:
    async with a_host(state) as host:
        taken, free = [port for port in range(FIRST, LAST) if is_free(port)][:2]
        host.driver.have_ports(PortReservations([taken, free], start=0))
        with socket.create_server(("127.0.0.1", taken)):
            assert {"http": free} == await allotted(host, "http")


async def test_a_port_that_was_stolen_meanwhile_fails_the_creation_and_the_next_gets_another(
    state: Path,
) -> None:
    async with a_host(state) as host:
        ports = await allotted(host, "http")
        with socket.create_server(("", ports["http"])):
            with pytest.raises(Unavailable, match=f"port {ports['http']} .* taken"):
                await host.driver.create(a_request(listening=ports))
            await host.end(PartRef(PART, PROVIDER, {"ports": {}}))
            host.driver.forget(PART)
            others = await allotted(host, "http")
            assert others != ports
            made = await host.driver.create(a_request(listening=others))
        assert is_running(pid_of(made))
        await host.end(a_ref(made))


async def test_the_ports_of_a_handle_are_kept_by_the_next_daemon(state: Path) -> None:
    async with a_host(state) as host:
        free = [port for port in range(FIRST, LAST) if is_free(port)][:2]
        host.driver.have_ports(PortReservations(free, start=0))
        host.driver.watch(PartRef(PART, PROVIDER, {"ports": {"http": free[0]}}))
        assert {"http": free[1]} == await allotted(host, "http", part=PartId("web-bbbbbbbb.server"))


@pytest.mark.parametrize(
    ("family", "kind", "address"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
        (socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0"),
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.5"),
        (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
        (socket.AF_INET6, socket.SOCK_STREAM, "::1"),
    ],
)
def test_a_port_bound_on_any_address_is_not_free(family: int, kind: int, address: str) -> None:
    port = next(port for port in range(FIRST, LAST) if is_free(port))
    with socket.socket(family, kind) as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind((address, port))
        if kind == socket.SOCK_STREAM:
            taker.listen()
        assert not is_free(port)
    assert is_free(port)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32768\t60999\n", range(20_000, 32_000)),
        ("25000\t60999\n", range(20_000, 25_000)),
        ("1024\t65535\n", range(20_000, 32_000)),
        ("broken", range(20_000, 32_000)),
    ],
)
def test_ports_lie_outside_the_kernels_own_range(
    tmp_path: Path, text: str, expected: range
) -> None:
    (tmp_path / "range").write_text(text)
    assert list(expected) == list(candidate_ports(tmp_path / "range"))


def test_a_port_that_was_given_back_rests_while_others_are_free() -> None:
    reservations = PortReservations([1, 2, 3], start=0)
    first = next(reservations.untaken())
    reservations.reserve(PART, {"http": first})
    reservations.free(PART)
    assert (1, 2) == (first, next(reservations.untaken()))
