"""Who sends what is worth nothing: it is not read for a while.

Pure. It is kept for a short time and for so many addresses: a sender has only to be quiet for that time.
"""

from gossip_counter.node.endpoints.addresses import Sockaddr

PERIOD_NS = 100_000_000
MOST_WORTHLESS = 32
"""Datagrams of one sender in a period that are no use; then nothing more of it is read until the next."""

MOST_SENDERS = 1024
"""Addresses that are distinguished in a period."""


class Senders:
    """By address, how much came from there that was no use."""

    def __init__(self) -> None:
        self._worthless: dict[Sockaddr, int] = {}
        self._period_ends_ns = 0

    def at(self, now_ns: int) -> None:
        """It is that time now, by a monotonic clock."""
        if now_ns >= self._period_ends_ns:
            self._period_ends_ns = now_ns + PERIOD_NS
            self._worthless.clear()

    @property
    def has_shed(self) -> bool:
        """Whether anybody sent anything that was no use in this period."""
        return bool(self._worthless)

    def is_shed(self, source: Sockaddr) -> bool:
        """Whether nothing more of this sender is read in this period."""
        return self._worthless.get(source, 0) >= MOST_WORTHLESS

    def was_worthless(self, source: Sockaddr) -> None:
        """A datagram of this sender was no use."""
        count = self._worthless.get(source, 0)
        if count or len(self._worthless) < MOST_SENDERS:
            self._worthless[source] = count + 1
