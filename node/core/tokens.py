"""Tokens: what a node held when it answered, in a form that clients carry from one node to another.

Pure. A token names, for each actor, the version at which another node surely holds what the first one did. It also has
a hash of what the first one held, since a node that holds just that will do too: where a writer is gone, rows before
its last may never arrive. Clients see an opaque string. It names actors by a short hash: if two shared one, a reader
would only wait for more.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, NewType, cast

import msgpack

from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.state import State

Token = NewType("Token", tuple[tuple[int, int, int], ...])
"""Of each actor: its hash, a version, and the hash of its digest entry."""

MOST_ACTORS = 256
"""Where more have written, answers carry no token: it would not be small."""

_HASH_BYTES = 4


class Reach(NamedTuple):
    """How far a state reaches of one actor: its complete version, and the hash of its digest entry."""

    complete_version: int = 0
    entry_hash: int = 0


def issue(state: State) -> str | None:
    """The token for all that a state holds; None if it holds too many actors."""
    if state.actors > MOST_ACTORS:
        return None
    flat: list[int] = []
    for actor, entry in state.digest().items():
        flat += (_hash(actor), state.covering_version(actor), _combined(entry))
    return urlsafe_b64encode(cast(bytes, msgpack.packb(flat))).decode().rstrip("=")


def parse(text: object) -> Token:
    """A token as a client sent it. Raises `ValueError` if it is none that a node gave."""
    named = limits.name(text, "token", limits.MAX_TOKEN_BYTES)
    try:
        flat = msgpack.unpackb(urlsafe_b64decode(named + "=" * (-len(named) % 4)))
        triples = tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        for each in triples:
            for value in each:
                limits.count(value, "")
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException):
        raise ValueError("token must be one that add_ok or read_ok gave") from None
    if len(triples) > MOST_ACTORS:
        raise ValueError("token must be one that add_ok or read_ok gave")
    return Token(triples)


def reach(state: State) -> Mapping[int, Reach]:
    """How far a state reaches, by actor's hash; to be compared with any number of tokens."""
    found: dict[int, Reach] = {}
    for actor, entry in state.digest().items():
        shared = found.get(_hash(actor), Reach(limits.MAX_COUNT))
        version = min(state.complete_version(actor), shared.complete_version)
        found[_hash(actor)] = Reach(version, _combined(entry))
    return found


def includes(reached: Mapping[int, Reach], token: Token) -> bool:
    """Whether a state that reaches so far holds all that a token stands for."""
    for hashed, version, entry_hash in token:
        mine = reached.get(hashed, Reach())
        if mine.complete_version < version and mine.entry_hash != entry_hash:
            return False
    return True


class Issuer:
    """Gives out tokens for what a state holds, each made once a merge. None where versions mean nothing."""

    def __init__(self, state: State, claims_versions: bool) -> None:
        self._state = state
        self._claims_versions = claims_versions
        self._digest: object = None
        """What the last token was made of; a state makes a new one after each change."""
        self._token: str | None = None

    def current(self) -> str | None:
        """The token for all that is held now."""
        if self._claims_versions and self._digest is not self._state.digest():
            self._digest, self._token = self._state.digest(), issue(self._state)
        return self._token


def _combined(entry: tuple[int, int, int]) -> int:
    return int.from_bytes(blake2b(repr(tuple(entry)).encode(), digest_size=_HASH_BYTES).digest())


@lru_cache(maxsize=4096)
def _hash(actor: Actor) -> int:
    return int.from_bytes(blake2b(actor.encode(), digest_size=_HASH_BYTES).digest())
