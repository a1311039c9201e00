"""Signed commits, made by real gpg and ssh-keygen: who is trusted, and everything else refused by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.config.repositories.access import Verify
from stoker.config.repositories.failures import Refused, Unavailable
from stoker.config.repositories.following import Rules
from stoker.config.repositories.signed_commits import binary_keyring, take_apart
from tests.config.repositories.conftest import GOOD, Follow, resized
from tests.fixtures.repositories import Gpg, Repository, signers, signs_with_ssh, ssh_key


@pytest.fixture
def gpg() -> Iterator[Gpg]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="gpg-"))  # short: the agent's socket lies in it
    made = Gpg(folder / "home")
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def trusting(path: Path, content: bytes | str, kind: str) -> Rules:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Rules(Verify(gpg=path) if kind == "gpg" else Verify(ssh=path))


@pytest.mark.parametrize("armor", [True, False])
def test_a_commit_signed_by_a_key_of_the_keyring_is_taken_and_no_other(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path, armor: bool
) -> None:
    ada, eve = gpg.make("ada@example.org"), gpg.make("eve@example.org")
    gpg.signs(repository, ada)
    first = repository.commit({"a.yaml": GOOD}, "-S")
    following = follow(rules=trusting(tmp_path / "keys", gpg.export(ada, armor=armor), "gpg"))
    assert first == following.applied()

    repository.commit({"a.yaml": resized(4)})
    assert "it is not signed" in following.refused()
    gpg.signs(repository, eve)
    repository.commit({"a.yaml": resized(5)}, "-S")
    assert "by a key that is not in the keyring" in following.refused()
    gpg.signs(repository, ada)
    assert repository.commit({"a.yaml": resized(6)}, "-S") == following.applied()


def test_the_signature_of_the_tip_vouches_for_all_that_it_holds_whoever_wrote_what_is_before_it(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path
) -> None:
    gpg.signs(repository, gpg.make("ada@example.org"))
    repository.commit({"a.yaml": GOOD}, "-S")
    following = follow(rules=trusting(tmp_path / "keys", gpg.export("ada@example.org"), "gpg"))
    following.applied()
    contributed = repository.commit({"a.yaml": resized(5)})
    assert "it is not signed" in following.refused()
    merged = repository.commit({"b.txt": "reviewed"}, "-S")

    assert merged == following.applied()
    assert following.serving is not None
    assert following.serving.pools["boxes"].size.max == 5
    repository.push(f"{contributed}:refs/heads/main")  # what was merged is no tip again
    assert "it is not signed" in following.refused()


def test_a_keyring_may_hold_several_keys(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path
) -> None:
    ada, bob = gpg.make("ada@example.org"), gpg.make("bob@example.org")
    both = gpg.export(ada) + b"\n" + gpg.export(bob)
    gpg.signs(repository, bob)
    commit = repository.commit({"a.yaml": GOOD}, "-S")
    assert commit == follow(rules=trusting(tmp_path / "keys", both, "gpg")).applied()


def test_an_expired_and_a_revoked_key_vouch_for_nothing(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path
) -> None:
    ada = gpg.make("ada@example.org")
    gpg.signs(repository, ada)
    repository.commit({"a.yaml": GOOD}, "-S")
    gpg.revoke(ada)
    revoked = follow(rules=trusting(tmp_path / "keys", gpg.export(ada), "gpg"), folder="a")
    assert "was revoked" in revoked.refused()

    old = gpg.make("old@example.org", expires="1d", at="20200101T000000")
    script = tmp_path / "old-gpg"
    script.write_text('#!/bin/sh\nexec gpg --faked-system-time 20200101T010000 "$@"\n')
    script.chmod(0o755)
    gpg.signs(repository, old)
    repository.git("config", "gpg.program", str(script))
    repository.commit({"a.yaml": resized(4)}, "-S")
    expired = follow(rules=trusting(tmp_path / "keys", gpg.export(old), "gpg"), folder="b")
    assert "has expired" in expired.refused()


def test_a_commit_that_was_changed_after_it_was_signed_is_refused(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path
) -> None:
    ada = gpg.make("ada@example.org")
    gpg.signs(repository, ada)
    repository.commit({"a.yaml": GOOD}, "-S")
    raw = repository.git("cat-file", "commit", "HEAD").replace("a change", "a lie")
    forged = repository.git("hash-object", "-t", "commit", "-w", "--stdin", feed=raw.encode())
    repository.push(f"{forged.strip()}:refs/heads/main")
    following = follow(rules=trusting(tmp_path / "keys", gpg.export(ada), "gpg"))
    assert "does not fit its content" in following.refused()


def test_a_commit_signed_by_an_allowed_signer_is_taken_and_no_other(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    ada, eve = ssh_key(tmp_path / "ada"), ssh_key(tmp_path / "eve")
    signs_with_ssh(repository, ada)
    first = repository.commit({"a.yaml": GOOD}, "-S")
    following = follow(rules=trusting(tmp_path / "signers", signers(ada), "ssh"))
    assert first == following.applied()

    repository.commit({"a.yaml": resized(4)})
    assert "it is not signed" in following.refused()
    signs_with_ssh(repository, eve)
    repository.commit({"a.yaml": resized(5)}, "-S")
    assert "not among the signers" in following.refused()
    signs_with_ssh(repository, ada)
    last = repository.commit({"a.yaml": resized(6)}, "-S")
    assert last == following.applied()

    raw = repository.git("cat-file", "commit", "HEAD").replace("a change", "a lie")
    forged = repository.git("hash-object", "-t", "commit", "-w", "--stdin", feed=raw.encode())
    repository.push(f"{forged.strip()}:refs/heads/main")
    assert "does not fit its content" in following.refused()


@pytest.mark.parametrize(
    "options", ['namespaces="file"', 'valid-before="20200101"', "cert-authority"]
)
def test_an_allowed_signer_counts_only_for_what_and_when_he_is_allowed(
    repository: Repository, follow: Follow, tmp_path: Path, options: str
) -> None:
    ada = ssh_key(tmp_path / "ada")
    signs_with_ssh(repository, ada)
    repository.env["GIT_COMMITTER_DATE"] = "2019-06-01T00:00:00Z"  # a date is what its writer says
    repository.commit({"a.yaml": GOOD}, "-S")
    rules = trusting(tmp_path / "signers", signers(ada, options=options), "ssh")
    said = follow(rules=rules).refused()
    assert "not among the signers" in said or "does not fit" in said


def test_the_other_kind_of_signature_is_refused_by_its_name(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path
) -> None:
    ada, key = gpg.make("ada@example.org"), ssh_key(tmp_path / "ada")
    signs_with_ssh(repository, key)
    repository.commit({"a.yaml": GOOD}, "-S")
    by_gpg = trusting(tmp_path / "keys", gpg.export(ada), "gpg")
    assert "signed with an SSH key, which verify.gpg" in follow(rules=by_gpg, folder="a").refused()
    gpg.signs(repository, ada)
    repository.commit({"a.yaml": resized(4)}, "-S")
    by_ssh = trusting(tmp_path / "signers", signers(key), "ssh")
    assert "an OpenPGP key, which verify.ssh" in follow(rules=by_ssh, folder="b").refused()


def test_a_refused_signature_is_looked_at_again_when_the_keys_change(
    repository: Repository, follow: Follow, tmp_path: Path
) -> None:
    ada, bob = ssh_key(tmp_path / "ada"), ssh_key(tmp_path / "bob")
    signs_with_ssh(repository, bob)
    commit = repository.commit({"a.yaml": GOOD}, "-S")
    following = follow(rules=trusting(tmp_path / "signers", signers(ada), "ssh"))
    assert "not among the signers" in following.refused()
    assert following.look().result is None
    (tmp_path / "signers").write_text(signers(ada, bob))
    assert commit == following.applied()


@pytest.mark.parametrize("content", [b"", b"no keys\n", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"])
def test_a_keyring_without_a_key_is_no_verdict_on_the_commit(
    repository: Repository, follow: Follow, gpg: Gpg, tmp_path: Path, content: bytes
) -> None:
    gpg.signs(repository, gpg.make("ada@example.org"))
    repository.commit({"a.yaml": GOOD}, "-S")
    with pytest.raises(Unavailable, match="holds no OpenPGP key"):
        follow(rules=trusting(tmp_path / "keys", content, "gpg")).look()
    with pytest.raises(Unavailable, match="cannot be read"):
        follow(rules=Rules(Verify(gpg=tmp_path / "nothing")), folder="b").look()


def test_a_commit_is_taken_apart_exactly() -> None:
    raw = b"tree 1\nauthor x\ngpgsig -----BEGIN SSH SIGNATURE-----\n abc\n -----END\nencoding y\n\nhi\ngpgsig no\n"
    signed = take_apart(raw, "c")
    assert b"tree 1\nauthor x\nencoding y\n\nhi\ngpgsig no\n" == signed.payload
    assert b"-----BEGIN SSH SIGNATURE-----\nabc\n-----END\n" == signed.signature
    assert signed.is_ssh


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"tree 1\n\ngpgsig in the message\n", "not signed"),
        (b"tree 1\nmergetag object 2\n gpgsig x\n\nm\n", "not signed"),
        (b"tree 1\ngpgsig a\ngpgsig b\n\nm\n", "more than one"),
        (b"tree 1\ngpgsig a\ngpgsig-sha256 b\n\nm\n", "more than one"),
    ],
)
def test_what_only_looks_like_a_signature_is_none(raw: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        take_apart(raw, "c")


def test_armour_is_removed_from_keys() -> None:
    armoured = (
        b"words before\n-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\nmDMEAA==\n=abcd\n"
        b"-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    assert b"\x983\x04\x00" == binary_keyring(armoured)
    assert b"\x983\x04\x00" == binary_keyring(b"\x983\x04\x00")
    assert b"" == binary_keyring(b"plain text")
