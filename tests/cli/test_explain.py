"""`stoker explain` against a real daemon, and how it is laid out."""

import json

import pytest
from click.testing import CliRunner

from stoker.client import Claim
from stoker.daemon.cli.explain import text_of
from stoker.daemon.cli.group import cli
from tests.cli.real_daemon import RealDaemon


def test_a_pool_is_explained_in_80_columns_without_colour_in_a_pipe(daemon: RealDaemon) -> None:
    done = daemon.run("explain", "pool/folders")
    assert done.returncode == 0, done.stderr
    assert "ready and keeps 2" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("words", [("pool", "folders"), ("pools/folders",), ("pool/folders",)])
def test_a_subject_is_written_in_either_way(daemon: RealDaemon, words: tuple[str, ...]) -> None:
    done = daemon.run("explain", *words, "-o", "json")
    assert json.loads(done.stdout)["subject"] == "pool/folders"


def test_a_claim_its_resource_and_its_blueprint_are_explained(daemon: RealDaemon) -> None:
    with daemon.client() as client:
        claim: Claim = client.claim("folders", reason="explained", wait=10)
        try:
            told = daemon.run("explain", f"claim/{claim.id}").stdout
            assert f"{claim.id} holds {claim.info.resources[0]} and ends in" in told
            assert "What happened:" in told
            assert "What comes next:" in told
            assert "claim.bound" in told
            assert (
                "It belongs to" in daemon.run("explain", "resource", claim.info.resources[0]).stdout
            )
            blueprint = daemon.run("explain", "blueprint/folder").stdout
            assert "The parameter greeting is used by the output greeting." in blueprint
            assert claim.outputs["api_key"] not in told + blueprint
        finally:
            claim.release()


def test_an_unknown_name_exits_with_4_and_a_kind_that_is_none_with_2(daemon: RealDaemon) -> None:
    unknown = daemon.run("explain", "pool/folder")
    assert unknown.returncode == 4
    assert "did you mean 'folders'?" in unknown.stderr
    for words in (["folders"], ["thing/folders"], ["pool/"], ["pool", "a", "b"]):
        wrong = daemon.run("explain", *words)
        assert wrong.returncode == 2, words
        assert "Write pool/NAME, claim/ID, resource/ID or blueprint/NAME." in wrong.stderr


def test_names_are_completed_from_the_live_daemon(
    daemon: RealDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_SOCKET", daemon.environment["STOKER_SOCKET"])

    def offered(incomplete: str) -> set[str]:
        environment = {
            "_STOKER_COMPLETE": "bash_complete",
            "COMP_WORDS": f"stoker explain {incomplete}",
            "COMP_CWORD": "2",
        }
        out = CliRunner().invoke(cli, [], env=environment, prog_name="stoker").output
        return {line.partition(",")[2] for line in out.splitlines()}

    assert offered("p") == {"pool/"}
    assert offered("pool/f") == {"pool/folders"}
    assert offered("blueprint/") == {"blueprint/folder"}


def test_words_that_are_too_long_and_control_characters_keep_to_the_lines() -> None:
    found = {
        "summary": "x" * 200,
        "why": ["a\x1b[31mb" + " c" * 100],
        "history": [{"at": "2026-01-31T12:00:00.000Z", "event": "claim.bound", "detail": "y" * 99}],
        "next": [{"what": "z " * 80}, {"what": "soon", "at": "2026-01-31T12:00:00Z", "in": "0s"}],
    }
    lines = list(text_of(found, 60))
    assert max(map(len, lines)) <= 60
    assert not any("\x1b" in line for line in lines)
    assert any(line.startswith("  at some time") for line in lines)


def test_what_the_summary_says_is_not_repeated() -> None:
    lines = list(text_of({"summary": "It is full. So it is.", "why": ["So it is.", "More."]}, 80))
    assert lines == ["It is full. So it is.", "", "- More."]
