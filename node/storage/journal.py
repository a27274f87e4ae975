"""The journal: the rows of a node, durable in one SQLite file in its data directory.

Each commit is one transaction, so the file always contains the state of some moment. WAL mode with
`synchronous=FULL` syncs a commit to the disk before it returns. `commit_log` says how a commit is written, `schema`
what the file contains; its view `counts` shows the values to anyone with a SQLite tool, while the node runs too.

A journal in which anything is wrong is set aside, never repaired: the node begins a new epoch, and its peers give back
the rows that they store. One that is intact and lacks entries shows by its `mark`. A copy of a journal keeps its rows
and not its actor (`file_identity`): the original may still be in use.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.storage import database, outsiders, schema
from gossip_counter.node.storage.commit_log import CommitLog
from gossip_counter.node.storage.errors import DamagedError, JournalError, MustWaitError, UnknownRecordError
from gossip_counter.node.storage.file_identity import FileIdentity, Place, locate
from gossip_counter.node.storage.lock import DirectoryLock
from gossip_counter.node.storage.mark import Mark
from gossip_counter.node.storage.wal import WriteAheadLog

__all__ = ["Journal", "JournalError", "Tuning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What a journal does when. The defaults suit every node; tests use smaller ones."""

    checkpoint_pages: int = 1000
    """Pages of 4096 bytes in SQLite's write-ahead log before they are copied into the file."""

    compact_bytes: int = 16 * 2**20
    """Size of the commit log before it is compacted."""

    compact_rows: int = 100_000
    """Different rows in the commit log before it is compacted. To sort so many takes some 20 milliseconds."""

    identity_check_ns: int = 50_000_000
    """Nanoseconds between two checks whether the files were deleted or replaced, and of how large the log is."""

    busy_s: float = 2.0
    """Seconds that commits wait, where they may, for another process that has locked the file."""

    wal_bytes: int = 64 * 2**20
    """Size of SQLite's write-ahead log at which no more is committed; less where the disk has less room."""


LEAST_WAIT_S = 0.02
"""Seconds that a commit, where it may wait, waits for a lock that has lasted longer than a commit should wait."""


