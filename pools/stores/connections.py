"""Opening SQLite, and saying in sentences what it complains about."""

import os
import sqlite3
from pathlib import Path

from ..store import StoreCorrupt, StoreError
from . import migrations

_BUSY_SECONDS = 5.0
_WAL_KEPT_BYTES = 16 * 2**20
"""A WAL file that once grew is cut back to this when it starts anew."""
_WRITER_CACHE_KIB = 16 * 1024
_READER_MMAP_BYTES = 256 * 2**20

_FULL, _IO, _READ_ONLY, _CANNOT_OPEN = 13, 10, 8, 14
_CORRUPT, _NOT_A_DATABASE, _BUSY, _LOCKED = 11, 26, 5, 6
_CONSTRAINT, _MISMATCH, _TOO_BIG = 19, 20, 18


def open_writer(path: Path, *, create: bool) -> sqlite3.Connection:
    """The one connection that writes: WAL, full synchronisation, schema brought up to date.

    Raises `StoreError` and `StoreCorrupt`. `create` only at the start of the daemon: a ledger
    that vanished under a running one must not be replaced by an empty one.
    """
    _secure(path, create=create)
    try:
        connection = connect(path)
        try:
            prepare_writer(connection)
            migrations.migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    except StoreCorrupt as error:
        raise StoreCorrupt(f"the ledger {path} cannot be used: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise sentence(error, path) from error
    return connection


def prepare_writer(connection: sqlite3.Connection) -> None:
    """The settings of a connection that writes to a file."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer chooses the moment
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute("PRAGMA temp_store = MEMORY")


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; every statement sees the last commit."""
    try:
        connection = connect(path)
        connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA mmap_size = {_READER_MMAP_BYTES}")
    except sqlite3.Error as error:
        raise sentence(error, path) from error
    return connection


def open_looker(path: Path) -> sqlite3.Connection:
    """For another process than the daemon: reads beside it, and can change nothing."""
    try:
        path.stat()
        readable = os.access(path, os.R_OK)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"there is no ledger {path}; name the daemon's state folder with --state"
        ) from None
    except PermissionError:
        readable = False
    except OSError as error:
        raise sentence(error, path) from error
    if not readable:
        raise StoreError(
            f"the ledger {path} is not for you to read; call as the daemon's user or as root"
        )
    try:
        return _look(path, "mode=ro")
    except StoreCorrupt as error:
        raise StoreCorrupt(f"the ledger {path} cannot be read: {error}") from error
    except (sqlite3.Error, OSError) as error:
        if path.with_name(path.name + "-wal").exists():
            raise sentence(error, path) from error
    # No daemon has it open, and the log that SQLite wants beside it cannot be made here: a backup on
    # a medium that cannot be written.
    try:
        return _look(path, "immutable=1")
    except StoreCorrupt as error:
        raise StoreCorrupt(f"the ledger {path} cannot be read: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise sentence(error, path) from error


def _look(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{how}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA query_only = 1")
        if not migrations.schema_version(connection):
            raise StoreCorrupt(f"{path} is an empty file, and no ledger")
    except BaseException:
        connection.close()
        raise
    return connection


def open_checkpointer(path: str) -> sqlite3.Connection:
    """A connection for one checkpoint; it synchronises the database before the WAL is reused."""
    connection = connect(path)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def connect(path: Path | str) -> sqlite3.Connection:
    """Autocommit unless a transaction was begun; used by one thread at a time."""
    return sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def sentence(error: Exception, path: Path | str) -> StoreError:
    """What a person can do about an error of SQLite or of the operating system."""
    if isinstance(error, OSError):
        return StoreError(
            f"the ledger {path} cannot be used ({error.strerror}); make it readable and "
            "writable for the daemon's user alone"
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {_CORRUPT, _NOT_A_DATABASE}:
        return StoreCorrupt(
            f"the ledger {path} is damaged ({error}); it was left as it is: restore a backup of "
            "the state folder, or move the folder away to start anew"
        )
    if code == _FULL:
        return StoreError(
            f"the disk with the ledger {path} is full, nothing was written; make room and the "
            "daemon goes on by itself"
        )
    if code == _READ_ONLY:
        return StoreError(
            f"the ledger {path} is on a read-only file system, or its mode forbids writing; "
            "mount it writable, or give the file back to the daemon's user"
        )
    if code in {_IO, _CANNOT_OPEN}:
        return StoreError(
            f"the disk with the ledger {path} reports errors ({error}); look at dmesg and at the "
            "disk's health; the daemon tries again with every write"
        )
    if code in {_BUSY, _LOCKED}:
        return StoreError(
            f"another program keeps the ledger {path} locked; close it (for looking, open the "
            "file with: sqlite3 -readonly)"
        )
    if code == _CONSTRAINT and "claims.key" in str(error):
        return StoreError(
            "the idempotency key already belongs to another claim; look that claim up by its key"
        )
    return StoreError(
        f"the ledger {path} refused ({error}), nothing was written; if it happens again, check "
        "the file with: stoker doctor"
    )


def at_fault(error: Exception) -> bool:
    """True when a transaction itself is wrong, so that others of its batch need not suffer."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is None or code & 0xFF in {_CONSTRAINT, _MISMATCH, _TOO_BIG}
    return isinstance(error, ValueError | OverflowError)


def _secure(path: Path, *, create: bool) -> None:
    """SQLite gives the files beside the database the mode of the database: nobody else's."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        os.close(os.open(path, flags, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise sentence(error, path) from error
