"""The journal: a node's rows, durable in one SQLite file in its data directory.

A Commit is one entry at the end of the table `log`: rows that are spread over a thousand counters would touch as many
pages, and an entry touches one, or a few in sequence. When the log is long, its rows are folded into the table `rows`,
a slice with each commit, so that none takes long: each once, however often it was written, and in the order in which
they stand there. The view `counts` shows both together, to anyone with a SQLite tool, while the node runs too.

Each commit is one transaction, so the file always holds the state as it was at some moment. WAL mode with
`synchronous=FULL` syncs it to the disk before it returns; SQLite carries its own log back into the file every thousand
pages, so nothing grows with time.

SQLite checks the pages of its log, not those of its file, so each entry and each row carries a checksum of its own, and
the file's structure is checked at the start. A journal in which anything is wrong is kept aside, never repaired: the
node begins a new epoch, and peers give back what they hold.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from zlib import crc32

import orjson

from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import Actor, PlainRow, Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.state import Stored

SCHEMA = 3
APPLICATION = 0x676F7373
"""Tells our files from those of other programs that use SQLite."""

CHECKPOINT_PAGES = 1000
"""Pages of 4096 bytes in the log before it is folded back into the file."""

FOLD_BYTES = 16 * 2**20
"""Of entries in the log before they are folded."""

FOLD_ROWS = 100_000
"""Different rows in the log before they are folded: to sort these takes some twenty milliseconds."""

LEAST_SLICE = 64
"""Rows that a commit folds at the least; it folds as many as it brings, so the log can't outgrow the folding."""

TRIM = 4
"""Entries that are folded which a commit takes off the log: a few of each, where all at once would take long."""

LOOK_NS = 50_000_000
"""Between two looks whether the files are still those that have their names. Where somebody looked at its times, a
file's next write notes the time anew, and the disk gets that as well: half as much again for a commit.
"""

BUSY_S = 2.0
"""How long a commit waits for somebody else's look into the file."""

_LOG = """
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, entry TEXT NOT NULL, checksum INTEGER NOT NULL);
DROP VIEW IF EXISTS counts;
CREATE VIEW counts AS
WITH told AS (
    SELECT actor, counter, p, n, 0 AS id FROM rows
    UNION ALL
    SELECT json_extract(stored.value, '$[0]'), named.key, json_extract(named.value, '$[0]'),
        json_extract(named.value, '$[1]'), log.id
    FROM log, json_each(log.entry, '$[1]') AS stored, json_each(stored.value, '$[3]') AS named
),
newest AS (SELECT actor, counter, p, n, max(id) FROM told GROUP BY actor, counter)
SELECT counter, CASE WHEN abs(total(p) - total(n)) < 9.2e18
    THEN (sum((p - n) >> 32) << 32) + sum((p - n) & 4294967295)
    ELSE total(p) - total(n) END AS value  -- beyond 64 bits, about
FROM newest GROUP BY counter;
"""
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE actors (actor TEXT PRIMARY KEY, version INTEGER NOT NULL, target INTEGER NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    actor TEXT NOT NULL, counter TEXT NOT NULL, p INTEGER NOT NULL, n INTEGER NOT NULL, version INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (actor, counter)
) WITHOUT ROWID;
{_LOG}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
"""
_UPGRADE = f"""
BEGIN IMMEDIATE;
{_LOG}
PRAGMA user_version = {SCHEMA};
COMMIT;
"""
"""Schema 1 had no log, and that of schema 2 named rows in arrays, which the view of now does not know."""

_LARGEST_STATEMENT = 256
"""Rows in one statement: each statement costs a turn of Python's lock between the threads."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


class JournalError(Exception):
    """A commit that is not durable. The text says why."""


class _DamagedError(Exception):
    """The file can't be trusted."""


@dataclass(slots=True)
class _Logged:
    """What the entries of the log come to, up to the one numbered `last`; `size` is that of their text."""

    actor: str | None = None
    last: int = 0
    size: int = 0
    reach: dict[Actor, tuple[int, int]] = field(default_factory=dict)
    """By actor, version and target."""
    rows: dict[Actor, dict[str, PlainRow]] = field(default_factory=dict)
    row_count: int = 0

    def add(self, commit: Commit, size: int) -> None:
        self.actor = commit.actor
        self.last += 1
        self.size += size
        for actor, version, target, rows in commit.stored:
            self.reach[actor] = version, target
            held = self.rows.setdefault(actor, {})
            before = len(held)
            held.update(rows)
            self.row_count += len(held) - before

    def recovered(self) -> Recovered | None:
        if self.actor is None:
            return None
        stored = (Stored(actor, *self.reach[actor], rows) for actor, rows in sorted(self.rows.items()))
        return Recovered(Actor(self.actor), tuple(stored))


