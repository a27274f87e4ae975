"""What a log of the model of counters that end holds, and what of it is sent.

The words are explained in lives_rules.py.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Row(NamedTuple):
    version: int = 0
    p: int = 0
    n: int = 0
    born: int = 0
    base_p: int = 0
    """What deletes took of p and n, as far as the owner knows."""
    base_n: int = 0
    life: int = 0
    stamp: int = 0
    deadline: int = 0
    before: tuple[int, int, int] = (0, 0, 0)
    """What was last said of the life that the row was in before: that life, the stamp and the deadline."""
    until: int = 0
    """How long the deadline must be remembered, because it came before one that others may know."""


class Seen(NamedTuple):
    """What a deleter's node stored of one actor's row."""

    born: int
    p: int
    n: int


class Marker(NamedTuple):
    version: int
    seen: tuple[tuple[str, Seen], ...]
    """By actor, ascending."""
    forget_at: int


Record = Row | Marker
Key = tuple[str, bool]
"""A counter, and whether it is the marker that its actor wrote of it."""


class Delta(NamedTuple):
    """Rows of one actor: all with `since < version <= upto` if `since` is given; else they claim nothing."""

    actor: str
    since: int | None
    upto: int
    source: int
    """The version of the state that this was cut from."""
    floor: int
    records: tuple[tuple[Key, Record], ...]
    is_whole: bool = False
    """Whether it names every contiguous row above `since` that its sender stores."""
    deleted: int = 0
    """Up to here the sender does not take back what it forgot, whatever else is known of its life."""
    beside: frozenset[Key] = frozenset()
    """What its sender stores detached."""


@dataclass(slots=True)
class Log:
    """One actor's rows at one node. Rows above `version` are detached."""

    version: int = 0
    source: int = 0
    complete: int = 0
    floor: int = 0
    deleted: int = 0
    """The highest version of what deletes took wholly, and was forgotten: not above the floor."""
    rows: dict[str, Row] = field(default_factory=dict)
    markers: dict[str, Marker] = field(default_factory=dict)

    def copy(self) -> "Log":
        return replace(self, rows=dict(self.rows), markers=dict(self.markers))

    def records(self) -> list[tuple[Key, Record]]:
        rows: list[tuple[Key, Record]] = [((counter, False), row) for counter, row in self.rows.items()]
        return rows + [((counter, True), marker) for counter, marker in self.markers.items()]

    def get(self, key: Key) -> Record | None:
        return self.markers.get(key[0]) if key[1] else self.rows.get(key[0])

    def put(self, counter: str, record: Record) -> None:
        if isinstance(record, Row):
            self.rows[counter] = record
        else:
            self.markers[counter] = record

    @property
    def forgotten(self) -> int:
        """What is absent up to here was forgotten."""
        return min(self.floor, self.complete)

    @property
    def never_again(self) -> int:
        """What is absent up to here was deleted, or may have been."""
        return min(self.deleted, self.complete)

    @property
    def covering(self) -> int:
        """The version of a state that surely has all that this has."""
        rows = max((row.version for row in self.rows.values()), default=0)
        markers = max((marker.version for marker in self.markers.values()), default=0)
        return max(self.version, self.source, rows, markers)

    def reach(self, version: int, source: int) -> None:
        if version > self.version:
            self.version, self.source = version, max(self.source, source)
        if self.version >= self.source:
            self.complete = self.version

    def drop(self, key: Key, is_deleted: bool) -> None:
        """Forget a record; `is_deleted`: because deletes took all of it."""
        record = self.markers.pop(key[0]) if key[1] else self.rows.pop(key[0])
        self.floor = max(self.floor, record.version)
        if is_deleted:
            self.deleted = max(self.deleted, record.version)

    def detached(self) -> tuple[tuple[Key, Record], ...]:
        return tuple(named for named in self.records() if named[1].version > self.version)

    def delta(self, actor: str, since: int, most: int) -> Delta:
        """The `most` oldest rows above `since`. Only if none is left out does it reach our own version."""
        newer = [named for named in self.records() if since < named[1].version <= self.version]
        upto = self.version
        if most < len(newer):
            upto = sorted(each.version for _, each in newer)[most - 1]
        records = tuple(named for named in newer if named[1].version <= upto)
        is_whole = len(records) == len(newer)
        beside = frozenset(key for key, _ in self.detached())
        return Delta(actor, since, upto, self.covering, self.forgotten, records, is_whole, self.never_again, beside)


def both(one: Seen, other: Seen) -> Seen:
    """What two deletes took of one actor's row."""
    if one.born != other.born:
        return max(one, other)
    return Seen(one.born, max(one.p, other.p), max(one.n, other.n))


def takes(seen: Seen, row: Row) -> bool:
    """Whether a delete takes something of a row that its owner has not noted."""
    if seen.born != row.born:
        return seen.born > row.born
    return min(seen.p, row.p) > row.base_p or min(seen.n, row.n) > row.base_n
