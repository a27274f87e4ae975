"""Tokens: what a node held when it answered, in a form that clients carry from one node to another.

Pure. A token names, for each actor, the version at which another node surely holds what the first one did. Clients see
an opaque string. It names actors by a short hash: two that share one would only make a reader wait for more.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from typing import NewType, cast

import msgpack

from node import limits
from node.state import Actor, State

Token = NewType("Token", tuple[tuple[int, int], ...])
"""Pairs of an actor's hash and a version."""

_HASH_BYTES = 6


def issue(state: State) -> str:
    """The token for all that a state holds."""
    flat = [value for actor, version in state.covered_at().items() for value in (_hash(actor), version)]
    return urlsafe_b64encode(cast(bytes, msgpack.packb(flat))).decode().rstrip("=")


def parse(text: object) -> Token:
    """A token as a client sent it. Raises `ValueError` if it is none that a node gave."""
    named = limits.name(text, "token", limits.MAX_TOKEN_BYTES)
    try:
        flat = msgpack.unpackb(urlsafe_b64decode(named + "=" * (-len(named) % 4)))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return Token(tuple((limits.count(hashed, ""), limits.count(version, "")) for hashed, version in pairs))
    except (ValueError, TypeError, msgpack.UnpackException):
        raise ValueError("token must be one that add_ok or read_ok gave") from None


def includes(state: State, token: Token) -> bool:
    """Whether a state holds all that a token stands for."""
    held: dict[int, int] = {}
    for actor in state.digest():
        hashed = _hash(actor)
        held[hashed] = min(state.whole(actor), held.get(hashed, limits.MAX_COUNT))
    return all(held.get(hashed, 0) >= version for hashed, version in token)


@lru_cache(maxsize=4096)
def _hash(actor: Actor) -> int:
    return int.from_bytes(blake2b(actor.encode(), digest_size=_HASH_BYTES).digest())
