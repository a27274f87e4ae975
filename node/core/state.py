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

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from gossip_counter.node.core.actor_log import WRAP, ActorLog
from gossip_counter.node.core.counts import (
    LARGE,
    ZERO,
    Actor,
    AnyRow,
    HeldRow,
    NamedRow,
    Seen,
    counts_nothing,
    is_ending,
    is_large,
)
from gossip_counter.node.core.ends import CLOCK_STEP_MS, SLOT_MS, Ends, hash_slot
from gossip_counter.node.core.holdings import NO_FLOORS, DigestEntry, Floors, Statement
from gossip_counter.node.core.limits import MAX_VERSION
from gossip_counter.node.core.lives import Lives
from gossip_counter.node.core.names import NameIndex
from gossip_counter.node.core.watches import Watches

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
        self._digest: dict[Actor, DigestEntry] = {}
        self._outdated, self._unsettled = set[Actor](), set[Actor]()
        """Actors whose digest entries, and whose hashes, may be those of before."""
        self._fingerprint = 0
        self.row_count = 0
        self.counted = 0
        self.ends = Ends(self._logs)
        self.special = self.ends.special
        """Who adds may put large counters here, and take out what is not large any more."""
        self.owner: Actor | None = None
        """Who writes here: a delete leaves its rows to it."""
        self.adopted: dict[str, dict[Actor, Seen]] = {}
        """Entries of markers that others forgot and that take something here: they go on in our own."""
        self.looks = 0
        """How often counters that end were looked at, because rows or the time changed."""
        self.unsaid = set[str]()
        """Counters of which our own row does not say yet what deletes took of it."""
        self.forgotten: dict[Actor, set[str]] = {}
        """Counters whose rows were forgotten, until somebody took note of it."""
        self.shrinking_rows = 0
        """Newer rows that arrived with smaller counts: nobody honest writes them, and the maximum ignores them."""

    def __iter__(self) -> Iterator[tuple[Actor, str, AnyRow]]:
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
    def actors(self) -> int:
        """How many actors have a row."""
        return len(self._logs)

    def actors_after(self, count: int) -> Iterator[Actor]:
        """The actors that have a row, in the order in which they came, without the first `count`."""
        return islice(self._logs, count, None)

    def row(self, actor: Actor, counter: str) -> AnyRow:
        """The row that counts, or ZERO."""
        return self._logs.get(actor, _NO_LOG).visible(counter) or ZERO

    def contiguous(self, actor: Actor, counters: Collection[str]) -> list[HeldRow]:
        """An actor's rows up to `version` of some counters, ZERO where there is none."""
        return self._logs.get(actor, _NO_LOG).contiguous(counters)

    def has_detached(self, actor: Actor, upto: int = MAX_VERSION) -> bool:
        """Whether there are rows of an actor that no version claims; with `upto`: whether there may be any up to it."""
        return not self._logs.get(actor, _NO_LOG).detached.are_above(upto, {})

    def log(self, actor: Actor) -> ActorLog:
        """An actor's log, settled, to be read only."""
        log = self._logs.get(actor, _NO_LOG)
        if not log.is_settled:
            self._settle()
        return log

    def forgotten_upto(self, actor: Actor) -> Floors:
        """The versions up to which rows of an actor that are not here were forgotten."""
        return self._logs.get(actor, _NO_LOG).forgotten

    def floors(self, actor: Actor) -> Floors:
        """The highest versions of rows of an actor that were forgotten."""
        return self._logs.get(actor, _NO_LOG).floors

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
        """For each actor, in ascending order, what is held of it. Not to be changed: what stays is the same object."""
        if self._outdated:
            digest = self._digest | {actor: self.entry(actor) for actor in self._outdated}
            self._digest = digest if len(digest) == len(self._digest) else dict(sorted(digest.items()))
            self._outdated.clear()
        return self._digest

    def entry(self, actor: Actor) -> DigestEntry:
        """What is held of one actor; cost: the rows that changed since anybody asked."""
        log = self.log(actor)
        return DigestEntry(log.version, log.hash, log.detached_hash)

    def newer(self, actor: Actor, since: int, most: int) -> tuple[NamedRow, ...]:
        """The oldest `most` contiguous rows with versions above `since`, ascending; more if they share a version.

        Cost: the rows returned, and old entries of rewritten rows among them, whatever is held below.
        """
        return tuple(self.log(actor).newer(since, most))

    def _settle(self) -> None:
        for actor in self._unsettled:
            self._fingerprint = (self._fingerprint + self._logs[actor].settle(actor)) % WRAP
        self._unsettled.clear()

    # Changing it.

    def merge(
        self,
        actor: Actor,
        since: int | None,
        rows: Sequence[NamedRow],
        source_version: int = 0,
        upto: int = 0,
        floors: Floors = NO_FLOORS,
        statement: Statement | None = None,
    ) -> list[NamedRow]:
        """Take in rows of one actor; those that were news, as they count now.

        `since` makes them a delta, in ascending order of version, cut from the actor's state at `source_version` or at
        its last row, whichever is later; None is for rows that claim nothing. The delta reaches as far as its last
        row, or to `upto`; its sender has forgotten rows up to `floors`, and stores what the `statement` says.
        """
        if since is not None and not upto and not floors.forgotten and self._append(actor, since, rows, source_version):
            return list(rows)
        rows = [named for named in rows if not counts_nothing(named[1])]
        if not rows and not upto:
            return []
        log, special = self._log_of(actor), self.special
        reach = max(upto, rows[-1][1].version if rows else 0)
        joins, shrinking_rows = since is not None and since <= log.version, log.shrinking_rows
        changes = log.merge(since, rows, source_version, reach, self.ends.taken_again(actor, rows))
        self.shrinking_rows += log.shrinking_rows - shrinking_rows
        net, counted, ending = dict[str, int](), 0, dict[str, None]()
        for counter, old, new in changes:
            grew_p, grew_n = new.p - old.p, new.n - old.n
            if counter in special or is_ending(new):
                ending[counter] = None
            else:
                net[counter] = net.get(counter, 0) + grew_p - grew_n
            counted += abs(grew_p) + abs(grew_n)
        self._changed(actor, [counter for counter, old, _ in changes if old is ZERO], net, counted)
        self._note_large((counter, new) for counter, _, new in changes)
        if floors.forgotten and joins and since is not None:
            log.inherit(floors.upto(reach))
            self.ends.are_seen = True
            if statement or log.complete_version >= max(source_version, reach):
                statement = statement or Statement(since, {counter for counter, _ in rows})
                self._forget_unnamed(actor, statement, floors.upto(reach))
        if not ending:
            return [(counter, new) for counter, _, new in changes]
        self.watches.note(ending)
        self.look_at(ending)
        return [(counter, new) for counter, _, new in changes if counter not in ending or log.visible(counter)]

    def _append(self, actor: Actor, since: int, rows: Sequence[NamedRow], source_version: int) -> bool:
        """Take in rows of a delta if they simply come after those that are here, which is less work than to merge."""
        new = self._logs.get(actor, _NO_LOG).going_on(since, rows)
        if not new or not self.special.keys().isdisjoint(new):
            return False
        self._log_of(actor).cut_from(source_version)
        net = {counter: row[0] - row[1] for counter, row in new.items()}
        self.write(actor, new, net, sum(row[0] + row[1] for row in new.values()))
        return True

    def write(self, actor: Actor, rows: dict[str, HeldRow], net: Mapping[str, int], counted: int) -> None:
        """Put newer rows of an actor, in ascending order of version, in the place of those that they were made from.

        `net` is by how much the total of each counter changes that does not end, `counted` the sum of all p and n that
        are added. It may be used where nobody else has changed these rows and none of them is detached.
        """
        log = self._log_of(actor)
        ending = {name: log.visible(name) for name in rows if name not in net} if len(net) < len(rows) else {}
        mixed = [name for name in net if name in self.special] if self.special else []
        if mixed:  # these may have ended since, and not exist any more
            net = {name: delta for name, delta in net.items() if name not in self.special}
        self._changed(actor, log.write(rows), net, counted)
        self._note_large(rows.items())
        if ending or mixed:
            self.watches.note(rows)
            changed = [name for name, old in ending.items() if not self._has_grown(name, old, rows[name])]
            self.look_at([*mixed, *changed])

    def _has_grown(self, counter: str, old: AnyRow | None, new: HeldRow) -> bool:
        """Take note of a row of a counter that ends, if it is the old one with more counted."""
        if grew := old and old[3:] == new[3:] and self.ends.goes_on(counter, new):
            self._totals[counter] += new[0] - old[0] - new[1] + old[1]
        return bool(grew)

    # Counters that end.

    def advance(self, now_ms: int) -> None:
        """Let lives end whose time has come, and forget what may be forgotten. `now_ms` is in Unix milliseconds."""
        if now_ms == self.ends.now_ms:
            return  # rows that are written in one millisecond share the number
        ends, slot_ms = self.ends, hash_slot(now_ms)
        was_set_back = now_ms < ends.now_ms - CLOCK_STEP_MS
        ends.now_ms = now_ms
        due = list(self.special if was_set_back else ends.take_due())  # lives that were over may not be any more
        if slot_ms > ends.slot_ms or slot_ms < ends.slot_ms - SLOT_MS:
            ends.slot_ms = slot_ms
        self.look_at(due)

    def lives(self, counter: str) -> Lives:
        """What a counter comes to now."""
        return Lives(self.ends.rows(counter), self.ends.now_ms)

    def look_at(self, counters: Iterable[str]) -> None:
        """Bring everything up to date that the rows and lives of some counters come to."""
        self.looks += 1
        for counter in counters:
            lives = self.lives(counter)
            if lives.is_plain and not any(counter in log.unhashed for log in self._logs.values()):
                self._count(counter, lives.value)
                self.ends.schedule(counter, lives, True, lives.is_behind(self.owner))
                continue
            while gone := list(lives.forgotten()):
                for actor in gone:
                    self._forget(actor, counter, not lives.is_over(lives.rows[actor].life))
                lives = self.lives(counter)
            self._count(counter, lives.value)
            self._leave_out_of_hashes(counter, lives)
            if is_unsaid := bool(self.owner and lives.noted(self.owner)):
                self.unsaid.add(counter)
            if lives.rows:
                is_behind = is_unsaid or lives.is_behind(self.owner)
                self.ends.schedule(counter, lives, counter in self._totals, is_behind)
            else:
                self.ends.forget(counter)

    def _forget_unnamed(self, actor: Actor, statement: Statement, floors: Floors) -> None:
        """Forget what the sender of a delta has forgotten: rows of these versions that it does not name.

        That can be told only of a whole delta, or where every write is held that its sender had: else a row not named
        could have a later version there.
        """
        self._settle()
        log = self._log_of(actor)
        gone = []
        for counter, version in log.unnamed(statement.since, floors.forgotten, statement.named):
            lives, is_deleted = self.lives(counter), version <= floors.deleted
            if not is_deleted and lives.goes_on(actor):
                continue
            if needed := lives.needed(actor, lives.rows[actor].taken):
                self.adopted.setdefault(counter, {}).update(needed)
            gone.append(counter)
            self._forget(actor, counter, is_deleted)
        self.look_at(gone)

    def _count(self, counter: str, value: int | None) -> None:
        """Have a counter come to a value, or not exist."""
        if self.watches and value != self._totals.get(counter):
            self.watches.note({counter: value})
        if value is not None:
            if counter not in self._totals:
                self.names.add((counter,))
            self._totals[counter] = value
        elif self._totals.pop(counter, None) is not None:
            self.names.remove(counter)

    def _forget(self, actor: Actor, counter: str, is_deleted: bool) -> None:
        self._log_of(actor).forget(counter, is_deleted)
        self.ends.are_seen = True  # though it may have been over when it came
        self.row_count -= 1
        self.forgotten.setdefault(actor, set()).add(counter)
        self._outdated.add(actor)
        self._unsettled.add(actor)
        if counter in self._logs[actor].unhashed:
            self._settle()  # before a new row of it comes, which belongs to the hashes

    def _leave_out_of_hashes(self, counter: str, lives: Lives) -> None:
        """Rows that are about to be forgotten are in no hash."""
        for actor, row in lives.rows.items():
            log, is_out = self._logs[actor], self.ends.is_unhashed(lives, row)
            if is_out != (counter in log.unhashed):
                self._settle()
                self._fingerprint = (self._fingerprint + log.leave_out(actor, counter, is_out)) % WRAP
                self._outdated.add(actor)

    def _changed(self, actor: Actor, new_rows: Sequence[str], net: Mapping[str, int], counted: int) -> None:
        """The one transition of what all logs come to: an actor has these new rows, and totals change by `net`."""
        totals = self._totals
        if new_rows:
            self.row_count += len(new_rows)
            unseen = [name for name in new_rows if name not in totals and name in net]
            self.names.add(unseen)
            totals.update(dict.fromkeys(unseen, 0))
        for name, delta in net.items():
            totals[name] += delta
        self.counted += counted
        if self.watches:
            self.watches.note(net)
        self._outdated.add(actor)
        self._unsettled.add(actor)

    def _note_large(self, rows: Iterable[tuple[str, HeldRow]]) -> None:
        """Keep `special` true of large counters. As long as little was ever counted, there is nothing to do."""
        if self.counted >= LARGE:
            totals = self._totals
            large = [name for name, row in rows if is_large(row) or abs(totals.get(name, 0)) >= LARGE]
            self.special.update((name, 0) for name in large if name not in self.special)

    def inherit(self, actor: Actor, floors: Floors) -> None:
        """An actor's rows were forgotten up to there, before they came here."""
        if floors.forgotten:
            self._log_of(actor).inherit(floors)
            self.ends.are_seen = True

    def _log_of(self, actor: Actor) -> ActorLog:
        """An actor's log, to be changed."""
        log = self._logs.get(actor)
        if log is None:
            log = self._logs[actor] = ActorLog()
        return log
