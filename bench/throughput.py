"""Acknowledged adds a second that one node serves, by endpoint, and that a cluster serves through Redis clients."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from statistics import median
from time import monotonic_ns
from typing import Any

from rich.console import Group
from rich.table import Table

from gossip_counter.bench import plot, report
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.wording import counted

WARM_UP_S = 0.5
AGREE_S = 60.0
"""How long a cluster may take to agree once the load has stopped."""
PROBE_S = 0.05
"""Between two probes of how soon an add at one node is visible at another."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run asks of a node: `window` adds in flight, divided among so many clients and counters.

    Over the Redis endpoint ("resp") each client has `window / clients` of them in one pipeline, and waits for all their
    replies.
    """

    endpoint: str = "udp"
    window: int = 64
    clients: int = 8
    counters: int = 1

    def names(self) -> Iterator[str]:
        """The counters, again and again."""
        while True:
            yield from (f"counter:{i}" for i in range(self.counters))


@dataclass(frozen=True, slots=True)
class Rate:
    """One run: acknowledged adds a second, how long a reply took, and the mean number of adds that shared a commit."""

    per_second: float
    latency_p50_ms: float
    latency_p99_ms: float
    adds_a_commit: float


@dataclass(frozen=True, slots=True)
class NodeRates:
    """The runs of each mode, such as "udp, durable"."""

    load: Load
    seconds: float
    modes: dict[str, list[Rate]]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        load = self.load
        settings = {"window": load.window, "clients": load.clients, "counters": load.counters, "seconds": self.seconds}
        return settings | {mode: _rates_as_json(rates) for mode, rates in self.modes.items()}

    def table(self) -> Table:
        """See `report.Result`."""
        load, runs = self.load, len(next(iter(self.modes.values())))
        over = counted(load.counters, "counter")
        title = f"one node, {load.window} adds under way from {load.clients} clients over {over}"
        shown = report.table_of(
            f"{title}, {counted(runs, 'run')} of {self.seconds:g} s", ("", "", "min", "median", "max"), left=2
        )
        for mode, rates in self.modes.items():
            _add_rates(shown, mode, rates)
        return shown

    def plot(self, path: Path) -> None:
        """See `report.Plottable`."""
        per_second = {mode: plot.Span.of([rate.per_second for rate in rates]) for mode, rates in self.modes.items()}
        load, runs = self.load, len(next(iter(self.modes.values())))
        words = plot.Words(
            "Acknowledged adds a second: one node",
            f"Dot: median of {runs} runs. Line: least to most. More is better. {load.window} adds in flight from"
            f" {load.clients} clients.",
            "adds a second",
        )
        plot.save(plot.dots(words, {"": per_second}, 0), path)


def _rates_as_json(rates: list[Rate]) -> dict[str, Any]:
    per_second = [rate.per_second for rate in rates]
    return {
        "adds_per_second": {"median": median(per_second), "runs": per_second},
        "latency_ms": {
            "p50": median(rate.latency_p50_ms for rate in rates),
            "p99": median(rate.latency_p99_ms for rate in rates),
        },
        "adds_a_commit": median(rate.adds_a_commit for rate in rates),
    }


def _add_rates(shown: Table, mode: str, rates: list[Rate]) -> None:
    rows: list[tuple[str, list[float], int]] = [
        ("acknowledged adds/s", [rate.per_second for rate in rates], 0),
        ("answer p50 ms", [rate.latency_p50_ms for rate in rates], 2),
        ("answer p99 ms", [rate.latency_p99_ms for rate in rates], 2),
        ("adds that share a commit", [rate.adds_a_commit for rate in rates], 1),
    ]
    for i, (name, figures, digits) in enumerate(rows):
        shown.add_row("" if i else mode, name, *(f"{pick(figures):,.{digits}f}" for pick in (min, median, max)))
    shown.add_section()


@dataclass(frozen=True, slots=True)
class ClusterRate:
    """One run against a cluster: adds a second of all nodes together, and how gossip kept up.

    `agreed_ms` is from the last reply to the moment the last node had received everything. `seen_ms` are the times from
    an add's reply at one node, during the load, until another node returned it to a reader. `lost` is what the total
    lacks.
    """

    per_second: float
    agreed_ms: float
    seen_ms: list[float]
    lost: int


@dataclass(frozen=True, slots=True)
class ClusterRates:
    """All runs against clusters of so many nodes."""

    nodes: int
    load: Load
    seconds: float
    runs: list[ClusterRate]

    @property
    def lost(self) -> list[int]:
        """By run, what the total lacked."""
        return [run.lost for run in self.runs]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        settings = {
            "nodes": self.nodes,
            "clients_per_node": self.load.clients,
            "window_per_node": self.load.window,
            "runs": len(self.runs),
        }
        figures = {name: report.distribution(figures) for name, figures in self._figures.items()}
        return settings | figures | {"lost": self.lost}

    def table(self) -> Group:
        """See `report.Result`."""
        what = f"{self.nodes} durable nodes, each with {self.load.window} adds under way from"
        title = f"{what} {self.load.clients} Redis clients, {counted(len(self.runs), 'run')} of {self.seconds:g} s"
        exact = f"total exact in {self.lost.count(0)} of {len(self.runs)} runs"
        return Group(report.table(title, self._figures, ""), exact)

    @property
    def _figures(self) -> dict[str, list[float]]:
        return {
            "acknowledged adds/s, all nodes": [run.per_second for run in self.runs],
            "ms until all agree after the last reply": [run.agreed_ms for run in self.runs],
            "ms until an add is seen elsewhere, under load": [seen for run in self.runs for seen in run.seen_ms],
        }


async def measure(
    loads: list[Load], kinds: dict[str, Settings], seconds: float, runs: int, done: Callable[[Rate], None]
) -> NodeRates:
    """Keep one node under each load for `seconds`, `runs` times; loads and kinds of nodes take turns.

    Raises `ClientError`, `ClusterError`.
    """
    modes = {f"{load.endpoint}, {kind}": (load, settings) for load in loads for kind, settings in kinds.items()}
    rates: dict[str, list[Rate]] = {mode: [] for mode in modes}
    for _ in range(runs):
        for mode, (load, settings) in modes.items():
            async with temporary(1, settings) as cluster:
                rates[mode].append(await _run(cluster, cluster.members["n1"], load, seconds))
            done(rates[mode][-1])
    return NodeRates(loads[0], seconds, rates)


async def measure_cluster(
    nodes: int, load: Load, seconds: float, runs: int, done: Callable[[ClusterRate], None]
) -> ClusterRates:
    """Put every node of a fresh cluster under this load, `runs` times.

    Raises `ClientError`, and `ClusterError` if the nodes do not agree afterwards.
    """
    results = []
    for _ in range(runs):
        results.append(await _run_cluster(nodes, load, seconds))
        done(results[-1])
    return ClusterRates(nodes, load, seconds, results)


async def _run_cluster(nodes: int, load: Load, seconds: float) -> ClusterRate:
    async with temporary(nodes, Settings()) as cluster:
        members = list(cluster.members.values())
        stop = asyncio.Event()
        probing = asyncio.create_task(_probe(members, stop))
        try:
            began_ns = monotonic_ns()
            latencies = await asyncio.gather(*(_adds_over_redis(member, load, seconds) for member in members))
            ended_ns = monotonic_ns()
            stop.set()
            seen_ms = await probing
        finally:
            probing.cancel()
        statuses = await _agreed(members)
    acknowledged = sum(map(len, latencies))
    agreed_ns = max(status["state_since_ns"] for status in statuses)
    return ClusterRate(
        per_second=acknowledged / ((ended_ns - began_ns) / 1e9),
        agreed_ms=max(0, agreed_ns - ended_ns) / 1e6,
        seen_ms=seen_ms,
        lost=acknowledged + len(seen_ms) - statuses[0]["counted"],
    )


async def _agreed(members: list[Member]) -> list[Status]:
    clients = [await Client.connect(member.address, timeout_s=5) for member in members]
    try:
        deadline = asyncio.get_running_loop().time() + AGREE_S
        while asyncio.get_running_loop().time() < deadline:
            statuses = [await client.gossip_status() for client in clients]
            if len({status["fingerprint"] for status in statuses}) == 1:
                return statuses
        raise ClusterError(f"the nodes do not agree {AGREE_S:g} s after the last reply")
    finally:
        for client in clients:
            client.close()


async def _probe(members: list[Member], stop: asyncio.Event) -> list[float]:
    """Add at one node, then read at the next with the token of that add: the read waits until the add is there."""
    seen_ms = []
    clients = [await Client.connect(member.address, timeout_s=5) for member in members]
    try:
        for turn in count():
            writer, reader = clients[turn % len(clients)], clients[(turn + 1) % len(clients)]
            token = await writer.add(1, "probe")
            asked_ns = monotonic_ns()
            await reader.read("probe", token)
            seen_ms.append((monotonic_ns() - asked_ns) / 1e6)
            try:
                await asyncio.wait_for(stop.wait(), PROBE_S)
            except TimeoutError:
                continue
            break
    finally:
        for client in clients:
            client.close()
    return seen_ms


async def _run(cluster: Cluster, member: Member, load: Load, seconds: float) -> Rate:
    adds = _adds_over_redis if load.endpoint == "resp" else partial(_adds_over_udp, cluster)
    await adds(member, load, min(seconds, WARM_UP_S))
    async with await cluster.connect(member, timeout_s=5) as client:
        before = (await client.gossip_status())["commits"]
        began_ns = monotonic_ns()
        latencies_ns = await adds(member, load, seconds)
        elapsed_s = (monotonic_ns() - began_ns) / 1e9
        commits = (await client.gossip_status())["commits"] - before
    p50, p99 = (report.percentile(latencies_ns, share) / 1e6 for share in (0.5, 0.99))
    return Rate(len(latencies_ns) / elapsed_s, p50, p99, len(latencies_ns) / commits)


async def _adds_over_udp(cluster: Cluster, member: Member, load: Load, seconds: float) -> list[int]:
    """Add for so long; the time that each reply took, in nanoseconds."""
    clients = [await cluster.connect(member, timeout_s=5) for _ in range(load.clients)]
    end = monotonic_ns() + int(seconds * 1e9)
    latencies_ns: list[int] = []
    names = load.names()

    async def worker(client: Client) -> None:
        while (asked := monotonic_ns()) < end:
            await client.add(1, next(names))
            latencies_ns.append(monotonic_ns() - asked)

    try:
        await asyncio.gather(*(worker(clients[i % len(clients)]) for i in range(load.window)))
    finally:
        for client in clients:
            client.close()
    return latencies_ns


async def _adds_over_redis(member: Member, load: Load, seconds: float) -> list[int]:
    """As over UDP; every add of a pipeline takes as long as the pipeline."""
    end = monotonic_ns() + int(seconds * 1e9)
    latencies_ns: list[int] = []
    names = load.names()
    depth = load.window // load.clients

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(*member.address)
        try:
            while (asked := monotonic_ns()) < end:
                writer.write(b"".join(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(name), name.encode())
                                      for name in islice(names, depth)))  # fmt: skip
                for _ in range(depth):
                    if not (await reader.readuntil(b"\n")).startswith(b":"):
                        raise ClusterError("a node refused an INCR")
                latencies_ns.extend([monotonic_ns() - asked] * depth)
        finally:
            writer.close()

    await asyncio.gather(*(worker() for _ in range(load.clients)))
    return latencies_ns
