"""Files of keys: read, written, and read again when they change."""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
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
    """Write a file of mode 0600; a reader sees all of it, or what was there before. Its owner and links to it stay.

    Raises `ConfigError`, and if the file `is_new` also where there is one already.
    """
    there = _real(path)
    if there.is_dir():
        raise ConfigError(f"{path} is a directory: name a file of keys")
    beside = there.with_name(f".keys-{secrets.token_hex(8)}")
    try:
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(ring.encode())
            file.flush()
            os.fsync(file.fileno())
            if os.geteuid() == 0 and not is_new:
                found = there.stat()
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
        if is_new:
            os.link(beside, there)
        else:
            beside.replace(there)
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already: 'cluster keys list' shows its keys, and 'rotate' adds one"
        ) from None
    except OSError as error:
        raise ConfigError(f"can't write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let no other command change this file meanwhile, nor others in its directory. Raises `ConfigError`."""
    try:
        handle = os.open(_real(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"can't change the keys in {path}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _real(path: Path) -> Path:
    """The file itself, where the path is that of a link."""
    return Path(os.path.realpath(path))


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
