"""Which counters end, what they come to by the time it is, and when the clock alone changes that.

Pure. What is not due costs nothing: the times of all counters are in a heap.

Nodes forget at times of their own, and their hashes must be equal all the same. So a row is in no hash once its own
deadline lies behind a time that all nodes agree on, but for the difference of their clocks: `hash_slot`. A digest names
its slot, and digests of unlike slots are compared by their versions only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush

from gossip_counter.node.core.actor_log import ActorLog
from gossip_counter.node.core.counts import NOTHING_TAKEN, Actor, AnyRow, EndingRow, HeldRow, NamedRow
from gossip_counter.node.core.lives import FORGET_MS, GRACE_MS, Lives

SLOT_MS = 10_000
"""Hashes let go of rows in steps of so many milliseconds."""

LEAST_SWEEP = 1000
"""Entries that the heap may have beside those it needs."""

CLOCK_STEP_MS = 1000
"""A clock that was set back by more brings lives back that were over."""


def hash_slot(now_ms: int) -> int:
    """The time up to which rows that say that they ended are in no hash: at least one slot ago."""
    return max(0, (now_ms - SLOT_MS) // SLOT_MS * SLOT_MS)


class Ends:
    """The counters that end, of all that these logs hold."""

    def __init__(self, logs: Mapping[Actor, ActorLog]) -> None:
        self.now_ms = 0
        """The time that lives are looked at, in Unix milliseconds."""
        self.latest_ms = 0
        """The latest time that any message named."""
        self.slot_ms = 0
        self.are_seen = False
        """Whether anything ever ended here, or can. Without it every life is the first, and plain rows stay plain."""
        self.special: dict[str, int] = {}
        """Counters whose adds can't simply be added up: with a row or a value that is large, or that end.

        Of the latter, when the clock alone changes something of them next, or earlier. 0: never.
        """
        self.lasting: dict[str, tuple[int, int, int] | None] = {}
        """By counter that ends, the life that adds go on in, with its deadline and stamp: as it was looked at last."""
        self.expiring = set[str]()
        """Counters that exist and have a deadline."""
        self.awaits: Callable[[str], bool] = lambda _: False
        """Whether a row of a counter is on its way here, so that it stays among `special`."""
        self._logs = logs
        self._due: list[tuple[int, str]] = []
        """A heap with the times of `special`, and such as they were."""

    def met(self, clock_ms: int) -> None:
        """A peer says that it is this time; more than a day ahead it can't be."""
        self.latest_ms = max(self.latest_ms, min(clock_ms, self.now_ms + FORGET_MS))

    def is_like(self, clock_ms: int) -> bool:
        """Whether hashes made at a time, by another clock, can be compared with ours."""
        return not self._due or hash_slot(clock_ms) == self.slot_ms

    def rows(self, counter: str) -> dict[Actor, AnyRow]:
        """Every actor's row of one counter; cost: the actors held."""
        return {actor: row for actor, log in self._logs.items() if (row := log.visible(counter))}

    def taken_again(self, actor: Actor, rows: Iterable[NamedRow]) -> set[str]:
        """The counters of an actor's rows that were forgotten here, and must be stored again: their life goes on."""
        log = self._logs[actor]
        if not log.floors.forgotten:  # most often
            return set()
        deleted = log.forgotten.deleted
        forgotten = [named for named in rows if named[1].version > deleted and log.has_forgotten(*named)]
        lives = ((counter, Lives({**self.rows(counter), actor: row}, self.now_ms)) for counter, row in forgotten)
        return {counter for counter, each in lives if each.goes_on(actor)}

    def schedule(self, counter: str, lives: Lives, exists: bool, is_noted: bool) -> None:
        """See to it that `due` names a counter when it changes next, at the latest.

        `is_noted`: the owner's row says what deletes took of it.
        """
        self.are_seen = True
        life = lives.lasting
        self.lasting[counter] = life if exists and is_noted else None
        (self.expiring.add if exists and life[1] else self.expiring.discard)(counter)
        next_ms, scheduled = self._next_ms(lives), self.special.get(counter, 0)
        if next_ms and not 0 < scheduled <= next_ms:
            self.special[counter] = next_ms
            heappush(self._due, (next_ms, counter))
            if len(self._due) > 2 * len(self.special) + LEAST_SWEEP:
                self._sweep()
        else:
            self.special.setdefault(counter, 0)

    def goes_on(self, counter: str, row: HeldRow) -> bool:
        """Whether the owner's row counts whole, in the life that adds go on in, and says all that is known of its end:
        so that an add changes nothing but its totals.
        """
        is_current = self.special.get(counter, 0) > self.now_ms and self.lasting.get(counter) == row[3:6]
        if not (is_current and isinstance(row, EndingRow)):
            return False
        before = row.taken.before
        if before and before.deadline + GRACE_MS <= self.now_ms:
            return False  # the next write leaves that out
        return row.taken[:4] == NOTHING_TAKEN[:4]

    def forget(self, counter: str) -> None:
        """A counter has no rows any more."""
        if not self.awaits(counter):
            self.special.pop(counter, None)
        self.lasting.pop(counter, None)
        self.expiring.discard(counter)

    def _next_ms(self, lives: Lives) -> int:
        """When a counter changes next by the clock alone, its hashes among it; 0: never."""
        slots = [-(-deadline // SLOT_MS) * SLOT_MS + SLOT_MS for deadline in lives.deadlines]
        return min((time for time in (*slots, *lives.times_ms()) if time > self.now_ms), default=0)

    def _sweep(self) -> None:
        self._due = [(time, counter) for counter, time in self.special.items() if time]
        heapify(self._due)

    @property
    def due_ms(self) -> int | None:
        """When a counter is due next, or earlier."""
        return self._due[0][0] if self._due else None

    def take_due(self) -> Iterator[str]:
        """Counters that the clock has changed. Each is to be scheduled again, or is gone."""
        while self._due and self._due[0][0] <= self.now_ms:
            time, counter = heappop(self._due)
            if self.special.get(counter) == time:
                self.special[counter] = 0
                yield counter
