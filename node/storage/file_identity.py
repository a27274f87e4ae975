"""Which file a journal is: whether it is the one that was opened, and whether it is the one that was written.

A deleted or replaced file still takes writes, which nobody will ever read. A copy of a journal is another journal: two
nodes that continued one would write as one actor.
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import NamedTuple

from gossip_counter.node.storage.errors import JournalError

_GET_GENERATION = 0x80007601 | struct.calcsize("l") << 16
"""The request FS_IOC_GETVERSION of Linux."""


class Inode(NamedTuple):
    """A file or directory of a file system.

    `number` alone does not say which: ext4 gives the numbers of deleted files to the next ones, so that a directory
    that is deleted and put back from a copy has the numbers that it had. `generation` is random for each file; it is 0
    where the file system has none.
    """

    number: int
    generation: int


class Place(NamedTuple):
    """Which file a journal is. A restart, a reboot, a remount and a renamed directory leave all but `device` as it was,
    and most of them that too.
    """

    file: Inode
    directory: Inode
    file_system: int
    """The file system's id, 0 if it has none. Some file systems change it, or the device number, with each mount."""
    device: int

    def is_same(self, other: "Place") -> bool:
        """Whether it is the same file."""
        return (self.file, self.directory) == (other.file, other.directory) and (
            self.device == other.device or self.file_system == other.file_system != 0
        )


def locate(path: Path) -> Place:
    """Where a file is, which is made if need be. Raises `OSError`.

    SQLite must not have it open: when a process closes a file, it loses all its locks on it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            device, file_system = os.fstat(handle).st_dev, os.fstatvfs(handle).f_fsid
            return Place(_inode(handle), _inode(directory), file_system, device)
        finally:
            os.close(directory)
    finally:
        os.close(handle)


def _inode(handle: int) -> Inode:
    answer = bytearray(8)
    try:
        fcntl.ioctl(handle, _GET_GENERATION, answer)
    except OSError:  # the file system has none
        answer = bytearray(8)
    return Inode(os.fstat(handle).st_ino, struct.unpack_from("I", answer)[0])


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
