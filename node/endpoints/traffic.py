"""Counts the datagrams that an endpoint receives, drops and sends, of each kind."""

from collections import defaultdict

from gossip_counter.node.core.stats import Stats


class Traffic:
    """Counts into `stats`, and by kind."""

    def __init__(self, stats: Stats) -> None:
        self.by_kind: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        """By direction (in, out) and kind of message: datagrams and bytes."""
        self._stats = stats

    def came(self, kind: str, datagram: bytes | None) -> None:
        """A datagram was handled; None: it is counted already."""
        if datagram is None:
            return
        self._stats.datagrams_in += 1
        self._stats.bytes_in += len(datagram)
        self._count("in", kind, datagram)

    def dropped(self, reason: str, datagram: bytes) -> None:
        """One is not handled, for a reason that is a field of `Stats`. Nothing is logged: there are very many."""
        self._stats.datagrams_in += 1
        self._stats.bytes_in += len(datagram)
        self.note(reason)

    def note(self, reason: str) -> None:
        """Count without a line in the log."""
        setattr(self._stats, reason, getattr(self._stats, reason) + 1)

    def left(self, kind: str, datagram: bytes) -> None:
        """A datagram was sent."""
        self._stats.datagrams_out += 1
        self._stats.bytes_out += len(datagram)
        self._count("out", kind, datagram)

    def _count(self, direction: str, kind: str, datagram: bytes) -> None:
        counts = self.by_kind[direction, kind]
        counts[0] += 1
        counts[1] += len(datagram)
