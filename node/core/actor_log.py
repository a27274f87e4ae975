"""One actor's rows, by version.

Pure. They are held in two parts. The **contiguous** rows are what we can vouch for: every row of the actor up to
`version`, with an index by version, so that a delta costs the rows it takes and not the rows held. Rows that arrived
without what goes before them are **detached**: they count, but no version claims them.

A version does not yet tell that a single *write* is held. A row at version 3 is rewritten at 7; a delta cut at 5 skips
it. So a delta also carries its **source version**, that of the state it was cut from. Once the contiguous rows reach
it, they are **complete**: they hold what every write up to their version came to.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import NamedTuple, cast

from gossip_counter.node.core.counts import (
    ZERO,
    Actor,
    AnyRow,
    HeldRow,
    NamedRow,
    Row,
    as_row,
    counts_nothing,
    is_news,
    merged,
    row_hash,
)
from gossip_counter.node.core.detached import DetachedRows
from gossip_counter.node.core.holdings import NO_FLOORS, Floors

WRAP = 2**64
"""Hashes of rows are added up modulo this."""


class Change(NamedTuple):
    """A row that counts in place of another: `old` is ZERO where there was none."""

    counter: str
    old: AnyRow
    new: AnyRow


class ActorLog:
    """The rows of one actor.

    Hashes and index are brought up to date when somebody asks for them (`settle`): a counter that is written a thousand
    times between two gossip messages is hashed once. The index is two lists side by side, in ascending order of
    version. A row that is rewritten leaves its old entry behind, which is passed over, and swept out when such entries
    outnumber the rows.
    """

    __slots__ = (
        "_contiguous", "_fresh", "_index_names", "_index_versions", "_unsettled", "_unsettled_detached",
        "complete_version", "detached", "detached_hash", "floors", "hash", "shrinking_rows", "source_version",
        "unhashed", "version",
    )  # fmt: skip

    def __init__(self) -> None:
        self._contiguous: dict[str, HeldRow] = {}
        """The very tuples that were written, which a journal may hold too."""
        self._fresh: dict[str, HeldRow] = {}
        """Rows that take the place of those, as soon as anybody asks for them."""
        self.detached = DetachedRows()
        self.version = 0
        self.source_version = 0
        self.complete_version = 0
        self.hash = 0
        self.detached_hash = 0
        self.floors = NO_FLOORS
        self.unhashed = set[str]()
        """Counters whose rows are in no hash."""
        self.shrinking_rows = 0
        """How many arrived, as `State` has it."""
        self._unsettled: dict[str, HeldRow] = {}
        """By counter, the contiguous row that hash and index still stand for, of those that may have changed."""
        self._unsettled_detached: dict[str, AnyRow] = {}
        """The same for detached rows; each counter here is in both."""
        self._index_versions: list[int] = []
        self._index_names: list[str] = []

    @property
    def rows(self) -> dict[str, HeldRow]:
        """The contiguous rows."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            rows, unsettled = self._contiguous, self._unsettled
            for counter in fresh:
                if counter not in unsettled:
                    unsettled[counter] = rows.get(counter, ZERO)
            rows.update(fresh)
        return self._contiguous

    def going_on(self, since: int, rows: Sequence[NamedRow]) -> dict[str, HeldRow]:
        """Rows of a delta, by counter, if all are plain ones of counters that have none here, and come right after the
        contiguous rows and before all that are detached; else nothing.
        """
        if not rows or not since == self.version < rows[0][1].version:
            return {}
        new, known = dict[str, HeldRow](rows), (self._contiguous, self._fresh)
        is_new = len(new) == len(rows) and all(each.keys().isdisjoint(new) for each in known)
        is_plain = {*map(type, new.values())} == {Row} and not any(map(counts_nothing, new.values()))
        return new if is_new and is_plain and self.detached.are_above(rows[-1][1].version, new) else {}

    def contiguous(self, counters: Collection[str]) -> list[HeldRow]:
        """The contiguous rows of some counters, ZERO where there is none."""
        fresh, rows = self._fresh, self._contiguous
        newest = list(map(fresh.get, counters))
        if all(newest):  # most often
            return cast(list[HeldRow], newest)
        return [row or rows.get(counter, ZERO) for counter, row in zip(counters, newest, strict=True)]

    def visible(self, counter: str) -> AnyRow | None:
        """The row that counts; None if there is none."""
        row = self.detached.get(counter) or self._fresh.get(counter) or self._contiguous.get(counter)
        return as_row(row) if row else None

    def __iter__(self) -> Iterator[NamedRow]:
        """The rows that count."""
        detached = self.detached
        yield from ((counter, as_row(row)) for counter, row in self.rows.items() if counter not in detached)
        yield from detached.items()

    @property
    def covering_version(self) -> int:
        """The version at which another log, complete up to there, holds all that this one does."""
        return max(self.version, self.source_version, self.detached.version)

    def ties(self, version: int) -> int:
        """How many rows have this version. The log must be settled; cost: those rows."""
        versions, names, rows = self._index_versions, self._index_names, self.rows
        places = range(bisect_left(versions, version), bisect_right(versions, version))
        return self.detached.ties(version) + sum(rows.get(names[at], ZERO)[2] == version for at in places)

    def newer(self, since: int, most: int) -> Iterator[NamedRow]:
        """The oldest `most` contiguous rows with versions above `since`, ascending; more if they share a version.

        The log must be settled. Cost: the rows given, and old entries of rewritten rows among them.
        """
        last, rows, versions = since, self.rows, self._index_versions
        for at in range(bisect_right(versions, since), len(versions)):
            row = as_row(rows.get(self._index_names[at], ZERO))
            if row.version == versions[at]:
                most -= 1
                if most < 0 and row.version > last:
                    return
                last = row.version
                yield self._index_names[at], row

    # Changing it.

    def write(self, rows: dict[str, HeldRow]) -> list[str]:
        """Put newer rows, in ascending order of version, in the place of contiguous ones; the counters that had none.

        It comes to what `merge` would do, in a fraction of the time, where none of the actor's rows is detached.
        """
        fresh, contiguous = self._fresh, self._contiguous
        before = len(fresh)
        fresh.update(rows)
        first_seen = islice(reversed(fresh), len(fresh) - before)  # a dict keeps the order in which keys were added
        new = [counter for counter in first_seen if counter not in contiguous][::-1]
        self._reach(next(reversed(rows.values()))[2], 0)
        return new

    def merge(
        self,
        since: int | None,
        rows: Sequence[NamedRow],
        source_version: int,
        reach: int,
        going_on: AbstractSet[str] = frozenset(),
    ) -> list[Change]:
        """Take in rows; the changes to what counts. The rest is as `State.merge` has it.

        Of rows that were forgotten, those of `going_on` are stored again.
        """
        if since is None or since > self.version:
            return self._take(rows, self.version, going_on)
        upto = max(self.version, reach)
        changes = self._attach(upto) if self.detached else []
        changes += self._take(rows, upto, going_on)
        self._reach(upto, source_version)
        return changes

    def cut_from(self, source_version: int) -> None:
        """The rows that are written next were cut from a state at that version, where it is later than they are."""
        self.source_version = max(self.source_version, source_version)

    def _reach(self, version: int, source_version: int) -> None:
        """All contiguous rows up to `version` are held now, cut from a state at `source_version` or at `version`."""
        if version > self.version:
            self.version, self.source_version = version, max(self.source_version, source_version)
        if self.version >= self.source_version:
            self.complete_version = self.version

    def _take(self, rows: Sequence[NamedRow], upto: int, going_on: AbstractSet[str]) -> list[Change]:
        """Keep each row, with the contiguous ones if it is not above `upto`, else detached."""
        contiguous, detached, unsettled = self.rows, self.detached, self._unsettled
        changes = []
        for counter, row in rows:
            if self.floors.forgotten and self.has_forgotten(counter, row) and counter not in going_on:
                continue
            held, old_detached = contiguous.get(counter), detached.get(counter)
            old = as_row(held) if held else None
            counted = new = old_detached or old or ZERO
            if row.version <= upto:
                kept = merged(old, row) if old else row
                if kept is not old:
                    unsettled.setdefault(counter, old or ZERO)
                    contiguous[counter] = new = kept
            if old_detached or row.version > upto:
                new = merged(counted, row)
                if new is not old_detached:
                    self._detach(counter, new)
            shrinks = row.p < counted.p or row.n < counted.n
            if new is not row and shrinks and row.version > counted.version and type(row) is Row:
                self.shrinking_rows += 1
            if is_news(counted, new):
                changes.append(Change(counter, counted, new))
        return changes

    def has_forgotten(self, counter: str, row: AnyRow) -> bool:
        """Whether a row that arrives was forgotten."""
        return row.version <= self.forgotten.forgotten and self.visible(counter) is None

    @property
    def forgotten(self) -> Floors:
        """The versions up to which a row that is not here was forgotten, and was deleted."""
        return self.floors.upto(self.complete_version)

    def inherit(self, floors: Floors) -> None:
        """Whoever gave us all its rows had forgotten others up to there, which we have not either."""
        self.floors = self.floors.with_(floors)

    def unnamed(self, since: int, upto: int, named: AbstractSet[str]) -> list[tuple[str, int]]:
        """The counters and versions of contiguous rows of these versions, but for those named.

        The log must be settled.
        """
        if upto <= since:
            return []
        versions, names, rows = self._index_versions, self._index_names, self.rows
        places = range(bisect_right(versions, since), bisect_right(versions, upto))
        return [
            (counter, versions[at]) for at in places
            if (counter := names[at]) not in named and rows.get(counter, ZERO)[2] == versions[at]
            and counter not in self.detached
        ]  # fmt: skip

    def forget(self, counter: str, is_deleted: bool) -> None:
        """Let go of a counter's row, which there must be. `is_deleted`: because deletes took all of it."""
        self._note_unsettled(counter, self.detached.get(counter, ZERO))
        held, detached = self._contiguous.pop(counter, ZERO), self.detached.take_out(counter)
        version = max(held[2], detached.version)
        self.floors = self.floors.with_(Floors(version, version if is_deleted else 0))

    def _attach(self, upto: int) -> list[Change]:
        """Make contiguous what was detached and is covered now; where two processes wrote, it may count more then."""
        changes = []
        for counter, row in self.detached.take_upto(upto):
            self._note_unsettled(counter, row)
            self.rows[counter] = new = merged(as_row(self.rows.get(counter, ZERO)), row)
            if is_news(row, new):
                changes.append(Change(counter, row, new))
        return changes

    def _detach(self, counter: str, row: AnyRow) -> None:
        self._note_unsettled(counter, self.detached.get(counter, ZERO))
        self.detached.put(counter, row)

    def _note_unsettled(self, counter: str, detached: AnyRow) -> None:
        self._unsettled.setdefault(counter, self.rows.get(counter, ZERO))
        self._unsettled_detached.setdefault(counter, detached)

    # Hashes and index.

    @property
    def is_settled(self) -> bool:
        """Whether hashes and index stand for the rows of now."""
        return not (self._unsettled or self._fresh)

    def settle(self, actor: Actor) -> int:
        """Bring hashes and index up to date; by how much the hash of the rows that count changes."""
        difference, rows = 0, self.rows
        for counter, old in self._unsettled.items():
            was, now = self._hash(actor, counter, old), self._hash(actor, counter, rows.get(counter, ZERO))
            self.hash += now - was
            if counter in self._unsettled_detached:
                was_detached = self._hash(actor, counter, self._unsettled_detached[counter])
                now_detached = self._hash(actor, counter, self.detached.get(counter, ZERO))
                self.detached_hash += now_detached - was_detached
                was, now = was_detached or was, now_detached or now
            elif counter in self.detached:
                continue  # which counts in place of the contiguous one
            difference += now - was
        self.hash %= WRAP
        self.detached_hash %= WRAP
        self._index()
        if self.unhashed:
            gone = (each for each in self._unsettled if each not in rows and each not in self.detached)
            self.unhashed.difference_update(gone)
        self._unsettled = {}
        self._unsettled_detached = {}
        return difference

    def _hash(self, actor: Actor, counter: str, row: HeldRow) -> int:
        return 0 if row is ZERO or counter in self.unhashed else row_hash(actor, counter, row)

    def leave_out(self, actor: Actor, counter: str, is_out: bool) -> int:
        """Leave a counter's rows out of the hashes from now on, or not any more. The log must be settled.

        Returns by how much the hash of the rows that count changes.
        """
        (self.unhashed.add if is_out else self.unhashed.discard)(counter)
        held, detached = self._contiguous.get(counter, ZERO), self.detached.get(counter, ZERO)
        change, detached_change = (row_hash(actor, counter, row) * (-1 if is_out else 1) for row in (held, detached))
        self.hash = (self.hash + change) % WRAP
        self.detached_hash = (self.detached_hash + detached_change) % WRAP
        return change if detached is ZERO else detached_change

    def _index(self) -> None:
        """Cost: constant for rows newer than all before, amortised."""
        changed = ((counter, old, self.rows.get(counter, ZERO)) for counter, old in self._unsettled.items())
        fresh = [
            (row[2], counter) for counter, old, row in changed if row is not ZERO and (old is ZERO or row[2] != old[2])
        ]
        versions, names = self._index_versions, self._index_names
        for version, counter in sorted(fresh):
            at = len(versions)
            if at and version <= versions[-1]:  # a hole far back is repaired, or someone forges
                at = bisect_right(versions, version)
                if counter in names[bisect_left(versions, version) : at]:
                    continue  # a row that was forgotten is stored again
            versions.insert(at, version)
            names.insert(at, counter)
        if len(names) > 2 * len(self.rows) + 8:
            kept = sorted(self.rows.items(), key=by_version)
            self._index_names = [name for name, _ in kept]
            self._index_versions = [row[2] for _, row in kept]


def by_version(named: tuple[str, HeldRow]) -> int:
    """The key to sort named rows by."""
    return named[1][2]
