"""How one increment spreads through a simulated cluster, and what it costs: the real replica, the real bytes.

Each run starts a fresh cluster whose nodes already agree on all counters and lets it rest for a random time, so that
its timers have any phase. Then it adds 1 at a random node, and lets time pass until every node holds it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gossip_counter.bench import plot, workload
from gossip_counter.bench.ideal import time_until_all_know
from gossip_counter.bench.parallel import for_each_seed
from gossip_counter.bench.report import distribution
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.sim.clock import MS, SECOND
from gossip_counter.cluster.sim.network import Conditions, Traffic
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.cluster.sim.scenario import Scenario
from gossip_counter.cluster.sim.simulation import Simulation
from gossip_counter.cluster.wording import counted
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row

LIMIT_S = 60
IDEAL_RUNS = 400
COLUMNS = ("nodes", "loss", "mean ms", "p50", "p99", "max", "ideal", "dgrams", "bytes", "row bytes", "idle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One kind of cluster; times in milliseconds, loss from 0 to 1."""

    nodes: int = 5
    counters: int = 1
    loss: float = 0.0
    delay_ms: float = 0.2
    config: Config

    @property
    def name(self) -> str:
        """In a few words."""
        return f"{self.nodes} nodes, {self.loss:.0%} loss"

    def scenario(self) -> Scenario:
        """For the simulator: this network, and nothing else that goes wrong."""
        return Scenario(
            config=self.config,
            nodes=self.nodes,
            network=Conditions(delay_ms=self.delay_ms, loss=self.loss),
            commit_ms=0.0,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: milliseconds from the first node to the last that held the increment; and the datagrams.

    `spreading` are those from the increment to agreement, `at_rest` those before.
    """

    took_ms: float
    spreading: Traffic
    at_rest: Traffic


@dataclass(frozen=True, slots=True)
class Spread:
    """All runs of one setting. `ideal_ms` is the mean of exchanges that cost and lose nothing."""

    setting: Setting
    outcomes: list[Outcome]
    ideal_ms: float

    @property
    def times_ms(self) -> list[float]:
        """By run, the time until all held it."""
        return [outcome.took_ms for outcome in self.outcomes]

    @property
    def mean_ms(self) -> float:
        """The mean of them."""
        return mean(self.times_ms)

    def as_json(self) -> dict[str, Any]:
        """One element of `results`; datagrams and bytes are per node, from the increment to agreement."""
        per_node = len(self.outcomes) * self.setting.nodes
        spreading = [outcome.spreading for outcome in self.outcomes]
        return {
            "nodes": self.setting.nodes,
            "counters": self.setting.counters,
            "loss": self.setting.loss,
            "convergence_ms": {
                "mean": round(self.mean_ms, 3),
                **distribution(self.times_ms),
            },
            "ideal_mean_ms": round(self.ideal_ms, 3),
            "datagrams_per_node": round(sum(each.datagrams for each in spreading) / per_node, 2),
            "bytes_per_node": round(sum(each.total_bytes for each in spreading) / per_node, 1),
            "row_bytes_per_node": round(sum(each.row_bytes for each in spreading) / per_node, 1),
            "largest_idle_datagram": max(outcome.at_rest.largest for outcome in self.outcomes),
        }

    def cells(self) -> list[str]:
        """One row of the table."""
        figures = self.as_json()
        took = [f"{figures['convergence_ms'][key]:,.1f}" for key in ("mean", "p50", "p99", "max")]
        costs = [f"{figures[key]:,.1f}" for key in ("datagrams_per_node", "bytes_per_node", "row_bytes_per_node")]
        ideal, idle = f"{figures['ideal_mean_ms']:,.1f}", f"{figures['largest_idle_datagram']:,}"
        return [f"{self.setting.nodes:,}", f"{self.setting.loss:.0%}", *took, ideal, *costs, idle]


@dataclass(frozen=True, slots=True)
class Spreads:
    """All settings; they differ in nodes and loss alone."""

    runs: int
    seed: int
    spreads: list[Spread]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        setting, config = self.spreads[0].setting, self.spreads[0].setting.config
        return {
            "gossip": config.gossip,
            "push": config.push,
            "interval_ms": config.gossip_interval_ms,
            "fanout": config.gossip_fanout,
            "delay_ms": setting.delay_ms,
            "runs": self.runs,
            "seed": self.seed,
            "results": [spread.as_json() for spread in self.spreads],
        }

    def table(self) -> Table:
        """See `report.Result`."""
        shown = Table(
            title=self._title(), title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for column in COLUMNS:
            shown.add_column(column, justify="right")
        for spread in self.spreads:
            shown.add_row(*spread.cells())
        shown.caption = (
            "ideal: mean of exchanges that cost and lose nothing. dgrams, bytes, bytes of datagrams with rows: per"
            " node, from the write to agreement. idle: bytes of the largest datagram at rest."
        )
        return shown

    def plot(self, path: Path) -> None:
        """See `report.Plottable`: the mean times by size, or the times of the only size."""
        sizes = {spread.setting.nodes: spread.ideal_ms for spread in self.spreads}
        title = f"Time until all nodes hold one increment: {workload.kind(self._settings())}"
        caption = f"Simulated, mean of {self.runs} runs. Less is better."
        ideal = " Ideal: rounds without push that cost nothing and lose nothing."
        if len(sizes) > 1:
            words = plot.Words(title, caption + ideal, "milliseconds")
            plot.save(plot.lines(words, self._by_loss(), "nodes", list(sizes.items())), path)
        else:
            words = plot.Words(
                f"{title}, {self.spreads[0].setting.nodes:,} nodes",
                caption + " Line: least to most." + ideal,
                "milliseconds",
            )
            rows = {_loss(spread): plot.Span.of(spread.times_ms, mean) for spread in self.spreads}
            plot.save(plot.dots(words, {"": {**rows, "ideal": plot.Span.of(list(sizes.values()))}}, 1), path)

    def _by_loss(self) -> dict[str, list[tuple[float, float]]]:
        curves: dict[str, list[tuple[float, float]]] = {}
        for spread in self.spreads:
            curves.setdefault(_loss(spread), []).append((spread.setting.nodes, spread.mean_ms))
        return curves

    def _settings(self) -> Settings:
        config = self.spreads[0].setting.config
        return Settings(config.gossip_interval_ms, config.gossip_fanout, config.gossip, config.push)

    def _title(self) -> str:
        setting = self.spreads[0].setting
        counters = counted(setting.counters, "counter")
        links = f"links of {setting.delay_ms:g} ms"
        return f"{workload.mode(self._settings())}\n{counters}, {links}, seed {self.seed}, {self.runs} runs each"


def _loss(spread: Spread) -> str:
    return f"{spread.setting.loss:.0%} loss"


def measure(settings: list[Setting], runs: int, seed: int, done: Callable[[Setting], None]) -> Spreads:
    """`runs` outcomes of each setting, on all processors; `done` is called after each. Raises `PromiseBroken`."""
    spreads = []
    for setting in settings:
        outcomes = []
        for outcome in for_each_seed(partial(one_run, setting), (seed * 1_000_003 + i for i in range(runs))):
            outcomes.append(outcome)
            done(setting)
        spreads.append(Spread(setting, outcomes, ideal_mean_ms(setting, seed)))
    return Spreads(runs, seed, spreads)


def one_run(setting: Setting, seed: int) -> Outcome:
    """Raises `PromiseBroken` if the nodes do not agree within a minute of virtual time."""
    simulation = Simulation(setting.scenario(), seed)
    _preload(simulation, setting.counters)
    rest = simulation.rng.uniform(5, 6) * setting.config.gossip_interval_ms
    simulation.run_until(int(rest * MS))
    at_rest, simulation.network.traffic = simulation.network.traffic, Traffic()
    began_ns = simulation.clock.now_ns
    first = simulation.rng.choice(list(simulation.nodes))
    msg_id = simulation.oracle.ask_add(first, 1, "c0", 1)
    simulation.request(first, {"type": "add", "msg_id": msg_id, "delta": 1, "counter": "c0"})
    simulation.run_until(began_ns, stop=lambda: simulation.oracle.all_answered)
    return Outcome(_until_all_hold_ms(simulation, first, began_ns), simulation.network.traffic, at_rest)


def _until_all_hold_ms(simulation: Simulation, first: str, began_ns: int) -> float:
    """Let time pass until every node holds the state of `first`; how long that took."""
    state = simulation.replica(first).state.fingerprint
    in_sync = {first}

    def all_in_sync() -> bool:
        name = simulation.touched
        if name not in in_sync and simulation.replica(name).state.fingerprint == state:
            in_sync.add(name)
        return len(in_sync) == len(simulation.nodes)

    if len(simulation.nodes) > 1:
        simulation.run_until(began_ns + LIMIT_S * SECOND, stop=all_in_sync)
    missing = len(simulation.nodes) - len(in_sync)
    if missing:
        raise PromiseBroken(f"{missing} of {len(simulation.nodes)} nodes know nothing after {LIMIT_S} s")
    return (simulation.clock.now_ns - began_ns) / MS


def _preload(simulation: Simulation, counters: int) -> None:
    """Give every node a row of every counter, written by the nodes in turn."""
    names = list(simulation.nodes)
    for i, name in enumerate(names):
        mine = range(i, counters, len(names))
        rows = tuple((f"c{counter}", Row(1, 0, version)) for version, counter in enumerate(mine, 1))
        for other in names if rows else []:
            simulation.replica(other).state.merge(Actor(f"{name}.before"), 0, rows)


def ideal_mean_ms(setting: Setting, seed: int) -> float:
    """The mean time of exchanges that cost and lose nothing; for full-state gossip, of push alone."""
    rng = Random(seed)
    config, pull = setting.config, setting.config.gossip == "delta"
    runs = max(20, IDEAL_RUNS * 5 // max(5, setting.nodes))
    if not config.gossip_fanout:
        return 0.0
    return mean(
        time_until_all_know(setting.nodes, config.gossip_fanout, config.gossip_interval_ms, pull, rng)
        for _ in range(runs)
    )
