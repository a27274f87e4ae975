"""The commit log, and its compaction into the tables.

A commit is one entry at the end of the table `log`. Rows of a thousand counters would touch a thousand pages of the
table `rows`; their entry touches one page, or a few in sequence.

When the entries are many, they are compacted: the newest row of each counter goes into the table `rows`, in the order
of its key. That is done in chunks, one with each commit, so that no commit takes long. Meanwhile new entries gather for
the next compaction. Entries that are in the tables are then deleted, a few with each commit, the oldest first: the view
`counts` takes a later entry before an earlier one, and any entry before the tables, so it is right all the time.
"""

import sqlite3
from dataclasses import dataclass, field

from gossip_counter.node.core.effects import Commit
from gossip_counter.node.storage import database, entries, schema
from gossip_counter.node.storage.contents import Contents

LEAST_CHUNK = 64
"""The least rows that a commit compacts. It compacts as many as it brings, so the log can't outgrow the compaction."""

TRIM = 4
"""The most compacted entries that a commit deletes: a few with each, since all at once would take long."""

SHORT_BYTES = 2**18
"""A log of this size is not compacted for want of space on the disk."""

_APPEND = "INSERT INTO log VALUES (?, ?, ?)"


@dataclass(slots=True)
class _Segment:
    """Entries of the log up to the one numbered `last`, and what they add up to. `size` is in characters."""

    last: int
    size: int = 0
    contents: Contents = field(default_factory=Contents)

    def add(self, commit: Commit, size: int) -> None:
        self.last += 1
        self.size += size
        self.contents.add(commit)


class _Compaction:
    """A segment on its way into the tables. The first `done` of its keys are in them."""

    def __init__(self, segment: _Segment) -> None:
        self.segment = segment
        self.keys = [(actor, name) for actor, rows in sorted(segment.contents.rows.items()) for name in sorted(rows)]
        self.done = 0


class CommitLog:
    """The log of an open journal. A method that raises `sqlite3.Error` has changed nothing."""

    def __init__(self, db: sqlite3.Connection, compact_bytes: int, compact_rows: int) -> None:
        """Compaction begins when the entries have so many characters, or so many different rows."""
        self._db = db
        self._compact_bytes = compact_bytes
        self._compact_rows = compact_rows
        self.free = 0
        """Bytes left on the disk. A log of more than a quarter of them is compacted while what that writes fits."""
        self._compaction: _Compaction | None = None
        self._compacted = 0
        """The last entry that is in the tables."""
        self._oldest = 1
        """The first entry that is in the log."""
        self._recent = _Segment(last=0)
        """The entries that no compaction has begun with."""

    def replay(self, contents: Contents, compacted: int) -> None:
        """Add to what the tables contain the entries after the one numbered `compacted`.

        Raises `ValueError` (or another error of `entries.decode`) for damage, `UnknownRecordError`.
        """
        (oldest,) = self._db.execute("SELECT min(id) FROM log").fetchone()
        self._compacted, self._oldest, self._recent = compacted, oldest or compacted + 1, _Segment(compacted)
        for number, entry, checksum in self._db.execute("SELECT * FROM log WHERE id > ? ORDER BY id", (compacted,)):
            if number != self._recent.last + 1 or checksum != schema.entry_checksum(number, entry):
                raise ValueError(f"entry {self._recent.last + 1} of the log is not as it was written")
            commit = entries.decode(entry)
            contents.add(commit)
            self._recent.add(commit, len(entry))

    def append(self, commit: Commit) -> None:
        """Make a commit durable, and go on with the compaction that is under way."""
        database.end_transaction(self._db)
        if self._compaction is None and self._is_long():
            self._compaction, self._recent = _Compaction(self._recent), _Segment(self._recent.last)
        entry, number = entries.encode(commit), self._recent.last + 1
        record = number, entry, schema.entry_checksum(number, entry)
        if self._compaction is None and self._oldest > self._compacted:
            self._db.execute(_APPEND, record)  # a transaction of its own, as is each statement outside of one
        else:
            try:
                self._append_and_compact(record, sum(len(stored.rows) for stored in commit.stored))
            except sqlite3.Error as error:
                if not database.is_full(error):
                    raise
                database.end_transaction(self._db)
                self._db.execute(_APPEND, record)  # which needs less; the compaction goes on once there is room
        self._recent.add(commit, len(entry))

    @property
    def last(self) -> int:
        """The number of the last entry. Numbers go on from life to life, and through compaction."""
        return self._recent.last

    def begin_life(self, life: schema.Life) -> None:
        """Keep all rows and forget who wrote them here, in one transaction. To be called after `replay`."""
        last = self._recent.last
        with database.transaction(self._db):
            if self._recent.size:
                compaction = _Compaction(self._recent)
                self._compact(compaction, len(compaction.keys))
            self._db.execute("DELETE FROM log")
            schema.begin_life(self._db, life)
        self._compacted, self._oldest, self._recent = last, last + 1, _Segment(last)

    def compact_all(self) -> None:
        """Move all entries into the tables."""
        for compaction in (self._compaction, _Compaction(self._recent)):
            if compaction and compaction.segment.size:
                with database.transaction(self._db):
                    self._compact(compaction, len(compaction.keys))
        self._db.execute("DELETE FROM log")

    def _is_long(self) -> bool:
        recent = self._recent
        if recent.size > self._compact_bytes or recent.contents.row_count > self._compact_rows:
            return True
        return recent.size > SHORT_BYTES and recent.size > self.free // 4

    def _append_and_compact(self, record: tuple[int, str, int], row_count: int) -> None:
        """Append an entry of so many rows. What is noted in memory changes only once the transaction is over."""
        compaction, done = self._compaction, 0
        with database.transaction(self._db):
            self._db.execute(_APPEND, record)
            oldest = self._trim()
            if compaction:
                done = self._compact(compaction, max(LEAST_CHUNK, row_count))
        self._oldest = oldest
        if compaction:
            compaction.done = done
            if done == len(compaction.keys):
                self._compacted, self._compaction = compaction.segment.last, None

    def _trim(self) -> int:
        """Delete some of the oldest entries that are in the tables; the number of the oldest that is left."""
        upto = min(self._compacted, self._oldest + TRIM - 1)
        self._db.execute("DELETE FROM log WHERE id BETWEEN ? AND ?", (self._oldest, upto))
        return max(self._oldest, upto + 1)

    def _compact(self, compaction: _Compaction, most: int) -> int:
        """Write up to `most` more rows into the tables, and after the last of them what else belongs to them.

        Returns how many rows of the compaction are then done.
        """
        segment, keys = compaction.segment, compaction.keys[compaction.done : compaction.done + most]
        rows = segment.contents.rows
        schema.write_rows(self._db, ((actor, counter, rows[actor][counter]) for actor, counter in keys))
        done = compaction.done + len(keys)
        if done == len(compaction.keys):
            schema.write_end(self._db, segment.contents, segment.last)
        return done
