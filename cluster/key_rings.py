"""Files of keys, made and changed: what `cluster keys` and `cluster up --sealed` do."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.security.keyring import SECRET_BYTES, Key, Keyring, KeyringError
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


def rotate(path: Path) -> Keyring:
    """The next step to a new key: add one that opens, or let it seal. Raises `ConfigError`."""
    return _changed(path, lambda ring: _added(path, ring) if is_settled(ring) else ring.with_newest_first())


def is_settled(ring: Keyring) -> bool:
    """Whether its newest key seals."""
    return ring.newest is ring.keys[0]


def retire(path: Path) -> Keyring:
    """Delete all keys but the one that seals. Raises `ConfigError`, also if there is nothing to retire yet."""
    return _changed(path, lambda ring: _without_others(path, ring))


def _changed(path: Path, change: Callable[[Keyring], Keyring]) -> Keyring:
    with key_file.changing(path):
        ring = change(key_file.read(path))
        key_file.write(path, ring, is_new=False)
    return ring


def _added(path: Path, ring: Keyring) -> Keyring:
    try:
        return ring.with_key(_key(ring.newest.created + 1))
    except KeyringError as error:
        raise ConfigError(f"can't add a key to {path}: {error}, with 'cluster keys retire'") from None


def _without_others(path: Path, ring: Keyring) -> Keyring:
    if len(ring.keys) == 1:
        raise ConfigError(f"{path} has one key, and nothing to retire: 'cluster keys rotate' adds another")
    if not is_settled(ring):
        raise ConfigError(f"key {ring.newest.name} is the newest and does not seal yet: 'cluster keys rotate' first")
    return ring.without_others()


def _key(earliest: int = 0) -> Key:
    """A random key. The clock may stand back, or two keys be made in one second: the later one must be the newer."""
    return Key(secrets.token_bytes(SECRET_BYTES), max(earliest, int(time.time())))
