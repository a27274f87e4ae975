"""Counters that end: what the rows of one come to at a time, and what a node writes when it is asked to end one.

Pure. No node asks another. A counter has one life after the other. A life ends by a *deadline*, at which each node's
own clock ends it, or it is deleted, by a *marker* of the totals that the delete saw.

- The deadline of a life is that of its row with the greatest `(stamp, deadline)`: the last word counts.
- An add goes into the greatest life that is not over. If all are over, it begins one that is named by the deadline of
  the last: whoever begins it anew begins the same one. A row moves there with its totals from a life that is not over,
  and begins from zero after one that is: a new *lineage*, of which older copies of the row know nothing.
- A delete takes away what its node knew, and never an add that it had not heard of. A row is worth what no delete took:
  its totals without the greatest of its own *base* and of what the markers say of its lineage. Maxima need no order.
- A counter of which nothing is left does not exist.

Exactness depends on no clock; only the moment of an expiry does.

Source: the rules are those of a model that is run against random schedules, `tests/support/lives_model.py`. A marker is
an observed-reset, after Weidner, Almeida, "An Oblivious Observed-Reset Embeddable Replicated Counter", PaPoC 2022.
"""

from collections.abc import Iterator, Mapping

from gossip_counter.node.core.counts import (
    MAX_SEEN,
    NOTHING_TAKEN,
    Actor,
    AnyRow,
    EndingRow,
    Seen,
    Taken,
    added,
    as_ending,
)

GRACE_MS = 60_000
"""How long after its deadline a life is forgotten; clocks may differ by less than that."""

FORGET_MS = 86_400_000
"""How long after a delete what it took is forgotten."""


