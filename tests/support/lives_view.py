"""What a node of the model of counters that end holds, and what its counters are worth.

The words are explained in lives_rules.py.
"""

from dataclasses import dataclass, field

from tests.support.lives_log import Log, Marker, Row

Broken = frozenset[str]
"""Rules left out, to see that a test misses them."""


@dataclass(slots=True)
class View:
    """The logs of all actors, as they are stored at one node. It writes as `actor`."""

    actor: str
    broken: Broken = frozenset()
    now: int = 0
    """Its own clock; who runs the model sets it."""
    logs: dict[str, Log] = field(default_factory=dict)
    due: int | None = 0
    """When something may have to be forgotten; None: to be found out."""
    known: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """`statements` by counter, until rows change."""

    def log(self, actor: str) -> Log:
        log = self.logs.get(actor)
        if log is None:
            log = self.logs[actor] = Log()
        return log

    def rows(self, counter: str) -> list[tuple[str, Row]]:
        return [(actor, log.rows[counter]) for actor, log in self.logs.items() if counter in log.rows]

    def markers(self, counter: str) -> list[tuple[str, Marker]]:
        return [(actor, log.markers[counter]) for actor, log in self.logs.items() if counter in log.markers]

    def own(self, counter: str) -> Row | None:
        return self.log(self.actor).rows.get(counter)

    def counters(self) -> set[str]:
        return {counter for log in self.logs.values() for table in (log.rows, log.markers) for counter in table}

    def changed(self) -> None:
        """Rows changed: what was computed of them is to be found out anew."""
        self.due = None
        self.known.clear()

    def statements(self, counter: str) -> dict[int, tuple[int, int]]:
        """By life, the `(stamp, deadline)` that holds for it: the greatest of its rows, zeros if nobody set one.

        A life that began before the one before it ends is one with that: who began it did not know of the other.
        """
        stated: dict[int, tuple[int, int]] = {}
        for _, row in self.rows(counter):
            stated[row.life] = max(stated.get(row.life, (0, 0)), (row.stamp, row.deadline))
            if row.before[2]:
                life, *setting = row.before
                stated[life] = max(stated.get(life, (0, 0)), (setting[0], setting[1]))
        holds: dict[int, tuple[int, int]] = {}
        joined: list[int] = []
        greatest = (0, 0)
        for life in sorted(stated):
            if (greatest[1] and life >= greatest[1]) or "joined lives" in self.broken:
                joined, greatest = [], (0, 0)
            joined.append(life)
            greatest = max(greatest, stated[life])
            holds.update(dict.fromkeys(joined, greatest))
        return holds

    def statement(self, counter: str, life: int) -> tuple[int, int]:
        if counter not in self.known:
            self.known[counter] = self.statements(counter)
        return self.known[counter].get(life, (0, 0))

    def is_over(self, counter: str, life: int, grace: int = 0) -> bool:
        return 0 < self.statement(counter, life)[1] <= self.now - grace

    def taken(self, actor: str, counter: str, row: Row) -> tuple[int, int]:
        """How much of a row's totals deletes took."""
        p, n = row.base_p, row.base_n
        for _, marker in self.markers(counter):
            for seen in (seen for of, seen in marker.seen if of == actor):
                if seen.born > row.born and "earlier lineages" not in self.broken:
                    return row.p, row.n
                if seen.born == row.born:
                    p, n = max(p, seen.p), max(n, seen.n)
        return min(p, row.p), min(n, row.n)

    def worth(self, actor: str, counter: str, row: Row) -> tuple[int, int]:
        if self.is_over(counter, row.life):
            return 0, 0
        p, n = self.taken(actor, counter, row)
        return row.p - p, row.n - n

    def value(self, counter: str) -> int:
        return sum(p - n for p, n in (self.worth(actor, counter, row) for actor, row in self.rows(counter)))

    def exists(self, counter: str) -> bool:
        return any(any(self.worth(actor, counter, row)) for actor, row in self.rows(counter))
