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
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, NewType

from node.counter import NOTHING, Row, merged

Actor = NewType("Actor", str)
"""Who wrote a row. Opaque everywhere but in `mint`."""

NamedRow = tuple[str, Row]
"""A counter's name and a row of it."""

_WRAP = 2**64
_HASHES = 4096


class Stored(NamedTuple):
    """Rows of one actor as a journal takes and gives them, and how far those it holds then reach.

    All rows up to `version` are held, as of the actor's state at `target`; rows above it stand ahead of a gap.
    """

    actor: Actor
    version: int
    target: int
    rows: tuple[NamedRow, ...]


def mint(name: str, epoch: int) -> Actor:
    """The actor of one life of the node `name`: `epoch` is a random number in [0, 2**63) that no other life has."""
    return Actor(f"{name}.{urlsafe_b64encode(epoch.to_bytes(8)).decode().rstrip('=')}")


@lru_cache(maxsize=_HASHES)
def row_hash(actor: Actor, counter: str, row: Row) -> int:
    """A 64-bit hash of one row, the same in every process; lengths keep two names from running together.

    The version is left out: an actor's `(p, n)` fixes it, and nodes that speak the seed's `replicate` tell none.
    """
    text = f"{row.p} {row.n} {len(actor)} {actor}{counter}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


class Held(NamedTuple):
    """A digest entry: every row of an actor up to `version` is held, and these hash to `hash`; others to `ahead`."""

    version: int = 0
    hash: int = 0
    ahead: int = 0


NONE_HELD = Held()


