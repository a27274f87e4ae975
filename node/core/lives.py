"""Counters that end: what the rows of one come to at a time, and what a node writes when it is asked to end one.

Pure. No node asks another.

- A **life** is a stretch of a counter between two ends. It is named by the time at which it began; 0 if nothing ever
  ended here. Its deadline is that of its row with the greatest `(stamp, deadline)`: the last word counts. At the
  deadline each node's own clock ends it. A life that began before the one before it ended is one with that. A row that
  leaves a life goes on to say what was last said of it, until it is forgotten: nobody else may say that it is over.
- A **lineage** is a stretch in which a row's totals only grow. A row that begins again from zero is born at the version
  of that write.
- A delete writes a **marker**: the totals that its node held, by actor. A row is worth what no marker took, and an
  owner notes in its row's **base** what markers took of it. So a delete takes away what its node knew, and never an add
  that it had not heard of; several at once need no order.
- A counter of which no row is worth anything does not exist.
- What is over is forgotten, by each node on its own. A row that somebody forgot too early goes on where its life does.
- A deadline that is earlier than the one before it is remembered until that one passes, or for a day, as a delete is:
  a node that was away, and knows only of the later one, must neither bring back what ended nor end what was counted
  since.
- A row of which deletes took all sets no deadline of its life any more, as if it were forgotten already.

Exactness depends on no clock, only the moment of an expiry does.

Source: the model in `tests/support/lives_rules.py`, run against random schedules. Markers are after the observed-reset
of Weidner, Almeida, "An Oblivious Observed-Reset Embeddable Replicated Counter", PaPoC 2022.
"""

from collections.abc import Iterator, Mapping, Set

from gossip_counter.node.core.counter_rows import CounterRows, Setting, both
from gossip_counter.node.core.counts import (
    MAX_MARKER_BYTES,
    NOTHING_TAKEN,
    PENDING,
    Actor,
    Ended,
    EndingRow,
    Seen,
    Taken,
    added,
    as_ending,
    marker_bytes,
)
from gossip_counter.node.core.limits import MAX_COUNT

GRACE_MS = 60_000
"""How long the rows of a life that is over are kept."""

FORGET_MS = 86_400_000
"""How long a delete is remembered at least."""

LIKE_MS = GRACE_MS // 4
"""Clocks that differ by more exchange rows that claim nothing."""


