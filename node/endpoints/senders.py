"""What senders of datagrams have used up: who sends what is worth nothing is not read, nobody is a mirror for others.

Pure. All of it is kept for a short time and for so many addresses: a sender has only to be quiet for that time. An
address is *proven* if whoever it is of receives what is sent there: a peer's that people listed or that has answered,
or one of this machine, in whose name nobody elsewhere can send. To any other, about as many bytes are sent as have come
from it, though a record names it.
"""

from gossip_counter.node.core.gossip.messages import Gossip, Join, Members, Syn
from gossip_counter.node.endpoints.addresses import Sockaddr

PERIOD_NS = 100_000_000
MOST_WORTHLESS = 32
"""Datagrams of one sender in a period that are no use; then nothing more of it is read until the next."""

SECOND_NS = 1_000_000_000
FREE_BYTES = 8192
"""Bytes that an unproven address gets in a second beyond what it sends: one reply of any kind, and no flood.

They are for replies, and for gossip that has to come first, or nobody could prove anything.
"""

MOST_SENDERS = 1024
"""Addresses that are distinguished in a period, and unproven ones that are answered in a second."""


class Senders:
    """By address, what it has used up."""

    def __init__(self) -> None:
        self._worthless: dict[Sockaddr, int] = {}
        self._period_ends_ns = 0
        self._credit: dict[Sockaddr, int] = {}
        """By unproven address, the bytes that came from there, less those that were sent there."""
        self._second_ends_ns = 0

    def at(self, now_ns: int) -> None:
        """It is that time now, by a monotonic clock."""
        if now_ns >= self._period_ends_ns:
            self._period_ends_ns = now_ns + PERIOD_NS
            self._worthless.clear()
        if now_ns >= self._second_ends_ns:
            self._second_ends_ns = now_ns + SECOND_NS
            self._credit.clear()

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

    def came(self, source: Sockaddr, size: int) -> None:
        """A datagram of so many bytes came from an unproven address."""
        credit = self._credit.get(source)
        if credit is not None or len(self._credit) < MOST_SENDERS:
            self._credit[source] = (credit or 0) + size

    def may_ask(self, source: Sockaddr) -> bool:
        """Whether a request is handled that came from an unproven address."""
        return self._credit.get(source, -FREE_BYTES) > -FREE_BYTES

    def may_send(self, to: Sockaddr, size: int, free: int) -> bool:
        """Whether so many bytes may be sent to an unproven address, `free` beyond what came; if so, they count."""
        credit = self._credit.get(to)
        if credit is None and len(self._credit) >= MOST_SENDERS:
            return False
        if is_sent := size <= (credit or 0) + free:
            self._credit[to] = (credit or 0) - size
        return is_sent


def free_bytes(gossip: Gossip, is_for_member: bool) -> int:
    """How many bytes of this may be sent to an unproven address beyond what came from there.

    Somebody has to open an exchange. And who is no member any more is sent the record of that, once a tick.
    """
    opens = isinstance(gossip, Join) or (isinstance(gossip, Syn) and not gossip.answered)
    corrects = isinstance(gossip, Members) and not (gossip.boot or is_for_member)
    return FREE_BYTES if opens or corrects else 0


def is_of_this_machine(source: Sockaddr) -> bool:
    """Whether this is a loopback address: the system drops what comes from elsewhere in its name."""
    return str(source[0]).startswith(("127.", "::ffff:127.")) or source[0] == "::1"
