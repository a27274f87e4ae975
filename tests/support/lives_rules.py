"""A model of counters that end: the rules as a program, without wire, disk or commits.

Words:

- A **row** is what one actor counted of one counter, in its own log. A **lineage** is the stretch in which a row's
  totals only grow: a row that begins again from zero is `born` at the version of that write. 0: the actor's first.
- A **life** is a stretch of a counter between two ends. Its name is the time at which it began; 0 if nothing ever
  ended here. The deadline of a life is that of its row with the greatest `(stamp, deadline)`; deadline 0 is never.
- A **marker** is a row of its own that a delete writes: per actor, the totals that the deleter's node stored.
- The **floor** of a log is the highest version forgotten in it. A log is **complete** up to a version if what every
  write up to it came to was received. What is absent at or below both was forgotten; nothing else tells.

Times are Unix milliseconds, each node's by its own clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.lives_log import Delta, Key, Log, Marker, Record, Row, Seen, both, takes
from tests.support.lives_view import View

GRACE = 60_000
"""How long the rows of a life that is over are kept, in ms."""
FORGET = 86_400_000
"""How long a delete is remembered at least, in ms."""
LIKE = GRACE // 4
"""Clocks further apart than this, in ms, exchange rows that claim nothing."""


@dataclass(slots=True)
class Node(View):
    """One node: what it writes, forgets, sends and takes."""

    skew: int = 0
    sees_ends: bool = False
    """Whether anything ever ended here, or can. Without it every life is named 0: plain counters pay nothing."""
    latest: int = 0
    """The latest time any peer's message named: a marker is kept long enough even if this clock is behind."""

    # Writes. Rows of one write share a version, so that no delta is cut between them.

    def write(self, *records: tuple[Key, Record]) -> None:
        log = self.log(self.actor)
        for key, record in records:
            log.put(key[0], record)
        log.version += 1
        log.reach(log.version, log.version)
        log.complete = log.version
        self.changed()

    @property
    def next_version(self) -> int:
        return self.log(self.actor).version + 1

    def next_stamp(self) -> int:
        return max([self.now, *(row.stamp + 1 for counter in self.counters() for _, row in self.rows(counter))])

    def life_to_join(self, counter: str, ends: bool) -> int:
        """The greatest life that is not over and has begun; else a new one. `ends`: whether it will have a deadline."""
        lives = {row.life for _, row in self.rows(counter)}
        if "future lives" not in self.broken:
            lives = {life for life in lives if life <= self.now + LIKE}
        alive = [life for life in lives if not self.is_over(counter, life)]
        if alive:
            return max(alive)
        if lives and "old names" in self.broken:
            return max(self.statement(counter, life)[1] for life in lives)
        if lives or self.sees_ends or ends:
            return 0 if "new names" in self.broken else max([self.now, *(life + 1 for life in lives)])
        return 0

    def prepared(self, counter: str, ends: bool = False) -> Row:
        """Our row to be written, with what is known of its deadline and of deletes."""
        old, version = self.own(counter), self.next_version
        if old is None or self.is_over(counter, old.life) or self.is_covered(self.actor, counter, old):
            life = self.life_to_join(counter, ends)
            born = 0 if self.is_first(old) or "lineages" in self.broken else version
            stamp, deadline = self.statement(counter, life)
            row = Row(version, born=born, life=life, stamp=stamp, deadline=deadline, before=self.before(counter, old))
            until = self.remembered(counter, old) if old else 0
            return row._replace(until=until) if until + GRACE > self.now else row
        stamp, deadline = self.statement(counter, old.life)
        if "copied deadlines" in self.broken:
            stamp, deadline = old.stamp, old.deadline
        noted, before = self.noted(counter, old), self.before(counter, old)
        return self.with_deadline(noted._replace(version=version, before=before), stamp, deadline)

    def before(self, counter: str, old: Row | None) -> tuple[int, int, int]:
        """What our next row says of a life that our row was in and that is over, until that is forgotten.

        Else a life goes on if nobody but us said that it ends, and what had ended counts again.
        """
        if old is None or "before" in self.broken:
            return (0, 0, 0)
        is_over = self.is_over(counter, old.life)
        before = (old.life, *self.statement(counter, old.life)) if is_over else old.before
        others = (row for actor, row in self.rows(counter) if actor != self.actor)
        is_needed = before[2] and any(self.statement(counter, row.life) == before[1:] for row in others)
        return before if is_needed or max(before[2], old.until) + GRACE > self.now else (0, 0, 0)

    def with_deadline(self, row: Row, stamp: int, deadline: int) -> Row:
        """Our row with another deadline. One that is earlier is remembered until the former one, or for a day.

        Else who was away meanwhile, and knows only of the later one, would bring back what had ended.
        """
        former = overruled(row, self.now)
        is_earlier = 0 < deadline < former and "earlier deadlines" not in self.broken
        until = max(row.until, former + self.margin) if is_earlier else row.until
        return row._replace(deadline=deadline, stamp=stamp, until=until)

    @property
    def margin(self) -> int:
        """By how much longer a later deadline is remembered than who knows of that alone keeps its rows."""
        return 0 if "margin" in self.broken else LIKE

    def noted(self, counter: str, own: Row) -> Row:
        """Our row with what deletes took of it."""
        base_p, base_n = self.taken(self.actor, counter, own)
        return own._replace(base_p=base_p, base_n=base_n)

    def is_first(self, old: Row | None) -> bool:
        """Whether no row of ours can have been here before."""
        return old is None and not self.log(self.actor).floor

    def add(self, counter: str, k: int = 1, ex: int = 0, if_none: bool = False) -> None:
        """Count, and with `ex` set a deadline in so many ms, all in one write."""
        row = self.prepared(counter, ex > 0)
        row = row._replace(p=row.p + max(k, 0), n=row.n + max(-k, 0))
        if ex and not (if_none and row.deadline):
            row = self.with_deadline(row, self.next_stamp(), self.now + ex)
            self.sees_ends = True
        self.write(((counter, False), row))

    def expire(self, counter: str, ex: int) -> bool:
        """Set a deadline in so many ms; 0: none (PERSIST). False if there is nothing to do it to."""
        row = self.prepared(counter)
        if not self.exists(counter) or not (ex or row.deadline):
            return False
        self.sees_ends = True
        row = self.with_deadline(row, self.next_stamp(), self.now + ex if ex else 0)
        self.write(((counter, False), row))
        return True

    def delete(self, counter: str, then: int = 0) -> Marker | None:
        """Take away what is stored here; with `then`, count that in the same write (SET). None if nothing is there."""
        if not self.exists(counter):
            return None
        self.sees_ends = True
        seen = {actor: Seen(row.born, row.p, row.n) for actor, row in self.rows(counter)}
        latest = 0 if "latest time" in self.broken else self.latest
        marker = self.marked(counter, seen, max(self.now, latest) + FORGET)
        if then:
            life = self.life_to_join(counter, False)
            stamp = self.next_stamp() if self.statement(counter, life)[1] else 0
            row = Row(marker.version, max(then, 0), max(-then, 0), born=marker.version, life=life, stamp=stamp)
            row = row._replace(before=self.before(counter, self.own(counter)))
            self.write(((counter, True), marker), ((counter, False), row))
        else:
            self.write(((counter, True), marker))
        self.cover(counter)
        return marker

    def marked(self, counter: str, seen: dict[str, Seen], forget_at: int) -> Marker:
        """Our marker of a counter, with what it held before."""
        old = self.log(self.actor).markers.get(counter)
        merged = dict(seen)
        if old:
            for actor, each in old.seen:
                merged[actor] = both(each, merged.get(actor, each))
            forget_at = max(forget_at, old.forget_at)
        return Marker(self.next_version, tuple(sorted(merged.items())), forget_at)

    # What goes.

    def is_covered(self, actor: str, counter: str, row: Row) -> bool:
        """Whether deletes took all of a row."""
        if self.taken(actor, counter, row) != (row.p, row.n):
            return False
        return bool(row.base_p or row.base_n) or any(
            each.born >= row.born for _, marker in self.markers(counter) for of, each in marker.seen if of == actor
        )

    def cover(self, counter: str) -> None:
        """A row of which a delete took all goes at once, our own too."""
        if "cover" in self.broken:
            return
        for actor, row in self.rows(counter):
            if self.is_covered(actor, counter, row):
                self.log(actor).drop((counter, False), is_deleted=True)
                self.changed()

    def needed(self, counter: str, marker: Marker) -> dict[str, Seen]:
        """The entries of a marker that take something of a stored row whose owner has not noted it."""
        rows = dict(self.rows(counter))
        return {of: seen for of, seen in marker.seen if of in rows and takes(seen, rows[of])}

    def forget(self) -> None:
        """Drop the rows of lives that are over, and markers that are old and not needed."""
        if not self.sees_ends or (self.due is not None and self.now < self.due):
            return
        for counter in self.counters():
            while self.forget_rows(counter):
                self.changed()  # these may have overruled others
            for actor, marker in self.markers(counter):
                kept = "needed markers" not in self.broken and self.needed(counter, marker)
                if marker.forget_at + GRACE <= self.now and not kept:
                    self.log(actor).drop((counter, True), is_deleted=False)
        self.changed()
        self.due = min(self.ends(), default=FORGET**2)

    def forget_rows(self, counter: str) -> bool:
        rows = self.rows(counter)
        over = {row.life for _, row in rows if self.is_over(counter, row.life, GRACE)}
        is_empty = "idle" not in self.broken and all(is_noted_empty(row) for _, row in rows)
        kept = {self.statement(counter, row.life) for _, row in rows if self.stays(counter, row)}
        gone = False
        for actor, row in rows:
            is_idle = is_empty and not row.deadline and row.stamp + FORGET + GRACE <= self.now
            stays = self.stays(counter, row)
            if "whole lives" not in self.broken:
                settings = self.statement(counter, row.life), row.before[1:]
                stays |= any(deadline and (stamp, deadline) in kept for stamp, deadline in settings)
            if (row.life in over or is_idle) and not stays:
                self.log(actor).drop((counter, False), is_idle)
                gone = True
        return gone

    def stays(self, counter: str, row: Row) -> bool:
        """Whether a row must be remembered because somebody may know only of a later end than that of its life."""
        return self.remembered(counter, row) + GRACE > self.now

    def remembered(self, counter: str, row: Row) -> int:
        """Until when it must be remembered that the life of a row ends earlier than the row itself names, or named."""
        setting = (0, FORGET**2) if "later deadlines" in self.broken else self.statement(counter, row.life)
        return remembered(row, setting, self.margin)

    def ends(self) -> Iterator[int]:
        """When something may go that is stored now."""
        for log in self.logs.values():
            for marker in log.markers.values():
                yield later(marker.forget_at + GRACE, self.now)
            for counter, row in log.rows.items():
                if row.stamp:
                    yield later((row.deadline or row.stamp + FORGET) + GRACE, self.now)
                for end in (row.before[2], self.remembered(counter, row)):
                    if end:
                        yield later(end + GRACE, self.now)

    # Gossip.

    def receive(self, delta: Delta, is_like: bool) -> None:
        """Take in rows of one actor. `is_like`: whether the sender's clock is about ours."""
        log = self.log(delta.actor)
        since = delta.since if is_like or "unlike clocks" in self.broken else None
        taken = {key[0] for key, record in delta.records if self.take(log, key, record)}
        if taken:
            self.changed()
        if since is not None and since <= log.version:
            self.attach(log, since, delta)
        for counter in taken:
            self.cover(counter)
        self.forget()

    def take(self, log: Log, key: Key, record: Record) -> bool:
        """Whether a record was news."""
        stored = log.get(key)
        is_forgotten = stored is None and record.version <= log.forgotten and "refusal" not in self.broken
        if is_forgotten and (record.version <= self.never_again(log) or not self.goes_on(log, key, record)):
            return False
        if stored and record.version <= stored.version:
            return False
        log.put(key[0], record)
        self.sees_ends |= isinstance(record, Marker) or record.deadline > 0
        return True

    def never_again(self, log: Log) -> int:
        """The version up to which what a log forgot is never taken back."""
        return 0 if "deletes are final" in self.broken else log.never_again

    def goes_on(self, log: Log, key: Key, record: Record) -> bool:
        """Whether a row that somebody forgot counts in a life that goes on, or another would go on or end without it.

        Its clock was ahead, or it did not know of a later setting than the row's own, of another row that is stored.
        """
        if isinstance(record, Marker) or "lives go on" in self.broken:
            return False
        counter, is_stored = key[0], log.get(key) is not None
        log.put(counter, record)
        self.changed()
        stated, actor = self.statement(counter, record.life), next(of for of, each in self.logs.items() if each is log)
        is_later = stated[1] > self.now or (not stated[1] and stated > (record.stamp, record.deadline))
        is_covered, ends_others = self.is_covered(actor, counter, record), self.ends_others(counter, record)
        alive = {row.life for _, row in self.rows(counter) if not self.is_over(counter, row.life)}
        del log.rows[counter]
        self.changed()
        keeps_others = any(self.is_over(counter, row.life) for _, row in self.rows(counter) if row.life in alive)
        if is_stored:
            log.rows[counter] = record
            self.changed()
        return (is_later or ends_others or (keeps_others and "others go on" not in self.broken)) and not is_covered

    def ends_others(self, counter: str, record: Row) -> bool:
        """Whether it is this row that ended the life of another."""
        if "ends of others" in self.broken:
            return False
        others = (row for _, row in self.rows(counter) if row is not record and row.deadline > self.now)
        settings = (record.stamp, record.deadline), record.before[1:]
        return any(self.is_over(counter, row.life) and self.statement(counter, row.life) in settings for row in others)

    def attach(self, log: Log, since: int, delta: Delta) -> None:
        """A delta joins what is held: it raises the version, and tells what its sender forgot."""
        log.reach(delta.upto, delta.source)
        if "inherited floors" not in self.broken:
            log.floor = max(log.floor, min(delta.floor, delta.upto))
            log.deleted = max(log.deleted, min(delta.deleted, delta.upto))
        self.sees_ends |= log.floor > 0
        if not delta.is_whole and "whole" not in self.broken:
            return  # a row not named here may have a later version there
        if "own rows" in self.broken and delta.actor == self.actor:
            return
        named = {key for key, _ in delta.records} | delta.beside
        upto = 0 if "floors" in self.broken else min(delta.floor, delta.upto)
        for key, each in log.records():
            if not since < each.version <= upto or key in named:
                continue
            is_deleted = each.version <= min(delta.deleted, upto) and "deletes are final" not in self.broken
            if is_deleted or not self.goes_on(log, key, each):
                log.drop(key, is_deleted)
                self.changed()
                if isinstance(each, Marker):
                    self.adopt(key[0], each)

    def adopt(self, counter: str, marker: Marker) -> None:
        """Others forgot a marker that we need: it goes on as ours."""
        needed = self.needed(counter, marker)
        if needed and "adoption" not in self.broken:
            self.write(((counter, True), self.marked(counter, needed, marker.forget_at)))

    def react(self) -> None:
        """Note in our own rows what deletes took of them."""
        if "base" in self.broken:
            return
        for counter in self.counters():
            old = self.own(counter)
            if old and self.noted(counter, old) != old:
                self.write(((counter, False), self.noted(counter, old)._replace(version=self.next_version)))


def overruled(row: Row, stamp: int) -> int:
    """When a life would end by a row alone, whatever was set later, at `stamp`: at most a day after that."""
    return min(row.deadline or (FORGET**2 if row.stamp else 0), stamp + FORGET)


def remembered(row: Row, setting: tuple[int, int], margin: int = LIKE) -> int:
    """Until when it must be remembered that this setting of the row's life is earlier than what the row names."""
    until = overruled(row, setting[0])
    is_overruled = row.stamp < setting[0] and setting[1] < until
    return max(row.until, until + margin if is_overruled else 0)


def is_noted_empty(row: Row) -> bool:
    """Whether a row counts nothing, and says so itself."""
    return (row.p, row.n) == (row.base_p, row.base_n)


def later(end: int, now: int) -> int:
    """When to look again: never, if an end is past and what ends then was kept. A change looks again anyway."""
    return end if end > now else FORGET**2
