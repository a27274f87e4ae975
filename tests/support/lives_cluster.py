"""A cluster of the model of counters that end: nodes, time, lossy gossip, and what must hold.

Each run has 4 nodes, 2 counters, and deltas cut anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.support.lives_log import Delta, Log, Record, Row, Seen, both
from tests.support.lives_rules import FORGET, LIKE, Node
from tests.support.lives_view import Broken

COUNTERS = ("a", "b")
START = 100 * FORGET

Lineage = tuple[str, str, int]
"""Actor, counter, born."""


class OwnRow(NamedTuple):
    """A row as its owner stores it."""

    actor: str
    counter: str
    born: int
    version: int


class BrokenPromiseError(AssertionError):
    """Something that must hold does not."""


def check(holds: bool, *what: object) -> None:
    if not holds:
        raise BrokenPromiseError(*what)


@dataclass
class Memory:
    """The most that was ever counted, and deleted, of each lineage, as far as some nodes stored it."""

    counted: dict[Lineage, tuple[int, int]] = field(default_factory=dict)
    deleted: dict[tuple[str, str], Seen] = field(default_factory=dict)

    def note(self, actor: str, counter: str, record: Record) -> None:
        if isinstance(record, Row):
            self.note_count((actor, counter, record.born), record.p, record.n)
        else:
            for of, seen in record.seen:
                self.note_delete((of, counter), seen)

    def note_count(self, lineage: Lineage, p: int, n: int) -> None:
        old = self.counted.get(lineage)
        self.counted[lineage] = (max(old[0], p), max(old[1], n)) if old else (p, n)

    def note_delete(self, row: tuple[str, str], seen: Seen) -> None:
        self.deleted[row] = both(seen, self.deleted.get(row, seen))

    def include(self, other: "Memory") -> None:
        for lineage, (p, n) in other.counted.items():
            self.note_count(lineage, p, n)
        for row, seen in other.deleted.items():
            self.note_delete(row, seen)

    def copy(self) -> "Memory":
        return Memory(dict(self.counted), dict(self.deleted))

    def left(self, lineage: Lineage, deleted: "Memory") -> tuple[int, int]:
        """What deletes left of a lineage."""
        (p, n), (actor, counter, born) = self.counted[lineage], lineage
        seen = deleted.deleted.get((actor, counter))
        if seen is None or seen.born < born:
            return p, n
        return (0, 0) if seen.born > born else (max(0, p - seen.p), max(0, n - seen.n))


Backup = tuple[dict[str, Log], Memory]


def copied(logs: dict[str, Log], memory: Memory) -> Backup:
    return {actor: log.copy() for actor, log in logs.items()}, memory.copy()


class Cluster:
    """Nodes, time, and what anybody ever stored."""

    def __init__(self, seed: int, broken: Broken = frozenset(), skew: int = 200, nodes: int = 4) -> None:
        self.rng = Random(seed)
        self.broken = broken
        self.time = START
        self.nodes = [Node(f"n{i}", broken, skew=self.rng.randint(-skew, skew)) for i in range(nodes)]
        self.memories = {node.actor: Memory() for node in self.nodes}
        """By actor that is alive, what its node ever stored."""
        self.all = Memory()
        """What was ever stored by anybody, dead or not."""
        self.returned: set[OwnRow] = set()
        """Rows written on either side of a separation longer than FORGET: what the other deleted of them comes back."""
        self.noted: dict[str, int] = {}
        """By actor, its next version when `wrote` looked last."""
        self.lost = 0
        self.away: Node | None = None
        self.sent: list[tuple[Delta, Node]] = []
        """What may arrive once more, at any time, and who sent it."""
        self.keeps_sent = False
        self.pass_time(0)

    # Time and writes.

    def pass_time(self, ms: int) -> None:
        self.time += ms
        for node in self.nodes:
            node.now = self.time + node.skew
            node.forget()

    def wrote(self, node: Node) -> None:
        """Note what a node's own log holds now."""
        if self.noted.get(node.actor) == node.next_version:
            return
        self.noted[node.actor] = node.next_version
        for (counter, _), each in node.log(node.actor).records():
            self.memories[node.actor].note(node.actor, counter, each)
            self.all.note(node.actor, counter, each)

    def act(self, node: Node, action: Callable[[], object]) -> None:
        action()
        self.wrote(node)

    # Gossip.

    def send(self, delta: Delta, sender: Node, receiver: Node) -> None:
        if self.keeps_sent and delta.records:
            self.sent.append((delta, sender))
        self.receive(delta, sender, receiver)

    def receive(self, delta: Delta, sender: Node, receiver: Node) -> None:
        for (counter, _), each in delta.records:
            self.memories[receiver.actor].note(delta.actor, counter, each)
        receiver.latest = max(receiver.latest, sender.now)
        receiver.receive(delta, abs(sender.now - receiver.now) <= LIKE)

    def gossip(self, sender: Node, receiver: Node) -> None:
        """Some rows of most actors: what is newer, cut anywhere; or all from the start; or a few that claim nothing."""
        if self.away in (sender, receiver):
            return
        rng = self.rng
        for actor, log in list(sender.logs.items()):
            x, most = rng.random(), rng.choice((1, 2, 9, 9, 9))
            if x < 0.7:
                self.send(log.delta(actor, receiver.log(actor).version, most), sender, receiver)
            elif x < 0.8:
                self.send(log.delta(actor, 0, most), sender, receiver)
            elif x < 0.9:
                some = tuple(named for named in log.records() if rng.random() < 0.5)
                self.send(Delta(actor, None, 0, 0, 0, some), sender, receiver)
        receiver.react()
        self.wrote(receiver)

    def replay(self) -> None:
        """An old datagram arrives once more, as it was."""
        if self.sent:
            delta, sender = self.rng.choice(self.sent)
            receiver = self.rng.choice(self.nodes)
            self.receive(delta, sender, receiver)
            receiver.react()
            self.wrote(receiver)

    def sync(self, sender: Node, receiver: Node) -> bool:
        """What one lossless exchange sends; whether there was anything to send. Its first message names a time."""
        sent = False
        receiver.latest = max(receiver.latest, sender.now)
        for actor, mine in list(sender.logs.items()):
            theirs = receiver.log(actor)
            is_equal = mine.rows == theirs.rows and mine.markers == theirs.markers
            if mine.version > theirs.version:
                self.send(mine.delta(actor, theirs.version, 9), sender, receiver)
            elif mine.version == theirs.version and not is_equal:
                self.send(mine.delta(actor, 0, 9), sender, receiver)
            elif is_equal or not mine.detached():
                continue
            if detached := mine.detached():
                self.send(Delta(actor, None, 0, 0, 0, detached), sender, receiver)
            sent = True
        receiver.react()
        self.wrote(receiver)
        return sent

    def settle(self) -> None:
        """Exchange until nothing is to be sent."""
        present = [node for node in self.nodes if node is not self.away]
        for _ in range(12):
            sent = [self.sync(one, other) for one in present for other in present if one is not other]
            if not any(sent):
                return

    # What happens to nodes.

    def die(self, node: Node) -> None:
        if len(self.nodes) > 2:
            self.nodes.remove(node)
            del self.memories[node.actor]

    def only_in(self, backup: Backup, lost: Node) -> set[OwnRow]:
        """The rows of a backup of which no node but the lost one knows more: that they were deleted, or later ones."""

        def knows_more(node: Node, actor: str, counter: str, version: int) -> bool:
            stored = dict(node.rows(counter)).get(actor)
            return stored.version > version if stored else node.log(actor).complete >= version

        return {
            OwnRow(actor, counter, row.born, row.version)
            for actor, log in backup[0].items()
            for counter, row in log.rows.items()
            if not any(knows_more(node, actor, counter, row.version) for node in self.nodes if node is not lost)
        }

    def lose_journal(self, node: Node, backup: Backup | None) -> None:
        """The node begins a new epoch, with nothing or with what a backup held."""
        self.lost += 1
        del self.memories[node.actor]
        logs, memory = copied(*backup) if backup else ({}, Memory())
        fresh = Node(f"{node.actor.split('.')[0]}.{self.lost}", self.broken, node.now, logs, skew=node.skew)
        fresh.sees_ends = any(log.floor or log.markers for log in logs.values())
        self.nodes[self.nodes.index(node)] = fresh
        self.memories[fresh.actor] = memory

    # What must hold.

    def own_rows(self) -> set[OwnRow]:
        """Every node's own rows."""
        return {
            OwnRow(node.actor, each, row.born, row.version)
            for node in self.nodes
            for each in COUNTERS
            if (row := node.own(each))
        }

    def agree(self, what: str) -> None:
        """All nodes agree, on every row that is worth anything."""
        rows = [
            {
                (actor, counter): (row.version, node.worth(actor, counter, row))
                for counter in COUNTERS
                for actor, row in node.rows(counter)
                if node.worth(actor, counter, row) != (0, 0)
            }
            for node in self.nodes
            if node is not self.away
        ]
        check(all(each == rows[0] for each in rows), what, "rows differ", rows)

    def account(self, what: str) -> None:
        """Every count that a living node ever stored is there, but what deletes took; and nothing else.

        A delete of which no living node stored the marker may have happened or not, row by row.
        """
        self.agree(what)
        known = Memory()
        for memory in self.memories.values():
            known.include(memory)
        node = next(node for node in self.nodes if node is not self.away)
        for counter in COUNTERS:
            parts = [node.worth(actor, counter, row) for actor, row in node.rows(counter)]
            returned = {each[:3] for each in self.returned}
            lineages = [lineage for lineage in known.counted if lineage[1] == counter]
            for i in (0, 1):
                least = sum(known.left(lineage, self.all)[i] for lineage in lineages)
                most = sum(
                    known.counted[each][i] if each in returned else known.left(each, known)[i] for each in lineages
                )
                value = sum(part[i] for part in parts)
                check(least <= value <= most, what, counter, "pn"[i], least, value, most)

    def keeps(self, node: Node) -> None:
        """A node has every count that it ever stored, but what deletes took."""
        memory = self.memories[node.actor]
        for counter in COUNTERS:
            parts = [node.worth(actor, counter, row) for actor, row in node.rows(counter)]
            for i in (0, 1):
                least = sum(memory.left(each, self.all)[i] for each in memory.counted if each[1] == counter)
                value = sum(part[i] for part in parts)
                check(least <= value, "a node lost counts that it stored", node.actor, counter, "pn"[i], least, value)

    def nothing_stays(self, what: str) -> None:
        """No empty row, but one that says something of a counter; no marker, but for a dead owner's row."""
        alive = {node.actor for node in self.nodes}
        for node in self.nodes:
            for counter in COUNTERS:
                for actor, row in node.rows(counter):
                    is_used = any(node.worth(actor, counter, row)) or (row.stamp and node.exists(counter))
                    check(bool(is_used), what, "an empty row stays", node.actor, actor, row)
                for actor, marker in node.markers(counter):
                    needed = node.needed(counter, marker).keys() - alive
                    check(bool(needed), what, "a marker stays", node.actor, actor, marker)


