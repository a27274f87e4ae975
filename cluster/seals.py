"""How a client seals: with the keys of the cluster's file, as they are now."""

from pathlib import Path
from random import SystemRandom
from typing import NamedTuple, Self

from gossip_counter.node.core.errors import ConfigError, SealError
from gossip_counter.node.security.sealing import Sealing
from gossip_counter.node.storage.key_file import KeyFile

FRESH_S = 1.0
"""How long a node that was heard is taken for the same process. After that it is greeted first: a request that is
sealed for an earlier process is refused, and whether that one took it, nobody knows.
"""
NODE = "node"
"""The only address that a client has to do with."""


class Keys(NamedTuple):
    """What the client of a sealed cluster needs: the file of keys, and the cluster's name."""

    file: KeyFile
    cluster: str

    @classmethod
    def read(cls, path: Path, cluster: str) -> Self:
        """The keys in a file. Raises `node.core.errors.ConfigError`."""
        return cls(KeyFile(path), cluster)


class ClientSeal:
    """Seals the requests of one client and opens the replies. Times are in seconds, on one clock."""

    def __init__(self, keys: Keys) -> None:
        self._file = keys.file
        self._sealing = Sealing(keys.file.ring, keys.cluster, SystemRandom())
        self._fresh_until_s = 0.0

    def sealed(self, datagram: bytes, now_s: float) -> bytes | None:
        """A request as it travels; None if the node must be greeted first."""
        return self._sealing.seal(datagram, NODE) if now_s < self._fresh_until_s else None

    def greeting(self) -> bytes:
        """A greeting: what the node answers makes it known."""
        self._reload()
        return self._sealing.greeting(NODE)

    def opened(self, datagram: bytes, now_s: float) -> bytes | None:
        """What a node sent, empty if it is only known now; None if it is not for us."""
        try:
            content = self._open(datagram)
        except SealError:
            return None
        self._fresh_until_s = now_s + FRESH_S
        return content

    def _open(self, datagram: bytes) -> bytes:
        try:
            return self._sealing.unseal(datagram, NODE)
        except SealError as error:
            if error.kind != "unknown_key" or not self._reload():
                raise
        return self._sealing.unseal(datagram, NODE)

    def _reload(self) -> bool:
        """Use the keys as they are now; whether they have changed. A file that can't be used changes nothing."""
        try:
            ring = self._file.changed()
        except ConfigError:
            return False
        if ring:
            self._sealing.use(ring)
        return ring is not None
