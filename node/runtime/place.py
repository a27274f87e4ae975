"""Where a node is to be found, and whom it asks to be taken in as a member."""

import socket
from dataclasses import dataclass, field, replace

from gossip_counter import __version__
from gossip_counter.node.core.roster import Presence
from gossip_counter.node.endpoints.addresses import WILDCARDS, Address, shown


@dataclass(frozen=True, slots=True)
class Place:
    """What a node sends the other members about itself, and where the first of them are."""

    address: Address | None = None
    """Where others reach it, as people listed it; None: where it is bound, if that is one address."""
    seeds: dict[str, Address] = field(default_factory=dict)
    """Who is asked to take it in, by how logs name each."""

    def at(self, bound: socket.socket) -> "Place":
        """The same, of a node that has bound this socket."""
        host, port = bound.getsockname()[:2]
        return self if self.address or host in WILDCARDS else replace(self, address=(host, port))

    def presence(self) -> Presence:
        """What the replica sends about this node."""
        addresses = (shown(self.address),) if self.address else ()
        return Presence(addresses, __version__, tuple(self.seeds))
