"""Replicas in the place of the nodes of the model of counters that end: the same schedules, the same promises.

Messages are real datagrams, cut small, lost one by one. Commits succeed at once.
"""

from collections.abc import Iterable
from random import Random
from typing import NamedTuple, Self, cast

from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, AnyRow, EndingRow, as_ending, as_row
from gossip_counter.node.core.effects import Send
from gossip_counter.node.core.gossip.messages import Gossip
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.lives import LIKE_MS
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.transactions import Transaction
from tests.support.lives_cluster import COUNTERS, START, BrokenPromiseError, Cluster, Memory, check
from tests.support.lives_log import Marker, Row
from tests.support.lives_log import Seen as ModelSeen
from tests.support.replica import CLUSTER_ID, Effect, drain, is_committing

MS = 1_000_000
BUDGET = 600
"""Bytes of a datagram."""


class RealNode:
    """A replica, driven and looked at as a node of the model."""

    def __init__(
        self, name: str, names: tuple[str, ...], skew: int, rng: Random, stored: tuple[Stored, ...] = ()
    ) -> None:
        self.name = name
        self.skew = skew
        self.now = 0
        config = Config(name=name, peers=tuple(each for each in names if each != name), datagram_bytes=BUDGET)
        self.replica = Replica(config, rng, 0, Recovered(None, stored, CLUSTER_ID))
        self.effects: list[Effect] = []

    @property
    def ns(self) -> int:
        return (self.now - self.skew) * MS

    @property
    def actor(self) -> str:
        return self.replica.actor

    def at(self, time: int) -> None:
        self.now = time + self.skew
        self.replica.set_clock(self.ns, self.now)
        self.settle()
        self._check_shortcuts()

    def _check_shortcuts(self) -> None:
        for what, kept, computed in recomputed.shortcuts(self.replica.state):
            check(kept == computed, what, kept, computed)

    def settle(self) -> None:
        self.effects += drain(self.replica, self.ns)
        while is_committing(self.replica):
            self.effects += drain(self.replica, self.ns)

    # Writes.

    def add(self, counter: str, k: int = 1, ex: int = 0, if_none: bool = False) -> None:
        transaction = self.replica.transaction()
        transaction.add(counter, k)
        if ex and not (if_none and transaction.deadline_ms(counter)):
            transaction.expire(counter, self.now + ex)
        self._end(transaction)

    def expire(self, counter: str, ex: int) -> bool:
        transaction = self.replica.transaction()
        if transaction.value(counter) is None or not (ex or transaction.deadline_ms(counter)):
            return False
        transaction.expire(counter, self.now + ex if ex else 0)
        return self._end(transaction)

    def delete(self, counter: str, then: int = 0) -> bool:
        transaction = self.replica.transaction()
        if transaction.value(counter) is None:
            return False
        transaction.delete(counter)
        if then:
            transaction.add(counter, then)
        return self._end(transaction)

    def _end(self, transaction: Transaction) -> bool:
        transaction.wait("c", 1)
        self.settle()
        self._check_shortcuts()
        return True

    # What it holds.

    def _held(self, counter: str) -> list[tuple[str, EndingRow]]:
        return [(actor, row) for actor, row in self.replica.state.lives(counter).rows.items()]

    def rows(self, counter: str) -> list[tuple[str, Row]]:
        return [
            (
                actor,
                Row(
                    row.version,
                    row.p,
                    row.n,
                    row.born,
                    row.taken.p,
                    row.taken.n,
                    row.life,
                    row.stamp,
                    row.deadline,
                    until=row.taken.forget_at,
                ),
            )
            for actor, row in self._held(counter)
            if row.p or row.n or row.stamp
        ]

    def markers(self, counter: str) -> list[tuple[str, Marker]]:
        return [
            (actor, Marker(row.version, tuple((s.actor, ModelSeen(s.born, s.p, s.n)) for s in row.taken.seen), 0))
            for actor, row in self._held(counter)
            if row.taken.seen
        ]

    def own(self, counter: str) -> Row | None:
        return dict(self.rows(counter)).get(self.actor)

    def worth(self, actor: str, counter: str, _: Row) -> tuple[int, int]:
        lives = self.replica.state.lives(counter)
        return lives.worth(Actor(actor), lives.rows[Actor(actor)])

    def needed(self, counter: str, marker: Marker) -> dict[str, object]:
        lives = self.replica.state.lives(counter)
        return {
            str(each): seen
            for actor, row in lives.rows.items()
            if row.version == marker.version
            and [seen[1:] for seen in row.taken.seen] == [tuple(s) for _, s in marker.seen]
            for each, seen in lives.needed(actor, row.taken).items()
        }

    def statement(self, counter: str, life: int) -> tuple[int, int]:
        return self.replica.state.lives(counter).latest(life)

    def value(self, counter: str) -> int:
        value = self.replica.state.value(counter)
        check(value == (self.replica.state.lives(counter).value or 0), "a total is wrong", counter)
        return value

    def exists(self, counter: str) -> bool:
        return counter in self.replica.state.totals

    @property
    def logs(self) -> dict[str, "StoredLog"]:
        return {stored.actor: StoredLog(stored) for stored in self.stored()}

    def log(self, actor: str) -> "StoredLog":
        return self.logs.get(actor) or StoredLog(Stored(Actor(actor), 0, 0, {}))

    def stored(self) -> tuple[Stored, ...]:
        state, rows = self.replica.state, dict[Actor, dict[str, AnyRow]]()
        for actor, counter, row in state:
            rows.setdefault(actor, {})[counter] = row
        return tuple(
            Stored(each, state.version(each), state.source_version(each), dict(rows.get(each, {})), state.floors(each))
            for each in state.digest()
        )


