"""Addresses of repositories: what may be followed, and everything else refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config.repositories.references import check_folder, check_reference
from stoker.config.repositories.urls import (
    BadLocation,
    Location,
    is_location,
    parse_location,
    with_ref,
    without_secrets,
)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        (
            "https://git.example.org/ops/pools.git?ref=main&path=config/prod",
            Location(
                "https://git.example.org/ops/pools.git",
                "https",
                "git.example.org",
                "main",
                "config/prod",
            ),
        ),
        (
            "https://git.example.org:8443/pools",
            Location("https://git.example.org:8443/pools", "https", "git.example.org"),
        ),
        (
            "ssh://git@host:2222/srv/pools.git",
            Location("ssh://git@host:2222/srv/pools.git", "ssh", "host"),
        ),
        (
            "git@host:ops/pools.git?ref=refs/tags/v1",
            Location("git@host:ops/pools.git", "ssh", "host", "refs/tags/v1"),
        ),
        ("ssh://[::1]:22/p", Location("ssh://[::1]:22/p", "ssh", "[::1]")),
        (
            "file:///srv/pools.git?ref=" + "a" * 40,
            Location("file:///srv/pools.git", "file", "", "a" * 40),
        ),
        (
            "HTTPS://h/p?ref=feature/x%2By",
            Location("https://h/p", "https", "h", "feature/x+y"),
        ),
    ],
)
def test_an_address_is_taken_apart(text: str, location: Location) -> None:
    assert is_location(text)
    assert location == parse_location(text)


@pytest.mark.parametrize("text", ["/etc/stoker", "config", "./a?b", "../x", "C:thing", "~/config"])
def test_what_is_no_address_is_a_path(text: str) -> None:
    assert not is_location(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ext::sh -c 'touch /tmp/x'", "spaces"),
        ("ext::sh", "helper"),
        ("fd::17", "helper"),
        ("::x", "helper"),
        ("git://host/p", "git://"),
        ("ftp://host/p", "ftp://"),
        ("--upload-pack=touch://x/y", "address"),
        ("ssh://-oProxyCommand=x/y", "host"),
        ("ssh://host-/y", "host"),
        ("ssh://-o@host/y", "user"),
        ("-oProxyCommand=x@host:y", "user"),
        ("git@-oProxyCommand=x:y", "host"),
        ("git@host:--upload-pack=x", "begin with '-'"),
        ("https://user:secret@host/p", "token"),
        ("https://secret@host/p", "token"),
        ("ssh://git:secret@host/p", "password"),
        ("https://host", "path"),
        ("https://host/", "path"),
        ("https:///p", "host"),
        ("https://host:0/p", "port"),
        ("https://host:99999/p", "port"),
        ("https://ho%0ast/p", "control"),
        ("https://host/p%0a", "control"),
        ("https://host/p%00", "control"),
        ("https://host/a/../b", "'..'"),
        ("https://host/a/%2e%2e/b", "'..'"),
        ("file://host/p", "three slashes"),
        ("file://relative", "three slashes"),
        ("https://host/p#main", "?ref="),
        ("https://host/p?branch=x", "ref"),
        ("https://host/p?ref=a&ref=b", "once"),
        ("https://host/p?ref=", "a value"),
        ("https://host/p?ref=-x", "option"),
        ("https://host/p?ref=--upload-pack%3Dtouch", "option"),
        ("https://host/p?ref=a..b", "branch"),
        ("https://host/p?ref=a%3Ab", "branch"),
        ("https://host/p?ref=refs/pull/1/head", "anybody"),
        ("https://host/p?path=../etc", "'..'"),
        ("https://host/p?path=a/../../etc", "'..'"),
        ("https://host/p?path=-x", "begin with '-'"),
        ("https://host/p?path=.git/hooks", "folder"),
        ("https://hôst/p", "ASCII"),
        ("https://host/" + "x" * 3000, "2048"),
    ],
)
def test_what_git_could_take_for_something_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(BadLocation, match=named.replace("?", r"\?")) as raised:
        parse_location(text)
    assert "secret" not in str(raised.value)


def test_an_address_is_shown_without_who_logs_in() -> None:
    assert "https://…@host/p" == without_secrets("https://user:secret@host/p")
    assert "ext::https://…@host/p" == without_secrets("ext::https://a:b@host/p")
    assert "git@host:p" == without_secrets("git@host:p")


@given(st.text(max_size=60))
def test_no_text_makes_an_address_that_git_could_read_as_an_option(text: str) -> None:
    try:
        location = parse_location(text)
    except BadLocation:
        return
    assert not location.url.startswith("-")
    assert not location.ref.startswith("-")
    assert not location.path.startswith("-")
    assert not location.host.startswith("-")
    assert location == parse_location(str(location)) or "%" in text


@given(st.text(max_size=40))
def test_refs_and_folders_are_refused_or_harmless(text: str) -> None:
    for check in (check_reference, check_folder):
        try:
            taken = check(text)
        except ValueError:
            continue
        assert taken.isprintable()
        assert not taken.startswith(("-", "/"))
        assert ".." not in taken.split("/")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://host/p.git@main", "https://host/p.git?ref=main"),
        ("https://host/p.git@feature/x", "https://host/p.git?ref=feature/x"),
        ("https://host/p.git@v1?path=config", "https://host/p.git?ref=v1&path=config"),
        ("ssh://git@host/p.git@main", "ssh://git@host/p.git?ref=main"),
        ("ssh://git@host/p.git", "ssh://git@host/p.git"),
        ("git@host:ops/p.git", "git@host:ops/p.git"),
        ("git@host:ops/p.git@main", "git@host:ops/p.git?ref=main"),
        ("file:///srv/p.git@main", "file:///srv/p.git?ref=main"),
        ("https://user:secret@host/p.git", "https://user:secret@host/p.git"),
        ("https://host/p.git@", "https://host/p.git@"),
        ("https://host/p.git?ref=main", "https://host/p.git?ref=main"),
    ],
)
def test_a_ref_may_stand_behind_an_at(text: str, meant: str) -> None:
    assert meant == with_ref(text)
