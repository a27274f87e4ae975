"""Named counters: every actor's rows with their versions, and the totals kept up to date so that a read is O(1).

Pure. It knows nothing of nodes, messages or time. A row is `(actor, counter) -> (p, n, version)`; merging one is
always safe, so any subset of rows is a valid message. What a message may *claim* is another matter:

- The rows of one actor are held in two parts. The **prefix** is what we can vouch for: every row up to `version`, with
  an index by version, so that a delta costs the rows it takes and not the rows held. Rows that came without what goes
  before them are **ahead**: they count, but no version claims them.
- A delta `(since, rows)` is all of an actor's rows with versions above `since` up to that of its last row. It joins
  the prefix only if `since` is not above the version held (else there would be a gap), and raises the version to that
  of its last row, never further: whoever cut it short may hold more.
- Equal versions are not yet equal state: a row at version 3 is rewritten at 7, a delta cut at 5 skips it, and every
  holder of 7 dies. So a digest entry is a version and a hash of the prefix. It hashes what is ahead as well: if its
  writer and all who held what goes before it are gone, nobody will ever close the gap, and still it must spread.
- For the same reason a version does not yet tell that a *write* is held: at 5, the one of version 3 is not. So a delta
  tells its **target**, the version of the state that its rows were taken from. From there on the prefix is **whole**:
  it holds what every write up to its version came to. Until then nothing may be promised about single writes.

Sources: deltas after Almeida, Shoker, Baquero, "Delta state replicated data types", J. Parallel Distrib. Comput. 111
(2018), section 6 (causal merging condition); versions per actor after van Renesse, Dumitriu, Gough, Thomas, "Efficient
reconciliation and flow control for anti-entropy protocols", LADIS 2008, section 3 (Scuttlebutt).
"""

from base64 import urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple, NewType, cast

from gossip_counter.node.core.counts import NOTHING, Counts, Row, as_row, merged

Actor = NewType("Actor", str)
"""Who wrote a row. Opaque everywhere but in `mint`."""

NamedRow = tuple[str, Row]
"""A counter's name and a row of it."""

_WRAP = 2**64


class Stored(NamedTuple):
    """Rows of one actor as a journal takes and gives them, and how far those it holds then reach.

    All rows up to `version` are held, as of the actor's state at `target`; rows above it stand ahead of a gap.
    """

    actor: Actor
    version: int
    target: int
    rows: Mapping[str, Counts]
    """By counter."""


def mint(name: str, epoch: int) -> Actor:
    """The actor of one life of the node `name`: `epoch` is a random number in [0, 2**63) that no other life has."""
    return Actor(f"{name}.{urlsafe_b64encode(epoch.to_bytes(8)).decode().rstrip('=')}")


def row_hash(actor: Actor, counter: str, row: Counts) -> int:
    """A 64-bit hash of one row, the same in every process; lengths keep two names from running together.

    The version is left out: an actor's `(p, n)` fixes it, and nodes that speak the seed's `replicate` tell none.
    """
    text = f"{row[0]} {row[1]} {len(actor)} {actor}{counter}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


class Held(NamedTuple):
    """A digest entry: every row of an actor up to `version` is held, and these hash to `hash`; others to `ahead`."""

    version: int = 0
    hash: int = 0
    ahead: int = 0


NONE_HELD = Held()


