"""The journal: a node's rows, durable in one SQLite file in its data directory.

What a Commit holds is written in one transaction, so the file always holds the state as it was at some moment. WAL mode
with `synchronous=FULL` syncs each commit to the disk before it returns; SQLite folds the log back into the file every
thousand pages, so neither grows with time. Users may look into it with any SQLite tool while the node runs.

SQLite checks the pages of its log, not those of its file, so each row carries a checksum of its own, and the file's
structure is checked at the start. A journal in which anything is wrong is kept aside, never repaired: the node begins a
new epoch, and peers give back what they hold.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from zlib import crc32

from node import limits
from node.counter import Row
from node.errors import ConfigError
from node.replica import Commit, Recovered
from node.state import Actor, NamedRow, Stored

SCHEMA = 1
APPLICATION = 0x676F7373
"""Tells our files from those of other programs that use SQLite."""

CHECKPOINT_PAGES = 1000
"""Pages of 4096 bytes in the log before it is folded back into the file."""

BUSY_S = 2.0
"""How long a commit waits for somebody else's look into the file."""

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE actors (actor TEXT PRIMARY KEY, version INTEGER NOT NULL, target INTEGER NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    actor TEXT NOT NULL, counter TEXT NOT NULL, p INTEGER NOT NULL, n INTEGER NOT NULL, version INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (actor, counter)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
"""
_LARGEST_STATEMENT = 256
"""Rows in one statement: each statement costs a turn of Python's lock between the threads."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


class JournalError(Exception):
    """A commit that is not durable. The text says why."""


class _DamagedError(Exception):
    """The file can't be trusted."""


class Journal:
    """The open journal of one node, locked against every other process. Used by one thread at a time."""

    def __init__(self, directory: Path, node: str, cluster: str, checkpoint_pages: int = CHECKPOINT_PAGES) -> None:
        """Open or make the journal in `directory`, which is made too.

        Raises `ConfigError` if it can't be used, is in use, was written by a newer version, or belongs to another node.
        """
        self.path = directory / "journal.db"
        self.recovered: Recovered | None = None
        """What an intact journal held; None where a new epoch must begin."""
        self.set_aside: Path | None = None
        """Where an unusable journal was put."""
        self._checkpoint_pages = checkpoint_pages
        self._lock = _lock(directory)
        try:
            self._open(node, cluster)
        except BaseException:
            os.close(self._lock)
            raise
        self._actor: str | None = self.recovered.actor if self.recovered else None
        self._inodes = self._find_inodes()

    def commit(self, commit: Commit) -> None:
        """Make it durable, all or nothing. Raises `JournalError`."""
        try:
            # A file that was deleted still takes writes, which nobody will ever read.
            if self._find_inodes() != self._inodes:
                raise JournalError(f"{self.path} or its log was replaced: restart this node")
            with self._transaction():
                self._write(commit)
        except sqlite3.Error as error:
            raise JournalError(f"{error} ({self.path})") from None
        except FileNotFoundError as error:
            raise JournalError(f"{error.filename} is gone: restart this node") from None
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from None
        self._actor = commit.actor

    def close(self) -> None:
        """Fold the log into the file and let both go."""
        self._db.close()
        os.close(self._lock)

    def _find_inodes(self) -> tuple[int, ...]:
        return tuple(path.stat().st_ino for path in (self.path, self.path.with_name(f"{self.path.name}-wal")))

    def _open(self, node: str, cluster: str) -> None:
        try:
            try:
                self._connect_and_load(node, cluster)
            except _DamagedError:
                self.set_aside = _set_aside(self.path)
                self._connect_and_load(node, cluster)
        except (sqlite3.Error, _DamagedError) as error:
            raise ConfigError(f"can't use the journal {self.path}: {error}") from None

    def _connect_and_load(self, node: str, cluster: str) -> None:
        self._db = self._connect()
        try:
            self.recovered = self._load(node, cluster)
        except BaseException:
            self._db.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cell_size_check = ON")
            db.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            db.close()
            _raise_if_damaged(error)
            raise
        return db

    def _load(self, node: str, cluster: str) -> Recovered | None:
        try:
            if self._is_new():
                self._make(node, cluster)
                return None
            if self._db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise ValueError("the file's structure is damaged")
            meta = dict(self._db.execute("SELECT key, value FROM meta"))
            self._check_owner(meta, node, cluster)
            return Recovered(Actor(meta["actor"]), tuple(self._stored())) if "actor" in meta else None
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise _DamagedError(str(error)) from None
        except sqlite3.Error as error:
            _raise_if_damaged(error)
            raise

    def _is_new(self) -> bool:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (schema,) = self._db.execute("PRAGMA user_version").fetchone()
        if not tables and not schema:
            return True
        if application != APPLICATION:
            raise ConfigError(f"{self.path} is another program's file: choose another data directory")
        if schema > SCHEMA:
            raise ConfigError(
                f"{self.path} has schema {schema}, and this version knows none above {SCHEMA}: use the version that"
                " wrote it, or another data directory"
            )
        return False

    def _make(self, node: str, cluster: str) -> None:
        self._db.executescript(_TABLES)
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", [("node", node), ("cluster", cluster)])
        self._db.execute("COMMIT")
        _sync_directory(self.path.parent)

    def _check_owner(self, meta: dict[str, str], node: str, cluster: str) -> None:
        if (meta["node"], meta["cluster"]) != (node, cluster):
            raise ConfigError(
                f"{self.path.parent} belongs to node {meta['node']!r} of cluster {meta['cluster']!r}, not to {node!r}"
                f" of {cluster!r}: choose another data directory"
            )

    def _stored(self) -> Iterator[Stored]:
        rows: dict[Actor, list[NamedRow]] = {}
        for actor, counter, p, n, version, checksum in self._db.execute("SELECT * FROM rows"):
            if checksum != _checksum(actor, counter, p, n, version):
                raise ValueError(f"the row of {counter!r} is not as it was written")
            rows.setdefault(actor, []).append((counter, Row(p, n, version)))
        for actor, version, target, checksum in self._db.execute("SELECT * FROM actors"):
            if checksum != _checksum(actor, "", version, target):
                raise ValueError(f"what is held of {actor!r} is not as it was written")
            limits.nonempty_name(actor, "actor", limits.MAX_ACTOR_BYTES)
            held = limits.count(version, "version"), limits.count(target, "target")
            yield Stored(actor, *held, tuple(rows.pop(actor, ())))
        if rows:
            raise ValueError("rows of an actor that is not listed")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:  # the last one failed, and could not even be rolled back
            self._db.execute("ROLLBACK")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the error that matters is the first one
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise

    def _write(self, commit: Commit) -> None:
        if commit.actor != self._actor:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('actor', ?)", (commit.actor,))
        actors = [
            (actor, version, target, _checksum(actor, "", version, target))
            for actor, version, target, _ in commit.stored
        ]
        self._put("actors", actors)
        self._put("rows", [row for stored in commit.stored for row in _flat(stored)])

    def _put(self, table: str, values: Sequence[tuple[object, ...]]) -> None:
        """In statements of a few sizes only, so that all of them are compiled once."""
        at, size = 0, _LARGEST_STATEMENT
        while at < len(values):
            while size > len(values) - at:
                size //= 2
            marks = f"({', '.join('?' * len(values[at]))})"
            flat = [value for each in values[at : at + size] for value in each]
            self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES {', '.join([marks] * size)}", flat)
            at += size


def _flat(stored: Stored) -> Iterable[tuple[object, ...]]:
    actor = stored.actor
    return (
        (actor, counter, row.p, row.n, row.version, _checksum(actor, counter, *row)) for counter, row in stored.rows
    )


def _checksum(actor: str, counter: str, *values: int) -> int:
    return crc32(f"{values} {len(actor)} {actor}{counter}".encode())


def _raise_if_damaged(error: Exception) -> None:
    # Errors of Python's own have no code: text, be it an error's, that is not UTF-8.
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE:
        raise _DamagedError(str(error)) from None


def _set_aside(path: Path) -> Path:
    """Rename a journal and its log to a name that no file has. Raises `ConfigError`."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        for suffix in ("-shm", "-wal", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"can't set the damaged journal {path} aside: {error.strerror}") from None
    return aside


def _lock(directory: Path) -> int:
    """Lock a directory, which is made if need be. Raises `ConfigError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except FileExistsError:
        raise ConfigError(f"the data directory {directory} is a file: remove it, or choose another") from None
    except OSError as error:
        raise ConfigError(f"can't use the data directory {directory}: {error.strerror}; --data takes another") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.read(handle, 20).decode(errors="replace").strip()
        os.close(handle)
        raise ConfigError(f"the data directory {directory} is in use by process {holder}: stop it first") from None
    except OSError as error:
        os.close(handle)
        raise ConfigError(f"can't lock the data directory {directory}: {error.strerror}") from None
    return handle


def _sync_directory(directory: Path) -> None:
    """Make names in a directory as durable as what they name."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
