"""The mark beside a journal: how far the journal had come when it was last seen to be durable.

SQLite drops what it can't read at the end of its write-ahead log, and an older copy of a file is as intact as the file
was. Both give a journal that once was right, and neither shows in the file. So a second file names the last entry of
the commit log that is durable. A journal that ends before it has lost entries.

The mark is not synced. After a power failure it may be an older one, or none, and then less is noticed. It is never
ahead of what is durable. A mark that is missing, unreadable or of another journal shows nothing.
"""

import os
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

_SIZE = 64
"""Bytes of a mark, within one sector of any disk."""


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
        """What it says; None if it shows nothing."""
        try:
            with self.path.open("rb") as file:
                return _decode(file.read(_SIZE))
        except (OSError, ValueError):
            return None

    def write(self, journal: str, entry: int) -> None:
        """Say that a journal is durable up to an entry. If that fails, `error` says why, and a later start notices
        less.
        """
        self.error = None
        try:
            if self._handle is None:
                self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if os.pwrite(self._handle, _encode(journal, entry), 0) != _SIZE:
                self.error = f"{self.path} was not written wholly"
        except OSError as error:
            self.error = f"can't write {self.path}: {error.strerror}"

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _encode(journal: str, entry: int) -> bytes:
    text = b"%s %d" % (journal.encode(), entry)
    return b"%-54b %08x\n" % (text, crc32(text))


def _decode(record: bytes) -> Reached:
    """Raises `ValueError` for what is no mark."""
    text, checksum = record[:54].rstrip(), record[54:]
    if checksum != b" %08x\n" % crc32(text):
        raise ValueError("not as it was written")
    journal, entry = text.decode().split(" ")
    return Reached(journal, int(entry))
