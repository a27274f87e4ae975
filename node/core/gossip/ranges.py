"""Digests by ranges of actors: hashes find what differs, however many actors there are.

Pure. A node that knows thousands of former actors can't name all of them in each SYN. So a range of actors is described
by its digest entries only if they are few, else by the hashes of its parts. Who compares those with its own hashes
answers with what it holds of the parts that differ, described alike, until entries meet entries. A description of more
entries than `MAX_PARTS` always has several parts, so each step of that makes the ranges smaller.

The hash of a range is the sum of the hashes of its entries: a digest entry has hashes of rows, and those of two
different digests may add up to the same.

Source: range-based set reconciliation, Meyer, "Range-Based Set Reconciliation", SRDS 2023, section 3.
"""

from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b
from itertools import accumulate, islice
from typing import NamedTuple

from gossip_counter.node.core.actor_log import WRAP
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.holdings import DigestEntry, Part
from gossip_counter.node.core.limits import MAX_PARTS
from gossip_counter.node.core.state import State


class Range(NamedTuple):
    """The actors above `above` up to `upto`."""

    above: str = ""
    upto: str | None = None

    def __contains__(self, actor: object) -> bool:
        return isinstance(actor, str) and actor > self.above and (self.upto is None or actor <= self.upto)


ALL = Range()


class Described(NamedTuple):
    """What is held of the actors of a range: either the entries of all, or parts."""

    digest: dict[Actor, DigestEntry]
    parts: tuple[Part, ...] = ()


class DigestRanges:
    """The ranges of a state's digest."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._digest: dict[Actor, DigestEntry] = {}
        """The one that all of this is made from."""
        self._hashes: dict[Actor, int] = {}
        self._total = 0
        self._actors: list[Actor] = []
        self._sums: list[int] = []
        """Of the hashes of all actors before each of these, and of all; empty if not made yet."""

    @property
    def root(self) -> tuple[Part, ...]:
        """The one part that has all actors; cost: what has changed since anybody asked."""
        self._follow()
        return (Part(None, self._total),)

    def entries(self, each: Range) -> dict[Actor, DigestEntry]:
        """The digest of a range."""
        if each == ALL:
            return self._state.digest()
        start, end = self._places(each)
        return {actor: self._digest[actor] for actor in islice(self._actors, start, end)}

    def describe(self, each: Range) -> Described:
        """A range by its entries if they are few, else by its parts, about equally many entries in each."""
        start, end = self._places(each)
        count = end - start
        if count <= MAX_PARTS:
            return Described(self.entries(each))
        ends = [start + count * number // MAX_PARTS for number in range(1, MAX_PARTS)]
        bounds = [*(self._actors[at - 1] for at in ends), each.upto]
        hashes = (self._hash(first, last) for first, last in zip([start, *ends], [*ends, end], strict=True))
        return Described({}, tuple(map(Part, bounds, hashes)))

    def differing(self, above: str, parts: Iterable[Part]) -> list[Range]:
        """The parts of a range of which somebody else holds other than we do; neighbours of few entries as one."""
        found: list[Range] = []
        for upto, hashed in parts:
            part = Range(above, upto)
            if self._hash(*self._places(part)) != hashed:
                joined = Range(found[-1].above, upto) if found and found[-1].upto == above else part
                start, end = self._places(joined)
                if joined is not part and end - start <= MAX_PARTS:
                    found[-1] = joined
                else:
                    found.append(part)
            above = upto or ""
        return found

    def _places(self, each: Range) -> tuple[int, int]:
        """Where the actors of a range stand among all."""
        self._follow()
        if not self._sums:
            self._actors = list(self._digest)
            self._sums = list(accumulate(map(self._hashes.__getitem__, self._actors), initial=0))
        start = bisect_right(self._actors, each.above)
        return start, len(self._actors) if each.upto is None else bisect_right(self._actors, each.upto)

    def _hash(self, start: int, end: int) -> int:
        return (self._sums[end] - self._sums[start]) % WRAP

    def _follow(self) -> None:
        """Take note of what has changed in the digest."""
        digest, former = self._state.digest(), self._digest
        if digest is former:
            return
        for actor in [actor for actor, entry in digest.items() if former.get(actor) is not entry]:
            hashed = entry_hash(actor, digest[actor])
            self._total = (self._total + hashed - self._hashes.get(actor, 0)) % WRAP
            self._hashes[actor] = hashed
        self._digest, self._sums = digest, []


def entry_hash(actor: Actor, entry: DigestEntry) -> int:
    """Equal for equal entries."""
    version, hashed, detached = entry
    text = f"{actor} {version} {hashed} {detached}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
