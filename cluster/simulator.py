"""A whole cluster in one process: virtual clock, virtual network, the real replica, the real bytes.

One seed drives everything: when clients ask, what the network loses, delays, doubles and reorders, who is cut off from
whom (in one direction or both), who is slow, who is paused, who crashes and whether its journal survives. The same seed
gives the same trace. At the end the network heals, every node is up, and the promises are checked against a ledger of
what clients asked for and what they were told:

1. *Nothing acknowledged is lost*, and 2. *nothing is counted twice*: every counter's increments, and its decrements,
   come to those acknowledged plus some subset of those whose outcome is unknown. Only what a node had told nobody can
   go, and only together with its journal; and of what it wrote after a backup that is put back, what nobody has or a
   larger total of its new life covers. What was acknowledged with copies cannot go with one journal.
3. *Always available*: every request to a node that lived on was answered; an add is refused only by an ill disk.
4. *Convergence*: all nodes come to the same state.
5. *Bounded*: no datagram exceeds its budget, no answer its number of datagrams, no node holds a row nobody wrote.

And every read lies between what was acknowledged at that node before (or at the one whose token it brought) and what
had been asked for anywhere by then.
"""

import heapq
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any

from gossip_counter.cluster.ledger import Ledger, PromiseBroken
from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.codec import requests
from gossip_counter.node.core import tokens as token
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import NOTHING, Row, merged
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.gossip import Send
from gossip_counter.node.core.messages import AddOk, Carrier, ErrorReply, Gossip, ReadOk, Replicate, Reply, Syn
from gossip_counter.node.core.replica import Answer, Commit, Effect, Recovered, Replica, RunOk, Wake
from gossip_counter.node.core.state import Actor, Stored

MS = 1_000_000
SECOND = 1000 * MS
ONLY = "only "
"""How the names of counters begin that a single add is made to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How datagrams fare between any two nodes. Shares are from 0 to 1, times in milliseconds."""

    delay_ms: float = 0.2
    """Each takes from half of this to one and a half."""
    loss: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    """The share that comes up to two seconds later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens in one simulated run. Rates are per second of the whole cluster."""

    config: Config
    nodes: int = 5
    seconds: float = 10.0
    counters: int = 3
    adds: float = 20.0
    runs: float = 5.0
    """Of several adds each, as Redis clients make them; they ask for no copies."""
    reads: float = 5.0
    network: Network = Network(delay_ms=5, loss=0.15, duplicates=0.1, late=0.03)
    partitions: float = 0.3
    slow_nodes: float = 0.1
    pauses: float = 0.2
    crashes: float = 0.4
    journal_lost: float = 0.3
    """The share of crashes that take the journal along."""
    restored: float = 0.2
    """The share of crashes after which a node is given an older copy of its journal."""
    ill_disks: float = 0.2
    copies: int = 1
    """What adds ask for. With more than one, no more journals are lost than any add survives."""
    commit_ms: float = 2.0
    heal_seconds: float = 30.0


FAULTY = Scenario(config=Config(name="?"))
"""Everything that can go wrong, in moderation."""

TRUNCATING = replace(
    FAULTY,
    config=Config(name="?", datagram_bytes=512, exchange_datagrams=1, gossip_fanout=1, push=False),
    counters=60,
    adds=120.0,
    crashes=1.5,
    journal_lost=0.8,
)
"""More news than answers have room for, and its holders die."""

CROWD = replace(FAULTY, nodes=12, seconds=5.0, adds=40.0)
"""So many members that news is passed on."""

COPIED = replace(
    FAULTY,
    config=Config(name="?", datagram_bytes=512, exchange_datagrams=1, wait_ms=300),
    copies=2,
    runs=0.0,
    counters=30,
    adds=60.0,
)
"""Adds are acknowledged when two nodes hold them durably, and then one journal is lost."""

RESTORED = replace(
    FAULTY,
    network=replace(FAULTY.network, loss=0.6),
    partitions=2.0,
    crashes=1.0,
    journal_lost=0.0,
    restored=0.8,
    ill_disks=1.0,
    commit_ms=10.0,
)
"""Older copies of journals are put back, and it is some time before anybody tells."""

