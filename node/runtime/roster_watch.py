"""Follows the list of members: whom datagrams go to and where, and what is logged of it."""

import logging
import socket
from typing import cast

from gossip_counter.node.core.member_changes import RefusedJoin
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.endpoints.addresses import WILDCARDS, Address, Sockaddr, look_up, of_text, shown, usable
from gossip_counter.node.endpoints.udp import UdpClient, UdpEndpoint
from gossip_counter.node.runtime.diagnostics import Diagnostics
from gossip_counter.node.runtime.peer_finder import PeerFinder
from gossip_counter.node.runtime.refusals import (
    why_nobody,
    why_not_taken_in,
    why_refused_join,
    why_removed,
)

log = logging.getLogger("gossip_counter.node")

PERIOD_NS = 1_000_000_000
"""Between two looks at what may have to be logged."""

PATIENCE = 5
"""Looks until it is logged that nobody takes us in; then twice as many, and so on."""


class RosterWatch:
    """What the runtime does about members. `seeds` are those that people named to ask first, by how they are listed."""

    def __init__(
        self,
        replica: Replica,
        udp: UdpEndpoint,
        finder: PeerFinder,
        diagnostics: Diagnostics,
        seeds: dict[str, Address],
    ) -> None:
        self._replica = replica
        self._roster = replica.roster
        self._udp = udp
        self._finder = finder
        self._diagnostics = diagnostics
        self._seeds = seeds
        self._revision = -1
        self._names: set[str] | None = None
        self._at: dict[str, Sockaddr] = {}
        self._due_ns = 0
        self._looks = 0
        self._waited = 0
        self._warn_at = PATIENCE
        self._refused = ""
        """Why another node does not take this one in."""
        self._was_removed = False
        self._was_joining = replica.is_joining or bool(seeds)

    def follow(self) -> None:
        """Send to those who are members now. To be called before anything is sent."""
        roster, listed = self._roster, self._udp.peers.listed
        if self._udp.reached_at and not roster.own.addresses:
            self._note_own_address()
        if roster.revision == self._revision:
            return
        names = set(roster.others)
        before = names if self._names is None else self._names
        for name in [each for each in listed if each not in names and each not in self._seeds]:
            self._forget(name)
        for name in names:
            if record := roster.records.get(name):
                self._learn(record)
        for name in before - names:
            before.discard(name)  # at once: after an error all of this is done again
            self._forget(name)
            log.info("%s %s", name, _why_gone(roster.records.get(name)))
        for name in names - before:
            log.info("%s is a member now", name)
        self._names, self._revision = names, roster.revision

    def _forget(self, name: str) -> None:
        """Keep nothing of who is no member any more: other names come, and this one may never come back."""
        self._udp.forget(name)
        self._finder.forget(name)
        self._at.pop(name, None)

    def _note_own_address(self) -> None:
        """Bound to all addresses, this node knows none of its own, and writes that at which a member reached it."""
        (host, port), reached = self._udp.address, of_text(self._udp.reached_at)
        if reached and host in WILDCARDS:
            self._roster.use_address(shown((reached[0], port)))

    def _learn(self, record: MemberRecord) -> None:
        peers, name, found, named = self._udp.peers, record.name, list[Sockaddr](), list[Address]()
        addresses = [address for text in record.addresses if (address := of_text(text))]
        for address in addresses:
            try:
                found += usable(self._udp.socket, look_up(address, socket.AI_NUMERICHOST))
            except (OSError, UnicodeError):
                named.append(address)  # looked up if it is the first
        is_new = bool(addresses) and (name not in peers.listed or addresses[0] in named)
        if is_new and not peers.is_listed_by_people(name) and peers.listed.get(name) != addresses[0]:
            self._finder.look_for(name, addresses[0])
        peers.learned(name, found)

    def look(self, now_ns: int) -> None:
        """Log what people should know, about once a second."""
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + PERIOD_NS
        self._looks += 1
        for name in self._names or ():
            now, before = self._udp.peers.current(name), self._at.get(name)
            if now:
                self._at[name] = now
                if before and before != now:
                    log.info("%s is at %s now", name, shown(now))
        if refused := self._replica.take_refused_join():
            self._note_refused(refused)
        self._look_at_joining()
        if stayed := self._replica.take_stayed():
            log.warning("this node was to leave: %s", stayed)
        if self._roster.own.is_removed and not (self._was_removed or self._roster.unsaved):
            self._was_removed = True
            log.error("%s; it refuses writes and gossips no more", why_removed(self._roster.name))

    def _look_at_joining(self) -> None:
        if self._replica.is_joining:
            self._was_joining, self._waited = True, self._waited + 1
            if self._waited >= self._warn_at:
                self._warn_at *= 2
                log.warning("%s", self._refused or why_nobody(self._asked))
        elif self._was_joining:
            self._was_joining, self._waited, self._warn_at, self._refused = False, 0, PATIENCE, ""
            log.info("this node is a member now, of %d", len(self._roster.others) + 1)
        elif self._seeds and not self._replica.asks_seeds:
            for seed in self._seeds:
                self._forget(seed)
            self._seeds = {}

    def _note_refused(self, refused: RefusedJoin) -> None:
        """Log whom this node did not take in; or say soon why others do not take it in."""
        replica, source = self._replica, shown(cast(UdpClient, refused.source)[0])
        if refused.name == replica.config.name and replica.is_joining and (refused.is_taken or refused.is_self):
            self._warn_at = self._warn_at if self._refused else self._waited
            self._refused = why_not_taken_in(refused, source)
        elif refused.is_taken or self._looks > PATIENCE:  # before, an id that is not settled is nothing to act on
            text = why_refused_join(refused, source, replica.config.name, replica.unagreed, replica.is_joining)
            self._diagnostics.warn("joins_refused", "%s", text)

    @property
    def _asked(self) -> str:
        return ", ".join(shown(each) for each in self._seeds.values()) or "the members that it knows"


def _why_gone(record: MemberRecord | None) -> str:
    """Why a name is no member's any more. Without a record, so many have left since that this one is forgotten."""
    if record is None:
        return "is no member any more"
    return "was removed from the cluster" if record.is_removed else "has left the cluster"
