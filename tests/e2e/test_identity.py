"""Tokens with the real daemon: from the settings file to `stoker claim --token-file`."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stoker.client import Denied, Stoker
from tests.daemon.signing import a_token, jwks, public_jwk
from tests.e2e.test_audit import CONFIG
from tests.fixtures.callers import Someone, ask_as, needs_root
from tests.fixtures.daemons import STOKER, RealDaemon, until


class Issuer:
    """Serves its keys over HTTP; `stop` takes it away."""

    def __init__(self) -> None:
        issuer = self
        self.keys = jwks(public_jwk("ES256", "one"))
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(issuer.keys)))
                self.end_headers()
                self.wfile.write(issuer.keys)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/keys"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    if made.thread.is_alive():
        made.stop()


def start(daemon: RealDaemon, jwks: str, **more: str) -> None:
    (daemon.config / "pools.yaml").write_text(CONFIG)
    settings = daemon.folder / "stoker.yaml"
    given = {"issuer": "https://login.example.org/", "audience": "stoker", "jwks": jwks, **more}
    settings.write_text(json.dumps({"identity": {"issuers": [given]}}))
    daemon.start("--settings", str(settings), env={"PYTHONDEVMODE": ""})


def a_good_token(**more: object) -> str:
    return a_token(kid="one", now=time.time(), **more)  # type: ignore[arg-type]


def test_a_claim_is_made_with_a_token_from_a_file_and_survives_the_issuer(
    daemon: RealDaemon, issuer: Issuer
) -> None:
    start(daemon, issuer.url)
    file = daemon.folder / "token"
    file.write_text(a_good_token())
    issuer.stop()
    command = [*STOKER, "claim", "passes", "-o", "json", "--key", "k"]
    shown = subprocess.run(
        [*command, "--socket", str(daemon.socket), "--token-file", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ},
    )
    claim = json.loads(shown.stdout)
    expected = {"issuer": "https://login.example.org/", "subject": "ada"}
    assert expected == claim["caller"]["token"]
    assert claim["resources"][0]["outputs"]["key"]

    daemon.stop(9)
    daemon.start()  # without any issuer: what was claimed is kept, tokens are refused
    with Stoker(daemon.socket, token=file.read_text()) as stoker:
        with pytest.raises(Denied) as refused:
            stoker.show(claim["id"])
        assert (401, "tokens-not-accepted") == (refused.value.status, refused.value.code)
    with Stoker(daemon.socket, token="") as stoker:
        assert expected == stoker.show(claim["id"]).document["caller"]["token"]
    assert file.read_text() not in daemon.said()
    assert file.read_text().encode() not in b"".join(
        path.read_bytes() for path in Path(daemon.state).glob("ledger.db*")
    )


def test_keys_are_replaced_while_the_daemon_runs(daemon: RealDaemon) -> None:
    keys = daemon.folder / "keys.json"
    keys.write_bytes(jwks(public_jwk("ES256", "old", 1)))
    start(daemon, str(keys))
    with Stoker(daemon.socket, token=a_good_token) as stoker:
        with pytest.raises(Denied) as refused:
            stoker.pools()
        assert "invalid-token" == refused.value.code
        keys.write_bytes(jwks(public_jwk("ES256", "one")))

        def accepted() -> bool:
            try:
                return bool(stoker.pools())
            except Denied:
                return False

        until(accepted, "the new key is known", within=40.0)


@needs_root
def test_who_is_turned_away_stands_in_the_audit_and_does_not_fill_it(short_tmp: Path) -> None:
    short_tmp.chmod(0o711)
    daemon = RealDaemon(short_tmp)
    keys = daemon.folder / "keys.json"
    keys.write_bytes(jwks(public_jwk("ES256", "one")))
    daemon.write("pools.yaml", CONFIG)
    settings = daemon.folder / "stoker.yaml"
    given = {"issuer": "https://login.example.org/", "audience": "stoker", "jwks": str(keys)}
    settings.write_text(json.dumps({"identity": {"issuers": [given]}}))
    try:
        daemon.start("--settings", str(settings), "--socket-mode", "0666")
        before = len(daemon.events())
        stranger = Someone(61009, 61009)
        for _ in range(200):
            assert 403 == ask_as(stranger, daemon.socket, "GET /v1/pools")[0]
        bad = {"Authorization": "Bearer a.b.c"}
        for _ in range(50):
            assert 401 == ask_as(Someone(0, 0), daemon.socket, "GET /v1/pools", headers=bad)[0]
        until(lambda: len(daemon.events("access.denied")) >= 2, "both are told")
        first, second = daemon.events("access.denied")[:2]
        assert ("denied", 61009) == (first["data"]["code"], first["data"]["uid"])
        assert ("invalid-token", 0) == (second["data"]["code"], second["data"]["uid"])
        assert "a.b.c" not in json.dumps(second)
        daemon.stop()
        daemon.start("--settings", str(settings), "--socket-mode", "0666")
        told = [one["data"] for one in daemon.events("access.denied")]
        assert 200 == sum(one["count"] for one in told if one["code"] == "denied")
        assert 50 == sum(one["count"] for one in told if one["code"] == "invalid-token")
        assert len(told) <= 4
        assert len(daemon.events()) - before < 30
    finally:
        daemon.clear()


def test_wrong_issuers_are_told_before_the_daemon_starts(daemon: RealDaemon) -> None:
    settings = daemon.folder / "stoker.yaml"
    settings.write_text(
        "identity: {issuers: [{issuer: a, audience: b, jwks: k, algorithms: HS256}]}"
    )
    command = [*STOKER, "run", "--settings", str(settings), "--config", str(daemon.config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert 2 == ended.returncode
    assert f"{settings}:1:" in ended.stderr
    assert "whoever can check such a token can make one" in ended.stderr
