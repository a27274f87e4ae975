"""Keyrings, and processes that seal."""

from random import Random

from gossip_counter.node.core.errors import SealError
from gossip_counter.node.security.keyring import Key, Keyring
from gossip_counter.node.security.sealing import Sealing


def key(number: int) -> Key:
    """One of many keys."""
    return Key(bytes([number]) * 32, number)


def ring(*numbers: int) -> Keyring:
    """Those keys; the first seals."""
    return Keyring(tuple(map(key, numbers)))


def process(boot: int, keys: Keyring | None = None, cluster: str = "c") -> Sealing:
    """A process with a random boot of its own."""
    return Sealing(keys or ring(1), cluster, Random(boot))


def meet(asker: Sealing, other: Sealing, asker_at: str = "a", other_at: str = "b") -> None:
    """Let `asker` greet: afterwards it can seal for `other`."""
    answer = refusal(other, asker.greeting(other_at), asker_at).answer
    assert answer is not None
    assert asker.unseal(answer, other_at) == b""


def refusal(receiver: Sealing, datagram: bytes, source: str) -> SealError:
    """Why a datagram is not taken."""
    try:
        receiver.unseal(datagram, source)
    except SealError as error:
        return error
    raise AssertionError("it was taken")


def sealed(sender: Sealing, payload: bytes, to: str = "b") -> bytes:
    """A sealed datagram."""
    datagram = sender.seal(payload, to)
    assert datagram is not None
    return datagram