SCENARIOS = {"restored": RESTORED, "faulty": FAULTY, "truncating": TRUNCATING, "crowd": CROWD, "copied": COPIED}


@dataclass(slots=True)
class Traffic:
    """Gossip sent by all nodes together."""

    datagrams: int = 0
    total_bytes: int = 0
    row_bytes: int = 0
    """Bytes of datagrams that carry rows."""
    largest: int = 0
    """Bytes of the largest datagram."""

    def add(self, datagrams: list[bytes], peers: int, carries_rows: bool) -> None:
        """Each of these was sent to so many peers."""
        size = sum(map(len, datagrams)) * peers
        self.datagrams += len(datagrams) * peers
        self.total_bytes += size
        self.row_bytes += size if carries_rows else 0
        self.largest = max(self.largest, *map(len, datagrams))


@dataclass(slots=True)
class _Disk:
    """A journal as the real one works, without the file."""

    actor: Actor | None = None
    rows: dict[Actor, dict[str, Row]] = field(default_factory=dict)
    reach: dict[Actor, tuple[int, int]] = field(default_factory=dict)
    """By actor, version and target."""

    def write(self, commit: Commit) -> None:
        self.actor = commit.actor
        for actor, version, target, rows in commit.stored:
            self.rows.setdefault(actor, {}).update((name, Row(*counts)) for name, counts in rows.items())
            self.reach[actor] = version, target

    def recovered(self) -> Recovered | None:
        if self.actor is None:
            return None
        stored = (Stored(actor, *reach, dict(self.rows[actor])) for actor, reach in self.reach.items())
        return Recovered(self.actor, tuple(stored))

    def row(self, actor: Actor, counter: str) -> Row:
        return self.rows.get(actor, {}).get(counter, NOTHING)


@dataclass(slots=True)
class _Fork:
    """A row whose journal was put back: what it was then, what it had become, what a new life made of it."""

    node: str
    base: Row
    top: Row
    ours: Row
    forgotten: bool = False
    """The new life ended, perhaps before it knew."""

    def lost(self, final: Row, side: int) -> int:
        """How much may be missing of what was acknowledged, on one side: 0 increments, 1 decrements."""
        base, top, ours, now = self.base[side], self.top[side], self.ours[side], final[side]
        if self.forgotten:
            return max(0, top + ours - base - now)
        return max(0, top - now) if now > ours else top - base


@dataclass(slots=True)
class _Node:
    name: str
    replica: Replica | None = None
    life: int = 0
    """Counts starts: what was due in a former life never happens."""
    disk: _Disk = field(default_factory=_Disk)
    wrote_as: set[Actor] = field(default_factory=set)
    """The actors of all its lives and epochs whose rows became durable."""
    backup: _Disk | None = None
    disk_is_ill: bool = False
    was_ill: bool = False
    paused: bool = False
    missed: list[Callable[[], None]] = field(default_factory=list)
    slow: bool = False
    wake_ns: int = 0
    """When its last `Wake` asked to be woken."""


