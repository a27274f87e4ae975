"""Which counters end, what they come to by the time it is, and when the clock alone changes that.

Pure. What is not due costs nothing, and little memory. Counters whose time is far away wait in slots, which are wider
the farther away they are; a day is some five of them, one after the other. Only what is due within seconds stands in a
heap one by one.

Source: Varghese, Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, section 6.2.

Nodes forget at times of their own, and their hashes must be equal all the same. So a row whose life is over is in no
hash for `UNHASHED_MS`, in which most are forgotten. This begins once the life's deadline lies behind a time that all
nodes agree on, but for the difference of their clocks: `hash_slot`. Rows that stay for longer are hashed again: if
others forgot them, that shows. A digest names its slot, and digests of unlike slots are compared by versions only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import chain
from typing import NamedTuple

from gossip_counter.node.core.actor_log import ActorLog
from gossip_counter.node.core.counts import NOTHING_TAKEN, Actor, AnyRow, EndingRow, HeldRow, NamedRow
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.lives import FORGET_MS, GRACE_MS, Lives

SLOT_MS = 10_000
"""Hashes let go of rows in steps of so many milliseconds."""

UNHASHED_MS = 2 * GRACE_MS
"""For how long a row whose life is over is in no hash: most are forgotten meanwhile."""

LEAST_SWEEP = 1000
"""Entries that slots and heap may have beside those they need."""

NEAR_MS = 2048
"""What is due earlier stands in the heap."""

CLOCK_STEP_MS = 1000
"""A clock that was set back by more brings lives back that were over."""


class Slot(NamedTuple):
    """Times from `since_ms` on, in Unix milliseconds, for `width_ms` of them."""

    since_ms: int
    width_ms: int


def hash_slot(now_ms: int) -> int:
    """The time up to which lives must have ended for their rows to leave the hashes: at least one slot ago."""
    return max(0, (now_ms - SLOT_MS) // SLOT_MS * SLOT_MS)


def _hash_changes_ms(deadline: int) -> tuple[int, int]:
    """When a row with a deadline leaves the hashes, and when it is in them again."""
    leaves_ms = -(-deadline // SLOT_MS) * SLOT_MS + SLOT_MS
    return leaves_ms, leaves_ms + UNHASHED_MS


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

        Of the latter, when the clock alone changes something of them next, or earlier. 0: never. It is the very number
        that the row has, so that it takes no memory.
        """
        self.expiring = 0
        """How many counters exist and have a deadline."""
        self._lingering = set[str]()
        """Counters that have a time among `special`, and are gone or have no deadline."""
        self._behind = set[str]()
        """Counters that expire, and of which the owner's row lacks something: see `schedule`."""
        self.awaits: Callable[[str], bool] = lambda _: False
        """Whether a row of a counter is on its way here, so that it stays among `special`."""
        self._logs = logs
        self._near: list[tuple[int, str]] = []
        """A heap with the next times of `special`, and such as they were."""
        self._slots: dict[Slot, list[str]] = {}
        """The counters of the other times, and such as were there."""
        self._openings: list[Slot] = []
        """A heap of the slots."""
        self._waiting = 0
        """How many entries heap and slots have."""

    def met(self, clock_ms: int) -> None:
        """A peer says that it is this time; more than a day ahead it can't be."""
        self.latest_ms = max(self.latest_ms, min(clock_ms, self.now_ms + FORGET_MS))

    def is_like(self, clock_ms: int) -> bool:
        """Whether hashes made at a time, by another clock, can be compared with ours."""
        return not self._waiting or hash_slot(clock_ms) == self.slot_ms

    def is_unhashed(self, lives: Lives, row: EndingRow) -> bool:
        """Whether a row is in no hash now."""
        past_ms = self.now_ms - self.slot_ms
        return lives.is_over(row.life, past_ms) and not lives.is_over(row.life, past_ms + UNHASHED_MS)

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

    def schedule(self, counter: str, lives: Lives, exists: bool, is_behind: bool) -> None:
        """See to it that `take_due` names a counter when it changes next, at the latest.

        `is_behind`: the owner's row lacks what is known of its life, or of what deletes took of it.
        """
        self.are_seen = True
        self._forget_standing(counter)
        next_ms, scheduled = self._next_ms(lives), self.special.get(counter, 0)
        if not next_ms or not self.now_ms < scheduled <= next_ms:
            self.special[counter] = next_ms
            if next_ms:
                self._wait(next_ms, counter)
        if next_ms:
            self._stand(counter, exists and lives.deadline > 0, is_behind)

    def _stand(self, counter: str, expires: bool, is_behind: bool) -> None:
        """Take note of how a counter stands that has a time."""
        if not expires:
            self._lingering.add(counter)
            return
        self.expiring += 1
        if is_behind:
            self._behind.add(counter)

    def _forget_standing(self, counter: str) -> None:
        if counter in self._lingering:
            self._lingering.remove(counter)
        elif self.special.get(counter):
            self.expiring -= 1
            self._behind.discard(counter)

    def goes_on(self, counter: str, row: HeldRow) -> bool:
        """Whether the owner's row counts whole, in the life that adds go on in, and says all that is known of its end:
        so that an add changes nothing but its totals.
        """
        if self.special.get(counter, 0) <= self.now_ms or counter in self._behind or counter in self._lingering:
            return False
        if not isinstance(row, EndingRow):
            return False
        taken = row.taken
        if taken is NOTHING_TAKEN:  # most often
            return True
        kept_ms = min(taken.forget_at or MAX_COUNT, taken.before.deadline if taken.before else MAX_COUNT)
        if kept_ms + GRACE_MS <= self.now_ms:
            return False  # the next write leaves that out
        return taken[:3] == NOTHING_TAKEN[:3]

    def forget(self, counter: str) -> None:
        """A counter has no rows any more."""
        self._forget_standing(counter)
        if self.awaits(counter):
            self.special[counter] = 0
        else:
            self.special.pop(counter, None)

    def _next_ms(self, lives: Lives) -> int:
        """When a counter changes next by the clock alone, its hashes among it; 0: never."""
        slots = chain.from_iterable(map(_hash_changes_ms, lives.deadlines))
        return min((time for time in (*slots, *lives.times_ms()) if time > self.now_ms), default=0)

    def _wait(self, time_ms: int, counter: str) -> None:
        """Have a counter wait for its time. Of a slot, no more than a sixteenth of the wait is left when it opens."""
        self._waiting += 1
        distance_ms = time_ms - self.now_ms
        if distance_ms < NEAR_MS:
            heappush(self._near, (time_ms, counter))
        else:
            width = 1 << distance_ms.bit_length() - 5
            slot = Slot(time_ms // width * width, width)
            if slot not in self._slots:
                self._slots[slot] = []
                heappush(self._openings, slot)
            self._slots[slot].append(counter)
        if self._waiting > 2 * len(self.special) + LEAST_SWEEP:
            self._sweep()

    def _sweep(self) -> None:
        """Let go of entries whose counters wait for another time."""
        self._near, self._slots, self._openings, self._waiting = [], {}, [], 0
        for counter, time in self.special.items():
            if time:
                self._wait(time, counter)

    def _open(self, slot: Slot) -> None:
        """The time of a slot has come: its counters wait in narrower ones, or in the heap."""
        counters = self._slots.pop(slot)
        self._waiting -= len(counters)
        for counter in dict.fromkeys(counters):
            time = self.special.get(counter, 0)
            if slot.since_ms <= time < slot.since_ms + slot.width_ms:
                self._wait(time, counter)

    @property
    def due_ms(self) -> int | None:
        """When a counter is due next, or earlier."""
        times = [*(slot.since_ms for slot in self._openings[:1]), *(time for time, _ in self._near[:1])]
        return min(times, default=None)

    def take_due(self) -> Iterator[str]:
        """Counters that the clock has changed. Each is to be scheduled again, or is gone."""
        while self._openings and self._openings[0].since_ms <= self.now_ms:
            self._open(heappop(self._openings))
        while self._near and self._near[0][0] <= self.now_ms:
            time, counter = heappop(self._near)
            self._waiting -= 1
            if self.special.get(counter) == time:
                yield counter
