"""Whole sequences at a cluster of three replicas: adds, deletes, rounds, starts, and datagrams of a hostile member.

The control byte of an item determines what happens (its lowest 4 bits) and where (the next 2). Its content is what that
needs: a number, or a datagram. Messages wait in a pool, from which any may arrive, any number of times. If the first
item has bit 6, nobody is hostile: then everything is healed at the end, and all must come to one state. If it has bit 7
as well, nothing ends and no journal is lost: then all that was acknowledged counts once.
"""

from collections import Counter
from random import Random

from gossip_counter.bench.fuzz.datagram_targets import repaired
from gossip_counter.bench.fuzz.items import Item, split
from gossip_counter.bench.fuzz.samples import BODIES, CLUSTER, CLUSTER_ID, NOW_MS, of_datagrams
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.cluster.sim import recomputed
from gossip_counter.cluster.sim.verdict import in_sync
from gossip_counter.node.codec import datagrams, requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Answer, Commit
from gossip_counter.node.core.errors import ProtocolError, RequestError
from gossip_counter.node.core.gossip.messages import Gossip
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Written
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import Presence
from gossip_counter.node.storage import entries
from gossip_counter.node.storage.contents import Contents

NAMES = ("n1", "n2", "n3")
COUNTERS = ("", "likes", "gone", "own")
MS = 1_000_000
POOL = 64
HEAL_ROUNDS = 40
STEP_MS = 5

ADD, TICK, ARRIVE, CHANGED, LEAP, EXPIRE, DELETE, START, LOSE, FAIL, DATAGRAM, REQUEST = range(12)
HOSTILE, INEXACT = (CHANGED, DATAGRAM), (EXPIRE, DELETE, LOSE, FAIL, REQUEST)
HONEST, EXACT = 64, 128


