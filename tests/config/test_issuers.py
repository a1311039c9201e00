"""`identity.issuers` of the settings file: what may be said, and what is wrong, with its place."""

from pathlib import Path

import pytest

from stoker.config.issuers import Issuer
from stoker.config.settings import Settings, SettingsError, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stoker.yaml"


def load(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings({}, {}, str(file))


def problems(file: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(file, text)
    return raised.value.problems


def test_without_any_nobodys_tokens_are_accepted(file: Path) -> None:
    assert () == load(file, "logLevel: info\n").issuers


def test_an_issuer_has_defaults(file: Path) -> None:
    (issuer,) = load(
        file, "identity: {issuers: [{issuer: i, audience: a, jwks: keys.json}]}"
    ).issuers
    assert issuer == Issuer(
        issuer="i",
        audience=("a",),
        jwks=file.parent / "keys.json",
        algorithms=("RS256", "ES256", "EdDSA"),
        leeway=60.0,
        refresh=600.0,
        max_stale=86400.0,
    )


def test_everything_of_an_issuer_can_be_said(file: Path) -> None:
    text = """
identity:
  issuers:
    - issuer: https://login.example.org/
      audience: [stoker, other]
      jwks: https://login.example.org/keys
      algorithms: [ES384]
      leeway: 5s
      refresh: 1m
      maxStale: 1h
    - {issuer: local, audience: a, jwks: "http://127.0.0.1:8080/keys"}
"""
    first, second = load(file, text).issuers
    assert first == Issuer(
        "https://login.example.org/",
        ("stoker", "other"),
        "https://login.example.org/keys",
        ("ES384",),
        5.0,
        60.0,
        3600.0,
    )
    assert "http://127.0.0.1:8080/keys" == second.jwks


ONE = "issuer: i, audience: a, jwks: k"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("identity: x", "1:11", "expected a mapping"),
        ("identity: []", "1:11", "expected a mapping"),
        ("identity: {}", "1:11", "expected 'issuers'"),
        ("identity: {issuer: []}", "1:20", "did you mean 'issuers'"),
        ("identity: {issuers: []}", "1:21", "1 to 20"),
        ("identity: {issuers: [x]}", "1:22", "expected a mapping"),
        ("identity: {issuers: [{issuer: i}]}", "1:22", "needs 'audience'"),
        (f"identity: {{issuers: [{{{ONE}}}, {{{ONE}}}]}}", "1:57", "listed twice"),
        (f"identity: {{issuers: [{{{ONE}, jwsk: k}}]}}", "1:62", "did you mean 'jwks'"),
        (f"identity: {{issuers: [{{{ONE}, issuer: k}}]}}", "1:64", "set twice"),
        (f"identity: {{issuers: [{{{ONE}, leeway: 1h}}]}}", "1:64", "from 0s to 600s"),
        (f"identity: {{issuers: [{{{ONE}, leeway: x}}]}}", "1:64", "no duration"),
        (f"identity: {{issuers: [{{{ONE}, algorithms: none}}]}}", "1:68", "nobody signs"),
        (f"identity: {{issuers: [{{{ONE}, algorithms: [HS256]}}]}}", "1:68", "can make one"),
        (f"identity: {{issuers: [{{{ONE}, algorithms: []}}]}}", "1:68", "at least one"),
        (f"identity: {{issuers: [{{{ONE}, algorithms: [RS255]}}]}}", "1:68", "no 'RS255'"),
        ("identity: {issuers: [{issuer: '', audience: a, jwks: k}]}", "1:31", "a word"),
        (
            "identity: {issuers: [{issuer: i, audience: a, jwks: 'http://example.org/'}]}",
            "1:53",
            "put keys",
        ),
        (
            "identity: {issuers: [{issuer: i, audience: a, jwks: 'https://u:p@example.org/'}]}",
            "1:53",
            "without a user",
        ),
        (
            "identity: {issuers: [{issuer: i, audience: a, jwks: 'file:///etc/keys'}]}",
            "1:53",
            "https:// address or a file",
        ),
        (f"identity: {{issuers: [{{{ONE}}}]}}\nidentity: {{}}", "2:1", "set twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(file: Path, text: str, place: str, said: str) -> None:
    found = problems(file, text)
    assert any(one.startswith(f"{file}:{place}: ") and said in one for one in found), found
    assert "u:p" not in "".join(found)
