"""Datagrams that wait for their turn while more arrive than a node can handle: one sender can't starve the others.

Pure. Senders take turns, members come first, and what one of them has waiting is bounded.
"""

from collections import deque

from gossip_counter.node.endpoints.addresses import Sockaddr

MOST_OF_ONE = 512
"""Datagrams of one sender that wait."""

MOST = 4096
MOST_BYTES = 8 * 2**20
"""Of all members, and of all others: the datagrams that wait, and their bytes."""

Arrival = tuple[bytes, Sockaddr, bytes]
"""A datagram, who sent it, and the address of ours that was asked, if several are served."""


class Arrivals:
    """What has arrived and waits."""

    def __init__(self) -> None:
        self._of_members = deque[Arrival]()
        self._by_source: dict[Sockaddr, deque[Arrival]] = {}
        """Of others, in the order of their turns."""
        self._count = {True: 0, False: 0}
        self._bytes = {True: 0, False: 0}
        """Of members, and of others."""

    def __len__(self) -> int:
        return self._count[True] + self._count[False]

    def put(self, arrival: Arrival, is_member: bool) -> bool:
        """Let one wait; whether there was room for it."""
        datagram, source, _ = arrival
        if self._count[is_member] >= MOST or self._bytes[is_member] + len(datagram) > MOST_BYTES:
            return False
        waiting = self._of_members if is_member else self._by_source.setdefault(source, deque())
        if len(waiting) >= MOST_OF_ONE and not is_member:
            return False
        waiting.append(arrival)
        self._count[is_member] += 1
        self._bytes[is_member] += len(datagram)
        return True

    def take(self) -> Arrival | None:
        """The one whose turn it is; None if there is none."""
        is_member = bool(self._of_members)
        if is_member:
            arrival = self._of_members.popleft()
        elif self._by_source:
            source = next(iter(self._by_source))
            waiting = self._by_source.pop(source)
            arrival = waiting.popleft()
            if waiting:
                self._by_source[source] = waiting  # behind all others
        else:
            return None
        self._count[is_member] -= 1
        self._bytes[is_member] -= len(arrival[0])
        return arrival