# Steps of schedules.

SHORT = (0, 1, 3, 50, 400)


def steps(
    cluster: Cluster,
    count: int,
    operate: Callable[[Node, str, float], bool],
    pauses: tuple[int, ...],
    keeps: bool = False,
) -> None:
    """So many random steps: an operation, or if that wants none, gossip between two nodes.

    `keeps`: nothing ends but by deletes.
    """
    rng = cluster.rng
    for _ in range(count):
        cluster.pass_time(rng.choice(pauses))
        node, counter = rng.choice(cluster.nodes), rng.choice(COUNTERS)
        if not operate(node, counter, rng.random()):
            other = rng.choice([each for each in cluster.nodes if each is not node])
            cluster.gossip(node, other)
            if keeps and rng.random() < 0.2:
                cluster.keeps(other)


def counting(cluster: Cluster, deletes: float = 0.0) -> Callable[[Node, str, float], bool]:
    """Adds of 1 and sometimes -1, deletes and SETs."""

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.36:
            cluster.act(node, lambda: node.add(counter, 1 if cluster.rng.random() < 0.85 else -1))
        elif x < 0.36 + deletes:
            then = cluster.rng.choice((0, 0, 0, 7))
            cluster.act(node, lambda: node.delete(counter, then))
        return x < 0.36 + deletes

    return operate
