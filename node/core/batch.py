"""Writes on their way to the disk.

Pure. What is added while a commit is under way gathers here by counter, in whatever order it comes; what our rows will
be is settled when the commit begins, on top of what is durable then. So nothing that waits has to be put right when a
commit fails, or when we become another actor.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gossip_counter.node.core.counts import Counts
from gossip_counter.node.core.waiting import Client


@dataclass(slots=True)
class Tally:
    """By counter, what adds come to (`net`), and how much of that was taken away (`minus`, where anything was)."""

    net: dict[str, int] = field(default_factory=dict)
    minus: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, delta: int) -> None:
        """One more add, which is not 0."""
        self.net[name] = self.net.get(name, 0) + delta
        if delta < 0:
            self.minus[name] = self.minus.get(name, 0) - delta

    def forget(self, name: str, delta: int) -> None:
        """Take back what was added once, or several times."""
        self.net[name] -= delta
        if delta < 0:
            self.minus[name] += delta

    def include(self, other: "Tally") -> None:
        """Add all that another one has."""
        for mine, theirs in ((self.net, other.net), (self.minus, other.minus)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def of(self, name: str) -> tuple[int, int]:
        """What was added to a counter, and what was taken away: none is negative."""
        minus = self.minus.get(name, 0)
        return self.net.get(name, 0) + minus, minus

    def rows(self, held: Iterable[Counts], version: int) -> dict[str, Counts]:
        """What this makes of the rows `held`, one for each name: the writes that come after number `version`."""
        made = zip(self.net.items(), held, range(version + 1, version + 1 + len(self.net)), strict=True)
        if not self.minus:  # most often, and then there is less to do
            return {name: (p + net, n, number) for (name, net), (p, n, _), number in made}
        taken = self.minus.get
        return {name: (p + net + taken(name, 0), n + taken(name, 0), number) for (name, net), (p, n, _), number in made}

    @property
    def counted(self) -> int:
        """By how much all p and n grow together."""
        return sum(self.net.values()) + 2 * sum(self.minus.values())


@dataclass(slots=True)
class Batch(Tally):
    """Adds that share a commit, and who waits for it."""

    at_most: int = 0
    """What `counted` is not above."""
    new_rows: int | None = None
    """How many rows all that waits for the disk will add, where that had to be known."""
    waiting: list[tuple[Client, int, int]] = field(default_factory=list)
    """Client, msg_id, copies wanted; 0 for a run of adds, which has a number for a msg_id and wants no token."""
    recounted: list[tuple[str, int]] = field(default_factory=list)
    """Those of its adds that count again what was swallowed, and must not fail with the disk."""
    recounted_for: list[tuple[Client, int, int]] = field(default_factory=list)
    """Those whose adds these are, where they still wait."""
