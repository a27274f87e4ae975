"""Journals that were lost or replaced by an older copy, and what may be missing of the counts on them.

Pure. Only what a node had sent to nobody can be lost, and only together with its journal; and of what it wrote after a
backup that is put back, what no node stores or what a larger total of its new life covers. What was acknowledged with
copies cannot be lost with one journal.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gossip_counter.cluster.sim.disk import Contents
from gossip_counter.cluster.sim.oracle import Oracle
from gossip_counter.node.core.counts import ZERO, Actor, AnyRow, as_row, merged
from gossip_counter.node.core.effects import Commit

RowOf = Callable[[Actor, str], AnyRow]
"""A row of an actor by counter, zero if it is not stored."""


@dataclass(slots=True)
class _Fork:
    """A row whose journal was put back: what it was then, what it had become, what a new life made of it."""

    node: str
    base: AnyRow
    top: AnyRow
    ours: AnyRow
    forgotten: bool = False
    """The new life ended, perhaps before it knew of the former one's rows."""

    def lost(self, final: AnyRow, side: int) -> int:
        """How much may be missing of what was acknowledged, on one side: 0 increments, 1 decrements."""
        base, top, ours, now = ((row.p, row.n)[side] for row in (self.base, self.top, self.ours, final))
        if self.forgotten:
            return max(0, top + ours - base - now)
        return max(0, top - now) if now > ours else top - base


class Losses:
    """Counts that journals took along, for the oracle."""

    def __init__(self, oracle: Oracle) -> None:
        self.lost_disks: list[tuple[str, Contents]] = []
        """Whose disks they were, and what was on them."""
        self._oracle = oracle
        self._orphans: dict[tuple[Actor, str], AnyRow] = {}
        self._forks: dict[tuple[Actor, str], _Fork] = {}

    @property
    def forked(self) -> set[Actor]:
        """Actors of which an older journal was put back."""
        return {actor for actor, _ in self._forks}

    def crashed(self, node: str) -> None:
        """A life of that node ends."""
        for fork in self._forks.values():
            fork.forgotten |= fork.node == node

    def lost(self, node: str, disk: Contents, actors: Iterable[Actor]) -> None:
        """The disk of a node that wrote as these actors is gone."""
        self.lost_disks.append((node, disk))
        for actor in sorted(actors):  # it may have begun a new epoch before any peer had the last rows
            for counter, row in disk.rows.get(actor, {}).items():
                if (actor, counter) not in self._forks:
                    known = self._orphans.get((actor, counter), ZERO)  # what an earlier journal of it had
                    self._orphans[actor, counter] = merged(known, row)
        self._oracle.forget_acknowledged_at(node)

    def put_back(self, node: str, disk: Contents, older: Contents, actor: Actor) -> None:
        """The disk of a node that writes as `actor` is replaced by an older copy of it."""
        for counter, top in disk.rows.get(actor, {}).items():
            base = older.row(actor, counter)
            self._forks[actor, counter] = _Fork(node, base, top, base)
        self.lost_disks.append((node, disk))
        self._oracle.forget_acknowledged_at(node)

    def committed(self, commit: Commit) -> None:
        """A commit is durable; rows of a forked actor in it are the new life's."""
        for actor, _, _, rows, _ in commit.stored:
            for counter, row in rows.items():
                if actor == commit.actor and (actor, counter) in self._forks:
                    fork = self._forks[actor, counter]
                    fork.ours = merged(fork.ours, as_row(row))

    def count_orphans(self, stores: list[RowOf]) -> None:
        """Rows whose journal is gone live on in these stores; what none of them has may be lost."""
        for (actor, counter), row in self._orphans.items():
            stored = [row_of(actor, counter) for row_of in stores]
            p, n = max((each.p for each in stored), default=0), max((each.n for each in stored), default=0)
            self._oracle.may_be_lost(actor, counter, max(0, row.p - p), max(0, row.n - n))

    def count_forks(self, row_of: RowOf) -> None:
        """All nodes agree on these rows in the end; what is missing of forked ones may be lost."""
        for (actor, counter), fork in self._forks.items():
            final = row_of(actor, counter)
            self._oracle.may_be_lost(f"fork of {actor}", counter, fork.lost(final, 0), fork.lost(final, 1))
