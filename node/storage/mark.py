"""The mark beside a journal: how far the journal had come when it was last seen to be durable.

SQLite drops what it can't read at the end of its write-ahead log, and an older copy of a file is as intact as the file
was. Both give a journal that once was right, and neither shows in the file. So a second file names the last entry of
the commit log that is durable. A journal that ends before it has lost entries.

The mark is not synced. After a power failure it may be an older one, or none, and then less is noticed. It is never
ahead of what is durable. A mark that is missing, unreadable or of another journal shows nothing.
"""

import os
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_RECORD = Struct("<16sQQ")
"""The journal's id, the number of the entry, and that number inverted."""

_ONES = 2**64 - 1


class Reached(NamedTuple):
    """How far a journal had come."""

    journal: str
    """The journal's id."""
    entry: int
    """The last entry of its log."""


class Mark:
    """The mark of one journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self.error: str | None = None
        """Why the last mark could not be written."""

    def read(self) -> Reached | None:
        """What it shows; None if that is nothing."""
        try:
            with self.path.open("rb") as file:
                return _decode(file.read(_RECORD.size))
        except OSError:
            return None

    def write(self, journal: str, entry: int) -> None:
        """Record that a journal is durable up to an entry. If that fails, `error` has the reason, and a later start
        notices less.
        """
        self.error = None
        try:
            if self._handle is None:
                self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            record = _RECORD.pack(journal.encode(), entry, entry ^ _ONES)
            if os.pwrite(self._handle, record, 0) != _RECORD.size:
                self.error = f"{self.path} was written in part: free some space on its disk"
        except OSError as error:
            self.error = f"can't write {self.path}: {error.strerror}"

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _decode(record: bytes) -> Reached | None:
    if len(record) != _RECORD.size:
        return None
    journal, entry, inverted = _RECORD.unpack(record)
    # An id that is not as it was written is that of another journal.
    return Reached(journal.decode(errors="replace"), entry) if entry ^ inverted == _ONES else None
