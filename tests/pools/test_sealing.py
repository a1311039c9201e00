"""Secrets at rest: what opens them, what does not, and where the key comes from."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.pools.sealing import CREDENTIAL, KEY_FILE, Sealer, key_id, open_sealer
from stoker.pools.store import StoreCorrupt, StoreError

KEY, OTHER = b"k" * 32, b"o" * 32
PLACE = b"claims\0c-1\0secrets"


@given(plain=st.binary(max_size=200), place=st.binary(max_size=50))
def test_what_was_sealed_opens_at_its_place(plain: bytes, place: bytes) -> None:
    sealer = Sealer(KEY)
    assert plain == sealer.open(sealer.seal(plain, place), place)


def test_nothing_of_the_plain_text_shows_and_no_two_blobs_are_equal() -> None:
    sealer = Sealer(KEY)
    blobs = {sealer.seal(b"xyzzy" * 10, PLACE) for _ in range(100)}
    assert 100 == len(blobs)
    assert not [blob for blob in blobs if b"xyzzy" in blob]


def test_a_blob_opens_at_no_other_place() -> None:
    sealer = Sealer(KEY)
    blob = sealer.seal(b"mine", b"claims\0c-1\0secrets")
    for place in (b"claims\0c-2\0secrets", b"claims\0c-1\0params", b"parts\0c-1\0secrets", b""):
        with pytest.raises(StoreCorrupt, match="was changed or moved"):
            sealer.open(blob, place)


def test_a_blob_of_which_any_bit_was_changed_is_refused() -> None:
    sealer = Sealer(KEY)
    blob = sealer.seal(b"mine", PLACE)
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(StoreError):
            sealer.open(bytes(changed), PLACE)
    for length in range(len(blob)):
        with pytest.raises(StoreError):
            sealer.open(blob[:length], PLACE)


def test_another_key_is_named_and_never_gives_garbage() -> None:
    blob = Sealer(KEY).seal(b"mine", PLACE)
    with pytest.raises(StoreError, match=f"another key \\(id {key_id(KEY).hex()}\\).*{KEY_FILE}"):
        Sealer(OTHER).open(blob, PLACE)


def test_a_rotated_sealer_opens_the_old_and_seals_with_the_new() -> None:
    old, rotated = Sealer(KEY), Sealer(OTHER, KEY)
    assert b"mine" == rotated.open(old.seal(b"mine", PLACE), PLACE)
    assert b"mine" == Sealer(OTHER).open(rotated.seal(b"mine", PLACE), PLACE)


def test_a_sealer_does_not_show_its_key() -> None:
    assert KEY.decode() not in repr(Sealer(KEY))
    assert key_id(KEY) not in KEY


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(StoreError, match=f"32 bytes, this one has {length}"):
        Sealer(b"x" * length)


def test_the_first_start_makes_a_key_for_itself_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    blob = open_sealer(state, {}).seal(b"mine", PLACE)
    key = state / KEY_FILE
    assert (32, 0o600) == (len(key.read_bytes()), stat.S_IMODE(key.stat().st_mode))
    assert 0o700 == stat.S_IMODE(state.stat().st_mode)
    assert [KEY_FILE] == [path.name for path in state.iterdir()]
    assert b"mine" == open_sealer(state, {}).open(blob, PLACE)


def test_the_key_is_made_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_sealer(tmp_path / "state", {})
    finally:
        os.umask(before)
    assert 0o600 == stat.S_IMODE((tmp_path / "state" / KEY_FILE).stat().st_mode)


def test_what_a_start_that_was_cut_short_left_behind_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / f".{KEY_FILE}.{os.getpid()}").write_bytes(b"half")
    open_sealer(tmp_path, {})
    assert [KEY_FILE] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused_with_a_remedy(tmp_path: Path, mode: int) -> None:
    open_sealer(tmp_path, {})
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(StoreError, match=f"mode {mode:04o}.*chmod 600"):
        open_sealer(tmp_path, {})


def test_a_damaged_key_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    key = tmp_path / KEY_FILE
    key.write_bytes(b"short")
    key.chmod(0o600)
    with pytest.raises(StoreError, match="has 5 bytes instead of 32"):
        open_sealer(tmp_path, {})
    assert b"short" == key.read_bytes()


def test_a_lost_key_is_not_replaced_beside_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with pytest.raises(StoreError, match=r"is missing.*put the key back"):
        open_sealer(tmp_path, {})
    assert not (tmp_path / KEY_FILE).exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create the ledger key"):
        open_sealer(tmp_path / "file" / "state", {})


def test_the_credential_of_systemd_comes_first(tmp_path: Path) -> None:
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    (credentials / CREDENTIAL).write_bytes(KEY)
    sealer = open_sealer(state, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert b"mine" == Sealer(KEY).open(sealer.seal(b"mine", PLACE), PLACE)
    assert not state.exists()


def test_other_credentials_alone_do_not_matter(tmp_path: Path) -> None:
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    open_sealer(state, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert (state / KEY_FILE).exists()


def test_a_credential_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / CREDENTIAL).write_bytes(KEY + b"\n")
    with pytest.raises(StoreError, match="has 33 bytes"):
        open_sealer(tmp_path / "state", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
