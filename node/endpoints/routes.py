"""Where gossip to each peer goes, and from which of our addresses: if several are served, from the one it knows."""

from typing import cast

from gossip_counter.node.core.gossip.messages import Gossip, Members, SynAck
from gossip_counter.node.endpoints.addresses import Sockaddr
from gossip_counter.node.endpoints.peer_addresses import PeerAddresses

TO_SOURCE = SynAck | Members
"""Gossip that goes to where its receiver last sent a SYN from: it may have moved."""


class Routes:
    """By peer; `peers` has their addresses."""

    def __init__(self, peers: PeerAddresses) -> None:
        self._peers = peers
        self._asked: dict[str, tuple[Sockaddr, bytes]] = {}
        """Its address, and that of ours to which it sends from there, if several are served."""
        self._asks_from: dict[str, tuple[Sockaddr, bytes]] = {}
        """The trusted address from which it last sent a SYN, and that of ours to which."""

    def heard(self, peer: str, source: Sockaddr, asked: bytes, asks: bool) -> None:
        """A peer sent something from there, to the address of ours that was `asked`."""
        if asks and peer in self._peers:
            self._asks_from[peer] = source, asked
        if asked and source == self._peers.current(peer):
            self._asked[peer] = source, asked

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        self._asks_from.pop(peer, None)
        self._asked.pop(peer, None)

    def to(self, receiver: object, message: Gossip) -> tuple[Sockaddr | None, bytes]:
        """Where this goes, and from which address of ours: to a member by its name, or to whoever sent something."""
        if not isinstance(receiver, str):
            return cast(tuple[Sockaddr, bytes, bytes], receiver)[:2]
        if isinstance(message, TO_SOURCE) and receiver in self._asks_from:
            return self._asks_from[receiver]
        address = self._peers.current(receiver)
        source, asked = self._asked.get(receiver, (None, b""))
        return address, asked if source == address else b""
