"""Counters that end in a simulated run: transactions that add, delete and expire, and what must come of them.

Each add to a counter is another power of two, so that a value tells which adds it consists of, and one that counts
twice is found. A delete says what value it took away: that is what it knew.

- An add that no delete saw counts. One that a delete saw does not, and it does not come back.
- What a window counted is there until any clock passes the earliest time that a transaction was given as its end, and
  gone after the latest, at each node by its own clock.
- Of journals that were lost, what no other node stores may be missing: adds, and deletes, write by write.
- What does not exist any more stays so, though a node was away while its end was brought forward.
- A day later nothing is stored of what does not exist.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from gossip_counter.cluster.sim.disk import Contents
from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.node import Node
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.lives import FORGET_MS, GRACE_MS
from gossip_counter.node.core.messages import Reply, Written
from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.endpoints.redis.context import RedisClient

MOST_ADDS = 58
"""To one counter: below the size from which counters are large."""

KEPT, WINDOW, MIXED = "kept", "window", "mixed"
"""How names of counters begin: nothing ends them but deletes; windows, that may be deleted; anything, not accounted."""

WINDOWS_MS = (1_500, 4_000, 600_000)

JUMP_MS = 10_000
"""How far clocks jump at the most."""

DAY_MS = FORGET_MS + 3 * GRACE_MS


@dataclass(slots=True)
class _Write:
    """A transaction: what it added, and what its delete saw."""

    node: Node
    life: int
    counter: str
    adds: int = 0
    saw: int = 0
    deadline_ms: int = 0
    """When the counter was to end then."""
    actor: Actor | None = None
    """Where it stands, once it is durable."""
    version: int = 0
    is_open: bool = True
    is_counted: bool = False
    """Whether it was acknowledged."""
    may_be_lost: bool = False
    is_refused: bool = False

    @property
    def is_certain(self) -> bool:
        return self.is_counted and not self.may_be_lost


class _Caller(RedisClient):
    """Who waits for a transaction."""

    __slots__ = ("_done",)

    def __init__(self, done: Callable[[Reply], None]) -> None:
        self._done = done

    def deliver(self, reply: Reply) -> None:
        self._done(reply)


class Ending:
    """Clients of counters that end, and their books."""

    def __init__(self, environment: Environment, nodes: dict[str, Node]) -> None:
        self._rng = environment.rng
        self._scenario = environment.scenario
        self._nodes = nodes
        self._writes = list[_Write]()
        self._adds = defaultdict[str, int](int)
        """By counter, how many adds were made."""
        self._generation = 0
        self._over = set[str]()
        """What existed at no node any more when somebody looked last."""

    @property
    def counters(self) -> Collection[str]:
        """All that clients used."""
        return self._adds.keys()

    # What clients do.

    def transact(self) -> None:
        """A client has a random node carry out a transaction."""
        node = self._rng.choice(list(self._nodes.values()))
        if node.process:
            node.process.enter(partial(self._transact, node))

    def bring_forward(self, node: Node) -> None:
        """A client has a node end all windows that it has in a moment."""
        windows = [counter for counter in node.replica.state.totals if counter.startswith((WINDOW, MIXED))]
        for counter in sorted(windows):
            assert node.process
            node.process.enter(partial(self._expire, node, counter))

    def _expire(self, node: Node, counter: str) -> None:
        soon_ms = node.replica.state.ends.now_ms + min(WINDOWS_MS)
        self._write(node, counter, lambda transaction, _: transaction.expire(counter, soon_ms))

    def _transact(self, node: Node) -> None:
        rng = self._rng
        kind, number = rng.choice((KEPT, WINDOW, MIXED)), rng.randrange(self._scenario.counters)
        counter = f"{kind} {number} {self._generation}"
        now_ms = node.replica.state.ends.now_ms
        if self._adds[counter] < MOST_ADDS:
            self._write(node, counter, lambda transaction, write: self._carry_out(transaction, write, kind, now_ms))

    def _write(self, node: Node, counter: str, carry_out: Callable[[Transaction, _Write], None]) -> None:
        write = _Write(node, node.life, counter)
        transaction = node.replica.transaction()
        carry_out(transaction, write)
        write.deadline_ms = transaction.deadline_ms(counter)
        self._writes.append(write)
        if not transaction.wait(_Caller(partial(self._done, write)), 1):
            write.is_open = False
        assert node.process
        node.process.advance()

    def _carry_out(self, transaction: Transaction, write: _Write, kind: str, now_ms: int) -> None:
        rng, counter = self._rng, write.counter
        value, x = transaction.value(counter), rng.random()
        if x < 0.2 and value is not None:
            write.saw = value
            transaction.delete(counter)
            if x < 0.12:
                return
        elif kind != KEPT and x < 0.3 and value is not None:
            ends_ms = now_ms + rng.choice(WINDOWS_MS)
            transaction.expire(counter, rng.choice((0, ends_ms)) if kind == MIXED else ends_ms)
            return
        for _ in range(rng.choice((1, 1, 2))):
            if self._adds[counter] < MOST_ADDS:
                write.adds |= self._add(transaction, counter)
        ends = kind == WINDOW or (kind == MIXED and rng.random() < 0.3)
        if ends and not transaction.deadline_ms(counter):
            transaction.expire(counter, now_ms + rng.choice(WINDOWS_MS))

    def _add(self, transaction: Transaction, counter: str) -> int:
        bit = 1 << self._adds[counter]
        self._adds[counter] += 1
        transaction.add(counter, bit)
        return bit

    def _done(self, write: _Write, reply: Reply) -> None:
        assert isinstance(reply, Written)
        write.is_open = False
        write.actor, write.version = reply.actor, reply.version
        write.is_refused = any(isinstance(each, Exception) for each in reply.values)
        write.is_counted = not write.is_refused
        if write.is_refused and not write.node.disk.has_failed:
            raise PromiseBroken(f"{write.node.name} refused a transaction: {reply.values}")

    def begin_generation(self) -> None:
        """From now on counters of other names are used."""
        self._generation += 1

    # What journals take along.

    def crashed(self, node: str, life: int) -> None:
        """Nobody will reply to what that life was asked."""
        for write in self._writes:
            if (write.node.name, write.life) == (node, life):
                write.is_open = False

    def lost(self, node: str) -> None:
        """The journal of a node is gone: what no other stores of its writes may be missing."""
        others = [each for each in self._nodes.values() if each.name != node]
        for write in self._writes:
            if write.node.name == node and not any(_stores(each, write) for each in others):
                write.may_be_lost = True

    def removed(self, clone: str) -> None:
        """A clone is gone with its disk: what of its writes others store, max-merge may have absorbed since."""
        for write in self._writes:
            write.may_be_lost |= write.node.name == clone

    def recheck(self) -> None:
        """A node crashed: what it had not made durable of others' writes is gone, and may have been the last copy."""
        for write in self._writes:
            if not any(_stores(each, write) for each in self._nodes.values()):
                write.may_be_lost = True

    # What must be.

    def check(self) -> None:
        """Whether every node has what it must. Raises `PromiseBroken`."""
        by_counter = defaultdict[str, list[_Write]](list)
        for write in self._writes:
            if write.is_open:
                raise PromiseBroken(f"a transaction was never answered: {write}")
            by_counter[write.counter].append(write)
        scenario, clocks = self._scenario, [node.replica.state.ends.now_ms for node in self._nodes.values()]
        latest_ms = max(clocks) + scenario.skew_ms + (JUMP_MS if scenario.jumps else 0)
        for counter, writes in by_counter.items():
            for node in self._nodes.values():
                _check_value(node, counter, writes, latest_ms)

    def check_nothing_returns(self, present: Iterable[Node]) -> None:
        """Whether nothing exists at these nodes that existed nowhere before. Raises `PromiseBroken`."""
        exists = {counter: node for node in present for counter in node.replica.state.totals}
        if returned := self._over & exists.keys():
            raise PromiseBroken(f"what was over exists again: {[(each, exists[each].name) for each in returned]}")
        self._over = self._adds.keys() - exists.keys()

    def check_nothing_stays(self) -> None:
        """Whether nothing is stored of what does not exist, a day later. Raises `PromiseBroken`."""
        for node in self._nodes.values():
            state, disk = node.replica.state, node.disk.contents
            stays = {counter for _, counter, _ in state} - state.totals.keys()
            stays |= state.special.keys() - state.totals.keys()
            if stays:
                rows = {counter: dict(state.ends.rows(counter)) for counter in stays}
                raise PromiseBroken(f"{node.name} stores what does not exist: {rows}")
            if over := [counter for counter in state.totals if counter.startswith(WINDOW)]:
                raise PromiseBroken(f"{node.name} has windows a day later: {over}")
            if stored := [name for name in _names(disk) if name not in state.totals]:
                raise PromiseBroken(f"the journal of {node.name} has what does not exist: {stored}")


