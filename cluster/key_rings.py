"""Files of keys, made and changed: what `cluster keys` and `cluster up --sealed` do."""

import secrets
import time
from pathlib import Path

from gossip_counter.node.security.keyring import SECRET_BYTES, Key, Keyring
from gossip_counter.node.storage import key_file


def new(path: Path) -> Keyring:
    """A new file with one key. Raises `ConfigError` if there is one already."""
    ring = Keyring((_key(),))
    key_file.write(path, ring, is_new=True)
    return ring


def ensure(path: Path) -> None:
    """A file of keys, new if there is none. Raises `ConfigError`."""
    if not path.exists():
        new(path)


def add(path: Path) -> Keyring:
    """Add a key that opens. Raises `ConfigError`, and `KeyringError` if there are too many."""
    ring = key_file.read(path)
    return _changed(path, ring.with_key(_key(ring.newest.created + 1)))


def promote(path: Path) -> Keyring:
    """Let the newest key seal. Raises `ConfigError`."""
    return _changed(path, key_file.read(path).with_newest_first())


def retire(path: Path) -> Keyring:
    """Delete all keys but the one that seals. Raises `ConfigError`."""
    return _changed(path, key_file.read(path).without_others())


def _changed(path: Path, ring: Keyring) -> Keyring:
    key_file.write(path, ring, is_new=False)
    return ring


def _key(earliest: int = 0) -> Key:
    """A random key. The clock may stand back, or two keys be made in one second: the later one must be the newer."""
    return Key(secrets.token_bytes(SECRET_BYTES), max(earliest, int(time.time())))