class _Log:
    """One actor's rows: the prefix, with an index by version, and those ahead of it.

    The index is two lists side by side, in ascending order of version. A row that is rewritten leaves its old entry
    behind, which is passed over, and swept out when such entries outnumber the rows.
    """

    __slots__ = ("ahead", "ahead_hash", "hash", "names", "rows", "target", "version", "versions", "whole")

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.versions: list[int] = []
        self.names: list[str] = []
        self.version = 0
        self.target = 0
        self.whole = 0
        self.hash = 0
        self.ahead: dict[str, Row] = {}
        self.ahead_hash = 0

    def visible(self, counter: str) -> Row | None:
        return self.ahead.get(counter) or self.rows.get(counter)

    def put(self, counter: str, row: Row) -> None:
        """Keep a row of the prefix; cost: constant for the newest, amortised."""
        old = self.rows.get(counter)
        self.rows[counter] = row
        if old and old.version == row.version:
            return
        if self.names and self.names[-1] == counter:
            self.names.pop()
            self.versions.pop()
        at = len(self.versions)
        if at and row.version < self.versions[-1]:  # a hole far back is mended, or someone forges
            at = bisect_right(self.versions, row.version)
        self.versions.insert(at, row.version)
        self.names.insert(at, counter)
        if len(self.names) > 2 * len(self.rows) + 8:
            kept = sorted(self.rows.items(), key=_by_version)
            self.names = [name for name, _ in kept]
            self.versions = [held.version for _, held in kept]

    def newer(self, since: int, most: int) -> Iterator[NamedRow]:
        last = since
        for at in range(bisect_right(self.versions, since), len(self.versions)):
            row = self.rows[self.names[at]]
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
        self.fingerprint = 0
        self.row_count = 0
        self.counted = 0
        self.shrinking_rows = 0

    def __iter__(self) -> Iterator[tuple[Actor, str, Row]]:
        for actor, log in self._logs.items():
            for counter, row in log.rows.items():
                if counter not in log.ahead:
                    yield actor, counter, row
            for counter, row in log.ahead.items():
                yield actor, counter, row

    def __contains__(self, actor: Actor) -> bool:
        return actor in self._logs

    def row(self, actor: Actor, counter: str) -> Row:
        """The row that counts, or one of zeros."""
        log = self._logs.get(actor)
        return (log.visible(counter) if log else None) or NOTHING

    def rows_of(self, counter: str) -> Iterator[Row]:
        """Every actor's row of one counter; cost: the actors held."""
        return (row for log in self._logs.values() if (row := log.visible(counter)))

    def value(self, counter: str) -> int:
        """The counter's value, 0 for one nobody has written; O(1)."""
        return self._totals.get(counter, 0)

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

    def digest(self) -> dict[Actor, Held]:
        """For each actor, what is held of it; actors in ascending order. Not to be changed: it is made once a merge."""
        if self._digest is None:
            logs = sorted(self._logs.items())
            self._digest = {actor: Held(log.version, log.hash, log.ahead_hash) for actor, log in logs}
        return self._digest

    def newer(self, actor: Actor, since: int, most: int) -> tuple[NamedRow, ...]:
        """The oldest `most` rows of the prefix with versions above `since`, ascending; more if they share a version.

        Cost: the rows returned, and old entries of rewritten rows among them, whatever is held below.
        """
        log = self._logs.get(actor)
        return tuple(log.newer(since, most)) if log else ()

    def ahead(self, actor: Actor) -> tuple[NamedRow, ...]:
        """The rows held that no version claims, in no order."""
        log = self._logs.get(actor)
        return tuple(log.ahead.items()) if log else ()

    def merge(self, actor: Actor, since: int | None, rows: Sequence[NamedRow], target: int = 0) -> list[NamedRow]:
        """Take in rows of one actor; those that were news, as they count now.

        `since` makes them a delta, in ascending order of version, taken from the actor's state at `target` or at its
        last row, whichever is later; None is for rows that claim nothing.
        """
        rows = _distinct(rows)
        if not rows:
            return []
        self._digest = None
        log = self._logs.setdefault(actor, _Log())
        news = [named for named in (self._count(actor, log, *each) for each in rows) if named]
        if since is not None and since <= log.version:
            self._extend(actor, log, rows, target)
        else:
            self._set_aside(actor, log, rows)
        return news

    def restore(self, stored: Stored) -> None:
        """Take in what a journal held of one actor; `stored.rows` are all its rows there."""
        rows = sorted(stored.rows, key=_by_version)
        upto = bisect_right(rows, stored.version, key=_by_version)
        # A row ahead hides the older one that it replaces: the version is that of the last row we can still give, and
        # what it hides we no longer hold.
        target = max(stored.target, rows[-1][1].version if rows else 0)
        for at in range(0, upto, _HASHES // 2):  # in parts, so that no row is hashed twice
            self.merge(stored.actor, 0, rows[at : min(at + _HASHES // 2, upto)], target)
        self.merge(stored.actor, None, rows[upto:])

    def _count(self, actor: Actor, log: _Log, counter: str, row: Row) -> NamedRow | None:
        """Let a row count: totals and fingerprint. It is kept by the caller, who knows what it may claim."""
        mine = log.visible(counter) or NOTHING
        new = merged(mine, row)
        if row.version > mine.version and (row.p < mine.p or row.n < mine.n):
            self.shrinking_rows += 1
        if (new.p, new.n) == (mine.p, mine.n):
            return None
        if mine is NOTHING:
            self.row_count += 1
        else:
            self.fingerprint -= row_hash(actor, counter, mine)
        self.fingerprint = (self.fingerprint + row_hash(actor, counter, new)) % _WRAP
        grew_p, grew_n = new.p - mine.p, new.n - mine.n
        if counter in self._totals:
            self._totals[counter] += grew_p - grew_n
        else:
            self._totals[counter] = grew_p - grew_n
            self.names.append(counter)
        self.counted += grew_p + grew_n
        return counter, new

    def _extend(self, actor: Actor, log: _Log, rows: Sequence[NamedRow], target: int) -> None:
        """Join a delta without a gap to the prefix, and with it what was ahead and is now covered."""
        upto = max(log.version, rows[-1][1].version)
        covered = [named for named in log.ahead.items() if named[1].version <= upto]
        for counter, _ in covered:
            self._move_ahead(actor, log, counter, None)
        joined = sorted([*covered, *rows], key=_by_version) if covered else rows
        self._keep(actor, log, joined)
        if upto > log.version:
            log.version, log.target = upto, max(log.target, target)
        if log.version >= log.target:
            log.whole = log.version

    def _set_aside(self, actor: Actor, log: _Log, rows: Sequence[NamedRow]) -> None:
        """Keep rows that claim nothing: the old ones mend the prefix, the others wait ahead of it."""
        self._keep(actor, log, [named for named in rows if named[1].version <= log.version])
        for counter, row in rows:
            if row.version > log.version:
                self._move_ahead(actor, log, counter, merged(log.visible(counter) or NOTHING, row))

    def _move_ahead(self, actor: Actor, log: _Log, counter: str, new: Row | None) -> None:
        old = log.ahead.pop(counter, None)
        if old:
            log.ahead_hash = (log.ahead_hash - row_hash(actor, counter, old)) % _WRAP
        if new:
            log.ahead[counter] = new
            log.ahead_hash = (log.ahead_hash + row_hash(actor, counter, new)) % _WRAP

    def _keep(self, actor: Actor, log: _Log, rows: Sequence[NamedRow]) -> None:
        for counter, row in rows:
            old = log.rows.get(counter)
            new = merged(old, row) if old else row
            if new != old:
                log.hash -= row_hash(actor, counter, old) if old else 0
                log.hash = (log.hash + row_hash(actor, counter, new)) % _WRAP
                log.put(counter, new)
            if counter in log.ahead:
                self._move_ahead(actor, log, counter, merged(log.ahead[counter], new))


def _distinct(rows: Sequence[NamedRow]) -> list[NamedRow]:
    """Rows that count something, each counter once, the order of versions kept; nobody honest names one twice."""
    by_counter: dict[str, Row] = {}
    for counter, row in rows:
        if row.p or row.n:
            before = by_counter.pop(counter, None)
            by_counter[counter] = merged(before, row) if before else row
    return list(by_counter.items())


def _by_version(named: NamedRow) -> int:
    return named[1].version
