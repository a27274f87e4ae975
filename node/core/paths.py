"""To which peers large datagrams do not get: something on the way there takes none of that size, and sends no error.

Pure. It shows in what comes back. A peer that asks again and again for the very rows that it was sent has got none of
them; one that never answers may have got no question. What such a peer is sent goes in small datagrams, as many bytes
as before, and from time to time in large ones again.

Source: a sender that watches what arrives, Fairhurst et al., RFC 8899, "Packetization Layer Path MTU Discovery", 2020.
"""

from collections.abc import Hashable
from dataclasses import dataclass

NARROW_BYTES = 512
"""What every path takes: an IPv4 network must carry 576 bytes, with headers."""

ANSWERS = 3
STUCK_NS = 500_000_000
"""Answers that brought a peer nothing, and for how long, until it gets small ones. One that is slow asks twice, too."""

NARROW_NS = 600_000_000_000
"""How long answers go in small datagrams, until large ones are tried again."""

SILENT_NS = 10_000_000_000
"""How long questions do, after a peer did not answer any."""


@dataclass(slots=True)
class _Stuck:
    """What a peer stored, by its digest, when it was last answered with rows, and since when that is its digest."""

    stored: object
    since_ns: int
    answers: int = 1


class Paths:
    """By peer, what gets there."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._stuck: dict[Hashable, _Stuck] = {}
        self._narrow_until_ns: dict[Hashable, int] = {}
        self._silent_until_ns: dict[Hashable, int] = {}

    def at(self, now_ns: int) -> None:
        """It is that time now."""
        self._now_ns = now_ns

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        self._stuck.pop(peer, None)
        self._narrow_until_ns.pop(peer, None)
        self._silent_until_ns.pop(peer, None)

    def answered(self, peer: str, stored: object, now_ns: int) -> None:
        """A peer that stores this much, by its digest, is answered with rows that it lacks."""
        stuck = self._stuck.get(peer)
        if stuck is None or stuck.stored != stored:
            self._stuck[peer] = _Stuck(stored, now_ns)
            return
        stuck.answers += 1
        if stuck.answers > ANSWERS and now_ns >= stuck.since_ns + STUCK_NS:
            self._narrow_until_ns[peer] = now_ns + NARROW_NS

    def was_silent(self, peer: str, now_ns: int) -> None:
        """A peer did not answer, however often it was asked."""
        self._silent_until_ns[peer] = now_ns + SILENT_NS

    def narrow(self, peers: tuple[Hashable, ...], is_question: bool) -> tuple[Hashable, ...]:
        """Those of these peers to whom what is sent goes in small datagrams."""
        if not (self._narrow_until_ns or (is_question and self._silent_until_ns)):
            return ()  # most often
        return tuple(peer for peer in peers if self._is_narrow(peer, is_question))

    def _is_narrow(self, peer: Hashable, is_question: bool) -> bool:
        until_ns = self._narrow_until_ns.get(peer, 0)
        if is_question:
            until_ns = max(until_ns, self._silent_until_ns.get(peer, 0))
        return until_ns > self._now_ns
