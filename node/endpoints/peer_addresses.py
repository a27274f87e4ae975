"""Where the peers are: all addresses of each, one of which is used until no answer comes for too long.

Those that people listed come first, then those that the peer's own record names, then that from which it last sent. The
last is used at once if it is *trusted* (whoever sends from there receives there, and has the cluster's key or is on
this machine) and the present one does not answer.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from gossip_counter.node.endpoints.addresses import Address, Sockaddr

UNANSWERED_ROUNDS = 2
"""Rounds begun without an answer, after which a peer that sends from elsewhere has moved there."""

SILENT_ROUNDS = 8
"""Rounds begun with a peer that answers nothing, after which the next of its addresses is tried, and it is `silent`."""


class PeerAddresses:
    """By peer, its addresses. It has none until they are found."""

    def __init__(self, listed: Mapping[str, Address]) -> None:
        """`listed` are hosts and ports as people gave them."""
        self.listed = dict(listed)
        """Those, and the first that the record of any other peer names."""
        self._by_people = set(listed)
        self._found: dict[str, Sequence[Sockaddr]] = {}
        """Those that people listed."""
        self._learned: dict[str, Sequence[Sockaddr]] = {}
        """Those that records name."""
        self._came_from: dict[str, Sockaddr] = {}
        """Where a peer last sent from, if that is none of these."""
        self._known: dict[str, list[Sockaddr]] = {}
        """All of them."""
        self._at: dict[str, int] = {}
        """Of each peer that has addresses, which one is used."""
        self._answered_from: dict[str, Sockaddr] = {}
        """By peer, where an answer of it last came from."""
        self._places = frozenset[Sockaddr]()
        """All that are listed, in records, or where answers came from."""
        self._listed_places = frozenset[Sockaddr]()
        """Those of them that people listed."""
        self._rounds: dict[str, int] = {}
        """Of the same, the rounds begun since the peer was last heard from there, or its addresses changed."""

    def found(self, peer: str, addresses: Sequence[Sockaddr]) -> bool:
        """A peer has these addresses, at least one; whether that is new. Those that were not tried yet come first."""
        known = self._found.get(peer, ())
        if set(addresses) == set(known):
            return False
        self._found[peer] = sorted(addresses, key=known.__contains__)
        self._note(peer, self._found[peer][0])
        return True

    def learned(self, peer: str, addresses: Sequence[Sockaddr]) -> None:
        """The record of a peer names these addresses. If the one that is used does not answer, they are next."""
        if peer not in self._learned or list(self._learned[peer]) != list(addresses):
            self._learned[peer] = addresses
            is_lost = self._rounds.get(peer, 0) >= UNANSWERED_ROUNDS or self.current(peer) is None
            self._note(peer, addresses[0] if addresses and is_lost else self.current(peer))

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        by_name: tuple[dict[str, Any], ...] = (
            self.listed, self._found, self._learned, self._came_from, self._known, self._at, self._answered_from,
            self._rounds,
        )  # fmt: skip
        for each in by_name:
            each.pop(peer, None)
        self._by_people.discard(peer)
        self._note_places()

    def _note(self, peer: str, used: Sockaddr | None) -> None:
        """A peer has other addresses than before, of which one is to be used."""
        came_from = [self._came_from[peer]] if peer in self._came_from else []
        known = [*self._found.get(peer, ()), *self._learned.get(peer, ()), *came_from]
        self._known[peer] = known = list(dict.fromkeys(known))
        self._at[peer] = known.index(used) if used in known else 0
        self._rounds[peer] = 0
        self._note_places()

    def answered(self, peer: str, source: Sockaddr) -> None:
        """A peer has answered from there, and receives there too."""
        if peer in self._known and self._answered_from.get(peer) != source:
            self._answered_from[peer] = source
            self._note_places()

    def is_listed_by_people(self, peer: str) -> bool:
        """Whether people gave an address of it: then its record does not replace that."""
        return peer in self._by_people

    @property
    def by_people(self) -> dict[str, Sockaddr | None]:
        """Those that people listed, with the first address found for what they listed; None: there is none yet."""
        return {peer: next(iter(self._found.get(peer, ())), None) for peer in self._by_people}

    def __contains__(self, peer: str) -> bool:
        return peer in self._known

    def are_at(self, source: Sockaddr) -> bool:
        """Whether this is an address of a peer's: listed, in its record, or where it has answered from."""
        return source in self._places

    def are_listed_at(self, source: Sockaddr) -> bool:
        """Whether this is an address of a peer's that people listed."""
        return source in self._listed_places

    def _note_places(self) -> None:
        by_people = [each for peer, each in self._found.items() if peer in self._by_people]
        self._listed_places = frozenset(chain.from_iterable(by_people))
        lists = chain(self._found.values(), self._learned.values())
        self._places = self._listed_places.union(self._answered_from.values(), *lists)

    def current(self, peer: str) -> Sockaddr | None:
        """The address to send to. None: it has none, or there is no such peer."""
        known = self._known.get(peer)
        return known[self._at[peer]] if known else None

    @property
    def missing(self) -> dict[str, Address]:
        """The peers without an address, as they are listed."""
        return {name: listed for name, listed in self.listed.items() if name not in self._found}

    @property
    def silent(self) -> set[str]:
        """The peers that replied nothing in the last rounds, from the addresses that they had."""
        return {name for name, rounds in self._rounds.items() if rounds > SILENT_ROUNDS}

    def heard_from(
        self, peer: str, source: Sockaddr, is_answer: bool, may_move: bool = False, is_trusted: bool = False
    ) -> None:
        """A peer has sent something: an answer to what it was sent, or something of its own accord.

        The latter, from another address, shows nothing of the one that is used: nobody may be there. A peer of our
        cluster `may_move`.
        """
        current = self.current(peer)
        if current and (is_answer or source == current):
            self._rounds[peer] = 0
        elif peer in self._known and may_move:
            is_moving = is_trusted and self._rounds[peer] >= UNANSWERED_ROUNDS
            if source in self._known[peer]:
                self._at[peer] = self._known[peer].index(source) if is_moving else self._at[peer]
            elif is_moving or current is None or self._came_from.get(peer) not in (current, source):
                rounds, self._came_from[peer] = self._rounds[peer], source
                self._note(peer, source if is_moving else current)
                self._rounds[peer] = 0 if is_moving else rounds

    def round_begins(self, peer: str) -> None:
        """A round with a peer begins, to which it should reply."""
        if peer not in self._rounds:
            return
        rounds, self._rounds[peer] = self._rounds[peer], self._rounds[peer] + 1
        if rounds and rounds % SILENT_ROUNDS == 0:
            self._at[peer] = (self._at[peer] + 1) % max(1, len(self._known[peer]))
