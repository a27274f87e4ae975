"""Datagrams that wait for their turn while more arrive than a node can handle: one sender can't starve the others.

Pure. Members take turns, and so do all others; every second turn is a member's. So neither the gossip of members nor
the requests of any number of others can starve the other. What waits is bounded, of each sender and of all.
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
        self._of_members, self._of_others = _Turns(), _Turns()
        self._is_members_turn = True

    def __len__(self) -> int:
        return self._of_members.count + self._of_others.count

    def put(self, arrival: Arrival, is_member: bool) -> bool:
        """Let one wait; whether there was room for it."""
        return (self._of_members if is_member else self._of_others).put(arrival)

    def take(self) -> Arrival | None:
        """The one whose turn it is; None if there is none."""
        first, second = self._of_members, self._of_others
        if not self._is_members_turn:
            first, second = second, first
        self._is_members_turn = not self._is_members_turn
        return first.take() or second.take()


class _Turns:
    """Datagrams of senders that take turns."""

    def __init__(self) -> None:
        self.count = 0
        self._bytes = 0
        self._by_source: dict[Sockaddr, deque[Arrival]] = {}
        """In the order of their turns."""

    def put(self, arrival: Arrival) -> bool:
        """Let one wait; whether there was room for it."""
        datagram, source, _ = arrival
        if self.count >= MOST or self._bytes + len(datagram) > MOST_BYTES:
            return False
        waiting = self._by_source.setdefault(source, deque())
        if len(waiting) >= MOST_OF_ONE:
            return False
        waiting.append(arrival)
        self.count += 1
        self._bytes += len(datagram)
        return True

    def take(self) -> Arrival | None:
        """The next of the sender whose turn it is; None if nothing waits."""
        if not self._by_source:
            return None
        source = next(iter(self._by_source))
        waiting = self._by_source.pop(source)
        arrival = waiting.popleft()
        if waiting:
            self._by_source[source] = waiting  # behind all others
        self.count -= 1
        self._bytes -= len(arrival[0])
        return arrival
