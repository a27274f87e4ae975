"""Whether what this node writes finds a place at its peers, and theirs here.

Pure. Each node stores rows of so many actors at the most. Of each member a few more always find a place, so that former
actors, or forged ones, keep no member out. Where even those are taken, its answer to our digest shows it, and
adds are refused: they would be acknowledged, and nobody else would ever store them.
"""

from collections import Counter

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.limits import MAX_VERSION
from gossip_counter.node.core.state import State

RESERVED = 8
"""Actors of each member that find a place beyond `max_actors`."""

NO_PLACE = MAX_VERSION
"""What an answer to a digest wants of its sender's actor if there is no place for it: rows newer than any."""


def node_of(actor: Actor) -> str:
    """The name of the node that wrote as an actor."""
    return actor.rpartition(".")[0]


class Places:
    """Those here, and at the peers."""

    def __init__(self, config: Config, state: State) -> None:
        self._config = config
        self._name = config.name
        self._state = state
        self._members = {config.name, *config.peers}
        self._of_members = Counter[str]()
        self._seen = 0
        """How many of the state's actors were counted; none ever goes."""
        self._full = set[str]()
        """Peers that have no place for our actor."""
        self._have = set[str]()
        """Peers that store rows of it."""

    def set_members(self, names: tuple[str, ...]) -> None:
        """The other members are these now."""
        self._members = {self._name, *names}
        self._full &= self._members
        self._have &= self._members

    def has_place(self, actor: Actor) -> bool:
        """Whether rows of an actor can be stored: it is known, there is room for one more, or a place is reserved."""
        if actor in self._state or self._state.actors < self._config.max_actors:
            return True
        if self._seen < self._state.actors:
            self._of_members.update(map(node_of, self._state.actors_after(self._seen)))
            self._seen = self._state.actors
        name = node_of(actor)
        return name in self._members and self._of_members[name] < RESERVED

    # Ours, at the peers.

    @property
    def have_none(self) -> bool:
        """Whether a peer has no place for what we write, and none is known to store any of it."""
        return bool(self._full) and not self._have

    def stored_by(self, peer: str) -> None:
        """A peer shows that it stores rows of our actor."""
        self._have.add(peer)
        self._full.discard(peer)

    def are_known_at(self, peer: str) -> bool:
        """Whether a peer is known to store rows of our actor."""
        return peer in self._have

    def refused_by(self, peer: str) -> None:
        """A peer has no place for our actor."""
        self._full.add(peer)
        self._have.discard(peer)

    def begin_epoch(self) -> None:
        """We write as another actor from now on."""
        self._full.clear()
        self._have.clear()
