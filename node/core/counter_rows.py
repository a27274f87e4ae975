"""The rows of one counter that ends, at a time: when its lives end, what deletes took of them, and what they count.

Pure. `lives` explains the words, and has what nodes do about it.
"""

from collections.abc import Iterator, Mapping

from gossip_counter.node.core.counts import NOTHING_TAKEN, Actor, AnyRow, EndingRow, Seen, as_ending, is_ending

Setting = tuple[int, int]
"""A deadline of a life: the stamp at which it was set, and the deadline. The greatest holds."""


class CounterRows:
    """The rows of one counter at a time, in Unix milliseconds. Cost: the rows, each time it is made."""

    __slots__ = ("_counts", "_latest", "_seen", "ends", "has_deletes", "now_ms", "rows")

    def __init__(self, rows: Mapping[Actor, AnyRow], now_ms: int) -> None:
        self.rows: dict[Actor, EndingRow] = {actor: as_ending(row) for actor, row in rows.items()}
        self.now_ms = now_ms
        self.ends = any(map(is_ending, self.rows.values()))
        """Whether a row says that the counter ends, or was deleted."""
        self.has_deletes = self.ends and any(
            row.taken is not NOTHING_TAKEN and row.taken[:4] != NOTHING_TAKEN[:4] for row in self.rows.values()
        )
        """Whether a row says anything of deletes."""
        self._seen: dict[Actor, Seen] = {}
        """By actor, what markers took."""
        self._counts: tuple[int, int] | None = None
        if self.has_deletes:
            for row in self.rows.values():
                for seen in row.taken.seen:
                    self._seen[seen.actor] = both(seen, self._seen.get(seen.actor, seen))
        self._latest = self._latest_settings()

    def _settings(self, actor: Actor, row: EndingRow) -> Iterator[tuple[int, Setting]]:
        """The lives that a row sets a deadline of, and which. Of its own it sets none once deletes took all of it."""
        if not self.is_covered(actor, row):
            yield row.life, (row.stamp, row.deadline)
        if before := row.taken.before:
            yield before.life, (before.stamp, before.deadline)

    def _latest_settings(self) -> dict[int, Setting]:
        """By life, the stamp and deadline that hold for it, zeros where nobody set one."""
        if len(self.rows) == 1 and not self.has_deletes:  # most often
            ((_, _, _, life, deadline, stamp, _, taken),) = self.rows.values()
            if not taken.before:
                return {life: (stamp, deadline)}
        latest = dict[int, Setting]()
        for actor, row in self.rows.items():
            for life, setting in self._settings(actor, row):
                latest[life] = max(latest.get(life, (0, 0)), setting)
        joined, last = list[int](), (0, 0)
        for life in sorted(latest):
            if last[1] and life >= last[1]:
                joined, last = [], (0, 0)
            joined.append(life)
            last = max(last, latest[life])
            latest.update(dict.fromkeys(joined, last))
        return latest

    # What they come to.

    def latest(self, life: int) -> Setting:
        """The deadline that holds for a life; zeros where nobody set one."""
        return self._latest.get(life, (0, 0))

    def is_over(self, life: int, grace_ms: int = 0) -> bool:
        """Whether a life has ended, so long ago."""
        return 0 < self.latest(life)[1] <= self.now_ms - grace_ms

    def taken(self, actor: Actor, row: EndingRow) -> tuple[int, int]:
        """How much of a row's totals deletes took."""
        p, n, seen = row.taken.p, row.taken.n, self._seen.get(actor)
        if seen and seen.born > row.born:
            return row.p, row.n
        if seen and seen.born == row.born:
            p, n = max(p, seen.p), max(n, seen.n)
        return min(p, row.p), min(n, row.n)

    def worth(self, actor: Actor, row: EndingRow) -> tuple[int, int]:
        """What of a row counts."""
        if self.is_over(row.life):
            return 0, 0
        if not self.has_deletes:
            return row.p, row.n
        p, n = self.taken(actor, row)
        return row.p - p, row.n - n

    def is_covered(self, actor: Actor, row: EndingRow) -> bool:
        """Whether deletes took all of a row."""
        if not self.has_deletes or self.taken(actor, row) != (row.p, row.n):
            return False
        seen = self._seen.get(actor)
        return bool(row.taken.p or row.taken.n) or (seen is not None and seen.born >= row.born)

    @property
    def counts(self) -> tuple[int, int]:
        """How much was added, and how much subtracted, of what counts."""
        if self._counts is None:
            p = n = 0
            for actor, row in self.rows.items():
                plus, minus = self.worth(actor, row)
                p += plus
                n += minus
            self._counts = p, n
        return self._counts

    @property
    def value(self) -> int | None:
        """The counter's value; None if it does not exist."""
        p, n = self.counts
        return p - n if p or n else None

    @property
    def deadline(self) -> int:
        """When the counter ends, as far as is known; 0: never."""
        living = [life for life in self._latest if not self.is_over(life)]
        return self._latest[max(living)][1] if living else 0

    @property
    def deadlines(self) -> set[int]:
        """When lives end, or ended."""
        return {deadline for _, deadline in self._latest.values() if deadline}

    @property
    def is_plain(self) -> bool:
        """Whether there is one life, which goes on, and no delete: nothing is to be forgotten."""
        return len(self._latest) == 1 and not self.has_deletes and self.value is not None


def both(one: Seen, other: Seen) -> Seen:
    """What two deletes took of one actor's row."""
    if one.born != other.born:
        return max(one, other, key=lambda seen: seen.born)
    return Seen(one.actor, one.born, max(one.p, other.p), max(one.n, other.n))
