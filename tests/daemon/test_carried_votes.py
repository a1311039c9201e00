"""The secrets of webhooks that carry votes: what is wrong with them is told to the operator, and to nobody else."""

from pathlib import Path

import pytest

from stoker.daemon.carried_votes import CarriedVotes
from stoker.daemon.problems_http import HttpCode, Problem
from stoker.daemon.shared_secrets import NoSecret
from stoker.daemon.signatures import TOLERANCE, sign

SECRET, BODY, NOW = b"a secret that both know", b'{"so": 1}', 1_800_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "votes"
    found.mkdir(mode=0o755)
    return found


def keep(folder: Path, name: str, secret: bytes = SECRET, mode: int = 0o600) -> None:
    (folder / name).write_bytes(secret)
    (folder / name).chmod(mode)


async def test_the_start_says_what_is_wrong_with_each_secret(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(folder, "good")
    keep(folder, "short", b"too short")
    keep(folder, "Chat Bot")
    keep(folder, "open", mode=0o644)
    keep(folder, ".hidden", b"")
    (folder / "folder").mkdir()
    await CarriedVotes(folder).look()
    told = "\n".join(caplog.messages)
    assert 4 == len(caplog.messages), told
    assert "no vote by the webhook short is taken: the secret file" in told
    assert "no vote by the webhook folder is taken" in told
    assert "Chat Bot names no webhook" in told
    assert f"can vote by the webhook open: run chmod 600 {folder / 'open'}" in told
    assert SECRET.decode() not in told


async def test_nobody_reads_a_secret_in_a_folder_that_nobody_else_may_enter(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.chmod(0o700)
    keep(folder, "open", mode=0o644)
    await CarriedVotes(folder).look()
    assert [] == caplog.messages


async def test_a_start_without_the_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoSecret, match=r"votes\.secrets cannot be read .*; make it, with a file"):
        await CarriedVotes(tmp_path / "nowhere").look()
    await CarriedVotes(None).look()


async def test_a_file_that_is_no_secret_is_named_in_the_log_and_not_to_who_knocks(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(folder, "chat", b"too short")
    carried = CarriedVotes(folder, lambda: NOW)
    for name in ("chat", "chat", "other", "other"):
        with pytest.raises(Problem) as refused:
            await carried.check(name, [sign(b"too short", BODY, NOW)], BODY)
        assert HttpCode.SIGNATURE_INVALID is refused.value.code
        assert "too short" not in refused.value.detail
        assert str(folder) not in refused.value.detail
    (told,) = caplog.messages
    assert told.startswith("a vote by the webhook chat is not taken: the secret file")


async def test_a_webhook_that_delivers_too_much_and_ahead_of_time_shuts_out_no_other(
    folder: Path,
) -> None:
    keep(folder, "noisy")
    keep(folder, "chat")
    carried = CarriedVotes(folder, lambda: NOW, most=3)
    for number in range(4):
        await carried.check(
            "noisy", [sign(SECRET, b"%d" % number, NOW + TOLERANCE)], b"%d" % number
        )
    with pytest.raises(Problem, match="sign it anew"):
        await carried.check("noisy", [sign(SECRET, BODY, NOW)], BODY)
    await carried.check("chat", [sign(SECRET, BODY, NOW)], BODY)
    with pytest.raises(Problem, match="delivered before"):
        await carried.check("chat", [sign(SECRET, BODY, NOW)], BODY)


async def test_another_secret_counts_from_the_next_vote_on(folder: Path) -> None:
    keep(folder, "chat")
    carried = CarriedVotes(folder, lambda: NOW)
    await carried.check("chat", [sign(SECRET, BODY, NOW)], BODY)
    keep(folder, "chat", b"another one of good length")
    for old in (sign(SECRET, BODY, NOW), sign(SECRET, BODY, NOW + 1)):
        with pytest.raises(Problem, match="Sign the body"):
            await carried.check("chat", [old], BODY)
    await carried.check("chat", [sign(b"another one of good length", BODY, NOW)], BODY)
    (folder / "chat").unlink()
    with pytest.raises(Problem, match="Sign the body"):
        await carried.check("chat", [sign(b"another one of good length", BODY, NOW + 1)], BODY)