class Simulation:
    """One run; `judge` raises `PromiseBroken`. `trace` is a hash of everything that happened."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.now_ns = 0
        self.rng = Random(seed)
        self.ledger = Ledger()
        self.traffic = Traffic()
        self.touched = ""
        """The node that something was last delivered to."""
        self._network = scenario.network
        self._cut: set[tuple[str, str]] = set()
        self._orphans: dict[tuple[Actor, str], Row] = {}
        self._forks: dict[tuple[Actor, str], _Fork] = {}
        self._journals_lost = 0
        self._lost_disks: list[tuple[str, _Disk]] = []
        """Whose they were, and what was on them."""
        self._alone = 0
        self._runs: dict[int, list[int]] = {}
        """By the number of a run of adds, the requests that it is made of."""
        self._tokens: list[tuple[str, dict[tuple[str, bool], int]]] = []
        """Tokens, and what was acknowledged by then at the node that gave each."""
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._entries = 0
        self._trace = blake2b(digest_size=16)
        names = [f"n{i}" for i in range(1, scenario.nodes + 1)]
        self.nodes = {name: _Node(name) for name in names}
        for node in self.nodes.values():
            self._start(node)

    @property
    def trace(self) -> str:
        """Equal for equal runs, to the byte."""
        return self._trace.hexdigest()

    def judge(self) -> None:
        """Live through the scenario, heal, and check every promise."""
        self._plan()
        self.run_until(int(self.scenario.seconds * SECOND))
        self._heal()
        limit = self.now_ns + int(self.scenario.heal_seconds * SECOND)
        while not self._level():
            if self.now_ns >= limit:
                raise PromiseBroken(f"the nodes do not agree {self.scenario.heal_seconds:g} s after all was well")
            self.run_until(self.now_ns + 50 * MS)
        self._check_states()
        self.ledger.check_answered()
        state = self.replica("n1").state
        for (actor, counter), fork in self._forks.items():
            final = state.row(actor, counter)
            self.ledger.lost(f"fork of {actor}", counter, fork.lost(final, 0), fork.lost(final, 1))
        for counter in self.ledger.counters:
            rows = list(state.rows_of(counter))
            totals = sum(row.p for row in rows), sum(row.n for row in rows)
            self.ledger.check_totals("n1", counter, totals, state.value(counter))

    def run_until(self, end_ns: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass to `end_ns`, or until `stop`, which is asked after each event."""
        while self._agenda and self._agenda[0][0] <= end_ns:
            self.now_ns, _, act = heapq.heappop(self._agenda)
            act()
            if stop():
                return
        self.now_ns = end_ns

    def at(self, due_ns: int, act: Callable[[], None]) -> None:
        """Do something at a time; in order of asking among those of one time."""
        self._entries += 1
        heapq.heappush(self._agenda, (due_ns, self._entries, act))

    def replica(self, name: str) -> Replica:
        """The live replica of that name."""
        live = self.nodes[name].replica
        assert live is not None
        return live

    def request(self, name: str, body: dict[str, Any]) -> None:
        """A client's datagram reaches a node."""
        self._deliver(self.nodes[name], wire.pack_body(body), "client")

    # Nodes.

    def _start(self, node: _Node) -> None:
        names = tuple(name for name in self.nodes if name != node.name)
        config = replace(self.scenario.config, name=node.name, peers=names)
        rng = Random(self.rng.getrandbits(64))
        node.replica = Replica(config, rng, self.now_ns, node.disk.recovered())
        node.life += 1
        interval = config.gossip_interval_ns
        self._in_this_life(node, self.now_ns + int(self.rng.random() * interval), lambda: self._tick(node, interval))
        self._turn(node, node.replica.begin(self.now_ns))

    def _tick(self, node: _Node, interval: int) -> None:
        self._in_this_life(node, self.now_ns + interval, lambda: self._tick(node, interval))
        self._turn(node, self.replica(node.name).tick(self.now_ns))

    def _in_this_life(self, node: _Node, due_ns: int, act: Callable[[], None]) -> None:
        life = node.life

        def unless_dead() -> None:
            if node.life != life or node.replica is None:
                return
            if node.paused:
                node.missed.append(unless_dead)
            else:
                act()

        self.at(due_ns, unless_dead)

    def _turn(self, node: _Node, effects: list[Effect]) -> None:
        self._carry_out(node, effects)
        self._carry_out(node, self.replica(node.name).flush())

    def _carry_out(self, node: _Node, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._gossip(node, to, message)
                case Wake(at_ns):
                    node.wake_ns = at_ns
                    self._in_this_life(node, at_ns, partial(self._wake, node, at_ns))
                case Commit():
                    self._commit(node, effect)
                case RunOk(_, run):
                    self._note("answer", node.name, str(run).encode())
                    for msg_id in self._runs.pop(run):
                        self.ledger.acknowledged(msg_id)
                case Answer("door", ErrorReply(run, code, text)):
                    for msg_id in self._runs.pop(run):
                        self.ledger.failed(msg_id, code, text, disk_is_ill=node.was_ill)
                case Answer(_, reply):
                    self._note("answer", node.name, wire.pack_body(requests.reply_body(reply, 0)))
                    self._answer(node, reply)

    def _gossip(self, node: _Node, to: tuple[str, ...], message: Gossip) -> None:
        config = self.replica(node.name).config
        datagrams = wire.pack_gossip(message, config.cluster, config.datagram_bytes, config.exchange_datagrams)
        if not isinstance(message, Replicate | Syn) and len(datagrams) > config.exchange_datagrams:
            raise PromiseBroken(f"{len(datagrams)} datagrams in one answer")
        carries_rows = isinstance(message, Carrier) and bool(message.deltas)
        self.traffic.add(datagrams, len(to), carries_rows)
        for peer in to:
            for datagram in datagrams:
                self._send(node, self.nodes[peer], datagram)

    def _answer(self, node: _Node, reply: Reply) -> None:
        match reply:
            case AddOk(msg_id, given):
                self._check_copies(*self.ledger.acknowledged(msg_id))
                self._keep(node, given)
            case ReadOk(msg_id, value, given):
                self.ledger.told(msg_id, value)
                self._keep(node, given)
            case ErrorReply(msg_id, code, text):
                self.ledger.failed(msg_id, code, text, disk_is_ill=node.was_ill)

    def _check_copies(self, counter: str, delta: int) -> None:
        if not counter.startswith(ONLY):
            return
        wanted = max(delta, 0), max(-delta, 0)
        # A member may have lost its disk after it gave its word, which is still on its way or waits to be read.
        disks = [(name, node.disk) for name, node in self.nodes.items()] + self._lost_disks
        holders = len({
            name for name, disk in disks if any(rows.get(counter, NOTHING)[:2] == wanted for rows in disk.rows.values())
        })  # fmt: skip
        if holders < self.scenario.copies:
            raise PromiseBroken(f"{counter} is durable at {holders} nodes, not at {self.scenario.copies}")

    def _keep(self, node: _Node, given: str | None) -> None:
        if given and self.rng.random() < 0.2:
            self._tokens.append((given, self.ledger.acknowledged_at(node.name)))

    def _wake(self, node: _Node, asked_ns: int) -> None:
        if asked_ns == node.wake_ns:
            self._turn(node, self.replica(node.name).wake(self.now_ns))

    def _commit(self, node: _Node, commit: Commit) -> None:
        """Durable at some moment before the node learns of it: a crash in between keeps rows it never acknowledged."""
        took = int(self.rng.uniform(0.2, 1.8) * self.scenario.commit_ms * MS)

        if node.disk_is_ill:
            self._in_this_life(
                node, self.now_ns + took, lambda: self._turn(node, self.replica(node.name).not_committed("ill"))
            )
            return

        def durable() -> None:
            node.disk.write(commit)
            node.wrote_as.add(commit.actor)
            for actor, _, _, rows in commit.stored:
                for counter, counts in rows.items():
                    if actor == commit.actor and (actor, counter) in self._forks:
                        fork = self._forks[actor, counter]
                        fork.ours = merged(fork.ours, Row(*counts))

        def done() -> None:
            replica = self.replica(node.name)
            self._carry_out(node, replica.durable())
            self._turn(node, replica.committed(self.now_ns))

        self._in_this_life(node, self.now_ns + took // 2, durable)
        self._in_this_life(node, self.now_ns + took, done)

    # The network.

    def _send(self, source: _Node, to: _Node, datagram: bytes) -> None:
        if len(datagram) > self.scenario.config.datagram_bytes:
            raise PromiseBroken(f"a datagram of {len(datagram)} bytes")
        network = self._network
        if (source.name, to.name) in self._cut or self.rng.random() < network.loss:
            return
        for _ in range(1 + (self.rng.random() < network.duplicates)):
            delay = network.delay_ms * self.rng.uniform(0.5, 1.5) * (20 if source.slow or to.slow else 1)
            if self.rng.random() < network.late:
                delay += self.rng.uniform(0, 2000)
            self.at(self.now_ns + int(delay * MS), lambda: self._deliver(to, datagram, source.name))

    def _deliver(self, node: _Node, datagram: bytes, source: str) -> None:
        if node.replica is None:
            return  # nobody listens; a later life hears what comes later, whichever life it was meant for
        if node.paused:
            node.missed.append(lambda: self._deliver(node, datagram, source))
            return
        self._note(source, node.name, datagram)
        self.touched = node.name
        message = wire.unpack(datagram, self.scenario.config.cluster)
        if isinstance(message, dict):
            self._turn(node, node.replica.handle(requests.parse(message), source, self.now_ns))
        else:
            self._turn(node, node.replica.handle(message, source, self.now_ns))  # type: ignore[arg-type]

    def _note(self, source: str, to: str, data: bytes) -> None:
        self._trace.update(f"{self.now_ns} {source} {to} ".encode() + data)

    # What goes wrong, and what clients do.

    def _plan(self) -> None:
        scenario = self.scenario
        for rate, act in (
            (scenario.adds, self._add),
            (scenario.runs, self._add_run),
            (scenario.reads, self._read),
            (scenario.partitions, self._partition),
            (scenario.slow_nodes, self._slow),
            (scenario.pauses, self._pause),
            (scenario.crashes, self._crash),
            (scenario.crashes, self._back_up),
            (scenario.ill_disks, self._fall_ill),
        ):
            due = 0.0
            while rate and (due := due + self.rng.expovariate(rate)) < scenario.seconds:
                self.at(int(due * SECOND), act)

    def _anyone(self) -> _Node:
        return self.rng.choice(list(self.nodes.values()))

    def _later(self, act: Callable[[], None], least_ms: float, most_ms: float) -> None:
        self.at(self.now_ns + int(self.rng.uniform(least_ms, most_ms) * MS), act)

    def _add(self) -> None:
        node, counter = self._anyone(), f"c{self.rng.randrange(self.scenario.counters)}"
        if self.scenario.copies > 1 and self.rng.random() < 0.5:
            self._alone += 1
            counter = f"{ONLY}{self._alone}"  # so that its copies can be counted
        delta = self.rng.choice((1, 1, 1, 2, 5, -1, -3))
        if node.replica is None:
            return
        msg_id = self.ledger.ask_add(node.name, node.life, counter, delta)
        body = {"type": "add", "msg_id": msg_id, "delta": delta, "counter": counter, "copies": self.scenario.copies}
        self.request(node.name, body)

    def _add_run(self) -> None:
        node = self._anyone()
        if node.replica is None or node.paused:
            return
        counters = [f"c{self.rng.randrange(self.scenario.counters)}" for _ in range(self.rng.randrange(1, 5))]
        adds = [(counter, self.rng.choice((1, 1, 2, -1))) for counter in counters]
        asked = [self.ledger.ask_add(node.name, node.life, *add) for add in adds]
        self._runs[asked[0]] = asked
        told = node.replica.add_run("door", asked[0], adds)
        if any(isinstance(each, RequestError) for each in told):
            raise PromiseBroken(f"{node.name} refused an add far from every bound")
        self._note("run", node.name, repr(told).encode())
        self._turn(node, [])

    def _read(self) -> None:
        node, counter = self._anyone(), f"c{self.rng.randrange(self.scenario.counters)}"
        if node.replica is None:
            return
        given, known = self.rng.choice(self._tokens) if self._tokens and self.rng.random() < 0.5 else (None, None)
        msg_id = self.ledger.ask_read(node.name, node.life, counter, known)
        body = {"type": "read", "msg_id": msg_id, "counter": counter}
        self.request(node.name, body | {"token": given} if given else body)

    def _partition(self) -> None:
        names = list(self.nodes)
        one_side = set(self.rng.sample(names, self.rng.randrange(1, len(names))))
        both_ways = self.rng.random() < 0.5
        cut = {(a, b) for a in names for b in names if (a in one_side) > (b in one_side)}
        cut |= {(b, a) for a, b in cut} if both_ways else set()
        self._cut |= cut
        self._later(lambda: self._cut.difference_update(cut), 100, 3000)

    def _slow(self) -> None:
        node = self._anyone()
        node.slow = True
        self._later(lambda: setattr(node, "slow", False), 100, 3000)

    def _pause(self) -> None:
        node = self._anyone()
        node.paused = True
        self._later(lambda: self._resume(node), 50, 2000)

    def _resume(self, node: _Node) -> None:
        node.paused = False
        missed, node.missed = node.missed, []
        for act in missed:
            act()

    def _crash(self) -> None:
        node = self._anyone()
        if node.replica is None:
            return
        for fork in self._forks.values():
            fork.forgotten |= fork.node == node.name
        fate = self.rng.random()
        if fate < self.scenario.journal_lost:
            self._lose_journal(node)
        elif fate < self.scenario.journal_lost + self.scenario.restored:
            self._put_back(node)
        node.replica, node.missed, node.paused = None, [], False
        self.ledger.crashed(node.name, node.life)
        self._count_losses()
        self._later(lambda: self._start(node) if node.replica is None else None, 20, 1500)

    def _lose_journal(self, node: _Node) -> None:
        if self.scenario.copies > 1 and self._journals_lost >= self.scenario.copies - 1:
            return
        self._journals_lost += 1
        lost, node.disk, node.backup = node.disk, _Disk(), None
        self._lost_disks.append((node.name, lost))
        for actor in sorted(node.wrote_as):  # it may have begun a new epoch before anybody had the last rows
            for counter, row in lost.rows.get(actor, {}).items():
                if (actor, counter) not in self._forks:
                    known = self._orphans.get((actor, counter), NOTHING)  # what an earlier journal of it held
                    self._orphans[actor, counter] = merged(known, row)
        self.ledger.forget_acknowledged_at(node.name)

    def _back_up(self) -> None:
        node = self._anyone()
        node.backup = deepcopy(node.disk)

    def _put_back(self, node: _Node) -> None:
        """Replace the journal by an older copy of it; once for each actor, or nobody could keep the books."""
        older, actor = node.backup, node.disk.actor
        if older is None or actor is None or older.actor != actor or self.scenario.copies > 1:
            return
        if any(forked == actor for forked, _ in self._forks):
            return
        for counter, top in node.disk.rows.get(actor, {}).items():
            base = older.row(actor, counter)
            self._forks[actor, counter] = _Fork(node.name, base, top, base)
        self.ledger.forget_acknowledged_at(node.name)
        node.disk, node.backup = older, None
        self._tokens.clear()  # the versions that they name are written anew

    def _fall_ill(self) -> None:
        node = self._anyone()
        node.disk_is_ill = node.was_ill = True
        self._later(lambda: setattr(node, "disk_is_ill", False), 50, 1000)

    def _count_losses(self) -> None:
        """Rows whose journal is gone live on at other nodes; what none of these holds any more may be lost."""
        if self.scenario.copies > 1:
            return  # then none may be
        living = [node.replica.state for node in self.nodes.values() if node.replica]
        for (actor, counter), row in self._orphans.items():
            held = [state.row(actor, counter) for state in living]
            held += [node.disk.row(actor, counter) for node in self.nodes.values() if not node.replica]
            p, n = (max((each[side] for each in held), default=0) for side in (0, 1))
            self.ledger.lost(actor, counter, max(0, row.p - p), max(0, row.n - n))

    def _heal(self) -> None:
        self._cut.clear()
        self._network = Network()
        for node in self.nodes.values():
            node.slow = node.disk_is_ill = False
            self._resume(node)
            if node.replica is None:
                self._start(node)

    # The verdict.

    def _level(self) -> bool:
        first, *others = (self.replica(name).state for name in self.nodes)
        full = self.scenario.config.gossip == "full"  # which claims nothing, so that versions differ
        return self.ledger.all_answered and all(
            other.fingerprint == first.fingerprint and (full or other.digest() == first.digest()) for other in others
        )

    def _check_states(self) -> None:
        first, *others = (self.replica(name) for name in self.nodes)
        # Of a fork, nodes may know a count by the version of either branch.
        parts = 2 if self._forks else 3
        held = [
            sorted((actor, counter, row[:parts]) for actor, counter, row in each.state) for each in (first, *others)
        ]
        if any(each != held[0] for each in held):
            raise PromiseBroken("equal digests, unequal rows")
        epochs = sum(self.replica(name).stats.new_epochs for name in self.nodes)
        if epochs > len({actor for actor, _ in self._forks}):
            raise PromiseBroken("a new epoch, though no journal was ever older than what it had told")
        issued = token.issue(first.state) if first.config.gossip == "delta" else None
        if issued and not all(token.includes(token.reach(each.state), token.parse(issued)) for each in others):
            raise PromiseBroken("a token is not good at another node, though all hold the same")
        most = len(self.ledger.counters) * (epochs + sum(node.life for node in self.nodes.values()))
        if first.state.row_count > most:
            raise PromiseBroken(f"{first.state.row_count} rows where {most} can have been written")