class _Log:
    """One actor's rows: the prefix, with an index by version, and those ahead of it.

    Hashes and index are brought up to date when somebody asks for them (`settle`): a counter that is written a thousand
    times between two gossip messages is hashed once. The index is two lists side by side, in ascending order of
    version. A row that is rewritten leaves its old entry behind, which is passed over, and swept out when such entries
    outnumber the rows.
    """

    __slots__ = (
        "_rows", "ahead", "ahead_hash", "hash", "names", "target", "unsettled", "unsettled_ahead", "version",
        "versions", "whole", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self._rows: dict[str, Counts] = {}
        """The very tuples that were written, which a journal may hold too."""
        self.written: dict[str, Counts] = {}
        """Rows that take the place of those, as soon as anybody asks for them."""
        self.ahead: dict[str, Row] = {}
        self.version = 0
        self.target = 0
        self.whole = 0
        self.unsettled: dict[str, Counts] = {}
        """By counter, the row of the prefix that hash and index still stand for, of those that may have changed."""
        self.unsettled_ahead: dict[str, Row] = {}
        """The same for those ahead of it; each of them is in both."""
        self.hash = 0
        self.ahead_hash = 0
        self.versions: list[int] = []
        self.names: list[str] = []

    @property
    def rows(self) -> dict[str, Counts]:
        """The prefix."""
        if self.written:
            written, self.written = self.written, {}
            held, unsettled = self._rows, self.unsettled
            for counter in written:
                if counter not in unsettled:
                    unsettled[counter] = held.get(counter, NOTHING)
            held.update(written)
        return self._rows

    def counts(self, counters: Collection[str]) -> list[Counts]:
        """The rows of the prefix of some counters, zeros where there is none."""
        written, held = self.written, self._rows
        newest = list(map(written.get, counters))
        if all(newest):  # most often
            return cast(list[Counts], newest)
        return [mine or held.get(counter, NOTHING) for counter, mine in zip(counters, newest, strict=True)]

    def write(self, rows: dict[str, Counts]) -> list[str]:
        """Put newer rows into the prefix; the counters that had none."""
        written, held = self.written, self._rows
        before = len(written)
        written.update(rows)
        added = islice(reversed(written), len(written) - before)  # a dict keeps the order in which keys were added
        return [counter for counter in added if counter not in held][::-1]

    def visible(self, counter: str) -> Row | None:
        row = self.ahead.get(counter) or self.written.get(counter) or self._rows.get(counter)
        return as_row(row) if row else None

    def settle(self, actor: Actor) -> int:
        """Bring hashes and index up to date; by how much the hash of the rows that count changes."""
        difference, rows = 0, self.rows
        for counter, old in self.unsettled.items():
            was, now = _hash_of(actor, counter, old), _hash_of(actor, counter, rows.get(counter, NOTHING))
            self.hash += now - was
            if counter in self.unsettled_ahead:
                was_ahead = _hash_of(actor, counter, self.unsettled_ahead[counter])
                now_ahead = _hash_of(actor, counter, self.ahead.get(counter, NOTHING))
                self.ahead_hash += now_ahead - was_ahead
                was, now = was_ahead or was, now_ahead or now
            elif counter in self.ahead:
                continue  # which counts in place of the one in the prefix
            difference += now - was
        self.hash %= _WRAP
        self.ahead_hash %= _WRAP
        self._index()
        self.unsettled = {}
        self.unsettled_ahead = {}
        return difference

    def _index(self) -> None:
        """Cost: constant for rows newer than all before, amortised."""
        changed = ((counter, old, self.rows.get(counter, NOTHING)) for counter, old in self.unsettled.items())
        fresh = [
            (row[2], counter)
            for counter, old, row in changed
            if row is not NOTHING and (old is NOTHING or row[2] != old[2])
        ]
        for version, counter in sorted(fresh):
            at = len(self.versions)
            if at and version < self.versions[-1]:  # a hole far back is mended, or someone forges
                at = bisect_right(self.versions, version)
            self.versions.insert(at, version)
            self.names.insert(at, counter)
        if len(self.names) > 2 * len(self.rows) + 8:
            kept = sorted(self.rows.items(), key=_by_version)
            self.names = [name for name, _ in kept]
            self.versions = [held[2] for _, held in kept]

    def move_ahead(self, counter: str, row: Row | None) -> None:
        """Keep a row ahead of the prefix, or no more."""
        self.unsettled.setdefault(counter, self.rows.get(counter, NOTHING))
        self.unsettled_ahead.setdefault(counter, self.ahead.get(counter, NOTHING))
        if row:
            self.ahead[counter] = row
        else:
            del self.ahead[counter]

    def newer(self, since: int, most: int) -> Iterator[NamedRow]:
        last, rows = since, self.rows
        for at in range(bisect_right(self.versions, since), len(self.versions)):
            row = as_row(rows[self.names[at]])
            if row.version == self.versions[at]:
                most -= 1
                if most < 0 and row.version > last:
                    return
                last = row.version
                yield self.names[at], row


class State:
    """What one node knows: all rows it holds, the total of each counter, and a hash of it all.

    `fingerprint` is the order-free hash of every row that counts: the sum, modulo 2**64, of their hashes. Two states
    are equal exactly when their fingerprints are, but for one chance in 2**64. `counted` is the sum of every p and n:
    of two states one of which holds all that the other does, it is larger in that one. `shrinking_rows` counts newer
    rows with smaller counts, which nobody honest writes; the maximum takes nothing from them.
    """

    def __init__(self) -> None:
        self._logs: dict[Actor, _Log] = {}
        self._totals: dict[str, int] = {}
        self.names: list[str] = []
        """Every counter that has a row, in the order in which they were first heard of; none ever goes."""
        self._digest: dict[Actor, Held] | None = None
        self._unsettled: set[Actor] = set()
        self._fingerprint = 0
        self.row_count = 0
        self.counted = 0
        self.shrinking_rows = 0

    def __iter__(self) -> Iterator[tuple[Actor, str, Row]]:
        for actor, log in self._logs.items():
            for counter, row in log.rows.items():
                if counter not in log.ahead:
                    yield actor, counter, as_row(row)
            for counter, row in log.ahead.items():
                yield actor, counter, row

    def __contains__(self, actor: Actor) -> bool:
        return actor in self._logs

    def row(self, actor: Actor, counter: str) -> Row:
        """The row that counts, or one of zeros."""
        log = self._logs.get(actor)
        return (log.visible(counter) if log else None) or NOTHING

    def prefix(self, actor: Actor, counters: Collection[str]) -> list[Counts]:
        """An actor's rows up to `version` of some counters, zeros where there is none."""
        log = self._logs.get(actor)
        return log.counts(counters) if log else [NOTHING] * len(counters)

    def rows_of(self, counter: str) -> Iterator[Row]:
        """Every actor's row of one counter; cost: the actors held."""
        return (row for log in self._logs.values() if (row := log.visible(counter)))

    def value(self, counter: str) -> int:
        """The counter's value, 0 for one nobody has written; O(1)."""
        return self._totals.get(counter, 0)

    @property
    def totals(self) -> Mapping[str, int]:
        """The value of every counter that has a row."""
        return self._totals

    def has(self, counter: str) -> bool:
        """Whether anybody ever wrote to a counter."""
        return counter in self._totals

    @property
    def counters(self) -> int:
        """How many counters have a row."""
        return len(self._totals)

    @property
    def actors(self) -> int:
        """How many actors have a row."""
        return len(self._logs)

    def version(self, actor: Actor) -> int:
        """The version up to which every row of an actor is held; 0 for none."""
        log = self._logs.get(actor)
        return log.version if log else 0

    def target(self, actor: Actor) -> int:
        """The version of the state that the prefix was taken from: above `version` while a delta was cut short."""
        log = self._logs.get(actor)
        return max(log.version, log.target) if log else 0

    def whole(self, actor: Actor) -> int:
        """The version up to which every single write of an actor is held."""
        log = self._logs.get(actor)
        return log.whole if log else 0

    def covered_at(self, actor: Actor) -> int:
        """The version at which another state, whole up to there, holds all of an actor that this one does."""
        log = self._logs.get(actor)
        return max(log.version, log.target, *(row.version for row in log.ahead.values())) if log else 0

    @property
    def fingerprint(self) -> int:
        """The hash of all rows that count; cost: the rows that changed since anybody asked."""
        self._settle()
        return self._fingerprint

    def _settle(self) -> None:
        for actor in self._unsettled:
            self._fingerprint = (self._fingerprint + self._logs[actor].settle(actor)) % _WRAP
        self._unsettled.clear()

    def digest(self) -> dict[Actor, Held]:
        """For each actor, what is held of it; actors in ascending order. Not to be changed: it is made once a merge."""
        if self._digest is None:
            self._settle()
            logs = sorted(self._logs.items())
            self._digest = {actor: Held(log.version, log.hash, log.ahead_hash) for actor, log in logs}
        return self._digest

    def newer(self, actor: Actor, since: int, most: int) -> tuple[NamedRow, ...]:
        """The oldest `most` rows of the prefix with versions above `since`, ascending; more if they share a version.

        Cost: the rows returned, and old entries of rewritten rows among them, whatever is held below.
        """
        log = self._logs.get(actor)
        if log is None:
            return ()
        if log.unsettled or log.written:
            self._settle()
        return tuple(log.newer(since, most))

    def ahead(self, actor: Actor) -> tuple[NamedRow, ...]:
        """The rows held that no version claims, in no order."""
        log = self._logs.get(actor)
        return tuple(log.ahead.items()) if log else ()

    def merge(self, actor: Actor, since: int | None, rows: Sequence[NamedRow], target: int = 0) -> list[NamedRow]:
        """Take in rows of one actor; those that were news, as they count now.

        `since` makes them a delta, in ascending order of version, taken from the actor's state at `target` or at its
        last row, whichever is later; None is for rows that claim nothing.
        """
        rows = [named for named in rows if named[1].p or named[1].n]
        if not rows:
            return []
        log = self._logs.get(actor)
        if log is None:
            log = self._logs[actor] = _Log()
        self._digest = None
        self._unsettled.add(actor)
        if since is None or since > log.version:
            return self._take(log, rows, log.version)
        upto = max(log.version, rows[-1][1].version)
        self._catch_up(log, upto)
        news = self._take(log, rows, upto)
        if upto > log.version:
            log.version, log.target = upto, max(log.target, target)
        if log.version >= log.target:
            log.whole = log.version
        return news

    def write(self, actor: Actor, rows: dict[str, Counts], net: dict[str, int], counted: int) -> None:
        """Put newer rows of an actor, in ascending order of version, in the place of those that they were made from.

        `net` is by how much each counter's total changes, `counted` the sum of all p and n that are added. It comes to
        what `merge` would do, in a fraction of the time, where nobody else has changed any of the actor's rows and none
        stands ahead.
        """
        log = self._logs.get(actor)
        if log is None:
            log = self._logs[actor] = _Log()
        totals, new = self._totals, log.write(rows)
        if new:
            self.row_count += len(new)
            unheard = [name for name in new if name not in totals]
            self.names += unheard
            totals.update(dict.fromkeys(unheard, 0))
        for name, delta in net.items():
            totals[name] += delta
        self.counted += counted
        log.version = next(reversed(rows.values()))[2]
        if log.version >= log.target:
            log.whole = log.version
        self._digest = None
        self._unsettled.add(actor)

    def restore(self, stored: Stored) -> None:
        """Take in what a journal held of one actor; `stored.rows` are all its rows there."""
        rows = sorted(((counter, as_row(row)) for counter, row in stored.rows.items()), key=_by_version)
        upto = bisect_right(rows, stored.version, key=_by_version)
        # A row ahead hides the older one that it replaces: the version is that of the last row we can still give, and
        # what it hides we no longer hold.
        target = max(stored.target, rows[-1][1].version if rows else 0)
        self.merge(stored.actor, 0, rows[:upto], target)
        self.merge(stored.actor, None, rows[upto:])

    def _take(self, log: _Log, rows: Sequence[NamedRow], upto: int) -> list[NamedRow]:
        """Keep each row, in the prefix if it is not above `upto`, else ahead of it; what was news."""
        prefix, ahead, unsettled = log.rows, log.ahead, log.unsettled
        news = []
        for counter, row in rows:
            held, old_ahead = prefix.get(counter), ahead.get(counter)
            old = as_row(held) if held else None
            mine = new = old_ahead or old or NOTHING
            if row.version <= upto:
                kept = merged(old, row) if old else row
                if kept is not old:
                    unsettled.setdefault(counter, old or NOTHING)
                    prefix[counter] = new = kept
            if old_ahead or row.version > upto:
                new = merged(mine, row)
                if new is not old_ahead:
                    log.move_ahead(counter, new)
            if new is not row:
                self._note_shrinking(mine, row)
            if new.p != mine.p or new.n != mine.n:
                self._count(counter, mine, new)
                news.append((counter, new))
        return news

    def _count(self, counter: str, mine: Row, new: Row) -> None:
        """Let a row count in place of another."""
        grew_p, grew_n = new.p - mine.p, new.n - mine.n
        if mine is NOTHING:
            self.row_count += 1
            if counter not in self._totals:
                self._totals[counter] = 0
                self.names.append(counter)
        self._totals[counter] += grew_p - grew_n
        self.counted += grew_p + grew_n

    def _note_shrinking(self, mine: Row, row: Row) -> None:
        if row.version > mine.version and (row.p < mine.p or row.n < mine.n):
            self.shrinking_rows += 1

    def _catch_up(self, log: _Log, upto: int) -> None:
        """Move into the prefix what was ahead of it and is now covered."""
        for counter, row in [named for named in log.ahead.items() if named[1].version <= upto]:
            log.move_ahead(counter, None)
            log.rows[counter] = merged(as_row(log.rows.get(counter, NOTHING)), row)


def _hash_of(actor: Actor, counter: str, row: Counts) -> int:
    return row_hash(actor, counter, row) if row[0] or row[1] else 0


def _by_version(named: tuple[str, Counts]) -> int:
    return named[1][2]