class Node:
    """One member, its journal, and what it has sent."""

    def __init__(self, name: str) -> None:
        self._config = Config(name=name, cluster=CLUSTER, peers=tuple(each for each in NAMES if each != name))
        self.contents = Contents()
        self.fails = False
        self.acknowledged: list[object] = []
        self.lives = 0
        self.now_ns = 0
        self.start()

    def start(self) -> None:
        """Begin a life with what is in the journal."""
        self.lives += 1
        recovered = self.contents.recovered() or Recovered(None, cluster_id=CLUSTER_ID)
        seed = f"{self._config.name} {self.lives}"
        presence = Presence((self._config.name,), "1.0")
        self.replica = Replica(self._config, Random(seed), self.now_ns, recovered, None, presence)
        self.at(self.now_ns)
        self.replica.begin(self.now_ns)

    def at(self, now_ns: int) -> None:
        """It is that time."""
        self.now_ns = now_ns
        self.replica.set_clock(now_ns, NOW_MS + now_ns // MS)

    def advance(self, pool: "Pool") -> None:
        """Carry out all that is to be done."""
        while ready := self.replica.ready(self.now_ns):
            self.acknowledged += [answer.reply for answer in ready.replies if _succeeded(answer)]
            for send in ready.sends:
                size, most = send.bounds(self._config)
                for to in send.to:
                    pool.put(str(to), datagrams.pack_gossip(send.message, CLUSTER, size, most))
            if ready.commit:
                self._commit(ready.commit)

    def _commit(self, commit: Commit) -> None:
        if self.fails:
            self.fails = False
            self.replica.persisted("planted")
            return
        self.contents.add(entries.decode(entries.encode(commit)))
        self.replica.persisted()

    def receive(self, datagram: bytes) -> None:
        """A datagram arrives."""
        try:
            message = datagrams.unpack(datagram, CLUSTER)
            if isinstance(message, Gossip):
                self.replica.step(message, message.sender, self.now_ns)
            else:
                self.replica.step(requests.parse(message), "client", self.now_ns)
        except RequestError as error:
            if error.msg_id is not None:
                self.replica.refuse("client", error)
        except ProtocolError:
            pass  # refused, which the target for datagrams looks at

    def write(self, item: Item) -> dict[str, int]:
        """Add to a counter, let it expire, or delete it. Returns what was added."""
        number = int.from_bytes(item.content[:2], "big")
        counter, transaction = COUNTERS[number % len(COUNTERS)], self.replica.transaction()
        try:
            if item.control & 15 == ADD:
                delta = (number >> 2) % 7 - 2
                return {counter: delta} if type(transaction.add(counter, delta)) is int else {}
            if transaction.value(counter) is not None:
                if item.control & 15 == DELETE:
                    transaction.delete(counter)
                else:
                    transaction.expire(counter, transaction.now_ms + number)
        except RequestError:
            pass  # a bound
        finally:
            transaction.wait("client", 1)
        return {}


def _succeeded(answer: Answer) -> bool:
    return isinstance(answer.reply, Written) and answer.reply.actor is not None


class Pool:
    """Datagrams under way."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, bytes]] = []

    def put(self, to: str, packed: list[bytes]) -> None:
        """These are sent. The oldest are lost when there are too many."""
        self.waiting += [(to, each) for each in packed]
        del self.waiting[:-POOL]

    def pick(self, number: int) -> tuple[str, bytes] | None:
        """One of them, which stays."""
        return self.waiting[number % len(self.waiting)] if self.waiting else None


class Sequence:
    """Three nodes, and what happens to them."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.nodes = {name: Node(name) for name in NAMES}
        self.added = Counter[str]()

    def happens(self, item: Item) -> None:
        """One item."""
        kind, node = item.control & 15, self.nodes[NAMES[(item.control >> 4 & 3) % 3]]
        number = int.from_bytes(item.content[:2], "big")
        if kind in (ADD, EXPIRE, DELETE):
            self.added.update(node.write(item))
        elif kind == TICK:
            node.replica.tick(node.now_ns)
        elif kind in (ARRIVE, CHANGED):
            self._arrives(item, number)
        elif kind == LEAP:
            self.pass_time(number * MS)
        elif kind in (START, LOSE):
            node.contents = Contents() if kind == LOSE else node.contents
            node.start()
        elif kind == FAIL:
            node.fails = True
        elif kind == DATAGRAM:
            node.receive(repaired(item.content))
        elif kind == REQUEST:
            node.receive(item.content)
        self.pass_time(STEP_MS * MS)

    def _arrives(self, item: Item, number: int) -> None:
        if not (picked := self.pool.pick(number)):
            return
        to, datagram = picked
        if item.control & 15 == CHANGED:
            at = int.from_bytes(item.content[2:4], "big") % len(datagram)
            datagram = repaired(datagram[:at] + item.content[4:] + datagram[at + len(item.content[4:]) :])
        self.nodes[to].receive(datagram)
        self.nodes[to].advance(self.pool)

    def pass_time(self, ns: int) -> None:
        """So much time passes everywhere."""
        for node in self.nodes.values():
            node.at(node.now_ns + ns)
            node.advance(self.pool)

    @property
    def replicas(self) -> list[Replica]:
        """All of them."""
        return [node.replica for node in self.nodes.values()]

    @property
    def members(self) -> list[Replica]:
        """Those that take writes: they neither leave nor were removed."""
        return [each for each in self.replicas if not each.closed]

    def heal(self) -> bool:
        """Lose nothing until all have one state; whether they come to it."""
        for _ in range(HEAL_ROUNDS):
            for node in self.nodes.values():
                node.replica.tick(node.now_ns)
                node.advance(self.pool)
                while self.pool.waiting:
                    to, datagram = self.pool.waiting.pop(0)
                    self.nodes[to].receive(datagram)
                    self.nodes[to].advance(self.pool)
            self.pass_time(100 * MS)
            if len(self.members) < 2 or in_sync(self.members):
                return True
        return False


def try_sequence(data: bytes) -> int:
    """One sequence. Returns how many steps it had."""
    sequence, count, first = Sequence(), 0, data[0] if data else 0
    left_out = HOSTILE * bool(first & HONEST) + INEXACT * bool(first & EXACT)
    for count, item in enumerate(split(data), 1):  # noqa: B007 how many there were
        if item.control & 15 not in left_out:
            sequence.happens(item)
    for replica in sequence.replicas:
        recomputed.check(replica.state)
    for node in sequence.nodes.values():
        _check_adds(node, sequence.pool)
    if first & HONEST:
        check(sequence.heal(), "the nodes do not come to one state")
        for replica in sequence.members:
            recomputed.check(replica.state)
            totals = {counter: replica.state.value(counter) for counter in COUNTERS}
            expected = {counter: sequence.added[counter] for counter in COUNTERS}
            check(not first & EXACT or totals == expected, totals, "in place of", expected)
    return count


def _check_adds(node: Node, pool: Pool) -> None:
    """It counts on."""
    node.fails = False
    node.at(node.now_ns + 1000 * MS)  # peers that do not answer are given up by then
    node.advance(pool)
    if node.replica.closed:
        return
    before = len(node.acknowledged)
    node.replica.submit("client", 1, [("alive", 1)])
    node.advance(pool)
    check(len(node.acknowledged) == before + 1, "an add is not acknowledged")
    check((node.replica.value("alive") or 0) > 0, "an add does not count")


def samples() -> list[Item]:
    """Steps of every kind, and datagrams at every node."""
    steps = [
        Item(HONEST | EXACT * (number & 1) | kind | where << 4, number.to_bytes(2, "big"))
        for kind in (*[ADD] * 3, *[TICK] * 3, *[ARRIVE] * 12, LEAP, EXPIRE, DELETE, START, LOSE, FAIL)
        for where in range(3)
        for number in (1 + 4 * where, 614 * where)
    ]
    changed = [Item(CHANGED, bytes([0, number, 0, 9 * number]) + b"\x07") for number in range(20)]
    hostile = [Item(DATAGRAM | where << 4, each.content) for where in range(3) for each in of_datagrams()]
    asked = [Item(REQUEST, datagrams.pack_body(each)) for each in BODIES]
    return [*steps, *changed, *hostile, *asked]
