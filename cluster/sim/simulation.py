"""The whole of a simulated run: live through a scenario, heal, and check every promise."""

from collections.abc import Callable
from random import Random
from typing import Any

from gossip_counter.cluster.sim import verdict
from gossip_counter.cluster.sim.clock import SECOND, Clock, Trace
from gossip_counter.cluster.sim.ending import DAY_MS, WINDOWS_MS, Ending
from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.faults import Faults
from gossip_counter.cluster.sim.losses import Losses
from gossip_counter.cluster.sim.members import Members
from gossip_counter.cluster.sim.network import Network, node_at
from gossip_counter.cluster.sim.node import Node
from gossip_counter.cluster.sim.oracle import Oracle, PromiseBroken
from gossip_counter.cluster.sim.redis_clients import RedisWorkload
from gossip_counter.cluster.sim.scenario import Scenario
from gossip_counter.cluster.sim.workload import Counters, Workload
from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.lives import GRACE_MS
from gossip_counter.node.core.replica import Replica


class Simulation:
    """One run. `run` does all of it; `run_until` and `request` are for measurements without faults."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.clock = Clock()
        self.rng = Random(seed)
        self.oracle = Oracle()
        self.network = Network(self.clock, self.rng, scenario.network, self._deliver)
        self.touched = ""
        """The node that something was last delivered to."""
        self._trace = Trace(self.clock)
        self._losses = Losses(self.oracle)
        environment = Environment(scenario, self.rng, self.clock, self._trace, self.network, self.oracle, self._losses)
        names = tuple(f"n{i}" for i in range(1, scenario.nodes + 1))
        self.nodes = dict[str, Node]()
        counters = Counters(environment, self.nodes)
        self._workload = Workload(environment, self.nodes, counters)
        self._redis_workload = RedisWorkload(environment, self.nodes, counters)
        self._ending = Ending(environment, self.nodes)
        self._faults = Faults(environment, self.nodes, self._workload, self._ending)
        self._members = Members(environment, self.nodes, self._workload)
        for name in names:
            peers = tuple(other for other in names if other != name)
            self.nodes[name] = Node(name, peers, environment, self._workload.replied, seeds=self._seeds)
        for node in self.nodes.values():
            node.start()

    def _seeds(self) -> tuple[Client, ...]:
        """Whom nodes of the beginning ask later, if members change: of those that they list, none may be left."""
        return self._members.seeds() if self.clock.now_ns else ()

    @property
    def trace(self) -> str:
        """Equal for equal runs, to the byte."""
        return self._trace.digest

    def run(self) -> None:
        """Live through the scenario, heal, and check every promise. Raises `PromiseBroken`."""
        try:
            self._run()
        except PromiseBroken:
            raise
        except Exception as error:
            raise PromiseBroken(f"an unexpected error: {error!r}") from error

    def _run(self) -> None:
        self._plan()
        self.run_until(int(self.scenario.seconds * SECOND))
        self._faults.heal()
        if self.scenario.member_changes:
            self.run_until(self.clock.now_ns + 5 * SECOND)
            self._members.restart_who_found_nobody()
        self._settle()
        if self.scenario.transactions:
            self._let_minutes_pass()
            self._let_a_day_pass()
        lives = sum(node.life for node in (*self.nodes.values(), *self._members.gone))
        self._members.check()
        clones, ending = self._faults.clones, self._ending.counters
        verdict.check(self._replicas, lives + clones, clones, self.oracle, self._losses, ending)

    def _let_minutes_pass(self) -> None:
        """As far as wall clocks are concerned: windows end while a node is away, which knows of a later end."""
        self._transact_in_a_new_generation(10)
        away, *present = self.rng.sample(list(self.nodes.values()), len(self.nodes))
        cut = {pair for node in present for pair in ((node.name, away.name), (away.name, node.name))}
        self.network.cut |= cut
        self._ending.bring_forward(present[0])
        for later_ms in (0, 2 * min(WINDOWS_MS), 2 * GRACE_MS):
            for node in self.nodes.values():
                node.clock_ahead_ms += later_ms
            self.run_until(self.clock.now_ns + SECOND)
            self._ending.check_nothing_returns(present)
        self.network.cut -= cut
        self._settle()
        self._ending.check_nothing_returns(self.nodes.values())

    def _let_a_day_pass(self) -> None:
        """Twice, as far as wall clocks are concerned: what was deleted is forgotten, and then what remembered it."""
        for _ in range(2):
            self._ending.check()
            for node in self.nodes.values():
                node.clock_ahead_ms += DAY_MS
            self._transact_in_a_new_generation(20)
        self._ending.check()
        for node in self.nodes.values():
            node.clock_ahead_ms += DAY_MS
        self.run_until(self.clock.now_ns + 3 * SECOND)
        self._settle()
        self._ending.check_nothing_stays()

    def _transact_in_a_new_generation(self, count: int) -> None:
        self._ending.begin_generation()
        for _ in range(count):
            self._ending.transact()
            self.run_until(self.clock.now_ns + SECOND // 10)
        self._settle()

    def _settle(self) -> None:
        """Wait until all nodes agree, and still hold the same state three gossip rounds later.

        A commit of its own adds again what max-merge absorbed. It may not have begun when nodes first agree.
        """
        limit_ns = self.clock.now_ns + int(self.scenario.heal_seconds * SECOND)
        before = None
        while (agreed := self._agreed_on()) is None or agreed != before:
            if self.clock.now_ns >= limit_ns:
                raise PromiseBroken(f"the nodes do not agree {self.scenario.heal_seconds:g} s after the last fault")
            before = agreed
            self.run_until(self.clock.now_ns + 3 * self.scenario.config.gossip_interval_ns)

    def _agreed_on(self) -> int | None:
        """The fingerprint of the state that all nodes hold; None if they differ, or a request is open."""
        is_level = self.oracle.all_answered and verdict.in_sync(self._replicas)
        if self.scenario.member_changes and not self._members.are_settled:
            return None
        return self._replicas[0].state.fingerprint if is_level else None

    def run_until(self, end_ns: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass to `end_ns`, or until `stop` returns True; it is asked after each event."""
        self.clock.run_until(end_ns, stop)

    def replica(self, name: str) -> Replica:
        """The replica of a node that is up."""
        return self.nodes[name].replica

    def request(self, name: str, body: dict[str, Any]) -> None:
        """A client's datagram reaches a node."""
        self._deliver(name, wire.pack_body(body), "client")

    @property
    def _replicas(self) -> list[Replica]:
        return [node.replica for node in self.nodes.values()]

    def _deliver(self, to: str, datagram: bytes, source: Client) -> None:
        self.touched = to
        node = self.nodes.get(node_at(to))
        if node and node.address == to:
            node.receive(datagram, source)

    def _plan(self) -> None:
        scenario, workload, faults = self.scenario, self._workload, self._faults
        for rate, act in (
            (scenario.adds, workload.add),
            (scenario.pipelines, self._redis_workload.pipeline),
            (scenario.reads, workload.read),
            (scenario.partitions, faults.partition),
            (scenario.slow_nodes, faults.slow),
            (scenario.pauses, faults.pause),
            (scenario.crashes, faults.crash),
            (scenario.crashes, faults.back_up),
            (scenario.failing_disks, faults.fail_disk),
            (scenario.slow_disks, faults.slow_disk),
            (scenario.clones, faults.clone),
            (scenario.transactions, self._ending.transact),
            (scenario.jumps, faults.jump_clock),
            (scenario.rotations, faults.rotate_keys),
            (scenario.member_changes, self._members.change),
        ):
            due = 0.0
            while rate and (due := due + self.rng.expovariate(rate)) < scenario.seconds:
                self.clock.at(int(due * SECOND), act)
