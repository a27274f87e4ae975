"""How long one piece of news takes through a simulated cluster, and what it costs: the real replica, the real bytes.

Each run starts a fresh cluster whose nodes already agree on all counters, lets it rest until its timers are anywhere,
adds 1 at a random node, and lets time pass until every node holds it.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import Random
from statistics import mean
from time import process_time
from typing import Any, TypeVar

from gossip_counter.bench.ideal import time_until_all_know
from gossip_counter.bench.report import distribution
from gossip_counter.cluster.ledger import PromiseBroken
from gossip_counter.cluster.simulator import MS, SCENARIOS, SECOND, Network, Scenario, Simulation, Traffic
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.messages import Ack, Delta
from gossip_counter.node.core.state import Actor

T = TypeVar("T")

LIMIT_S = 60
IDEAL_RUNS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One kind of cluster; times in milliseconds, loss from 0 to 1."""

    nodes: int = 5
    counters: int = 1
    loss: float = 0.0
    delay_ms: float = 0.2
    config: Config

    def scenario(self) -> Scenario:
        """As the simulator takes it: this network, and nothing else that goes wrong."""
        return Scenario(
            config=self.config,
            nodes=self.nodes,
            network=Network(delay_ms=self.delay_ms, loss=self.loss),
            commit_ms=0.0,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: when each further node held the news, in milliseconds after the first; gossip from then to the last."""

    reached_ms: list[float]
    news: Traffic
    idle: Traffic

    @property
    def took_ms(self) -> float:
        """Until all held it."""
        return self.reached_ms[-1]


def one_run(setting: Setting, seed: int) -> Outcome:
    """Raises `PromiseBroken` if the nodes do not agree within a minute of virtual time."""
    simulation = Simulation(setting.scenario(), seed)
    _preload(simulation, setting.counters)
    rest = simulation.rng.uniform(5, 6) * setting.config.gossip_interval_ms
    simulation.run_until(int(rest * MS))
    idle, simulation.traffic = simulation.traffic, Traffic()
    began = simulation.now_ns
    first = simulation.rng.choice(list(simulation.nodes))
    msg_id = simulation.ledger.ask_add(first, 1, "c0", 1)
    simulation.request(first, {"type": "add", "msg_id": msg_id, "delta": 1, "counter": "c0"})
    simulation.run_until(began, stop=lambda: simulation.ledger.all_answered)
    target = simulation.replica(first).state.fingerprint
    level, reached = {first}, [0.0]

    def all_level() -> bool:
        name = simulation.touched
        if name not in level and simulation.replica(name).state.fingerprint == target:
            level.add(name)
            reached.append((simulation.now_ns - began) / MS)
        return len(level) == setting.nodes

    if setting.nodes > 1:
        simulation.run_until(began + LIMIT_S * SECOND, stop=all_level)
    if len(level) < setting.nodes:
        raise PromiseBroken(f"{setting.nodes - len(level)} of {setting.nodes} nodes know nothing after {LIMIT_S} s")
    return Outcome(reached, simulation.traffic, idle)


def _preload(simulation: Simulation, counters: int) -> None:
    """Every node already holds a row of every counter, written by nodes that take turns."""
    names = list(simulation.nodes)
    for i, name in enumerate(names):
        mine = range(i, counters, len(names))
        rows = tuple((f"c{counter}", Row(1, 0, version)) for version, counter in enumerate(mine, 1))
        delta = Delta(Actor(f"{name}.before"), 0, rows)
        for other in names if rows else []:
            simulation.replica(other).handle(Ack(name, 0, (delta,)), name, 0)


def measure(setting: Setting, runs: int, seed: int) -> Iterator[Outcome]:
    """`runs` outcomes, side by side on all processors. Raises `PromiseBroken`."""
    seeds = (seed * 1_000_003 + i for i in range(runs))
    yield from side_by_side(partial(one_run, setting), seeds)


def side_by_side(run: Callable[[int], T], seeds: Iterable[int]) -> Iterator[T]:
    """What `run` gives for each seed, in order, on all processors. Whatever ends the caller ends the workers."""
    # Spawned, not forked: a worker that took over our signal handlers could not be ended.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with get_context("spawn").Pool(initializer=signal.signal, initargs=ignore) as pool:
        yield from pool.imap(run, seeds)


def ideal_mean_ms(setting: Setting, seed: int) -> float:
    """What exchanges that cost and lose nothing would need, on average; for full-state gossip, push alone."""
    rng = Random(seed)
    config, pull = setting.config, setting.config.gossip == "delta"
    runs = max(20, IDEAL_RUNS * 5 // max(5, setting.nodes))
    if not config.gossip_fanout:
        return 0.0
    return mean(
        time_until_all_know(setting.nodes, config.gossip_fanout, config.gossip_interval_ms, pull, rng)
        for _ in range(runs)
    )


def as_json(setting: Setting, outcomes: list[Outcome], ideal_ms: float) -> dict[str, Any]:
    """One setting as `bench sim --json` prints it; datagrams and bytes from the news to agreement, per node."""
    took = [outcome.took_ms for outcome in outcomes]
    per_node = len(outcomes) * setting.nodes
    return {
        "nodes": setting.nodes,
        "counters": setting.counters,
        "loss": setting.loss,
        "convergence_ms": {"mean": round(mean(took), 3), **distribution(took)},
        "ideal_mean_ms": round(ideal_ms, 3),
        "datagrams_per_node": round(sum(each.news.datagrams for each in outcomes) / per_node, 2),
        "bytes_per_node": round(sum(each.news.total_bytes for each in outcomes) / per_node, 1),
        "row_bytes_per_node": round(sum(each.news.row_bytes for each in outcomes) / per_node, 1),
        "largest_idle_datagram": max(each.idle.largest for each in outcomes),
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge found in one seed: None if every promise was kept; and the seconds of one core it took."""

    scenario: str
    seed: int
    broken: str | None
    cpu_s: float


def judge(scenario: str | None, first_seed: int, seeds: int, done: Callable[[Verdict], None]) -> None:
    """Judge this many seeds, on all processors; without a scenario, seeds take turns with all there are."""
    names = list(SCENARIOS)
    seeds_left = range(first_seed, first_seed + seeds)
    for verdict in side_by_side(partial(judge_one, [scenario] if scenario else names), seeds_left):
        done(verdict)


def judge_one(scenarios: list[str], seed: int) -> Verdict:
    """One seed; it takes its turn among the scenarios."""
    scenario = scenarios[seed % len(scenarios)]
    began = process_time()
    broken = None
    try:
        Simulation(SCENARIOS[scenario], seed).judge()
    except PromiseBroken as verdict:
        broken = str(verdict)
    return Verdict(scenario, seed, broken, process_time() - began)
