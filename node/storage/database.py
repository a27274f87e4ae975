"""SQLite as the journal uses it: connections, transactions, damage, and the names of its files."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.storage.errors import DamagedError

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}

PAGE_BYTES = 4096

ADVICE_IF_FULL = ": free some space on its disk"

_LARGEST_STATEMENT = 256
"""Rows in one statement. Each statement releases and takes Python's global lock, so few are better than many."""


def connect(path: Path, busy_s: float, checkpoint_pages: int) -> sqlite3.Connection:
    """Open a database, in which each transaction is on the disk when it ends. Raises `DamagedError`, `sqlite3.Error`.

    `busy_s` is how many seconds a statement waits for another process's lock. After `checkpoint_pages` pages of
    `PAGE_BYTES` in its write-ahead log, SQLite copies them into the file. A log that has become longer is truncated to
    twice that length then.
    """
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        with noticing_damage():
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cell_size_check = ON")
            db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
            db.execute(f"PRAGMA journal_size_limit = {2 * checkpoint_pages * PAGE_BYTES}")
    except BaseException:
        db.close()
        raise
    return db


def end_transaction(db: sqlite3.Connection) -> None:
    """Roll back what an earlier error left open, because it could not even be rolled back then."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def wait_for_locks(db: sqlite3.Connection, seconds: float) -> None:
    """Let each statement from now on wait so long for another process's lock."""
    db.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another process's lock is the cause."""
    return _code(error) == sqlite3.SQLITE_BUSY


def is_full(error: sqlite3.Error) -> bool:
    """Whether a lack of space is the cause, of the file, its write-ahead log or the log's index."""
    is_index = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
    return is_index or _code(error) == sqlite3.SQLITE_FULL


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block's changes, or none of them."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the error that matters is the first one
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise


def put(db: sqlite3.Connection, table: str, values: Sequence[tuple[object, ...]]) -> None:
    """Insert or replace records."""
    for marks, flat in statements(values):
        db.execute(f"INSERT OR REPLACE INTO {table} VALUES {marks}", flat)


def statements(values: Sequence[tuple[object, ...]]) -> Iterator[tuple[str, list[object]]]:
    """Lists of values for statements, which have a few sizes only, so that all of them stay compiled.

    For each statement, its marks, as in `VALUES (?, ?), (?, ?)`, and what stands for them.
    """
    at, size = 0, _LARGEST_STATEMENT
    while at < len(values):
        while size > len(values) - at:
            size //= 2
        marks = f"({', '.join('?' * len(values[at]))})"
        yield ", ".join([marks] * size), [value for each in values[at : at + size] for value in each]
        at += size


def check_not_emptied(path: Path) -> None:
    """Raise `DamagedError` for an empty file with a write-ahead log, which SQLite would delete."""
    log = Path(f"{path}-wal")
    if not path.stat().st_size and log.exists() and log.stat().st_size:
        raise DamagedError(f"it is empty, and {log.name} shows that it was not")


def check_structure(db: sqlite3.Connection) -> None:
    """Look at every page. Raises `ValueError` or `sqlite3.Error`."""
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise ValueError("the file's structure is damaged")


@contextlib.contextmanager
def noticing_damage() -> Iterator[None]:
    """Turn what reading a damaged file raises into `DamagedError`."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        # Text that is not UTF-8, even that of SQLite's own error messages, is a ValueError.
        raise DamagedError(str(error)) from None
    except sqlite3.Error as error:
        if _code(error) in _DAMAGE:
            raise DamagedError(str(error)) from None
        raise


def set_aside(path: Path, mark: Path) -> Path:
    """Rename a database, SQLite's files beside it and its mark to a name that no file has. Raises `ConfigError`.

    The database goes first. Were it left for a moment without its write-ahead log or its mark, it would be an older one
    in which nothing seems to be wrong.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        for file, suffix in ((path, ""), (Path(f"{path}-wal"), "-wal"), (Path(f"{path}-shm"), "-shm"), (mark, "-mark")):
            with contextlib.suppress(FileNotFoundError):
                file.rename(aside.with_name(aside.name + suffix))
        sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"can't set the damaged journal {path} aside: {error.strerror}") from None
    return aside


def sync_directory(directory: Path) -> None:
    """Make the names in a directory as durable as the files."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