def _names(disk: Contents) -> Iterator[str]:
    for rows in disk.rows.values():
        yield from (counter for counter, row in rows.items() if any(row[:2]) or len(row) > len("pnv"))


def _stores(node: Node, write: _Write) -> bool:
    """Whether a node has what a write came to, or what came after it."""
    if write.actor is None:
        return False
    if node.process:
        state = node.process.replica.state
        complete, row = state.complete_version(write.actor), state.row(write.actor, write.counter)
    else:
        version, source_version, _ = node.disk.contents.reach.get(write.actor, (0, 0, 0))
        complete = version if version >= source_version else 0
        row = node.disk.contents.row(write.actor, write.counter)
    return max(complete, row.version) >= write.version


def _check_value(node: Node, counter: str, writes: Iterable[_Write], latest_ms: int) -> None:
    """Check one counter; no clock was ever past `latest_ms`. Raises `PromiseBroken`."""
    if counter.startswith(MIXED):
        return
    counted, certain, deleted, surely_deleted = 0, 0, 0, 0
    for write in writes:
        if not write.is_refused:
            counted |= write.adds
            deleted |= write.saw
            certain |= write.adds if write.is_certain else 0
            surely_deleted |= write.saw if write.is_certain else 0
    ends = [write.deadline_ms for write in writes if write.deadline_ms]
    now_ms, value = node.replica.state.ends.now_ms, node.replica.value(counter) or 0
    least, most = certain & ~deleted, counted & ~surely_deleted
    if ends and max(ends) <= now_ms:
        most = 0
    if ends and min(ends) <= latest_ms:
        least = 0
    if least & ~value or value & ~most:
        missing, wrong = least & ~value, value & ~most
        raise PromiseBroken(f"{node.name} has {value:b} of {counter}: {missing:b} is missing, {wrong:b} is too much")
