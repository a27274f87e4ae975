"""A node and a real redis-server, driven by the same redis-benchmark commands in turn."""

import asyncio
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group
from rich.table import Table

from gossip_counter.bench import plot, report
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import HOST, Settings
from gossip_counter.cluster.ports import free_ports
from gossip_counter.cluster.processes import temporary
from gossip_counter.cluster.wording import counted

CASES = {
    "-c 50 -P 64": 1_500_000,
    "-c 50 -P 1": 60_000,
    "-c 1 -P 1": 5_000,
    "-c 50 -P 16 -r 10000": 400_000,
}
"""Options of redis-benchmark, and how many requests a run of some seconds makes with them."""
LEAST_REQUESTS = 1000
START_S = 10.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Requests a second of a node and of Redis, measured one right after the other."""

    node: float
    redis: float

    @property
    def ratio(self) -> float:
        """How many times as fast the node is."""
        return self.node / self.redis


@dataclass(frozen=True, slots=True)
class Comparison:
    """By kind ("durable", "in memory") and case, all pairs."""

    runs: int
    kinds: dict[str, dict[str, list[Pair]]]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        kinds = {
            kind: {case: _pairs_as_json(pairs) for case, pairs in cases.items()} for kind, cases in self.kinds.items()
        }
        return {"runs": self.runs, "python": platform.python_version()} | kinds

    def table(self) -> Group:
        """See `report.Result`."""
        return Group(*(self._table(kind, cases) for kind, cases in self.kinds.items()))

    def plot(self, path: Path) -> None:
        """See `report.Plottable`."""
        ratios = {
            kind: {describe(case): plot.Span.of([pair.ratio for pair in pairs]) for case, pairs in cases.items()}
            for kind, cases in self.kinds.items()
        }
        plot.save(plot.dots(words(self.runs), ratios, 2, log=True, beside="Redis"), path)

    def _table(self, kind: str, cases: dict[str, list[Pair]]) -> Table:
        redis = "appendfsync always" if kind == "durable" else "no append-only file"
        node, runs = f"a node (Python {platform.python_version()})", counted(self.runs, "pair")
        shown = report.table_of(
            f"redis-benchmark -t incr, {kind}: {node} beside redis-server ({redis}), {runs} of runs",
            ("", "node INCR/s", "Redis INCR/s", "ratio, median", "least", "most"),
        )
        for case, pairs in cases.items():
            ratios = [pair.ratio for pair in pairs]
            rates = (median(pair.node for pair in pairs), median(pair.redis for pair in pairs))
            spread = (median(ratios), min(ratios), max(ratios))
            shown.add_row(case, *(f"{each:,.0f}" for each in rates), *(f"{each:.2f}" for each in spread))
        return shown


def describe(case: str) -> str:
    """Options of redis-benchmark in words."""
    options = dict(zip(*[iter(case.split())] * 2, strict=True))
    clients, depth, counters = (int(options.get(name, 1)) for name in ("-c", "-P", "-r"))
    parts = [counted(clients, "client"), f"pipelines of {depth}" if depth > 1 else "no pipeline"]
    return ", ".join(parts + [f"{counters:,} counters"] * (counters > 1))


def words(runs: int) -> plot.Words:
    """What stands around the picture."""
    return plot.Words(
        f"INCR a second: one node (Python {platform.python_version()}) beside one redis-server",
        f"Dot: median of {runs} pairs of runs. Line: least to most. More is better. Durable: every reply after it is on"
        " the disk (Redis: appendfsync always).",
        "a node's rate divided by Redis's",
    )


def _pairs_as_json(pairs: list[Pair]) -> dict[str, Any]:
    return {
        "ratio": round(median(pair.ratio for pair in pairs), 3),
        "ratios": [round(pair.ratio, 3) for pair in pairs],
        "node_per_second": [pair.node for pair in pairs],
        "redis_per_second": [pair.redis for pair in pairs],
    }


def missing() -> str:
    """The program that is needed and not installed, or ""."""
    return next((each for each in ("redis-server", "redis-benchmark") if not shutil.which(each)), "")


async def measure(durable: bool, runs: int, share: float, done: Callable[[str, Pair], None]) -> Comparison:
    """Measure every case `runs` times, each with `share` of its requests; if durable, also with what keeps no files.

    Raises `ClusterError`.
    """
    if program := missing():
        raise ClusterError(f"{program} is not installed: on Debian, apt-get install redis-server redis-tools")
    kinds = ("durable", "in memory") if durable else ("in memory",)
    return Comparison(runs, {kind: await _measure(kind == "durable", runs, share, done) for kind in kinds})


async def _measure(durable: bool, runs: int, share: float, done: Callable[[str, Pair], None]) -> dict[str, list[Pair]]:
    """The two sides take turns to go first. Every case runs once before, without being counted."""
    pairs: dict[str, list[Pair]] = {case: [] for case in CASES}
    settings = Settings(ephemeral=not durable)
    async with temporary(1, settings) as cluster, redis_server(durable) as redis_port:
        ports = {"node": cluster.members["n1"].port, "redis": redis_port}
        for run in range(-1, runs):
            for case, all_requests in CASES.items():
                order = list(ports) if run % 2 else list(reversed(ports))
                requests = max(LEAST_REQUESTS, int(all_requests * share))
                asked = ["-t", "incr", *case.split(), "-n", str(requests)]
                rates = {side: await benchmark(ports[side], asked) for side in order}
                if run >= 0:
                    pairs[case].append(Pair(rates["node"], rates["redis"]))
                    done(case, pairs[case][-1])
    return pairs


async def benchmark(port: int, arguments: list[str]) -> float:
    """Requests a second, as redis-benchmark measures them. Raises `ClusterError`."""
    command = ["redis-benchmark", "-p", str(port), "--csv", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = re.search(r'^"[^"]+","([\d.]+)"', output, re.MULTILINE)
    if not found:
        *_, last = ["it said nothing", *output.strip().splitlines()]
        raise ClusterError(f"redis-benchmark failed: {last}")
    return float(found[1])


@asynccontextmanager
async def redis_server(durable: bool) -> AsyncIterator[int]:
    """The port of a redis-server in a temporary directory; durable means `appendfsync always`."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="counter-bench-redis-") as directory:
        command = ["redis-server", "--port", str(port), "--save", "", "--dir", directory, "--bind", HOST]
        command += ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
        quiet = subprocess.DEVNULL
        # In a session of its own, as nodes are: the scheduler divides the processors among sessions.
        process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, start_new_session=True)
        try:
            await _accepts(process, port)
            yield port
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _accepts(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until it takes connections. Raises `ClusterError`."""
    deadline = asyncio.get_running_loop().time() + START_S
    while asyncio.get_running_loop().time() < deadline and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise ClusterError("redis-server did not start: run it by hand to see why")