class _Folding:
    """Entries of the log on their way into the tables."""

    def __init__(self, logged: _Logged) -> None:
        self.logged = logged
        self.keys = [(actor, name) for actor, rows in sorted(logged.rows.items()) for name in sorted(rows)]
        self.done = 0


class Journal:
    """The open journal of one node, locked against every other process. Used by one thread at a time."""

    def __init__(
        self,
        directory: Path,
        node: str,
        cluster: str,
        checkpoint_pages: int = CHECKPOINT_PAGES,
        fold_bytes: int = FOLD_BYTES,
    ) -> None:
        """Open or make the journal in `directory`, which is made too.

        Raises `ConfigError` if it can't be used, is in use, was written by a newer version, or belongs to another node.
        """
        self.path = directory / "journal.db"
        self._files = str(self.path), f"{self.path}-wal"
        self.recovered: Recovered | None = None
        """What an intact journal held; None where a new epoch must begin."""
        self.set_aside: Path | None = None
        """Where an unusable journal was put."""
        self.took_ns = 0
        """How many nanoseconds the last commit took."""
        self._checkpoint_pages = checkpoint_pages
        self._fold_bytes = fold_bytes
        self._log = _Logged()
        self._folding: _Folding | None = None
        self._folded = 0
        """The last entry that is in the tables."""
        self._oldest = 1
        """The first one that is in the log."""
        self._lock = _lock(directory)
        try:
            self._open(node, cluster)
        except BaseException:
            os.close(self._lock)
            raise
        self._inodes = self._find_inodes()
        self._look_ns = 0

    def commit(self, commit: Commit) -> None:
        """Make it durable, all or nothing. Raises `JournalError`."""
        began_ns = monotonic_ns()
        try:
            if began_ns >= self._look_ns:
                self._look()
                self._look_ns = began_ns + LOOK_NS
            self._write(commit)
        except sqlite3.Error as error:
            raise JournalError(f"{error} ({self.path})") from None
        except FileNotFoundError as error:
            raise JournalError(f"{error.filename} is gone: restart this node") from None
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from None
        finally:
            self.took_ns = monotonic_ns() - began_ns

    def close(self) -> None:
        """Fold the log into the tables, and let go of the file."""
        with contextlib.suppress(sqlite3.Error):  # the log holds it all, and the next start reads it
            self._fold_all()
        self._db.close()
        os.close(self._lock)

    def _fold_all(self) -> None:
        for folding in (self._folding, _Folding(self._log)):
            if folding and folding.logged.size:
                with self._transaction():
                    self._fold(folding, len(folding.keys))
        self._db.execute("DELETE FROM log")

    def _look(self) -> None:
        # A file that was deleted still takes writes, which nobody will ever read.
        if self._find_inodes() != self._inodes:
            raise JournalError(f"{self.path} or its log was replaced: restart this node")

    def _find_inodes(self) -> tuple[int, ...]:
        return tuple(Path(file).stat().st_ino for file in self._files)

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
            return self._read(node, cluster)
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
        schema = self._schema()
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

    def _schema(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

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

    def _read(self, node: str, cluster: str) -> Recovered | None:
        """All that the tables hold, and on top of it the log. Raises `ValueError` where anything is wrong."""
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        self._check_owner(meta, node, cluster)
        held = _Logged(meta.get("actor"))
        for actor, version, target, checksum in self._db.execute("SELECT * FROM actors"):
            if checksum != _checksum(actor, "", version, target):
                raise ValueError(f"what is held of {actor!r} is not as it was written")
            held.reach[_actor(actor)] = limits.count(version, "version"), limits.count(target, "target")
            held.rows[actor] = {}
        for actor, counter, p, n, version, checksum in self._db.execute("SELECT * FROM rows"):
            if checksum != _checksum(actor, counter, p, n, version):
                raise ValueError(f"the row of {counter!r} is not as it was written")
            held.rows.setdefault(actor, {})[counter] = Row(p, n, version)  # the log may know an actor first
        self._begin_log(int(meta.get("folded", 0)))
        schema = self._schema()
        if schema > 1:
            self._read_log(held)
        if 1 < schema < SCHEMA:  # so that no entry is ever read as what it is not
            self._fold_all()
            self._begin_log(self._log.last)
        if schema < SCHEMA:
            self._db.executescript(_UPGRADE)
        return held.recovered()

    def _begin_log(self, folded: int) -> None:
        """From here on there are only entries after this one, none of which is known yet."""
        self._folded, self._oldest, self._log = folded, folded + 1, _Logged(last=folded)

    def _read_log(self, held: _Logged) -> None:
        (oldest,) = self._db.execute("SELECT min(id) FROM log").fetchone()
        self._oldest = oldest or self._oldest
        for number, entry, checksum in self._db.execute("SELECT * FROM log WHERE id > ? ORDER BY id", (self._folded,)):
            if number != self._log.last + 1 or checksum != _checksum(entry, "", number):
                raise ValueError(f"entry {self._log.last + 1} of the log is not as it was written")
            actor, stored = orjson.loads(entry)
            commit = Commit(actor, tuple(Stored(_actor(a), v, t, _named(rows)) for a, v, t, rows in stored))
            held.add(commit, len(entry))
            self._log.add(commit, len(entry))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
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
        if self._db.in_transaction:  # the last one failed, and could not even be rolled back
            self._db.execute("ROLLBACK")
        if self._folding is None and (self._log.size > self._fold_bytes or self._log.row_count > FOLD_ROWS):
            self._folding, self._log = _Folding(self._log), _Logged(last=self._log.last)
        entry, number = _json(commit), self._log.last + 1
        row = number, entry, _checksum(entry, "", number)
        if self._folding is None and self._oldest > self._folded:
            self._db.execute("INSERT INTO log VALUES (?, ?, ?)", row)
        else:
            brought = sum(len(stored.rows) for stored in commit.stored)
            with self._transaction():
                self._db.execute("INSERT INTO log VALUES (?, ?, ?)", row)
                trimmed = self._trim()
                done = self._fold(self._folding, max(LEAST_SLICE, brought)) if self._folding else 0
            self._oldest = trimmed
            self._note_folded(done)
        self._log.add(commit, len(entry))

    def _trim(self) -> int:
        """Take some of the oldest entries off the log, if they are in the tables; which is the oldest then.

        In this order, so that the view `counts`, for which later entries go before earlier ones, is right all the time.
        """
        upto = min(self._folded, self._oldest + TRIM - 1)
        self._db.execute("DELETE FROM log WHERE id BETWEEN ? AND ?", (self._oldest, upto))
        return max(self._oldest, upto + 1)

    def _fold(self, folding: _Folding, most: int) -> int:
        """Put so many more rows into the tables, and with the last of them what they are of; rows done."""
        logged, keys = folding.logged, folding.keys[folding.done : folding.done + most]
        rows = ((actor, counter, *logged.rows[actor][counter]) for actor, counter in keys)
        self._put("rows", [(*row, _checksum(*row)) for row in rows])
        done = folding.done + len(keys)
        if done == len(folding.keys):
            actors = ((actor, version, target) for actor, (version, target) in logged.reach.items())
            self._put("actors", [(*each, _checksum(each[0], "", *each[1:])) for each in actors])
            self._put("meta", [("actor", logged.actor), ("folded", str(logged.last))])
        return done

    def _note_folded(self, done: int) -> None:
        if self._folding:
            self._folding.done = done
            if done == len(self._folding.keys):
                self._folded, self._folding = self._folding.logged.last, None

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


def _json(commit: Commit) -> str:
    return orjson.dumps(commit, default=tuple).decode()  # it knows plain tuples only


def _actor(text: str) -> Actor:
    return Actor(limits.nonempty_name(text, "actor", limits.MAX_ACTOR_BYTES))


def _named(rows: dict[str, list[int]] | list[tuple[str, list[int]]]) -> dict[str, PlainRow]:
    return {counter: Row(*row) for counter, row in dict(rows).items()}


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
