"""The whole environment and configuration that git runs with. Pure: nothing is inherited.

No configuration of the system, of a user or of a repository decides anything: what git may do is said
here, through `GIT_CONFIG_*`, which beats every file. Options are not put on the command line, where
everybody could read them.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .urls import Location

PASSED_ON = ("PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
"""What is taken from the daemon's own environment: where programs are, and the way out."""
STALLED = 20
"""Seconds below a kilobyte per second after which a transfer is given up."""
CONNECT_WITHIN = 10
"""Seconds."""


@dataclass(frozen=True, slots=True)
class SshFiles:
    key: str = ""
    known_hosts: str = ""
    """Paths without any character that ssh or a shell would read in another way."""


def environment(
    base: Mapping[str, str], home: str, repository: str, config: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """`home` is an empty folder: no .netrc, .gitconfig or .ssh is found there."""
    environ = {name: base[name] for name in PASSED_ON if base.get(name)}
    environ |= {
        "HOME": home,
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_DIR": repository,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_SSH_VARIANT": "ssh",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (key, value) in enumerate(config):
        environ[f"GIT_CONFIG_KEY_{number}"] = key
        environ[f"GIT_CONFIG_VALUE_{number}"] = value
    return environ


def configuration(
    location: Location, ssh: SshFiles, *, ca: str = "", include: str = ""
) -> tuple[tuple[str, str], ...]:
    """`include`: a file with what must not stand in an environment, which root and we can read."""
    extra: list[tuple[str, str]] = []
    if ca:
        extra.append(("http.sslCAInfo", ca))
    if include:
        extra.append(("include.path", include))
    return (
        ("protocol.allow", "never"),
        (f"protocol.{location.scheme}.allow", "always"),
        ("protocol.version", "2"),
        # Nothing is run for a repository.
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.sshCommand", _ssh_command(ssh)),
        ("core.gitProxy", "none"),
        ("credential.helper", ""),
        ("credential.interactive", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("fetch.writeCommitGraph", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("submodule.recurse", "false"),
        # What comes is checked before it is kept, and comes from where it was asked for only.
        ("transfer.fsckObjects", "true"),
        ("fetch.fsckObjects", "true"),
        ("transfer.credentialsInUrl", "die"),
        ("transfer.bundleURI", "false"),
        ("fetch.unpackLimit", "1"),
        ("pack.threads", "1"),
        ("core.packedGitWindowSize", "16m"),
        ("core.packedGitLimit", "128m"),
        ("core.deltaBaseCacheLimit", "16m"),
        ("core.bigFileThreshold", "1m"),
        ("http.followRedirects", "false"),
        ("http.sslVerify", "true"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", str(STALLED)),
        *extra,
    )


def token_config(location: Location, header: bytes) -> bytes:
    """A piece of git configuration that sends the header to the host of the repository only."""
    return b'[http "%s"]\n\textraHeader = "%s"\n' % (location.origin.encode(), header)


def _ssh_command(files: SshFiles) -> str:
    """ssh as it is always called. git gives it to a shell, so every word is quoted."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": files.known_hosts or "none",
        "GlobalKnownHostsFile": "none" if files.known_hosts else "/etc/ssh/ssh_known_hosts",
        "UpdateHostKeys": "no",
        "IdentityFile": files.key or "none",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "CertificateFile": "none",
        "PreferredAuthentications": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ProxyCommand": "none",
        "ControlMaster": "no",
        "ControlPath": "none",
        "CanonicalizeHostname": "no",
        "ConnectTimeout": str(CONNECT_WITHIN),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "4",
        "LogLevel": "ERROR",
    }
    words = ["ssh", "-F", "none", "-T", "-x", "-a"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return shlex.join(words)
