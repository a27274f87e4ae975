"""Files of keys: read, written, and read again when they change."""

import contextlib
import os
import stat
from pathlib import Path

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.security import keyring
from gossip_counter.node.security.keyring import Keyring, KeyringError

OTHERS = stat.S_IRWXG | stat.S_IRWXO

Stamp = tuple[int, ...]
"""What differs once a file was changed or replaced."""


class KeyFile:
    """One file of keys. Raises `ConfigError` if it can't be used, as its methods do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: Stamp | None = None
        self.ring = self._read()

    def changed(self) -> Keyring | None:
        """The keys, if the file is another than when it was last read; None: it is not."""
        try:
            found = self.path.stat()
        except OSError as error:
            if self._stamp is None:
                return None  # which was reported already
            self._stamp = None
            raise ConfigError(f"can't read the keys in {self.path}: {error.strerror}") from None
        if _stamp(found) == self._stamp:
            return None
        self._stamp = _stamp(found)  # what is wrong with a file is reported once
        self.ring = self._read()
        return self.ring

    def _read(self) -> Keyring:
        content, self._stamp = _read(self.path)
        try:
            return keyring.parse(content)
        except KeyringError as error:
            raise ConfigError(f"can't use the keys in {self.path}: {error}; {_ADVICE}") from None


_ADVICE = "'cluster keys new FILE' makes such a file"


def read(path: Path) -> Keyring:
    """The keys in a file that only its owner may read. Raises `ConfigError`."""
    return KeyFile(path).ring


def write(path: Path, ring: Keyring, *, is_new: bool) -> None:
    """Write a file of mode 0600; a reader sees all of it, or what was there before.

    Raises `ConfigError`, and if the file `is_new` also where there is one already.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(ring.encode())
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            os.link(beside, path)
            beside.unlink()
        else:
            beside.replace(path)
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already: 'cluster keys list' shows its keys, and 'rotate' adds one"
        ) from None
    except OSError as error:
        raise ConfigError(f"can't write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _read(path: Path) -> tuple[bytes, Stamp]:
    try:
        # Opening a FIFO would wait for somebody to write to it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path} is no file: --keys names a file of keys")
            if found.st_mode & OTHERS:
                mode = stat.S_IMODE(found.st_mode)
                raise ConfigError(f"{path} is open to other users (mode {mode:04o}): chmod 600 {path}")
            return file.read(keyring.MAX_FILE_BYTES + 1), _stamp(found)
    except FileNotFoundError:
        raise ConfigError(f"there is no file of keys {path}: 'cluster keys new {path}' makes one") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory: --keys names a file of keys") from None
    except OSError as error:
        raise ConfigError(f"can't read the keys in {path}: {error.strerror}") from None


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
