"""Where the peers are: all addresses of each, one of which is used until no answer comes for too long."""

from collections.abc import Mapping, Sequence
from itertools import chain

from gossip_counter.node.endpoints.addresses import Address, Sockaddr

SILENT_ROUNDS = 8
"""Rounds begun with a peer that answers nothing, after which the next of its addresses is tried, and it is `silent`."""


class PeerAddresses:
    """By peer, its addresses. It has none until they are found."""

    def __init__(self, listed: Mapping[str, Address]) -> None:
        """`listed` are hosts and ports as people gave them."""
        self.listed = listed
        self._found: dict[str, Sequence[Sockaddr]] = {}
        self._at: dict[str, int] = {}
        """Of each peer that has addresses, which one is used."""
        self._proven: dict[str, Sockaddr] = {}
        """By peer, where an answer of it last came from."""
        self._places = frozenset[Sockaddr]()
        """All of these, and those above."""
        self._rounds: dict[str, int] = {}
        """Of the same, the rounds begun since the peer was last heard from there, or its addresses changed."""

    def found(self, peer: str, addresses: Sequence[Sockaddr]) -> bool:
        """A peer has these addresses, at least one; whether that is new. Those that were not tried yet come first."""
        known = self._found.get(peer, ())
        if set(addresses) == set(known):
            return False
        self._found[peer] = sorted(addresses, key=known.__contains__)
        self._at[peer] = self._rounds[peer] = 0
        self._note_places()
        return True

    def proven(self, peer: str, source: Sockaddr) -> None:
        """A peer has answered from there what was sent to it alone."""
        if peer in self._found and self._proven.get(peer) != source:
            self._proven[peer] = source
            self._note_places()

    def are_at(self, source: Sockaddr) -> bool:
        """Whether this is an address of a peer's, listed or proven."""
        return source in self._places

    def _note_places(self) -> None:
        self._places = frozenset([*self._proven.values(), *chain.from_iterable(self._found.values())])

    def current(self, peer: str) -> Sockaddr | None:
        """The address to send to. None: it has none, or there is no such peer."""
        found = self._found.get(peer)
        return found[self._at[peer]] if found else None

    @property
    def missing(self) -> dict[str, Address]:
        """The peers without an address, as they are listed."""
        return {name: listed for name, listed in self.listed.items() if name not in self._found}

    @property
    def silent(self) -> set[str]:
        """The peers that replied nothing in the last rounds, from the addresses that they had."""
        return {name for name, rounds in self._rounds.items() if rounds > SILENT_ROUNDS}

    def heard_from(self, peer: str, source: Sockaddr, is_answer: bool) -> None:
        """A peer has sent something: an answer to what it was sent, or something of its own accord.

        The latter, from another address, shows nothing of the one that is used: nobody may be there.
        """
        if peer in self._rounds and (is_answer or source == self.current(peer)):
            self._rounds[peer] = 0

    def round_begins(self, peer: str) -> None:
        """A round with a peer begins, to which it should reply."""
        if peer not in self._rounds:
            return
        rounds, self._rounds[peer] = self._rounds[peer], self._rounds[peer] + 1
        if rounds and rounds % SILENT_ROUNDS == 0:
            self._at[peer] = (self._at[peer] + 1) % len(self._found[peer])
