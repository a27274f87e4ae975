"""Writes on their way to the disk.

Pure. What is added while a commit is under way gathers here by counter, in whatever order it comes. What our rows will
be is settled when the commit begins, on top of what is durable then. So nothing that waits has to be corrected when a
commit fails, or when we become another actor.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gossip_counter.node.core import counts
from gossip_counter.node.core.counts import EndingRow, HeldRow
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.increases import Outcome


@dataclass(slots=True)
class Tally:
    """By counter, what adds come to (`net`), and how much of that was subtracted (`minus`, where anything was)."""

    net: dict[str, int] = field(default_factory=dict)
    minus: dict[str, int] = field(default_factory=dict)

    def add(self, counter: str, delta: int) -> None:
        """One more add, which is not 0."""
        self.net[counter] = self.net.get(counter, 0) + delta
        if delta < 0:
            self.minus[counter] = self.minus.get(counter, 0) - delta

    def forget(self, counter: str, delta: int) -> None:
        """Take back what was added once, or several times."""
        self.net[counter] -= delta
        if delta < 0:
            self.minus[counter] += delta

    def include(self, other: "Tally") -> None:
        """Add all that another one has."""
        for mine, theirs in ((self.net, other.net), (self.minus, other.minus)):
            for counter, count in theirs.items():
                mine[counter] = mine.get(counter, 0) + count

    def of(self, counter: str) -> tuple[int, int]:
        """What was added to a counter, and what was subtracted: none is negative."""
        minus = self.minus.get(counter, 0)
        return self.net.get(counter, 0) + minus, minus

    def rows(self, held: Iterable[HeldRow], version: int) -> dict[str, HeldRow]:
        """What this makes of the rows `held`, one for each counter: the writes that come after number `version`."""
        return counts.written(self.net, self.minus, held, version)

    @property
    def counted(self) -> int:
        """By how much all p and n grow together."""
        return sum(self.net.values()) + 2 * sum(self.minus.values())


@dataclass(slots=True)
class Pending:
    """A write whose reply waits until it is durable."""

    client: Client
    request_id: object
    values: Sequence[Outcome]
    """Of a submitted write, what each of its adds comes to, or why it was refused. Of a request there are none."""
    copies: int = 1
    """How many members must hold it durably."""
    is_request: bool = False
    """It is an `Add` or a `Delete`: answered with a token, or with an ErrorReply."""
    existed: bool | None = None
    """Of a `Delete`, whether there was such a counter."""
    is_reapplied: bool = False
    """Max-merge absorbed some of it, which is in a later batch again: more than one actor wrote it, and it stays."""
    error: RequestError | None = None
    """Why it was refused, where its reply has to wait for one before it."""


@dataclass(slots=True)
class Batch(Tally):
    """Adds that share a commit, and the writes that they belong to."""

    unchecked: int = 0
    """How much was added, at most, without a look at whether it makes a counter large."""
    new_rows: int | None = None
    """How many rows all that waits for the disk will add, where that had to be known."""
    waiting: list[Pending] = field(default_factory=list)
    """In the order in which they were submitted."""
    ending: dict[str, EndingRow] = field(default_factory=dict)
    """Our own rows of counters that end, as they will be; these have no `net`."""
    ended: Tally = field(default_factory=Tally)
    """The adds among what those rows come to."""
    reapplied: list[tuple[str, int]] = field(default_factory=list)
    """Those of its adds that re-apply what was absorbed. They were durable once, and must not fail with the disk."""

    def put(self, counter: str, delta: int) -> None:
        """Add without a look at whether the counter becomes large."""
        self.add(counter, delta)
        self.unchecked += abs(delta)

    @property
    def counters(self) -> int:
        """How many counters it changes."""
        return len(self.net) + len(self.ending)

    def __contains__(self, counter: str) -> bool:
        """Whether it changes a counter."""
        return counter in self.net or counter in self.ending

    def put_row(self, counter: str, row: EndingRow) -> None:
        """Have a counter that ends come to this row of our own, of which its adds so far are a part."""
        self.ending[counter] = row
        if counter in self.net:
            self.ended.include(Tally({counter: self.net.pop(counter)}, {counter: self.minus.pop(counter, 0)}))
