"""What can go wrong with a repository, in the two kinds that matter, and in words. Pure.

`Unavailable` may pass by itself and says nothing about the content: what serves goes on, and the
next poll tries again. `Refused` is a verdict on what the repository holds now.
"""

import re

_LONGEST = 300
_NOISE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PREFIX = re.compile(r"^(?:fatal|error|warning|remote|ssh): *", re.IGNORECASE)


class Unavailable(Exception):
    """The repository could not be asked. The message is a clause, the remedy an imperative."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


class Unexplained(Unavailable):
    """git failed in a way that is not known here."""


class Refused(Exception):
    """What the repository holds now is not taken, whatever it says."""

    def __init__(self, message: str, remedy: str, commit: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.commit = commit
        """Empty when there is not even a commit to name."""


class Damaged(Exception):
    """The local copy is broken: it is thrown away and fetched again."""


_NETWORK = (
    r"connection (refused|reset|closed)|timed out|no route|unreachable|(failed to|couldn't) connect|"
    r"broken pipe|too slow|unexpected disconnect|hung up|returned error: 5|early eof|empty reply"
)
_REASONS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), message, remedy)
    for pattern, message, remedy in (
        (
            r"host key verification failed|no .* host key is known",
            "the host's key is not the one that is known",
            "put its key into the file that configKnownHosts names, after comparing it",
        ),
        (
            r"unprotected private key file|bad permissions",
            "the deploy key can be read by others, so ssh does not use it",
            "chmod 600 the file that configKey names",
        ),
        (
            r"load key .*(?:invalid format|error in libcrypto)",
            "the deploy key is no key that ssh can read",
            "write an OpenSSH private key without a passphrase to the file that configKey names",
        ),
        (
            r"permission denied \(|too many authentication failures",
            "the host does not accept the deploy key",
            "allow the key there, or name another one with configKey",
        ),
        (
            r"authentication failed|could not read (username|password)|returned error: 40[13]",
            "the host does not accept the token, or wants one",
            "write a token that may read the repository to the file that configToken names",
        ),
        (
            r"dubious ownership|unsafe repository",
            "the repository's folder belongs to another user, and git does not trust it",
            "give it to the daemon's user, or serve it over ssh or https",
        ),
        (
            r"unable to update url base from redirection|the requested url returned error: 30",
            "the address redirects elsewhere, which is not followed",
            "write the new address",
        ),
        (
            r"repository .* not found|returned error: 404|does not appear to be a git repository",
            "there is no repository at this address, or the credentials may not see it",
            "check the address, and that the credentials may read it",
        ),
        (
            r"could not resolve host|name or service not known|temporary failure in name",
            "the name of the host cannot be resolved",
            "check the name and the DNS of this host",
        ),
        (
            r"mismatched algorithms",
            "the repository names its objects by SHA-256, which is not supported",
            "use a repository of the usual format (SHA-1)",
        ),
        (
            r"certificate|ssl|gnutls",
            "the host's certificate is not trusted",
            "name the authority's certificate with configCa, or renew the host's",
        ),
        (
            _NETWORK,
            "the host cannot be reached",
            "check that it runs and that this host may connect to it",
        ),
    )
)


def why(stderr: bytes) -> Unavailable:
    """What git, ssh or the other side complained of, as a sentence. Their own words stand behind it."""
    text = stderr.decode(errors="replace")
    said = _last_words(text)
    for pattern, message, remedy in _REASONS:
        if pattern.search(text):
            return Unavailable(f"{message} ({said})" if said else message, remedy)
    return Unexplained(f"git failed: {said or 'it says nothing'}", "see what it complains of")


def _last_words(text: str) -> str:
    """One line, printable and short. The first complaint is the cause; later ones follow from it."""
    lines = [_NOISE.sub(" ", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.lower().startswith(("hint:", "@@@"))]
    fatal = [line for line in lines if re.match(r"(fatal|error|ssh|remote):", line, re.IGNORECASE)]
    chosen = (fatal or lines or [""])[0]
    chosen = re.sub(r"(?<=://)[^/@\s]*@", "…@", chosen)
    while _PREFIX.match(chosen):
        chosen = _PREFIX.sub("", chosen, count=1)
    return chosen if len(chosen) <= _LONGEST else f"{chosen[:_LONGEST]}…"
