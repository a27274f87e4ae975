"""SQLite's write-ahead log beside the journal (the WAL), kept within bounds.

SQLite copies the pages of the WAL into the file, and then writes the WAL from its beginning again. While another
process reads from it, or while the disk has no room for the pages, it can't, and the WAL grows with each commit. So a
WAL that has grown is emptied as soon as that is possible. Until then it may grow to a limit, and never beyond the space
that is left on the disk: its pages must still fit into the file.
"""

import os
import sqlite3
from pathlib import Path

from gossip_counter.node.storage import database, outsiders
from gossip_counter.node.storage.errors import JournalError, MustWaitError


class WriteAheadLog:
    """The WAL of an open journal."""

    def __init__(
        self, db: sqlite3.Connection, path: Path, limit_bytes: int, interval_ns: int, noticed: dict[str, str]
    ) -> None:
        """`interval_ns` is the least time between two looks at the file, and after a vain attempt to empty it.

        Why it can't be emptied is put into `noticed` each time.
        """
        self.size = 0
        """Bytes, at the last look."""
        self.free = 0
        """Bytes left on the disk, at the last look."""
        self._db = db
        self._path = path
        self._file = Path(f"{path}-wal")
        self._limit = limit_bytes
        self._bound = limit_bytes
        """Bytes that it may have at present. From a quarter of that on, it is to be emptied."""
        self._interval_ns = interval_ns
        self._noticed = noticed
        self._look_ns = 0
        self._empty_ns = 0
        (self._kept,) = db.execute("PRAGMA journal_size_limit").fetchone()
        """Bytes that SQLite leaves of it: it becomes shorter only when we empty it."""
        self._is_suspect = False
        self._blocked_since_ns = 0
        self._problem: str | None = None
        """Why the last attempt to empty it failed. The next one is due at `_empty_ns`."""

    @property
    def is_blocked(self) -> bool:
        """Whether it is to be emptied and can't be."""
        return self._problem is not None

    def suspect(self) -> None:
        """Let the next `check` empty it, whatever its size: a commit failed, and room may be all that it takes."""
        self._look_ns = self._empty_ns = 0
        self._is_suspect = True

    def check(self, now_ns: int, may_wait: bool) -> None:
        """See whether there is room for a commit, and make room.

        Raises `MustWaitError` if that may take long and `may_wait` is False, `JournalError` if there is no room.
        """
        if now_ns >= self._look_ns:
            self._look(now_ns)
        if self.size <= self._bound // 4 and not self._is_suspect:
            self._problem, self._empty_ns = None, 0
            return
        if not may_wait:
            raise MustWaitError(f"{self._file} is to be emptied")
        if now_ns >= self._empty_ns:
            self._empty(now_ns)
        if self._problem and self.size > self._bound:
            raise JournalError(self._problem)

    def _look(self, now_ns: int) -> None:
        before = self.size
        try:
            self.size = self._file.stat().st_size
            disk = os.statvfs(self._file)
        except OSError as error:
            raise JournalError(f"{self._file}: {error.strerror}") from None
        if self.size < min(before, self._kept):
            self.size = before
            raise JournalError(f"{self._file} was cut off or written over: restart this node")
        # Some file systems do not report their size.
        self.free = disk.f_bavail * disk.f_frsize if disk.f_blocks else 4 * self._limit
        self._bound = min(self._limit, self.free)
        # Where little is left, sooner: no log grows by more than a gigabyte a second.
        self._look_ns = now_ns + min(self._interval_ns, self.free // 4)

    def _empty(self, now_ns: int) -> None:
        """Copy all of it into the file and truncate it, or note why not."""
        self._is_suspect = False
        cause = self._checkpoint()
        if cause is None:
            self.size, self._look_ns, self._problem = 0, 0, None
            return
        self._empty_ns = now_ns + self._interval_ns
        if self._problem is None:
            self._blocked_since_ns = now_ns
        seconds = (now_ns - self._blocked_since_ns) / 1e9
        self._problem = f"{self._file} has {self.size} bytes and can't be emptied, for {seconds:.1f} s so far: {cause}"
        self._noticed["journal_wal_blocked"] = self._problem

    def _checkpoint(self) -> str | None:
        """Why it did not succeed; None if it did."""
        try:
            database.end_transaction(self._db)
            is_blocked, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            return f"{error}{database.ADVICE_IF_FULL if database.is_full(error) else ''}"
        return f"{outsiders.name(self._path)} keeps a transaction open: end it" if is_blocked else None
