"""What one node knows: the logs of all actors, the total of every counter, and a hash of it all.

Pure. It knows nothing of nodes, messages or time. Merging a row is always safe, so any subset of rows is a valid
message. What a message may *claim* is another matter:

- A delta `(since, rows)` is all of an actor's rows with versions above `since` up to that of its last row. It joins the
  contiguous rows only if `since` is not above the version held (else there would be a gap), and raises the version to
  that of its last row, never further: whoever cut it short may hold more.
- Equal versions are not yet equal state: a row at version 3 is rewritten at 7, a delta cut at 5 skips it, and every
  holder of 7 dies. So a digest entry is a version and a hash of the contiguous rows. It carries a hash of the detached
  rows as well: if their writer and all who held what goes before them are gone, nobody will ever close the gap, and
  still they must spread.

Sources: deltas after Almeida, Shoker, Baquero, "Delta state replicated data types", J. Parallel Distrib. Comput. 111
(2018), section 6 (causal merging condition); versions per actor after van Renesse, Dumitriu, Gough, Thomas, "Efficient
reconciliation and flow control for anti-entropy protocols", LADIS 2008, section 3 (Scuttlebutt).
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from gossip_counter.node.core.actor_log import WRAP, ActorLog, by_version
from gossip_counter.node.core.counts import (
    LARGE,
    ZERO,
    Actor,
    NamedRow,
    PlainRow,
    Row,
    as_row,
    counts_nothing,
    is_large,
)
from gossip_counter.node.core.names import NameIndex
from gossip_counter.node.core.watches import Watches


class Stored(NamedTuple):
    """Rows of one actor as a journal takes and returns them, and how far those it holds then reach.

    All rows up to `version` are held, as of the actor's state at `source_version`; rows above `version` are detached.
    """

    actor: Actor
    version: int
    source_version: int
    rows: Mapping[str, PlainRow]
    """By counter."""


class DigestEntry(NamedTuple):
    """What is held of one actor: every row up to `version`, which hash to `hash`; detached rows to `detached`."""

    version: int = 0
    hash: int = 0
    detached: int = 0


NO_ENTRY = DigestEntry()
_NO_LOG = ActorLog()
"""To be read only."""


class State:
    """All rows that one node holds.

    `fingerprint` is the order-free hash of every row that counts: the sum, modulo 2**64, of their hashes. Two states
    are equal exactly when their fingerprints are, but for one chance in 2**64. `counted` is the sum of every p and n:
    of two states one of which holds all that the other does, it is larger in that one.
    """

    def __init__(self) -> None:
        self._logs: dict[Actor, ActorLog] = {}
        self._totals: dict[str, int] = {}
        self.names = NameIndex()
        """Every counter that has a row."""
        self.watches = Watches()
        """Who wants to know of changes."""
        self._digest: dict[Actor, DigestEntry] | None = None
        self._unsettled: set[Actor] = set()
        self._fingerprint = 0
        self.row_count = 0
        self.counted = 0
        self.large: set[str] = set()
        """Counters with a row or a value that is large. Who adds may put others here, and take out what is not."""
        self.shrinking_rows = 0
        """Newer rows that arrived with smaller counts: nobody honest writes them, and the maximum ignores them."""

    def __iter__(self) -> Iterator[tuple[Actor, str, Row]]:
        return ((actor, counter, row) for actor, log in self._logs.items() for counter, row in log)

    def __contains__(self, actor: Actor) -> bool:
        return actor in self._logs

    # Values and rows.

    def value(self, counter: str) -> int:
        """The counter's value, 0 for one nobody has written; O(1)."""
        return self._totals.get(counter, 0)

    @property
    def totals(self) -> Mapping[str, int]:
        """The value of every counter that has a row."""
        return self._totals

    @property
    def counters(self) -> int:
        """How many counters have a row."""
        return len(self._totals)

    @property
    def actors(self) -> int:
        """How many actors have a row."""
        return len(self._logs)

    def actors_after(self, count: int) -> Iterator[Actor]:
        """The actors that have a row, in the order in which they came, without the first `count`."""
        return islice(self._logs, count, None)

    def row(self, actor: Actor, counter: str) -> Row:
        """The row that counts, or ZERO."""
        return self._logs.get(actor, _NO_LOG).visible(counter) or ZERO

    def contiguous(self, actor: Actor, counters: Collection[str]) -> list[PlainRow]:
        """An actor's rows up to `version` of some counters, ZERO where there is none."""
        return self._logs.get(actor, _NO_LOG).contiguous(counters)

    def has_detached(self, actor: Actor) -> bool:
        """Whether there are rows of an actor that no version claims."""
        return bool(self._logs.get(actor, _NO_LOG).detached)

    def detached(self, actor: Actor) -> tuple[NamedRow, ...]:
        """The rows held that no version claims, in no order."""
        return tuple(self._logs.get(actor, _NO_LOG).detached.items())

    def rows_of(self, counter: str) -> Iterator[Row]:
        """Every actor's row of one counter; cost: the actors held."""
        return (row for log in self._logs.values() if (row := log.visible(counter)))

    # Versions and hashes.

    def version(self, actor: Actor) -> int:
        """The version up to which every row of an actor is held; 0 for none."""
        return self._logs.get(actor, _NO_LOG).version

    def source_version(self, actor: Actor) -> int:
        """The version of the state that the contiguous rows were cut from: above `version` while a delta was cut."""
        log = self._logs.get(actor, _NO_LOG)
        return max(log.version, log.source_version)

    def complete_version(self, actor: Actor) -> int:
        """The version up to which every single write of an actor is held."""
        return self._logs.get(actor, _NO_LOG).complete_version

    def covering_version(self, actor: Actor) -> int:
        """The version at which another state, complete up to there, holds all of an actor that this one does."""
        return self._logs.get(actor, _NO_LOG).covering_version

    @property
    def fingerprint(self) -> int:
        """The hash of all rows that count; cost: the rows that changed since anybody asked."""
        self._settle()
        return self._fingerprint

    def digest(self) -> dict[Actor, DigestEntry]:
        """For each actor, what is held of it; actors in ascending order. Not to be changed: it is made once a merge."""
        if self._digest is None:
            self._settle()
            logs = sorted(self._logs.items())
            self._digest = {actor: DigestEntry(log.version, log.hash, log.detached_hash) for actor, log in logs}
        return self._digest

    def entry(self, actor: Actor) -> DigestEntry:
        """What is held of one actor; cost: the rows that changed since anybody asked."""
        log = self._logs.get(actor, _NO_LOG)
        if not log.is_settled:
            self._settle()
        return DigestEntry(log.version, log.hash, log.detached_hash)

    def newer(self, actor: Actor, since: int, most: int) -> tuple[NamedRow, ...]:
        """The oldest `most` contiguous rows with versions above `since`, ascending; more if they share a version.

        Cost: the rows returned, and old entries of rewritten rows among them, whatever is held below.
        """
        log = self._logs.get(actor, _NO_LOG)
        if not log.is_settled:
            self._settle()
        return tuple(log.newer(since, most))

    def _settle(self) -> None:
        for actor in self._unsettled:
            self._fingerprint = (self._fingerprint + self._logs[actor].settle(actor)) % WRAP
        self._unsettled.clear()

    # Changing it.

    def merge(
        self, actor: Actor, since: int | None, rows: Sequence[NamedRow], source_version: int = 0
    ) -> list[NamedRow]:
        """Take in rows of one actor; those that were news, as they count now.

        `since` makes them a delta, in ascending order of version, cut from the actor's state at `source_version` or at
        its last row, whichever is later; None is for rows that claim nothing.
        """
        rows = [named for named in rows if not counts_nothing(named[1])]
        if not rows:
            return []
        log = self._log_of(actor)
        shrinking_rows = log.shrinking_rows
        changes = log.merge(since, rows, source_version)
        self.shrinking_rows += log.shrinking_rows - shrinking_rows
        net, counted = dict[str, int](), 0
        for counter, old, new in changes:
            grew_p, grew_n = new.p - old.p, new.n - old.n
            net[counter] = net.get(counter, 0) + grew_p - grew_n
            counted += grew_p + grew_n
        self._changed(actor, [counter for counter, old, _ in changes if old is ZERO], net, counted)
        self._note_large((counter, new) for counter, _, new in changes)
        return [(counter, new) for counter, _, new in changes]

    def write(self, actor: Actor, rows: dict[str, PlainRow], net: Mapping[str, int], counted: int) -> None:
        """Put newer rows of an actor, in ascending order of version, in the place of those that they were made from.

        `net` is by how much each counter's total changes, `counted` the sum of all p and n that are added. It may be
        used where nobody else has changed any of the actor's rows and none is detached.
        """
        self._changed(actor, self._log_of(actor).write(rows), net, counted)
        self._note_large(rows.items())

    def _changed(self, actor: Actor, new_rows: Sequence[str], net: Mapping[str, int], counted: int) -> None:
        """The one transition of what all logs come to: an actor has these new rows, and totals change by `net`."""
        totals = self._totals
        if new_rows:
            self.row_count += len(new_rows)
            unseen = [name for name in new_rows if name not in totals]
            self.names.add(unseen)
            totals.update(dict.fromkeys(unseen, 0))
        for name, delta in net.items():
            totals[name] += delta
        self.counted += counted
        if self.watches:
            self.watches.note(net)
        self._digest = None
        self._unsettled.add(actor)

    def _note_large(self, rows: Iterable[tuple[str, PlainRow]]) -> None:
        """Keep `large` true after these rows changed. As long as little was ever counted, there is nothing to do."""
        if self.counted >= LARGE:
            totals = self._totals
            self.large.update(name for name, row in rows if is_large(row) or abs(totals[name]) >= LARGE)

    def restore(self, stored: Stored) -> None:
        """Take in what a journal held of one actor; `stored.rows` are all its rows there."""
        rows = sorted(((counter, as_row(row)) for counter, row in stored.rows.items()), key=by_version)
        upto = bisect_right(rows, stored.version, key=by_version)
        # A detached row hides the older one that it replaces: the version is that of the last row we can still give,
        # and what it hides we no longer hold.
        source_version = max(stored.source_version, rows[-1][1].version if rows else 0)
        self.merge(stored.actor, 0, rows[:upto], source_version)
        self.merge(stored.actor, None, rows[upto:])

    def _log_of(self, actor: Actor) -> ActorLog:
        """An actor's log, to be changed."""
        log = self._logs.get(actor)
        if log is None:
            log = self._logs[actor] = ActorLog()
        return log
