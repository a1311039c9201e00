"""Checks the signature of a commit with gpgv or ssh-keygen. Blocks."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from .access import Verify, read_small
from .failures import Refused, Unavailable
from .programs import Bounds, Programs
from .signed_commits import Signed, binary_keyring, gpg_verdict, take_apart

NAMESPACE = "git"
"""What git signs for; a signature made for something else does not count."""
LARGEST = 4 * 1024 * 1024
"""Bytes of a keyring."""
_REMEDY = "sign it with a trusted key, or trust its key in the file that %s names"


def check_signature(
    programs: Programs, environ: Mapping[str, str], verify: Verify, raw: bytes, commit: str
) -> None:
    """Returns when the commit is signed by somebody who is trusted.

    Raises `Refused`, and `Unavailable` when it cannot be checked. Keys and signers count as of now:
    a key that has expired since vouches for nothing new, whatever date the commit bears.
    """
    signed = take_apart(raw, commit)
    setting = "verify.ssh" if verify.ssh else "verify.gpg"
    if signed.is_ssh != bool(verify.ssh):
        kind = "an SSH key" if signed.is_ssh else "an OpenPGP key"
        raise Refused(
            f"it is signed with {kind}, which {setting} cannot check", _REMEDY % setting, commit
        )
    with tempfile.TemporaryDirectory(prefix="stoker-signature-") as folder:
        place = Path(folder)
        (place / "signature").write_bytes(signed.signature)
        if verify.ssh is not None:
            problem = _by_ssh(programs, environ, verify.ssh, signed, place)
        else:
            assert verify.gpg is not None
            problem = _by_gpg(programs, environ, verify.gpg, signed, place)
    if problem:
        raise Refused(problem, _REMEDY % setting, commit)


def _by_gpg(
    programs: Programs, environ: Mapping[str, str], keyring: Path, signed: Signed, place: Path
) -> str:
    content = read_small(keyring, "the keyring", "verify.gpg", largest=LARGEST)
    keys = binary_keyring(content)
    if not keys:
        raise Unavailable(
            f"the keyring {keyring} holds no OpenPGP key", "export one: gpg --export --armor KEY"
        )
    (place / "keyring.gpg").write_bytes(keys)
    (place / "payload").write_bytes(signed.payload)
    argv = [
        "gpgv", "--homedir", str(place), "--keyring", str(place / "keyring.gpg"), "--status-fd", "1",
        "--", str(place / "signature"), str(place / "payload"),
    ]  # fmt: skip
    done = programs.run(argv, environ, bounds=Bounds(seconds=20))
    problem = gpg_verdict(done.out)
    if not problem and done.code != 0:
        return "its signature does not count for gpgv"
    return problem


def _by_ssh(
    programs: Programs, environ: Mapping[str, str], signers: Path, signed: Signed, place: Path
) -> str:
    content = read_small(signers, "the list of signers", "verify.ssh", largest=LARGEST)
    (place / "signers").write_bytes(content)
    files = ["-s", str(place / "signature"), "-f", str(place / "signers")]
    found = programs.run(
        ["ssh-keygen", "-Y", "find-principals", *files], environ, bounds=Bounds(seconds=20)
    )
    if found.code != 0:
        return "its signature is by a key that is not among the signers, or no longer"
    for principal in found.out.decode(errors="replace").splitlines():
        argv = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", principal, *files]
        if programs.run(argv, environ, feed=signed.payload, bounds=Bounds(seconds=20)).code == 0:
            return ""
    return "its signature does not fit its content"
