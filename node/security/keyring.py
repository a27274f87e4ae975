"""The keys of a cluster, as a file holds them: the first seals, all open.

Pure. Several keys let a cluster change its key while it runs: the new one is added everywhere as one that opens, then
made the first, and then the old one is retired. Of a retired key its id stays, not its secret, so that a node that
comes back with an old file is distinguished from one that never belonged to the cluster. The file is text:

    key ID CREATED SECRET     8 hexadecimal digits, a time (UTC), 64 hexadecimal digits
    retired ID

The id is a hash of the secret: a line that was changed or cut is noticed, and no two secrets share an id by accident.
No error names a secret, and no `repr` shows one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Self

from gossip_counter.node.security.header import KEY_ID_BYTES

SECRET_BYTES = 32
MAX_KEYS = 8
MAX_RETIRED = 32
"""Ids of older ones are forgotten."""
MAX_FILE_BYTES = 16_384

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_HEADING = "# Keys of a cluster: the first seals, all open. Whoever has this file can read and change every count.\n"
_HEX = re.compile(r"(?:[0-9a-f]{2})*")


class KeyringError(ValueError):
    """Text that is no keyring, or a change that can't be made. The text: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `created` is in Unix seconds."""

    secret: bytes = field(repr=False)
    created: int

    @property
    def id(self) -> bytes:
        """What datagrams name it by."""
        return sha256(b"gossip-counter key id\0" + self.secret).digest()[:KEY_ID_BYTES]

    @property
    def name(self) -> str:
        """The id as people see it."""
        return self.id.hex()

    @property
    def created_text(self) -> str:
        """When it was made, in UTC."""
        # Not strftime: it gives years before 1000 fewer digits than `_TIME` reads.
        return datetime.fromtimestamp(self.created, UTC).replace(tzinfo=None).isoformat() + "Z"


@dataclass(frozen=True, slots=True)
class Keyring:
    """One to `MAX_KEYS` keys, and the ids of some that were retired."""

    keys: tuple[Key, ...]
    retired: tuple[bytes, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all keys as people see them; the first one seals."""
        return tuple(key.name for key in self.keys)

    @property
    def newest(self) -> Key:
        """The key that was made last."""
        return max(self.keys, key=lambda key: key.created)

    def with_key(self, key: Key) -> Self:
        """The ring with one more key, which opens. Raises `KeyringError` if there are too many."""
        if len(self.keys) >= MAX_KEYS:
            raise KeyringError(f"there are {MAX_KEYS} keys already: retire the old ones first")
        return type(self)((*self.keys, key), self.retired)

    def with_newest_first(self) -> Self:
        """The ring with the newest key as the one that seals."""
        newest = self.newest
        return type(self)((newest, *(key for key in self.keys if key is not newest)), self.retired)

    def without_others(self) -> Self:
        """The ring with the first key alone; the others are retired."""
        first, *others = self.keys
        return type(self)((first,), (*(key.id for key in others), *self.retired)[:MAX_RETIRED])

    def encode(self) -> bytes:
        """The file's content."""
        keys = [f"key {key.name} {key.created_text} {key.secret.hex()}\n" for key in self.keys]
        retired = [f"retired {key_id.hex()}\n" for key_id in self.retired]
        return "".join([_HEADING, *keys, *retired]).encode()


def parse(content: bytes) -> Keyring:
    """The keyring that a file holds. Raises `KeyringError`."""
    if len(content) > MAX_FILE_BYTES:
        raise KeyringError(f"it has more than {MAX_FILE_BYTES} bytes: it is no file of keys")
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise KeyringError("it is no file of keys: those are plain text") from None
    keys, retired = list[Key](), list[bytes]()
    for number, line in enumerate(lines, 1):
        try:
            match line.split():
                case []:
                    continue
                case [first, *_] if first.startswith("#"):
                    continue
                case ["key", key_id, created, secret]:
                    keys.append(_key(key_id, created, secret))
                case ["retired", key_id]:
                    retired.append(_from_hex(key_id, KEY_ID_BYTES, "an id"))
                case _:
                    raise ValueError("a line must be 'key ID CREATED SECRET' or 'retired ID'")
        except ValueError as error:
            raise KeyringError(f"line {number}: {error}") from None
    _check(keys, retired)
    return Keyring(tuple(keys), tuple(retired[:MAX_RETIRED]))


def _key(key_id: str, created: str, secret: str) -> Key:
    try:
        seconds = int(datetime.strptime(created, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise ValueError("the time must be as in 2026-01-31T12:00:00Z") from None
    key = Key(_from_hex(secret, SECRET_BYTES, "a secret"), seconds)
    if key.name != key_id:
        raise ValueError("the id is not that of the secret: the line was changed; copy the whole file again")
    return key


def _from_hex(text: str, size: int, what: str) -> bytes:
    if len(text) != 2 * size or not _HEX.fullmatch(text):
        raise ValueError(f"{what} must have {2 * size} hexadecimal digits: the line was changed or cut")
    return bytes.fromhex(text)


def _check(keys: list[Key], retired: Iterable[bytes]) -> None:
    if not keys:
        raise KeyringError("it holds no key")
    if len(keys) > MAX_KEYS:
        raise KeyringError(f"it holds {len(keys)} keys, and {MAX_KEYS} is the most")
    ids = [key.id for key in keys]
    if len(set(ids)) < len(ids):
        raise KeyringError("it holds one key twice")
    if both := set(ids) & set(retired):
        raise KeyringError(f"key {min(both).hex()} is there and retired: delete one of the two lines")
