"""What senders of datagrams have used up: who sends what is worth nothing is not read, nobody is a mirror for others.

Pure. All of it is kept for a short time and for so many addresses: a sender has only to be quiet for that time. An
address is *proven* if whoever it is of receives what is sent there: a peer's that has answered us, or one of this
machine, in whose name nobody elsewhere can send. To any other, about as many bytes are sent as have come from it.
"""

from gossip_counter.node.endpoints.addresses import Sockaddr

PERIOD_NS = 100_000_000
MOST_WORTHLESS = 32
"""Datagrams of one sender in a period that are no use; then nothing more of it is read until the next."""

SECOND_NS = 1_000_000_000
FREE_BYTES = 4096
"""Bytes that an unproven address gets in a second beyond what it sends: enough for a person, not for a flood."""

MOST_SENDERS = 1024
"""Addresses that are distinguished in a period, and unproven ones that are answered in a second."""


class Senders:
    """By address, what it has used up."""

    def __init__(self) -> None:
        self._worthless: dict[Sockaddr, int] = {}
        self._period_ends_ns = 0
        self._credit: dict[Sockaddr, int] = {}
        """Bytes that may be sent to an unproven address."""
        self._second_ends_ns = 0
        self._reply_bytes = 0
        """Of the last reply: as many are set aside for the next."""

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

    def may_ask(self, source: Sockaddr, size: int) -> bool:
        """Whether a request of so many bytes is answered, to an address that is not a peer's."""
        if is_of_this_machine(source):
            return True
        credit = self._credit.get(source)
        if credit is None:
            if len(self._credit) >= MOST_SENDERS:
                return False
            credit = FREE_BYTES
        if is_answered := credit > 0:
            credit -= self._reply_bytes
        self._credit[source] = credit + size
        return is_answered

    def replied(self, source: Sockaddr, size: int) -> None:
        """A reply of so many bytes was sent."""
        if source in self._credit:
            self._credit[source] += self._reply_bytes - size
            self._reply_bytes = size


def is_of_this_machine(source: Sockaddr) -> bool:
    """Whether this is a loopback address: the system drops what comes from elsewhere in its name."""
    return str(source[0]).startswith(("127.", "::ffff:127.")) or source[0] == "::1"
