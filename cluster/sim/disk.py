"""The virtual disk: what a journal stores, without the file, and how long a commit takes.

It outlives the processes that write it. It can fail or be slow for a while, be lost, and be replaced by an older copy.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random

from gossip_counter.cluster.sim.clock import MS
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import ZERO, Actor, AnyRow, as_row, counts_nothing
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.holdings import Floors, Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.roster import MemberRecord

SLOWNESS = 10
"""How many times longer a commit takes on a slow disk."""


class DiskError(Exception):
    """A commit failed. Nothing of it is durable."""


@dataclass(slots=True)
class Contents:
    """The rows of every actor that were made durable at one node."""

    actor: Actor | None = None
    """As whom the node wrote last; None on an empty disk."""
    rows: dict[Actor, dict[str, AnyRow]] = field(default_factory=dict)
    """By actor and counter."""
    reach: dict[Actor, tuple[int, int, Floors]] = field(default_factory=dict)
    """By actor, version, source version and floors."""
    cluster_id: ClusterId | None = None
    members: dict[str, MemberRecord] = field(default_factory=dict)

    def write(self, commit: Commit) -> None:
        """Make all of a commit durable."""
        self.actor = commit.actor
        self.cluster_id = commit.cluster_id or self.cluster_id
        self.members.update((record.name, record) for record in commit.members)
        for actor, version, source_version, rows, floors in commit.stored:
            self.rows.setdefault(actor, {}).update((counter, as_row(row)) for counter, row in rows.items())
            self.reach[actor] = version, source_version, floors

    def recovered(self) -> Recovered | None:
        """What a process that starts on this disk is given; None if the disk is empty."""
        if self.actor is None:
            return None
        stored = (
            Stored(actor, version, source_version, dict(self.rows[actor]), floors)
            for actor, (version, source_version, floors) in self.reach.items()
        )
        return Recovered(self.actor, tuple(stored), self.cluster_id, tuple(self.members.values()))

    @property
    def row_count(self) -> int:
        """How many rows there are, but for those that were forgotten."""
        return sum(not counts_nothing(row) for rows in self.rows.values() for row in rows.values())

    def row(self, actor: Actor, counter: str) -> AnyRow:
        """One row, ZERO if it was never written."""
        return self.rows.get(actor, {}).get(counter, ZERO)


class Disk:
    """The disk of one node, through all its lives."""

    def __init__(self, rng: Random, commit_ms: float, written: Callable[[Commit], None]) -> None:
        """A commit takes about `commit_ms`. `written` is called with each commit once it is durable."""
        self.contents = Contents()
        self.wrote_as: set[Actor] = set()
        """The actors as which the node's rows became durable, in all its lives and epochs."""
        self.fails = False
        self.has_failed = False
        """Whether it ever did."""
        self.is_slow = False
        self._rng = rng
        self._commit_ms = commit_ms
        self._written = written
        self._backup: Contents | None = None

    def commit(self, commit: Commit) -> None:
        """Make a commit durable. Raises `DiskError`."""
        if self.fails:
            raise DiskError("the disk fails")
        self.contents.write(commit)
        self.wrote_as.add(commit.actor)
        self._written(commit)

    def draw_ns(self) -> int:
        """How long the next commit takes: from a fifth of the usual time to nine fifths of it."""
        slowness = SLOWNESS if self.is_slow else 1
        return int(self._rng.uniform(0.2, 1.8) * self._commit_ms * slowness * MS)

    def fail(self) -> None:
        """Let no commit succeed until `fails` is False again."""
        self.fails = self.has_failed = True

    def lose(self) -> None:
        """Be replaced by an empty disk."""
        self.contents, self._backup = Contents(), None

    def back_up(self) -> None:
        """Copy all that is durable now."""
        self._backup = deepcopy(self.contents)

    @property
    def backup(self) -> Contents | None:
        """The last copy, if it could be mistaken for the present contents: it is of the same actor."""
        backup = self._backup
        return backup if backup and backup.actor and backup.actor == self.contents.actor else None

    def put_back(self, backup: Contents) -> None:
        """Go back to the last copy."""
        self.contents, self._backup = backup, None


class Journal:
    """A disk as the committer of one process sees it."""

    def __init__(self, disk: Disk, block: Callable[[int], None]) -> None:
        """`block` is called with the nanoseconds for which the process waits for the disk."""
        self.took_ns = 0
        self._disk = disk
        self._block = block
        self._is_aside = False

    def commit(self, commit: Commit, may_wait: bool = True) -> None:  # noqa: ARG002 no other process is here to wait for
        """Make a commit durable, which takes the process some time. Raises `DiskError`."""
        if not self._is_aside:
            self._block(self.begin())
        self._disk.commit(commit)

    def begin(self) -> int:
        """Begin a commit; the nanoseconds that it takes."""
        self.took_ns = self._disk.draw_ns()
        return self.took_ns

    def run_aside(self, work: Callable[[], None]) -> BaseException | None:
        """Run a commit that was begun, and for which the process does not wait; the error if it failed."""
        self._is_aside = True
        try:
            work()
        except DiskError as error:
            return error
        finally:
            self._is_aside = False
        return None