class Lives(CounterRows):
    """What becomes of the rows of one counter: what their owners write, and what is forgotten."""

    __slots__ = ()

    # What the owner of a row writes. Each gives the new row, with the version of the old one.

    def added(self, me: Actor, delta: int, is_first: bool) -> EndingRow:
        """An add. `is_first`: no row of ours can have been here before ours, if there is one.

        Raises `ValueError` as `counts.added` does.
        """
        row = self._own(me, is_first)
        if self._is_deleted_just_now(me):
            # What is set stays, whatever was said before, be it in this millisecond.
            row = row._replace(stamp=self._next_stamp() + 1, deadline=0)
        return as_ending(added(row, delta, row.version))

    def expiring(self, me: Actor, deadline: int, is_first: bool) -> EndingRow:
        """The counter ends at `deadline`; 0: it does not."""
        row = self._own(me, is_first)
        if not row.version and self.rows.keys() <= {me}:
            row = row._replace(life=self.now_ms)  # INCR and EXPIRE in one write: the counter is born with its deadline
        return self._with_deadline(row, self._next_stamp(), deadline)

    def _with_deadline(self, row: EndingRow, stamp: int, deadline: int) -> EndingRow:
        """The row with another deadline. One that is earlier is remembered until the former one, or for a day.

        A node that was away meanwhile, and knows only of the later one, would bring back what had ended. What was
        counted since then would end with it, since that life began before the later deadline. It is remembered for
        longer than such a node keeps its rows, by the most that their clocks may differ.
        """
        former_ms = _overruled_ms(row, self.now_ms)
        if 0 < deadline < former_ms and row.taken.forget_at < former_ms + LIKE_MS:
            row = row._replace(taken=row.taken._replace(forget_at=former_ms + LIKE_MS))
        return row._replace(stamp=stamp, deadline=deadline)

    def deleted(self, me: Actor, is_first: bool, latest_ms: int) -> EndingRow:
        """A delete of all that is known. Raises `ValueError` if too many rows would have to be named.

        `latest_ms` is the latest time that any clock is known to have: it is remembered for a day after that.

        Our own totals begin again, so that no marker has to take them. Nor does the row say when the counter ends:
        adds that it did not know of end as before.
        """
        row = self._own(me, is_first)
        # Of what is pending nobody has seen what it counted.
        seen = {
            actor: Seen(actor, each.born, each.p, each.n) for actor, each in self.rows.items() if each.born != PENDING
        }
        life = self._next_life() if row.deadline else row.life
        taken = row.taken._replace(p=0, n=0)
        emptied = EndingRow(version=row.version, life=life, born=PENDING, taken=taken)
        return self._marked(emptied, seen, max(self.now_ms, latest_ms) + FORGET_MS)

    def adopted(self, me: Actor, is_first: bool, seen: Mapping[Actor, Seen]) -> EndingRow:
        """The own row with entries of markers that others forgot, as many as it has room for."""
        row = self.rows.get(me)
        if row is None or self.is_over(row.life) or self.is_covered(me, row):
            row = self._own(me, is_first)
        room, fitting = MAX_MARKER_BYTES - marker_bytes(row.taken.seen), dict[Actor, Seen]()
        for each in seen.values():
            room -= marker_bytes([each])
            if room >= 0:
                fitting[each.actor] = each
        return self._marked(row, fitting, self.now_ms)

    def _marked(self, row: EndingRow, seen: Mapping[Actor, Seen], forget_at: int) -> EndingRow:
        """The own row with these entries in its marker. Raises `ValueError` if they are too many."""
        merged = dict(seen)
        for each in row.taken.seen:
            merged[each.actor] = both(each, merged.get(each.actor, each))
        if marker_bytes(merged.values()) > MAX_MARKER_BYTES:
            raise ValueError(f"{len(merged)} members, former ones too, count in it: one delete can't name so many")
        marker = tuple(merged[actor] for actor in sorted(merged))
        return row._replace(taken=row.taken._replace(seen=marker, forget_at=max(forget_at, row.taken.forget_at)))

    def noted(self, me: Actor) -> EndingRow | None:
        """The own row once its base says what deletes took of it; None if it does, or is worth nothing.

        A marker that is not needed any more stays with it until the next add: a row that its owner did not write to
        while it was away must not look as if it did, or what was deleted of it would come back.
        """
        row = self.rows.get(me)
        if row is None or not self.has_deletes or self.is_covered(me, row):
            return None
        p, n = self.taken(me, row)
        return None if (p, n) == row.taken[:2] else row._replace(taken=row.taken._replace(p=p, n=n))

    def is_behind(self, me: Actor | None) -> bool:
        """Whether our own row lacks what is known of the life that adds go on in, or is no row to add to; also as long
        as we have no actor.
        """
        if me is None:
            return True
        row, life = self.rows.get(me), self.life_to_join(ends=True)
        if row is None:
            return False
        return (row.life, row.stamp, row.deadline) != (life, *self.latest(life)) or self.is_covered(me, row)

    def life_to_join(self, ends: bool) -> int:
        """The greatest life that is not over and has begun; else a new one. `ends`: whether anything ends here."""
        lives = [life for life in self._latest if life <= self.now_ms + LIKE_MS]
        if alive := [life for life in lives if not self.is_over(life)]:
            return max(alive)
        return self._next_life() if lives or ends else 0

    def _next_life(self) -> int:
        """One that begins now, after all that are known."""
        return max(self.now_ms, *(life + 1 for life in self._latest if life <= self.now_ms + LIKE_MS), 0)

    def _is_deleted_just_now(self, me: Actor) -> bool:
        """Whether a delete comes before in the same commit, and nothing after it."""
        row = self.rows.get(me)
        return bool(row and row.born == PENDING and row.taken.seen and not (row.p or row.n or row.stamp))

    def _own(self, me: Actor, is_first: bool) -> EndingRow:
        """The own row as it is before a write."""
        row = self.rows.get(me)
        if row is None or self.is_over(row.life) or self.is_covered(me, row):
            life = self.life_to_join(ends=True)
            stamp, deadline = self.latest(life)
            taken = self._taken_on(me, row)._replace(p=0, n=0) if row else NOTHING_TAKEN
            taken = NOTHING_TAKEN if taken == NOTHING_TAKEN else taken
            born = 0 if is_first and row is None else PENDING
            return EndingRow(0, 0, row.version if row else 0, life, deadline, stamp, born, taken)
        stamp, deadline = self.latest(row.life)
        if (stamp, deadline) == (row.stamp, row.deadline) and not self.has_deletes and not row.taken.before:
            return row  # most often
        p, n = self.taken(me, row)
        row = row._replace(taken=self._taken_on(me, row)._replace(p=p, n=n))
        return self._with_deadline(row, stamp, deadline)

    def _taken_on(self, me: Actor, row: EndingRow) -> Taken:
        """What deletes took, as our next row has it, and the life that this row is in or was in, if that is over.

        Nobody else may say that it is over: what others counted in it, and did not know, would count again.
        """
        taken, before = self._still_needed(me, row.taken), row.taken.before
        if self.is_over(row.life):
            stamp, deadline = self.latest(row.life)
            before = Ended(row.life, deadline, stamp)
            until_ms = self._remembered_ms(row)
            if until_ms + GRACE_MS > self.now_ms:
                taken = taken._replace(forget_at=max(until_ms, taken.forget_at))
        others = (self.latest(each.life) for actor, each in self.rows.items() if actor != me)
        is_kept = before and (
            max(before.deadline, taken.forget_at) + GRACE_MS > self.now_ms or (before.stamp, before.deadline) in others
        )
        return taken._replace(before=before if is_kept else None)

    def _next_stamp(self) -> int:
        later = max((row.stamp + 1 for row in self.rows.values()), default=0)
        return min(max(self.now_ms, later), MAX_COUNT)  # somebody may have forged the greatest

    # What is forgotten.

    def forgotten(self) -> set[Actor]:
        """Whose rows go: those that are worth nothing, and remember nothing that a row that stays needs.

        Rows that need only each other go together. Cost: the rows and the entries of their markers.
        """
        is_empty = all((row.p, row.n) == row.taken[:2] for row in self.rows.values())
        going = {actor for actor, row in self.rows.items() if self._may_go(actor, row, is_empty)}
        staying = [actor for actor in self.rows if actor not in going] if going else []
        if not staying:  # most often
            return going
        takers, setters = self._takers(going), self._setters(going)
        while staying:
            actor = staying.pop()
            life = self.rows[actor].life
            needed = takers.pop(actor, [])
            needed += setters.pop(self.latest(life), []) if self.is_over(life) else []
            staying += going.intersection(needed)
            going.difference_update(needed)
        return going

    def _may_go(self, actor: Actor, row: EndingRow, is_empty: bool) -> bool:
        """Whether a row is worth nothing, and has to remember nothing for a while."""
        is_idle = is_empty and not row.deadline and row.stamp + FORGET_MS + GRACE_MS <= self.now_ms
        is_blank, is_covered = not (row.p or row.n or row.stamp), self.is_covered(actor, row)
        if not (is_idle or is_blank or is_covered or self.is_over(row.life, GRACE_MS)):
            return False
        until_ms = row.taken.forget_at if row.taken.seen else 0
        if not is_covered:  # somebody may know of this row alone, and not that its life is over
            until_ms = max(row.taken.forget_at, self._remembered_ms(row))
        return until_ms + GRACE_MS <= self.now_ms

    def _remembered_ms(self, row: EndingRow) -> int:
        """Until when it must be remembered that the life of a row ends earlier than the row names; 0: it does not."""
        stamp, deadline = self.latest(row.life)
        overruled_ms = _overruled_ms(row, stamp)
        is_overruled = row.stamp < stamp and deadline < overruled_ms
        return overruled_ms + LIKE_MS if is_overruled else 0

    def _takers(self, going: Set[Actor]) -> dict[Actor, list[Actor]]:
        """By actor, whose markers take something of its row that it has not noted."""
        takers = dict[Actor, list[Actor]]()
        for actor in going:
            for taken in self.needed(actor, self.rows[actor].taken):
                takers.setdefault(taken, []).append(actor)
        return takers

    def _setters(self, going: Set[Actor]) -> dict[Setting, list[Actor]]:
        """By the deadline that holds for a life, whose rows set one of it.

        A life goes as a whole: were a row left of it, and not the one that ended it, it would go on.
        """
        setters = dict[Setting, list[Actor]]()
        for actor in going:
            for life, _ in self._settings(actor, self.rows[actor]):
                setters.setdefault(self.latest(life), []).append(actor)
        return setters

    def goes_on(self, actor: Actor) -> bool:
        """Whether a row that others forgot counts in a life that goes on, or another would go on or end without it.

        Their clocks were ahead, or they did not know of a later setting than the row's own.
        """
        row = self.rows[actor]
        stamp, deadline = self.latest(row.life)
        is_prolonged = not deadline and (stamp, deadline) > (row.stamp, row.deadline)
        goes_on = (deadline > self.now_ms or is_prolonged) and actor not in self.forgotten()
        return goes_on or self._ends_others(actor, row) or self._keeps_others(actor)

    def _ends_others(self, actor: Actor, row: EndingRow) -> bool:
        """Whether it is this row that ended the life of another."""
        settings = {setting for _, setting in self._settings(actor, row)}
        others = (each for of, each in self.rows.items() if of != actor and each.deadline > self.now_ms)
        return any(self.is_over(each.life) and self.latest(each.life) in settings for each in others)

    def _keeps_others(self, actor: Actor) -> bool:
        """Whether a life that goes on would be over without this row, which ended the one before it earlier."""
        without = CounterRows({of: row for of, row in self.rows.items() if of != actor}, self.now_ms)
        return any(without.is_over(row.life) and not self.is_over(row.life) for row in without.rows.values())

    def needed(self, actor: Actor, taken: Taken) -> dict[Actor, Seen]:
        """The entries of an actor's marker that take something of a row here whose owner has not noted it.

        The row that has the marker goes together with it.
        """
        others = (seen for seen in taken.seen if seen.actor != actor)
        return {seen.actor: seen for seen in others if self._takes(seen, self.rows.get(seen.actor))}

    def _takes(self, seen: Seen, row: EndingRow | None) -> bool:
        if row is None or seen.born < row.born:
            return False
        return seen.born > row.born or min(seen.p, row.p) > row.taken.p or min(seen.n, row.n) > row.taken.n

    def _still_needed(self, actor: Actor, taken: Taken) -> Taken:
        """What deletes took, without a marker that is old and takes nothing any more."""
        is_old = taken.forget_at + GRACE_MS <= self.now_ms
        return taken._replace(seen=(), forget_at=0) if is_old and not self.needed(actor, taken) else taken

    def times_ms(self) -> Iterator[int]:
        """When the clock alone may change any of this."""
        for deadline in self.deadlines:
            yield deadline
            yield deadline + GRACE_MS
        for row in self.rows.values():
            if row.stamp and not row.deadline:
                yield row.stamp + FORGET_MS + GRACE_MS
            if row.taken.forget_at:
                yield row.taken.forget_at + GRACE_MS
            if until_ms := self._remembered_ms(row):
                yield until_ms + GRACE_MS


def _overruled_ms(row: EndingRow, stamp: int) -> int:
    """When a life would end by a row alone, whatever was set later, at `stamp`: a day after that at the most."""
    return min(row.deadline or (MAX_COUNT if row.stamp else 0), stamp + FORGET_MS)