class Journal:
    """The open journal of one node, locked against every other process. Used by one thread at a time."""

    def __init__(self, directory: Path, node: str, cluster: str, tuning: Tuning = Tuning()) -> None:
        """Open or make the journal in `directory`, which is made too.

        Raises `ConfigError` if it can't be used, is in use, was written by another version, or belongs to another node.
        """
        self.path = directory / "journal.db"
        self.recovered: Recovered | None = None
        """What an intact journal contained; None where a new epoch must begin."""
        self.set_aside: Path | None = None
        """Where an unusable journal was put."""
        self.damage = ""
        """What was wrong with it."""
        self.copy_of: str | None = None
        """If the journal was found at this start to be a copy, what the original was called."""
        self.took_ns = 0
        """How many nanoseconds the last commit took."""
        self._mark = Mark(directory / "journal.mark")
        self.noticed: dict[str, str] = {}
        """What somebody should know of, by its field of `Stats`, until it was taken note of."""
        self._locked_since_ns = 0
        """When commits met the lock that they meet at present; 0: none."""
        self._owner = schema.Owner(node, cluster)
        self._tuning = tuning
        self._lock = DirectoryLock(directory)
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    @property
    def wal_bytes(self) -> int:
        """Size of SQLite's write-ahead log when it was last looked at."""
        return self._wal.size

    def commit(self, commit: Commit, may_wait: bool = True) -> None:
        """Make it durable, all or nothing. Raises `JournalError`.

        If it would have to wait for another process, or for a long write, and may not, it raises `MustWaitError`.
        """
        began_ns = monotonic_ns()
        try:
            self._identity.check(began_ns)
            self._wal.check(began_ns, may_wait)
            self._log.free = self._wal.free
            if may_wait:
                self._append_patiently(commit, began_ns)
            else:
                self._log.append(commit)
            self._locked_since_ns = 0
        except sqlite3.Error as error:
            raise self._failure(error, began_ns, may_wait) from None
        else:
            self._write_mark()
        finally:
            self.took_ns = monotonic_ns() - began_ns

    def _append_patiently(self, commit: Commit, now_ns: int) -> None:
        waited_s = (now_ns - self._locked_since_ns) / 1e9 if self._locked_since_ns else 0
        database.wait_for_locks(self._db, max(self._tuning.busy_s - waited_s, LEAST_WAIT_S))
        try:
            self._log.append(commit)
        finally:
            database.wait_for_locks(self._db, 0)

    def _failure(self, error: sqlite3.Error, began_ns: int, may_wait: bool) -> MustWaitError | JournalError:
        """What to raise for an error of SQLite."""
        is_locked, is_full = database.is_locked(error), database.is_full(error)
        if is_locked:
            self._locked_since_ns = self._locked_since_ns or began_ns
            advice = f": {outsiders.name(self.path)} has locked it: end that one"
            self.noticed["journal_locked"] = f"{self.path}{advice}"
        else:
            advice = database.ADVICE_IF_FULL if is_full else ""
            self._wal.suspect()
        if (is_locked or is_full) and not may_wait:
            return MustWaitError(str(error))
        return JournalError(f"{error} ({self.path}){advice}")

    def close(self) -> None:
        """Compact the log into the tables, and let go of the file."""
        with contextlib.suppress(sqlite3.Error, JournalError):  # the next start reads the log
            self._wal.check(monotonic_ns(), may_wait=True)
            if not self._wal.is_blocked:  # what does not fit into the file has no room for more
                self._log.compact_all()
        self._db.close()
        self._mark.close()
        self._lock.release()

    def _open(self) -> None:
        try:
            try:
                self._connect()
            except DamagedError:
                self._connect()  # to a new one
        except UnknownRecordError as error:
            raise ConfigError(
                f"can't use the journal {self.path}: {error}: use the version that wrote it, or choose another data"
                " directory"
            ) from None
        except (sqlite3.Error, DamagedError, OSError) as error:
            raise ConfigError(f"can't use the journal {self.path}: {error}") from None

    def _connect(self) -> None:
        """Open the file and read it. Raises `DamagedError` after it was set aside."""
        with self._setting_aside():
            place = locate(self.path)
            database.check_not_emptied(self.path)
            self._db = database.connect(self.path, self._tuning.busy_s, self._tuning.checkpoint_pages)
        try:
            self._log = CommitLog(self._db, self._tuning.compact_bytes, self._tuning.compact_rows)
            with self._setting_aside(), database.noticing_damage():
                self.recovered = self._load(place)
            self._identity = FileIdentity(self.path, self._tuning.identity_check_ns)
            self._wal = WriteAheadLog(
                self._db, self.path, self._tuning.wal_bytes, self._tuning.identity_check_ns, self.noticed
            )
            database.wait_for_locks(self._db, 0)
        except BaseException:
            self._db.close()
            raise

    @contextlib.contextmanager
    def _setting_aside(self) -> Iterator[None]:
        """Set aside what is damaged, before SQLite closes the file and deletes its write-ahead log."""
        try:
            yield
        except DamagedError as error:
            self.damage, self.set_aside = str(error), database.set_aside(self.path, self._mark.path)
            raise

    def _load(self, place: Place) -> Recovered | None:
        """The tables, and on top of them the log. What reading a damaged file raises is left to the caller."""
        reached = self._mark.read()
        if schema.is_new(self._db, self.path):
            if reached:
                raise DamagedError(f"it is empty, and {self._mark.path.name} shows that it was not")
            self._life = schema.new_life(self.path, place)
            schema.create(self._db, self._owner, self._life)
            database.sync_directory(self.path.parent)
            self._write_mark()
            return None
        database.check_structure(self._db)
        schema.check_owner(self._db, self._owner, self.path.parent)
        self._life = schema.read_life(self._db)
        contents, compacted = schema.read(self._db)
        self._log.replay(contents, compacted)
        if not self._life.place.is_same(place):
            self._begin_life(place)
            contents.actor = None
        elif reached and reached.journal == self._life.journal and reached.entry > self._log.last:
            raise DamagedError(f"it ends at entry {self._log.last}, and had come to entry {reached.entry}")
        return contents.recovered()

    def _begin_life(self, place: Place) -> None:
        """Be a journal of its own, to which the original's mark does not apply."""
        self.copy_of = self._life.path
        self._life = schema.new_life(self.path, place)
        self._log.begin_life(self._life)
        self._write_mark()

    def _write_mark(self) -> None:
        """Mark how far the journal has come. What is not marked is durable nevertheless."""
        self._mark.write(self._life.journal, self._log.last)
        if self._mark.error:
            self.noticed["mark_errors"] = self._mark.error
