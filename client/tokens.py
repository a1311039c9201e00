"""The bearer token that requests carry: given, asked for, or read from a file each time anew.

Tokens live for minutes; whoever renews the file or the value needs to tell nobody.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from .errors import Denied
from .requests import Request

TOKEN_FILE = "STOKER_TOKEN_FILE"  # noqa: S105 - the name of a variable
LONGEST = 64 * 1024
"""Bytes of a file that is read. The daemon takes far less."""

GivenToken = str | Callable[[], str] | None
"""The token, or what returns it for each request; None: that of `$STOKER_TOKEN_FILE`, if it is set."""


class TokenSource:
    def __init__(self, given: GivenToken, environ: Mapping[str, str] = os.environ) -> None:
        self._given = given
        self._file = environ.get(TOKEN_FILE, "") if given is None else ""

    @property
    def reads(self) -> bool:
        """Asking for the token reads a file."""
        return bool(self._file)

    def sign(self, request: Request) -> Request:
        """The request with the token as it is now. Raises `Denied`, which does not quote it."""
        token = self._token()
        if not token:
            return request
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        return replace(request, headers=headers)

    def _token(self) -> str:
        if self._file:
            return _checked(_read(Path(self._file)), self._file)
        if self._given is None:
            return ""
        given = self._given if isinstance(self._given, str) else self._given()
        return _checked(given, "what was given") if given else ""


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(LONGEST).decode("latin-1").strip()
    except OSError as error:
        raise Denied(
            f"the token file {path} cannot be read ({error.strerror}); it is named by --token-file or"
            f" {TOKEN_FILE}",
            code="no-token",
        ) from None


def _checked(token: str, where: str) -> str:
    """A token with a line's end in it could say other headers."""
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise Denied(
            f"there is no token in {where}: one is a word of visible ASCII", code="no-token"
        )
    return token
