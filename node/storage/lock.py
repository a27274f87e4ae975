"""The lock of a data directory: one process at a time uses it."""

import errno
import fcntl
import os
from pathlib import Path

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.storage.database import ADVICE_IF_FULL


class DirectoryLock:
    """Holds the lock of a directory until `release`, or until the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be, and lock it. Raises `ConfigError`."""
        self._handle = _open(directory)
        try:
            _lock(self._handle, directory)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others lock the directory."""
        os.close(self._handle)


def _open(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise ConfigError(f"the data directory {directory} is a file: remove it, or choose another") from None
    except OSError as error:
        raise ConfigError(
            f"can't use the data directory {directory}: {error.strerror}; choose another with --data"
        ) from None


def _lock(handle: int, directory: Path) -> None:
    """Lock the open file, and write the process's id into it, for the error text of the next one."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.read(handle, 20).decode(errors="replace").strip()
        raise ConfigError(f"the data directory {directory} is in use by process {holder}: stop it first") from None
    except OSError as error:
        advice = ADVICE_IF_FULL if error.errno == errno.ENOSPC else ""
        raise ConfigError(f"can't lock the data directory {directory}: {error.strerror}{advice}") from None
