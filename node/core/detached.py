"""Rows of one actor that arrived without what goes before them.

Pure. There may be as many as there are rows at all, so nothing here costs more than the rows that it gives or takes.
"""

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from random import Random

from gossip_counter.node.core.counts import ZERO, AnyRow, NamedRow


class DetachedRows(dict[str, AnyRow]):
    """By counter. To be changed with `put` and `take_out` only."""

    __slots__ = ("_by_version", "_ties", "version")

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        """The greatest version of those that were here since there were none."""
        self._by_version: list[tuple[int, str]] = []
        """A heap. Entries of rows that were replaced or are gone stay until they come up, or outnumber the others."""
        self._ties: dict[int, int] = {}
        """How many rows have each version."""

    def put(self, counter: str, row: AnyRow) -> None:
        """Put a row in the place of an older one, or of none."""
        self._untie(self.get(counter, ZERO).version)
        self[counter] = row
        self.version = max(self.version, row.version)
        self._ties[row.version] = self._ties.get(row.version, 0) + 1
        heappush(self._by_version, (row.version, counter))
        if len(self._by_version) > 2 * len(self) + 8:
            self._by_version = [(each.version, name) for name, each in self.items()]
            heapify(self._by_version)

    def take_out(self, counter: str) -> AnyRow:
        """The row of a counter, which is no longer here; ZERO if there was none."""
        row = self.pop(counter, ZERO)
        self._untie(row.version)
        if not self:
            self._by_version.clear()
            self.version = 0
        return row

    def take_upto(self, version: int) -> Iterator[NamedRow]:
        """Take out the rows up to a version, in its order."""
        order = self._by_version
        while order and order[0][0] <= version:
            at, counter = heappop(order)
            if self.get(counter, ZERO).version == at:
                yield counter, self.take_out(counter)

    def are_above(self, version: int, rows: Mapping[str, object]) -> bool:
        """Whether all have later versions, and none is of these counters."""
        order = self._by_version
        return not self or (order[0][0] > version and self.keys().isdisjoint(rows))

    def ties(self, version: int) -> int:
        """How many rows have this version."""
        return self._ties.get(version, 0)

    def sample(self, most: int, rng: Random) -> tuple[NamedRow, ...]:
        """So many of them, or all if there are fewer, in random order."""
        order, found = self._by_version, dict[str, AnyRow]()
        if most <= 0 or not self:
            return ()
        for at in rng.sample(range(len(order)), min(len(order), 2 * most)):
            version, counter = order[at]
            if self.get(counter, ZERO).version == version:
                found[counter] = self[counter]
                if len(found) == most:
                    break
        return tuple(found.items() or [next(iter(self.items()))])

    def _untie(self, version: int) -> None:
        if version in self._ties:
            self._ties[version] -= 1
            if not self._ties[version]:
                del self._ties[version]
