"""What commits add up to: the newest row of each counter, and how far the rows of each actor reach."""

from dataclasses import dataclass, field

from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor, HeldRow
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.holdings import Floors, Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.roster import MemberRecord, too_old


@dataclass(slots=True)
class Contents:
    """The contents of a journal, or of some of its entries. Rows are the tuples that were committed, not copies."""

    actor: Actor | None = None
    """Who this node writes as; None if it has not written yet, or began a new life and has not written since."""
    versions: dict[Actor, tuple[int, int, Floors]] = field(default_factory=dict)
    """By actor, its version, its source version and its floors, as in `Stored`."""
    rows: dict[Actor, dict[str, HeldRow]] = field(default_factory=dict)
    """By actor and counter; ZERO for one that was forgotten."""
    row_count: int = 0
    cluster_id: ClusterId | None = None
    members: dict[str, MemberRecord] = field(default_factory=dict)
    """By name."""

    def add(self, commit: Commit) -> None:
        """Let a commit follow those before."""
        self.actor = commit.actor
        self.cluster_id = commit.cluster_id or self.cluster_id
        self.members.update((record.name, record) for record in commit.members)
        for name in too_old(self.members):
            del self.members[name]
        for actor, version, source_version, rows, floors in commit.stored:
            self.versions[actor] = version, source_version, floors
            mine = self.rows.setdefault(actor, {})
            before = len(mine)
            mine.update(rows)
            self.row_count += len(mine) - before

    def recovered(self) -> Recovered | None:
        """What the core starts from; None if nothing was committed. Raises `KeyError` for rows of an unknown actor."""
        if not (self.actor or self.rows or self.cluster_id or self.members):
            return None
        stored = tuple(self._stored(actor, rows) for actor, rows in sorted(self.rows.items()))
        return Recovered(self.actor, stored, self.cluster_id, tuple(self.members.values()))

    def _stored(self, actor: Actor, rows: dict[str, HeldRow]) -> Stored:
        version, source_version, floors = self.versions[actor]
        return Stored(actor, version, source_version, rows, floors)