class StoredLog(NamedTuple):
    """What a journal has of an actor."""

    stored: Stored

    def copy(self) -> Self:
        return self

    @property
    def rows(self) -> dict[str, EndingRow]:
        return {counter: as_ending(as_row(row)) for counter, row in self.stored.rows.items()}

    @property
    def complete(self) -> int:
        return self.stored.version if self.stored.version >= self.stored.source_version else 0


class RealCluster(Cluster):
    """The model's cluster, of replicas."""

    def __init__(self, seed: int, skew: int = 200, nodes: int = 4) -> None:
        self.real: list[RealNode] = []
        self.old: list[tuple[Gossip, str]] = []
        """Messages that may arrive once more, and who sent them."""
        super().__init__(seed, frozenset(), skew, 0)
        self.names = tuple(f"n{i}" for i in range(nodes))
        self.real = [
            RealNode(name, self.names, self.rng.randint(-skew, skew), Random(self.rng.random())) for name in self.names
        ]
        self.nodes = self.real  # type: ignore[assignment]
        self.memories = {node.actor: Memory() for node in self.real}
        self.pass_time(0)

    def pass_time(self, ms: int) -> None:
        self.time += ms
        for node in self.real:
            node.at(self.time)
            self.wrote(node)

    def wrote(self, node: RealNode) -> None:  # type: ignore[override]
        check(node.actor in self.memories, "a new epoch without a reason", node.name)
        memory = self.memories[node.actor]
        for counter in COUNTERS:
            for actor, row in node.rows(counter):
                memory.note(actor, counter, row)
                if actor == node.actor:
                    self.all.note(actor, counter, row)
            for actor, marker in node.markers(counter):
                memory.note(actor, counter, marker)
                self.all.note(actor, counter, marker)

    def _is_away(self, *nodes: RealNode) -> bool:
        return any(cast(object, node) is self.away for node in nodes)

    # Gossip.

    def _deliver(self, node: RealNode, loss: float, only: RealNode | None = None) -> bool:
        """Send what a node wants sent; whether that was anything with rows."""
        effects, node.effects = node.effects, []
        by_name = {each.name: each for each in self.real}
        sent = False
        for send in (each for each in effects if isinstance(each, Send)):
            for peer in send.to:
                other = by_name.get(str(peer))
                if other is None or self._is_away(node, other) or (only and other is not only and node is not only):
                    continue
                for message in packed(send.message):
                    if self.rng.random() >= loss:
                        if self.keeps_sent:
                            self.old.append((message, node.name))
                        sent |= bool(getattr(message, "deltas", ()) or getattr(message, "wants", ()))
                        other.replica.step(message, node.name, other.ns)
                        other.settle()
                        self.wrote(other)
        return sent

    def replay(self) -> None:
        if self.old:
            message, sender = self.rng.choice(self.old)
            receiver = self.rng.choice([node for node in self.real if node.name != sender])
            receiver.replica.step(message, sender, receiver.ns)
            receiver.settle()
            self.wrote(receiver)

    def gossip(self, sender: RealNode, receiver: RealNode) -> None:  # type: ignore[override]
        loss = self.rng.choice((0.0, 0.2, 0.6))
        sender.replica.tick(sender.ns)
        sender.settle()
        for _ in range(3):
            self._deliver(sender, loss, receiver)
            self._deliver(receiver, loss, sender)

    def settle(self) -> None:
        quiet = 0
        for _ in range(60):
            sent = False
            for node in self.real:
                if not self._is_away(node):
                    node.replica.tick(node.ns)
                    node.settle()
            for _ in range(4):
                for node in self.real:
                    sent |= self._deliver(node, 0.0)
            quiet = 0 if sent else quiet + 1
            if quiet == 6:
                return
        if all(abs(node.skew) < LIKE_MS for node in self.real):
            raise BrokenPromiseError("never quiet")

    def nothing_stays(self, what: str) -> None:
        """As in the model. But a marker is a part of its actor's row, and stays with one that is worth something."""
        for node in self.real:
            for counter in COUNTERS:
                for actor, row in node.rows(counter):
                    is_used = any(node.worth(actor, counter, row)) or (row.stamp and node.exists(counter))
                    has_marker = actor in dict(node.markers(counter))
                    check(bool(is_used or has_marker), what, "an empty row stays", node.actor, actor, row)
                self._no_marker_stays(node, counter, what)

    def _no_marker_stays(self, node: RealNode, counter: str, what: str) -> None:
        alive, rows = {each.actor for each in self.real}, dict(node.rows(counter))
        for actor, marker in node.markers(counter):
            row = rows.get(actor)
            is_part = row and (any(node.worth(actor, counter, row)) or (row.stamp and node.exists(counter)))
            needed = node.needed(counter, marker).keys() - alive
            check(bool(is_part or needed), what, "a marker stays", node.actor, actor, marker)

    # What happens to nodes.

    def die(self, node: RealNode) -> None:  # type: ignore[override]
        super().die(node)  # type: ignore[arg-type]

    def lose_journal(self, node: RealNode, backup: object) -> None:  # type: ignore[override]
        del self.memories[node.actor]
        logs, memory = backup if isinstance(backup, tuple) else ({}, Memory())
        stored = tuple(log.stored for log in logs.values())
        fresh = RealNode(node.name, self.names, node.skew, Random(self.rng.random()), stored)
        self.real[self.real.index(node)] = fresh
        self.memories[fresh.actor] = memory.copy()
        fresh.at(self.time)
        self.wrote(fresh)


def packed(message: Gossip) -> Iterable[Gossip]:
    """A message as it arrives: in parts, through the wire."""
    for datagram in datagrams.pack_gossip(message, "counter", BUDGET, 16):
        arrived = datagrams.unpack(datagram, "counter")
        assert not isinstance(arrived, dict)
        yield arrived


def nodes(count: int) -> tuple[RealCluster, list[RealNode]]:
    cluster = RealCluster(0, 0, nodes=count)
    return cluster, cluster.real


def at(node: Replica, now_ms: int) -> None:
    node.set_clock(0, now_ms)
    drain(node)


def incr(node: Replica, *, ends_ms: int = 0) -> object:
    transaction = node.transaction()
    value = transaction.add("a", 1)
    if ends_ms:
        transaction.expire("a", ends_ms)
    transaction.wait("c", 1)
    return value


__all__ = ["START", "RealCluster", "at", "incr", "nodes"]
