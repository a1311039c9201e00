"""What is counted, how it is shown, and what counting costs."""

import re
import time
from pathlib import Path

import aiohttp
import pytest

from stoker.config.settings import Address
from stoker.daemon.metrics import Metrics
from stoker.pools.telemetry import Telemetry
from tests.conftest import ROOT
from tests.daemon.harness import a_server
from tests.rig import a_box_pool

LABELS = {
    "pool", "driver", "provider", "outcome", "reason", "code", "state", "stage", "warm", "le",
    "version", "action",
}  # fmt: skip
SAMPLE = re.compile(r"^(stoker_[a-z_]+)(?:\{(.*)\})? (\S+)$")


async def text_of(metrics: Metrics) -> str:
    body, content_type = await metrics.render("")
    assert content_type.startswith("text/plain")
    return body.decode()


def value(text: str, sample: str) -> float:
    line = next(line for line in text.splitlines() if line.startswith(sample + " "))
    return float(line.rpartition(" ")[2])


async def test_what_the_pools_tell_is_counted() -> None:
    metrics = Metrics()
    telemetry: Telemetry = metrics
    telemetry.claim_served("web", warm=True, seconds=0.0007)
    telemetry.claim_served("web", warm=False, seconds=2.0)
    telemetry.claim_refused("web", "queue-full")
    telemetry.claim_ended("web", "released")
    telemetry.stage("web", "bind", 0.0003)
    telemetry.part_made("process", "made", 0.2)
    telemetry.part_removed("process", "absent", 0.1)
    telemetry.pass_done("web", 0.0001)
    telemetry.breaker_moved("web", "open")
    telemetry.priority_failed("web")
    telemetry.drift("web", "ready")
    telemetry.operated("web", "pause")
    telemetry.orphan_found("process")
    telemetry.orphan_removed("process")
    metrics.problem("denied")
    metrics.defect()
    metrics.config_loaded(ok=True, problems=0)
    metrics.config_applied(1_700_000_000.0)
    text = await text_of(metrics)
    assert 1 == value(text, 'stoker_claim_seconds_bucket{le="0.001",pool="web",warm="yes"}')
    assert 1 == value(text, 'stoker_claim_seconds_count{pool="web",warm="no"}')
    assert 1 == value(text, 'stoker_claims_refused_total{code="queue-full",pool="web"}')
    assert 1 == value(text, 'stoker_claims_ended_total{pool="web",reason="released"}')
    assert 1 == value(text, 'stoker_stage_seconds_count{pool="web",stage="bind"}')
    assert 1 == value(text, 'stoker_part_create_seconds_count{driver="process",outcome="made"}')
    assert 1 == value(text, 'stoker_part_remove_seconds_count{driver="process",outcome="absent"}')
    assert 1 == value(text, 'stoker_pass_seconds_count{pool="web"}')
    assert 1 == value(text, 'stoker_breaker_moves_total{pool="web",state="open"}')
    assert 1 == value(text, 'stoker_queue_priority_failures_total{pool="web"}')
    assert 1 == value(text, 'stoker_drift_total{pool="web",state="ready"}')
    assert 1 == value(text, 'stoker_operator_actions_total{action="pause",pool="web"}')
    assert 1 == value(text, 'stoker_orphans_found_total{driver="process"}')
    assert 1 == value(text, 'stoker_orphans_removed_total{driver="process"}')
    assert 1 == value(text, 'stoker_http_problems_total{code="denied"}')
    assert 1 == value(text, "stoker_defects_total")
    assert 1 == value(text, "stoker_config_last_load_successful")
    assert 1.7e9 == value(text, "stoker_config_revision_applied_timestamp_seconds")


async def test_a_pool_that_does_not_exist_is_no_label() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.claim_refused(f"made-up-{number}", "no-such-pool")
    text = await text_of(metrics)
    assert "made-up" not in text
    assert 100 == value(text, 'stoker_claims_refused_total{code="no-such-pool",pool=""}')


async def test_states_are_read_when_somebody_asks(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=2)) as served:
        await served.caller.claim()
        await served.run.until_ready(2)
        text = (await served.caller.get("/metrics")).body.decode()
        assert 2 == value(text, 'stoker_pool_ready{pool="web"}')
        assert 2 == value(text, 'stoker_pool_resources{pool="web",state="ready"}')
        assert 1 == value(text, 'stoker_pool_resources{pool="web",state="bound"}')
        assert 1 == value(text, 'stoker_claims_active{pool="web",state="bound"}')
        assert 0 == value(text, 'stoker_pool_breaker_open{pool="web"}')
        assert 1 == value(text, "stoker_ledger_up")
        assert 1 == value(text, "stoker_ready")
        assert 1 <= value(text, "stoker_http_connections")
        assert 1 <= value(text, "stoker_ledger_commits_total")
        assert 0 < value(text, "stoker_process_resident_memory_bytes")


async def test_names_begin_with_stoker_and_labels_are_bounded(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=1)) as served:
        claim = (await served.caller.claim()).json
        await served.caller.get("/v1/nothing")
        text = (await served.caller.get("/metrics")).body.decode()
        for line in text.splitlines():
            if not line.startswith("#"):
                found = SAMPLE.match(line)
                assert found is not None, line
                assert set(re.findall(r'(\w+)="', found[2] or "")) <= LABELS, line
        assert claim["id"] not in text
        assert claim["resources"][0]["id"] not in text


async def test_counts_of_pools_that_are_gone_are_dropped_after_a_second_look(
    short_tmp: Path,
) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        served.metrics.claim_served("gone", warm=True, seconds=0.001)
        served.metrics.claim_served("web", warm=True, seconds=0.001)
        assert 'pool="gone"' in await text_of(served.metrics)
        text = await text_of(served.metrics)
        assert 'pool="gone"' not in text
        assert 1 == value(text, 'stoker_claim_seconds_count{pool="web",warm="yes"}')


async def test_openmetrics_is_given_to_those_who_ask(short_tmp: Path) -> None:
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        reply = await served.caller.ask("GET", "/metrics", headers=accept)
        assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
        assert reply.body.endswith(b"# EOF\n")


async def test_the_documentation_lists_what_is_exposed(short_tmp: Path) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(stoker_[a-z_]+)`", page, re.MULTILINE))
    async with a_server(short_tmp, a_box_pool(min=0)) as served:
        text = (await served.caller.get("/metrics")).body.decode()
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == documented


async def test_a_tcp_address_serves_metrics_and_health_alone(short_tmp: Path) -> None:
    address = Address("127.0.0.1", 0)
    async with a_server(short_tmp, a_box_pool(min=0), metrics_address=address) as served:
        base = f"http://127.0.0.1:{served.server.metrics_port}"
        async with aiohttp.ClientSession() as session:
            for path, status in {
                "/metrics": 200, "/healthz": 200, "/readyz": 200, "/v1/pools": 404,
                "/v1/claims": 404, "/openapi.json": 404,
            }.items():  # fmt: skip
                async with session.get(base + path) as response:
                    assert status == response.status, path


@pytest.mark.parametrize("repeat", [5])
def test_counting_costs_microseconds(repeat: int) -> None:
    metrics = Metrics()
    best = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        for _ in range(2000):
            metrics.claim_served("web", warm=True, seconds=0.001)
        best = min(best, (time.perf_counter() - began) / 2000)
    assert best < 30e-6  # about 2 µs; the bound only catches a look-up that went wrong
