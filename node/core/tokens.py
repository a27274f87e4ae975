"""Tokens: what a node held when it answered, in a form that clients carry from one node to another.

Pure. A token names, for each actor, the version at which another node surely holds what the first one did. It also has
a hash of what the first one held, since a node that holds just that will do too: where a writer is gone, rows before
its last may never arrive. Clients see an opaque string. It names actors by a short hash: if two shared one, a reader
would only wait for more.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, NewType, cast

import msgpack

from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.state import State


class Part(NamedTuple):
    """What a token has of one actor: its hash, a version, and the hash of its digest entry."""

    actor_hash: int
    version: int
    entry_hash: int


Token = NewType("Token", tuple[Part, ...])

MOST_ACTORS = 256
"""Where more have written, answers carry no token: it would not be small."""

_HASH_BYTES = 4


def issue(state: State) -> str | None:
    """The token for all that a state holds; None if it holds too many actors."""
    if state.actors > MOST_ACTORS:
        return None
    flat: list[int] = []
    for actor, entry in state.digest().items():
        flat += (hash_of(actor), state.covering_version(actor), _combined(entry))
    return urlsafe_b64encode(cast(bytes, msgpack.packb(flat))).decode().rstrip("=")


def parse(text: object) -> Token:
    """A token as a client sent it. Raises `ValueError` if it is none that a node gave."""
    named = limits.name(text, "token", limits.MAX_TOKEN_BYTES)
    try:
        flat = msgpack.unpackb(urlsafe_b64decode(named + "=" * (-len(named) % 4)))
        parts = tuple(Part(*each) for each in zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        for part in parts:
            for value in part:
                limits.count(value, "")
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.UnpackException):
        raise ValueError("token must be one that add_ok or read_ok gave") from None
    if len(parts) > MOST_ACTORS:
        raise ValueError("token must be one that add_ok or read_ok gave")
    return Token(parts)


class Reach:
    """How far a state reaches of each actor, by the actor's hash. Cost of a question: the actors that share a hash."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._actors: dict[int, list[Actor]] = {}
        """By hash, of the first `_known` actors that the state came to hold."""
        self._known = 0

    def complete_version(self, actor_hash: int) -> int:
        """The version up to which every write of the actor is held; of the least, if several share the hash."""
        return min(map(self._state.complete_version, self._sharing(actor_hash)), default=0)

    def entry_hashes(self, actor_hash: int) -> set[int]:
        """The hashes of the digest entries of the actors with this hash."""
        return {_combined(self._state.entry(actor)) for actor in self._sharing(actor_hash)}

    def has(self, part: Part) -> bool:
        """Whether the state holds all that a token stands for of one actor."""
        hashed, version, entry_hash = part
        return self.complete_version(hashed) >= version or entry_hash in self.entry_hashes(hashed)

    def _sharing(self, actor_hash: int) -> Collection[Actor]:
        if self._known < self._state.actors:
            for actor in self._state.actors_after(self._known):
                self._actors.setdefault(hash_of(actor), []).append(actor)
            self._known = self._state.actors
        return self._actors.get(actor_hash, ())


def includes(state: State, token: Token) -> bool:
    """Whether a state holds all that a token stands for."""
    return all(map(Reach(state).has, token))


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
def hash_of(actor: Actor) -> int:
    """What names an actor in a token."""
    return int.from_bytes(blake2b(actor.encode(), digest_size=_HASH_BYTES).digest())
