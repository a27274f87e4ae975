"""Which files a journal is: a deleted or replaced file still takes writes, which nobody will ever read."""

from pathlib import Path

from gossip_counter.node.storage.errors import JournalError


class FileIdentity:
    """The inodes of an open journal and of SQLite's write-ahead log beside it."""

    def __init__(self, path: Path, interval_ns: int) -> None:
        """Remember the present files. `interval_ns` is the least time between two checks.

        After somebody looked at a file's times, its next write updates them, and that costs half as much again as the
        commit itself. So files are not looked at for each commit.
        """
        self._path = path
        self._files = str(path), f"{path}-wal"
        self._inodes = self._find()
        self._interval_ns = interval_ns
        self._next_ns = 0

    def check(self, now_ns: int) -> None:
        """See, if the interval is over, whether the files still have their names. Raises `JournalError`."""
        if now_ns < self._next_ns:
            return
        try:
            found = self._find()
        except FileNotFoundError as error:
            raise JournalError(f"{error.filename} is gone: restart this node") from None
        except OSError as error:
            raise JournalError(f"{self._path}: {error.strerror}") from None
        if found != self._inodes:
            raise JournalError(f"{self._path} or its log was replaced: restart this node")
        self._next_ns = now_ns + self._interval_ns

    def _find(self) -> tuple[int, ...]:
        return tuple(Path(file).stat().st_ino for file in self._files)
