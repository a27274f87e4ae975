"""One simulated node: the real replica and the real bytes, started again and again on a disk that outlives it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from gossip_counter.cluster.sim.clock import MS, Clock, Trace
from gossip_counter.cluster.sim.disk import Disk
from gossip_counter.cluster.sim.losses import Losses
from gossip_counter.cluster.sim.network import Network
from gossip_counter.cluster.sim.oracle import Oracle, PromiseBroken
from gossip_counter.cluster.sim.scenario import Scenario
from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.codec import requests
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.gossip import Send
from gossip_counter.node.core.messages import Carrier, Gossip, Replicate, Reply, Syn
from gossip_counter.node.core.replica import Answer, Commit, Effect, Replica, RunOk, Wake
from gossip_counter.node.core.state import Actor


@dataclass(frozen=True, slots=True)
class Environment:
    """What surrounds the nodes, and is the same for all of them."""

    scenario: Scenario
    rng: Random
    clock: Clock
    trace: Trace
    network: Network
    oracle: Oracle
    losses: Losses


Replied = Callable[["Node", int, Reply | None], None]
"""Called with the node, the id of the request, and the reply; None for a run of adds that is durable."""


class Node:
    """A name, a disk, and one replica at a time, or none between a crash and the next start."""

    def __init__(self, name: str, peers: tuple[str, ...], environment: Environment, replied: Replied) -> None:
        self.name = name
        self.life = 0
        """Counts starts: what was due in a former life never happens."""
        self.disk = Disk()
        self.backup: Disk | None = None
        self.wrote_as: set[Actor] = set()
        """The actors of all its lives and epochs whose rows became durable."""
        self.disk_fails = False
        self.disk_failed = False
        """Whether its disk ever failed."""
        self.paused = False
        self._replica: Replica | None = None
        self._missed: list[Callable[[], None]] = []
        self._wake_ns = 0
        """When its last `Wake` asked to be woken."""
        self._environment = environment
        self._config = replace(environment.scenario.config, name=name, peers=peers)
        self._replied = replied

    @property
    def is_up(self) -> bool:
        """Whether it has started and not crashed since. A paused node is up."""
        return self._replica is not None

    @property
    def replica(self) -> Replica:
        """The replica of the present life."""
        assert self._replica is not None
        return self._replica

    def start(self) -> None:
        """Begin a life with what is on the disk."""
        clock, rng = self._environment.clock, self._environment.rng
        self._replica = Replica(self._config, Random(rng.getrandbits(64)), clock.now_ns, self.disk.recovered())
        self.life += 1
        self._at(clock.now_ns + int(rng.random() * self._config.gossip_interval_ns), self._tick)
        self._turn(self._replica.begin(clock.now_ns))

    def crash(self) -> None:
        """End this life as `kill -9` does."""
        self._replica, self._missed, self.paused = None, [], False

    def resume(self) -> None:
        """Go on after a pause, with all that was missed."""
        self.paused = False
        missed, self._missed = self._missed, []
        for act in missed:
            act()

    def receive(self, datagram: bytes, source: str) -> None:
        """A datagram reaches the node's socket, if it has one; a later life hears what was sent to a former one."""
        if self._replica is None:
            return
        if self.paused:
            self._missed.append(partial(self.receive, datagram, source))
            return
        self._environment.trace.note(source, self.name, datagram)
        message = wire.unpack(datagram, self._config.cluster)
        request = requests.parse(message) if isinstance(message, dict) else message
        self._turn(self._replica.handle(request, source, self._environment.clock.now_ns))  # type: ignore[arg-type]

    def add_run(self, number: int, adds: list[tuple[str, int]]) -> None:
        """Adds as Redis clients make them. Raises `PromiseBroken` if one is refused."""
        values = self.replica.add_run("run", number, adds)
        if any(isinstance(each, RequestError) for each in values):
            raise PromiseBroken(f"{self.name} refused an add far from every bound")
        self._environment.trace.note("run", self.name, repr(values).encode())
        self._turn([])

    def _at(self, due_ns: int, act: Callable[[], None]) -> None:
        """Do it at that time if this life lasts, later if the node is paused then."""
        life = self.life

        def unless_dead() -> None:
            if self.life != life or self._replica is None:
                return
            if self.paused:
                self._missed.append(unless_dead)
            else:
                act()

        self._environment.clock.at(due_ns, unless_dead)

    def _tick(self) -> None:
        now_ns = self._environment.clock.now_ns
        self._at(now_ns + self._config.gossip_interval_ns, self._tick)
        self._turn(self.replica.tick(now_ns))

    def _wake(self, asked_ns: int) -> None:
        if asked_ns == self._wake_ns:
            self._turn(self.replica.wake(self._environment.clock.now_ns))

    def _turn(self, effects: list[Effect]) -> None:
        self._carry_out(effects)
        self._carry_out(self.replica.flush())

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._gossip(to, message)
                case Wake(at_ns):
                    self._wake_ns = at_ns
                    self._at(at_ns, partial(self._wake, at_ns))
                case Commit():
                    self._commit(effect)
                case RunOk(_, run):
                    self._environment.trace.note("reply", self.name, str(run).encode())
                    self._replied(self, run, None)
                case Answer(to, reply):
                    if to != "run":
                        body = wire.pack_body(requests.reply_body(reply, 0))
                        self._environment.trace.note("reply", self.name, body)
                    self._replied(self, reply.in_reply_to, reply)

    def _gossip(self, to: tuple[str, ...], message: Gossip) -> None:
        config, network = self._config, self._environment.network
        datagrams = wire.pack_gossip(message, config.cluster, config.datagram_bytes, config.exchange_datagrams)
        if not isinstance(message, Replicate | Syn) and len(datagrams) > config.exchange_datagrams:
            raise PromiseBroken(f"{len(datagrams)} datagrams in one answer")
        if any(len(each) > config.datagram_bytes for each in datagrams):
            raise PromiseBroken(f"a datagram of {max(map(len, datagrams))} bytes")
        network.traffic.add(datagrams, len(to), isinstance(message, Carrier) and bool(message.deltas))
        for peer in to:
            for datagram in datagrams:
                network.send(self.name, peer, datagram)

    def _commit(self, commit: Commit) -> None:
        """Durable at some moment before the node learns of it: a crash in between keeps rows it never acknowledged."""
        environment = self._environment
        now_ns = environment.clock.now_ns
        took_ns = int(environment.rng.uniform(0.2, 1.8) * environment.scenario.commit_ms * MS)
        if self.disk_fails:
            self._at(now_ns + took_ns, lambda: self._turn(self.replica.not_committed("the disk fails")))
        else:
            self._at(now_ns + took_ns // 2, partial(self._durable, commit))
            self._at(now_ns + took_ns, self._committed)

    def _durable(self, commit: Commit) -> None:
        self.disk.write(commit)
        self.wrote_as.add(commit.actor)
        self._environment.losses.committed(commit)

    def _committed(self) -> None:
        replica = self.replica
        self._carry_out(replica.durable())
        self._turn(replica.committed(self._environment.clock.now_ns))