class Lives:
    """The rows of one counter at a time, in Unix milliseconds. Cost: the rows, each time it is made."""

    def __init__(self, rows: Mapping[Actor, AnyRow], now_ms: int) -> None:
        self.rows: dict[Actor, EndingRow] = {actor: as_ending(row) for actor, row in rows.items()}
        self.now_ms = now_ms
        self._deadlines: dict[int, tuple[int, int]] = {}
        """By life, its greatest stamp and deadline."""
        self._bases: dict[tuple[Actor, int], tuple[int, int]] = {}
        """By actor and lineage, what markers took."""
        for row in self.rows.values():
            if row.stamp:
                said = row.stamp, row.deadline
                self._deadlines[row.life] = max(said, self._deadlines.get(row.life, said))
            for seen in row.taken.seen:
                self._take(seen)

    def _take(self, seen: Seen) -> None:
        p, n = self._bases.get(seen[:2], (0, 0))
        self._bases[seen[:2]] = max(p, seen.p), max(n, seen.n)

    # What they come to.

    def stamped_deadline(self, life: int) -> tuple[int, int]:
        """When somebody last said when a life ends, and when that is; zeros if nobody did."""
        return self._deadlines.get(life, (0, 0))

    def is_over(self, life: int) -> bool:
        """Whether a life has ended."""
        return 0 < self.stamped_deadline(life)[1] <= self.now_ms

    def base(self, actor: Actor, row: EndingRow) -> tuple[int, int]:
        """How much of a row's totals deletes took."""
        p, n = self._bases.get((actor, row.since), (0, 0))
        return max(p, row.taken.p), max(n, row.taken.n)

    def left(self, actor: Actor, row: EndingRow) -> tuple[int, int]:
        """What of a row counts."""
        if self.is_over(row.life):
            return 0, 0
        p, n = self.base(actor, row)
        return max(0, row.p - p), max(0, row.n - n)

    @property
    def counts(self) -> tuple[int, int]:
        """How much was added, and how much subtracted, of what counts."""
        left = [self.left(actor, row) for actor, row in self.rows.items()]
        return sum(p for p, _ in left), sum(n for _, n in left)

    @property
    def value(self) -> int | None:
        """The counter's value; None if it does not exist."""
        p, n = self.counts
        return p - n if p or n else None

    @property
    def deadline(self) -> int:
        """When the counter ends, as far as anybody said; 0: never."""
        return self.stamped_deadline(self._present_life())[1]

    def _present_life(self) -> int:
        """The life that an add goes into."""
        lives = {row.life for row in self.rows.values()}
        living = [life for life in lives if not self.is_over(life)]
        return max(living) if living else max((self.stamped_deadline(life)[1] for life in lives), default=0)

    def times_ms(self) -> Iterator[int]:
        """When the clock alone changes any of this: a life ends, there is something to forget."""
        ends = [deadline for _, deadline in self._deadlines.values() if deadline]
        remembered = [row.taken.forget_at for row in self.rows.values() if row.taken.forget_at]
        for time in (*ends, *remembered):
            yield time
            yield time + GRACE_MS

    # What the owner of a row writes. Each gives the new row, with the version of the old one.

    def added(self, me: Actor, delta: int, is_forgetful: bool) -> EndingRow:
        """An add. `is_forgetful`: this actor has forgotten rows of its own, perhaps of this counter.

        Raises `ValueError` as `counts.added` does.
        """
        row = self._own(me, is_forgetful)
        return as_ending(added(row, delta, row.version))

    def expiring(self, me: Actor, deadline: int, is_forgetful: bool) -> EndingRow:
        """The counter ends at `deadline`; 0: it does not."""
        row = self._own(me, is_forgetful)
        since = row.since if me in self.rows else self.now_ms
        return row._replace(deadline=deadline, stamp=self._next_stamp(), since=since)

    def deleted(self, me: Actor, is_forgetful: bool) -> EndingRow:
        """A delete of all that is known. Raises `ValueError` if too many rows would have to be named."""
        seen = {(actor, row.since): (row.p, row.n) for actor, row in self.rows.items()}
        for key, (p, n) in self._bases.items():
            seen[key] = max(p, seen.get(key, (0, 0))[0]), max(n, seen.get(key, (0, 0))[1])
        if len(seen) > MAX_SEEN:
            raise ValueError(f"more than {MAX_SEEN} members, former ones too, count in it: one delete can't name them")
        row = self._own(me, is_forgetful)
        marker = tuple(Seen(*key, *totals) for key, totals in sorted(seen.items()))
        return row._replace(
            stamp=self._next_stamp() if row.deadline else row.stamp, deadline=0,
            taken=Taken(row.p, row.n, marker, self.now_ms + FORGET_MS),
        )  # fmt: skip

    def reacted(self, me: Actor) -> EndingRow | None:
        """The own row once it says what others did: when its life ends, what deletes took. None: it does already."""
        row = self.rows.get(me)
        if row is None:
            return None
        new = row
        said = self.stamped_deadline(row.life)
        if not self.is_over(row.life) and said > (row.stamp, row.deadline):
            new = new._replace(stamp=said[0], deadline=said[1])
        p, n = self.base(me, row)
        p, n = min(p, row.p), min(n, row.n)
        if (p, n) != row.taken[:2]:
            forget_at = max(each.taken.forget_at for each in self.rows.values())
            new = new._replace(taken=row.taken._replace(p=p, n=n, forget_at=forget_at))
        elif row.taken.seen and row.taken.forget_at + GRACE_MS <= self.now_ms:
            new = new._replace(taken=row.taken._replace(seen=self._needed(me, row)))
        return None if new == row else new

    def _own(self, me: Actor, is_forgetful: bool) -> EndingRow:
        """The own row, as it is before an add, in the life that this goes into."""
        life, row = self._present_life(), self.rows.get(me)
        stamp, deadline = self.stamped_deadline(life)
        taken = row.taken if row else NOTHING_TAKEN
        if row and taken.forget_at <= self.now_ms:
            taken = taken._replace(seen=self._needed(me, row))
        if row is None or self.is_over(row.life):
            is_anew = life or row or is_forgetful or any(actor == me for actor, _ in self._bases)
            since = self.now_ms if is_anew else 0
            return EndingRow(0, 0, row.version if row else 0, life, deadline, stamp, since, taken._replace(p=0, n=0))
        p, n = self.base(me, row)
        return row._replace(life=life, deadline=deadline, stamp=stamp, taken=taken._replace(p=p, n=n))

    def _next_stamp(self) -> int:
        return max(self.now_ms, *(row.stamp + 1 for row in self.rows.values()))

    # What is forgotten.

    def forgotten(self, me: Actor | None) -> Iterator[Actor]:
        """Whose rows go. A life goes as a whole, a grace after its deadline. What was deleted goes when its marker may.

        A peer's row that a marker covers wholly goes at once, and the marker sees to it that it does not come back.
        """
        gone: set[Actor] = set()
        for actor, row in self.rows.items():
            if 0 < self.stamped_deadline(row.life)[1] <= self.now_ms - GRACE_MS or self._is_covered(actor, row, me):
                gone.add(actor)
                yield actor
        for actor, row in self.rows.items():
            taken = row.taken
            if actor in gone or not 0 < taken.forget_at <= self.now_ms or (row.p, row.n) != taken[:2]:
                continue
            if not taken.seen or (taken.forget_at + GRACE_MS <= self.now_ms and not self._needed(actor, row)):
                yield actor

    def _is_covered(self, actor: Actor, row: EndingRow, me: Actor | None) -> bool:
        """Whether a marker covers a row wholly, that it need not be kept: it is nobody's marker, and no own row."""
        p, n = self._bases.get((actor, row.since), (-1, -1))
        return actor != me and row.p <= p and row.n <= n and not row.taken.seen and (row.p, row.n) != row.taken[:2]

    def _needed(self, actor: Actor, row: EndingRow) -> tuple[Seen, ...]:
        """The entries of a marker that some row here has not taken into its own base."""
        return tuple(seen for seen in row.taken.seen if seen.actor != actor and self._is_needed(seen))

    def _is_needed(self, seen: Seen) -> bool:
        row = self.rows.get(seen.actor)
        return row is not None and row.since == seen.since and (row.taken.p < seen.p or row.taken.n < seen.n)
