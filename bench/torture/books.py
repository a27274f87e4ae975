"""The books of counters that end: what Redis clients asked for and were replied, and what must come of it.

Pure. Each add to a counter is another power of two, so that a value tells which adds it consists of, and one that
counts twice is found. Sets of adds are integers: bit i is the i-th add.

- A **kept** counter is counted and deleted. A `GETDEL` replies what it took away. So an acknowledged add counts that no
  delete can have seen; and one that an acknowledged delete saw counts no more, at its node at once, and everywhere
  once all is at rest. A delete without a reply can have seen any add, or none.
- A **pair** of counters is counted in transactions, each of which adds the same to both. At rest both have equal
  values.
- A **window** is counted in commands that set a deadline if there is none. Each such deadline lies between the moment
  of the request and that of the reply, plus the time that was asked for. Before the earliest of them what a node
  acknowledged is there; after the latest there is nothing, and 75 seconds later nothing is stored. (Of two deadlines
  that are set at once, the later word may be the earlier: it is remembered for 15 seconds more.)

Disks are lost only while all nodes store the same, so no write that was acknowledged is lost with one. But one without
a reply may then have reached the others in part: a transaction of which they have one counter.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from math import inf
from random import Random
from typing import NamedTuple

from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.core.lives import GRACE_MS, LIKE_MS

MOST_ADDS = 58
"""To one counter: below the size from which counters are large."""
SLOTS = 8
"""Counters, or pairs of them, of each kind that are in use at a time."""
WINDOW_MS = 3000
"""For how long windows of one name are begun; each lasts as long as its requests say."""
TOLERANCE_MS = 1000
"""By how much a node's clock may differ from the clients', and how late it may notice that a window is over."""
LEFT, RIGHT = ":left", ":right"
"""How names of the two counters of a pair end."""
ANY = -1
"""The set of all adds."""


class Kind(StrEnum):
    """How names of counters begin."""

    KEPT = "kept"
    PAIR = "pair"
    WINDOW = "window"


@dataclass(slots=True, eq=False)
class Write:
    """A request that changes counters, the same change to each."""

    node: str
    counters: tuple[str, ...]
    bit: int
    """What it adds; 0: it deletes."""
    lasts_ms: int
    """After which time a counter ends that had no deadline; 0: it does not."""
    known: tuple["Known", ...] = ()
    """Of each counter."""


class Known(NamedTuple):
    """What one node acknowledged of a counter before it was asked."""

    adds: int
    taken: int


@dataclass(slots=True)
class Ledger:
    """What is known of one counter; sets of adds, unless said otherwise."""

    asked: int = 0
    """What may count."""
    acknowledged: int = 0
    taken: int = 0
    """What acknowledged deletes saw."""
    torn: int = 0
    """Adds without a reply at a node that then lost its disk: of a pair one half may be gone."""
    acknowledged_at: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By node."""
    taken_at: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By node."""
    adds: int = 0
    """How many there were."""
    open_adds: int = 0
    """How many may be done yet."""
    open_deletes: int = 0
    """How many have no reply, and may have seen anything."""
    first_end_ms: float = inf
    """No deadline is earlier than this."""
    last_end_ms: float = inf
    """None is later, but for those of open adds."""

    @property
    def maybe_taken(self) -> int:
        """What deletes can have seen."""
        return ANY if self.open_deletes else self.taken

    def known(self, node: str) -> Known:
        """What a node acknowledged so far."""
        return Known(self.acknowledged_at[node], self.taken_at[node])

    def is_over(self, now_ms: float) -> bool:
        """Whether it was a window, and is over by any clock."""
        return not self.open_adds and self.last_end_ms + TOLERANCE_MS < now_ms

    def goes_on(self, now_ms: float) -> bool:
        """Whether it has not ended by any clock."""
        return now_ms < self.first_end_ms - TOLERANCE_MS


class Books:
    """All writes to counters that end, and their replies. Times are Unix milliseconds.

    Each method that takes a reply raises `PromiseBroken` for a value that can't be.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        """Acknowledged writes: adds by the kind of counter, and deletes."""
        self.ledgers: defaultdict[str, Ledger] = defaultdict(Ledger)
        """By counter."""
        self._open = set[Write]()
        self._unknown: list[Write] = []
        """Writes without a reply, that may be done yet."""
        self._generations: Counter[tuple[Kind, int]] = Counter()

    @property
    def all_answered(self) -> bool:
        """Whether no write is open any more."""
        return not self._open

    @property
    def windows(self) -> list[str]:
        """The names of all windows."""
        return [name for name in self.ledgers if name.startswith(Kind.WINDOW)]

    @property
    def forgotten_ms(self) -> float:
        """When nothing of any window may be stored any more."""
        ends = [self.ledgers[name].last_end_ms for name in self.windows]
        return max((end for end in ends if end < inf), default=0) + GRACE_MS + LIKE_MS + TOLERANCE_MS

    # What clients ask for.

    def pick(self, kind: Kind, rng: Random, now_ms: float) -> tuple[str, ...]:
        """What to change next: one counter, or a pair. Nothing: this window has no room for more."""
        slot = rng.randrange(SLOTS)
        if kind is Kind.WINDOW:
            window = f"{kind}:{slot}:{now_ms // WINDOW_MS:.0f}"
            return () if self._is_full(window) else (window,)
        for generation in count(self._generations[kind, slot]):
            self._generations[kind, slot] = generation
            name = f"{kind}:{slot}:{generation}"
            names = (name + LEFT, name + RIGHT) if kind is Kind.PAIR else (name,)
            if not self._is_full(names[0]):
                return names
        raise AssertionError

    def _is_full(self, counter: str) -> bool:
        ledger = self.ledgers.get(counter)
        return ledger is not None and (ledger.adds >= MOST_ADDS or ledger.open_deletes > 0)

    def ask_add(self, node: str, counters: tuple[str, ...], now_ms: float, lasts_ms: int = 0) -> Write:
        """A client asks a node to add the next power of two to each of these."""
        ledgers = [self.ledgers[name] for name in counters]
        write = Write(node, counters, 1 << ledgers[0].adds, lasts_ms, tuple(each.known(node) for each in ledgers))
        for ledger in ledgers:
            ledger.adds += 1
            ledger.open_adds += 1
            ledger.asked |= write.bit
            if lasts_ms:
                ledger.first_end_ms = min(ledger.first_end_ms, now_ms + lasts_ms)
        self._open.add(write)
        return write

    def ask_delete(self, node: str, counter: str) -> Write:
        """A client asks a node to delete a counter, and to reply its value."""
        ledger = self.ledgers[counter]
        write = Write(node, (counter,), 0, 0, (ledger.known(node),))
        ledger.open_deletes += 1
        self._open.add(write)
        return write

    # What comes of it.

    def added(self, write: Write, values: Iterable[int], now_ms: float) -> None:
        """An add was answered, with the value of each counter."""
        self._open.remove(write)
        for name, value, known in zip(write.counters, values, write.known, strict=True):
            ledger = self.ledgers[name]
            self._check_reply(write.node, name, value, known, now_ms, write.bit)
            ledger.open_adds -= 1
            ledger.acknowledged |= write.bit
            ledger.acknowledged_at[write.node] |= write.bit
            if write.lasts_ms:
                ledger.last_end_ms = _later(ledger.last_end_ms, now_ms + write.lasts_ms)
        self.done[write.counters[0].split(":")[0]] += 1

    def deleted(self, write: Write, value: int, now_ms: float) -> None:
        """A delete was answered, with what it took away."""
        self._open.remove(write)
        ledger = self.ledgers[write.counters[0]]
        ledger.open_deletes -= 1
        self._check_reply(write.node, write.counters[0], value, write.known[0], now_ms)
        ledger.taken |= value
        ledger.taken_at[write.node] |= value
        self.done["deletes"] += 1

    def unknown(self, write: Write) -> None:
        """No reply came, and none will be waited for."""
        self._open.remove(write)
        self._unknown.append(write)

    def not_sent(self, write: Write) -> None:
        """A request was not even sent."""
        self._open.remove(write)
        for ledger in (self.ledgers[name] for name in write.counters):
            ledger.asked &= ~write.bit
            if write.bit:
                ledger.open_adds -= 1
            else:
                ledger.open_deletes -= 1

    def read(self, node: str, counter: str, value: int, known: Known, asked_ms: float, now_ms: float) -> None:
        """A node replied a value, 0 if there is none. `known`, `asked_ms`: of the moment when it was asked."""
        self._check_reply(node, counter, value, known, now_ms)
        if value and self.ledgers[counter].is_over(asked_ms):
            raise PromiseBroken(f"{node} replied {value:b} for {counter}, which is over")

    def _check_reply(self, node: str, counter: str, value: int, known: Known, now_ms: float, added: int = 0) -> None:
        ledger = self.ledgers[counter]
        least = known.adds & ~ledger.maybe_taken if ledger.goes_on(now_ms) else 0
        _compare(node, counter, value, least | added, ledger.asked & ~known.taken)

    # What is lost, and what must be at rest.

    def replaced(self, node: str) -> None:
        """A node lost its disk: it knows nothing until peers send it, and they may have half of what it did last."""
        for ledger in self.ledgers.values():
            ledger.acknowledged_at.pop(node, None)
            ledger.taken_at.pop(node, None)
        for write in self._unknown:
            for name in write.counters if write.node == node else ():
                self.ledgers[name].torn |= write.bit

    def settle(self, now_ms: float) -> None:
        """What has no reply is done by now, or never will be."""
        for write in self._unknown:
            for ledger in (self.ledgers[name] for name in write.counters if write.bit):
                ledger.open_adds -= 1
                if write.lasts_ms:
                    ledger.last_end_ms = _later(ledger.last_end_ms, now_ms + write.lasts_ms)
        self._unknown.clear()

    def check(self, node: str, values: Mapping[str, int], asked_ms: float, now_ms: float) -> None:
        """Check all counters of a node while all nodes hold the same: values of no earlier and no later than these."""
        for name, ledger in self.ledgers.items():
            least = ledger.acknowledged & ~ledger.maybe_taken if ledger.goes_on(now_ms) else 0
            most = 0 if ledger.is_over(asked_ms) else ledger.asked & ~ledger.taken
            _compare(node, name, values[name], least, most)
            if name.endswith(LEFT):
                other = name.removesuffix(LEFT) + RIGHT
                if (values[name] ^ values[other]) & ~ledger.torn:
                    raise PromiseBroken(f"{node} has {values[name]:b} of {name}, and {values[other]:b} of {other}")


def _later(end_ms: float, other_ms: float) -> float:
    """The later of two ends, the first of which may not be known yet."""
    return other_ms if end_ms == inf else max(end_ms, other_ms)


def _compare(node: str, counter: str, value: int, least: int, most: int) -> None:
    """Check that a set of adds has those, and no others than these. Raises `PromiseBroken`."""
    if least & ~value or value & ~most:
        missing, wrong = least & ~value, value & ~most
        raise PromiseBroken(f"{node} has {value:b} of {counter}: {missing:b} is missing, {wrong:b} is too much")
