"""The virtual disk: what a journal stores, without the file.

Pure. It outlives the node that writes it, can be lost, and can be replaced by an older copy.
"""

from dataclasses import dataclass, field

from gossip_counter.node.core.counts import NOTHING, Row
from gossip_counter.node.core.replica import Commit, Recovered
from gossip_counter.node.core.state import Actor, Stored


@dataclass(slots=True)
class Disk:
    """The rows of every actor that were made durable at one node."""

    actor: Actor | None = None
    """As whom the node wrote last; None on an empty disk."""
    rows: dict[Actor, dict[str, Row]] = field(default_factory=dict)
    """By actor and counter."""
    reach: dict[Actor, tuple[int, int]] = field(default_factory=dict)
    """By actor, version and target."""

    def write(self, commit: Commit) -> None:
        """Make all of a commit durable."""
        self.actor = commit.actor
        for actor, version, target, rows in commit.stored:
            self.rows.setdefault(actor, {}).update((name, Row(*counts)) for name, counts in rows.items())
            self.reach[actor] = version, target

    def recovered(self) -> Recovered | None:
        """What a node that starts on this disk is given; None if the disk is empty."""
        if self.actor is None:
            return None
        stored = (Stored(actor, *reach, dict(self.rows[actor])) for actor, reach in self.reach.items())
        return Recovered(self.actor, tuple(stored))

    def row(self, actor: Actor, counter: str) -> Row:
        """One row, zero if it was never written."""
        return self.rows.get(actor, {}).get(counter, NOTHING)
