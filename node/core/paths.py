"""To which peers large datagrams do not get: something on the way there takes none of that size, and sends no error.

Pure. It shows in what comes back. A peer that asks again and again for the very rows that it was sent has got none of
them; one that never answers may have got no question. What such a peer is sent goes in small datagrams, as many bytes
as before, and after a while in large ones again: soon at first, for it may have been slow and no more.

Source: a sender that watches what arrives, Fairhurst et al., RFC 8899, "Packetization Layer Path MTU Discovery", 2020.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

NARROW_BYTES = 512
"""What every path takes: an IPv4 network must carry 576 bytes, with headers."""

ANSWERS = 3
STUCK_NS = 200_000_000
"""Answers that brought a peer nothing, and for how long, until it gets small ones. One that is slow asks twice, too."""

NARROW_NS, MOST_NARROW_NS = 2_000_000_000, 600_000_000_000
"""How long answers go in small datagrams until large ones are tried again; twice as long each time in vain."""

SILENT_NS = 10_000_000_000
"""How long questions do, after a peer did not answer any."""


@dataclass(slots=True)
class _Stuck:
    """What a peer stored, by its digest, when it was last answered with rows, and since when that is its digest."""

    stored: object
    since_ns: int
    answers: int = 1


class _Narrow(NamedTuple):
    """Until when a peer gets small datagrams, and for how long."""

    until_ns: int
    period_ns: int


class Paths:
    """By peer, what gets there."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._stuck: dict[tuple[Hashable, bool], _Stuck] = {}
        """By peer, and whether it pulls: both may go on at once."""
        self._narrow: dict[Hashable, _Narrow] = {}
        self._silent_until_ns: dict[Hashable, int] = {}

    def at(self, now_ns: int) -> None:
        """It is that time now."""
        self._now_ns = now_ns

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        for is_pull in (False, True):
            self._stuck.pop((peer, is_pull), None)
        self._narrow.pop(peer, None)
        self._silent_until_ns.pop(peer, None)

    def answered(self, peer: str, stored: object, now_ns: int, is_pull: bool = False) -> None:
        """A peer that stores this much, by its digest, is answered with rows that it lacks."""
        key = peer, is_pull
        stuck = self._stuck.get(key)
        if stuck is None or stuck.stored != stored:
            self._stuck[key] = _Stuck(stored, now_ns)
            return
        stuck.answers += 1
        if stuck.answers > ANSWERS and now_ns >= stuck.since_ns + STUCK_NS:
            last = self._narrow.get(peer)
            is_again = last and now_ns < last.until_ns + last.period_ns
            period_ns = min(2 * last.period_ns, MOST_NARROW_NS) if last and is_again else NARROW_NS
            self._narrow[peer] = _Narrow(now_ns + period_ns, period_ns)
            del self._stuck[key]

    def was_silent(self, peer: str, now_ns: int) -> None:
        """A peer did not answer, however often it was asked."""
        self._silent_until_ns[peer] = now_ns + SILENT_NS

    def narrow(self, peers: tuple[Hashable, ...], is_question: bool) -> tuple[Hashable, ...]:
        """Those of these peers to whom what is sent goes in small datagrams."""
        if not (self._narrow or (is_question and self._silent_until_ns)):
            return ()  # most often
        return tuple(peer for peer in peers if self._is_narrow(peer, is_question))

    def _is_narrow(self, peer: Hashable, is_question: bool) -> bool:
        narrow = self._narrow.get(peer)
        until_ns = narrow.until_ns if narrow else 0
        if is_question:
            until_ns = max(until_ns, self._silent_until_ns.get(peer, 0))
        return until_ns > self._now_ns
