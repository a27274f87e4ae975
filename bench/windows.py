"""Windows that come and go, as those of a rate limiter: what nodes keep of them, and what a bound is worth meanwhile.

`measure` drives real nodes for a long time and looks at their memory and journals. `overshoot` counts at all nodes of a
cluster at once, under full load, against one bound: each node knows of the others' counts a moment later.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import psutil
from rich.console import Group
from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.wording import counted

DEPTH = 64
"""Commands in one pipeline."""

FORGET_TIMEOUT_S = 120
"""How long nodes may take until they have forgotten the last window: a minute after its end, and a few rounds."""

LOOKS = 20
"""How often nodes are looked at while they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """So many windows, each of which lasts `ttl_s` and counts two requests, at nodes taken at random."""

    nodes: int = 3
    windows: int = 2_000_000
    ttl_s: float = 1.0
    per_second: int = 4000
    """Windows that begin in a second; fewer if the nodes are slower."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the largest node takes at a time: resident memory and its data directory, both in MB, and rows it holds."""

    second: float
    windows: int
    memory_mb: float
    data_mb: float
    rows: int


@dataclass(frozen=True, slots=True)
class Windows:
    """What was seen: while windows came, and once all were forgotten."""

    plan: Plan
    refused: int
    looks: list[Look]
    forgotten_after_s: float
    """From the last request until no node held a row."""
    idle_bytes_a_second: tuple[float, float]
    """Gossip that one node sends, before the first window and after the last was forgotten."""

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        plan = self.plan
        return {
            "nodes": plan.nodes, "windows": plan.windows, "ttl_s": plan.ttl_s, "refused": self.refused,
            "looks": [
                {"second": round(each.second, 1), "windows": each.windows, "memory_mb": round(each.memory_mb, 1),
                 "data_mb": round(each.data_mb, 1), "rows": each.rows}
                for each in self.looks
            ],
            "forgotten_after_s": round(self.forgotten_after_s, 1),
            "idle_bytes_a_second": {"before": round(self.idle_bytes_a_second[0]),
                                    "after": round(self.idle_bytes_a_second[1])},
        }  # fmt: skip

    def table(self) -> Group:
        """See `report.Result`."""
        plan = self.plan
        title = (
            f"{counted(plan.windows, 'window')} of {plan.ttl_s:g} s at {counted(plan.nodes, 'node')}, largest node;"
            f" {self.refused} refused"
        )
        shown = report.table_of(title, ("second", "windows so far", "memory MB", "data MB", "rows"), left=0)
        for each in self.looks:
            cells = (f"{each.second:.0f}", f"{each.windows:,}", f"{each.memory_mb:.1f}", f"{each.data_mb:.1f}")
            shown.add_row(*cells, f"{each.rows:,}")
        before, after = self.idle_bytes_a_second
        last = report.table_of("afterwards", ("", ""))
        last.add_row("all forgotten after s", f"{self.forgotten_after_s:.0f}")
        last.add_row("idle gossip of a node, bytes/s, before and after", f"{before:,.0f}, {after:,.0f}")
        return Group(shown, last)


async def measure(plan: Plan, show: Callable[[str], None]) -> Windows:
    """Count in windows. Raises `ClusterError` if a node goes wrong, or does not forget."""
    async with temporary(plan.nodes, Settings()) as cluster:
        members = list(cluster.members.values())
        before = await _idle_bytes_a_second(members)
        looks, began, done = [await _look(cluster, members, 0, 0)], monotonic(), 0
        refused = 0
        for part in _parts(plan):
            refused += sum(await asyncio.gather(*(_count(member, part, plan) for member in members)))
            done += len(part)
            looks.append(await _look(cluster, members, monotonic() - began, done))
            show(f"{done:,} windows, {looks[-1].memory_mb:.0f} MB, {looks[-1].rows:,} rows")
            await asyncio.sleep(max(0, done / plan.per_second - (monotonic() - began)))  # the rate that was asked for
        last = monotonic()
        looks.append(await _forgotten(cluster, members, last - began, done))
        forgotten_after_s = monotonic() - last
        return Windows(plan, refused, looks, forgotten_after_s, (before, await _idle_bytes_a_second(members)))


def _parts(plan: Plan) -> Iterator[range]:
    size = max(1, plan.windows // LOOKS)
    for first in range(0, plan.windows, size):
        yield range(first, min(first + size, plan.windows))


async def _count(member: Member, windows: range, plan: Plan) -> int:
    """Send a node its share of two requests a window; how many it refused."""
    rng, refused = Random(f"{member.name} {windows.start}"), 0
    mine = (window for window in windows for _ in range(2) if rng.randrange(plan.nodes) == 0)
    reader, writer = await asyncio.open_connection(*member.address)
    try:
        while names := [f"window:{window}" for window in islice(mine, DEPTH)]:
            writer.write(b"".join(_increx(name, 100, int(plan.ttl_s * 1000)) for name in names))
            for _ in names:
                refused += not await _is_applied(reader)
    finally:
        writer.close()
    return refused


def _increx(name: str, bound: int, ttl_ms: int) -> bytes:
    words = ("INCREX", name, "BYINT", "1", "UBOUND", str(bound), "PX", str(ttl_ms), "ENX")
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


async def _is_applied(reader: asyncio.StreamReader) -> bool:
    """Whether an INCREX counted. Raises `ClusterError` if it was not understood."""
    head = await reader.readuntil(b"\n")
    if head != b"*2\r\n":
        raise ClusterError(f"a node refused an INCREX: {head.decode(errors='replace').strip()}")
    await reader.readuntil(b"\n")
    return await reader.readuntil(b"\n") != b":0\r\n"


async def _statuses(members: list[Member]) -> list[Status]:
    statuses = []
    for member in members:
        async with await Client.connect(member.address, timeout_s=10) as client:
            statuses.append(await client.gossip_status())
    return statuses


async def _look(cluster: Cluster, members: list[Member], second: float, windows: int) -> Look:
    memory = max(psutil.Process(member.pid).memory_info().rss for member in members) / 1e6
    data = max(_bytes_of(cluster.manifest.directory / "data" / member.name) for member in members) / 1e6
    return Look(second, windows, memory, data, max(status["rows"] for status in await _statuses(members)))


def _bytes_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())


async def _forgotten(cluster: Cluster, members: list[Member], second: float, windows: int) -> Look:
    """Wait until no node holds a row."""
    deadline = monotonic() + FORGET_TIMEOUT_S
    while True:
        look = await _look(cluster, members, second, windows)
        if not look.rows:
            return look
        if monotonic() > deadline:
            raise ClusterError(f"a node still holds {look.rows:,} rows {FORGET_TIMEOUT_S} s after the last window")
        await asyncio.sleep(1)  # between two looks


async def _idle_bytes_a_second(members: list[Member], seconds: float = 5) -> float:
    """What a node sends at rest, on average."""
    first = sum(status["bytes_out"] for status in await _statuses(members))
    await asyncio.sleep(seconds)  # the time that is measured
    return float(sum(status["bytes_out"] for status in await _statuses(members)) - first) / len(members) / seconds


@dataclass(frozen=True, slots=True)
class Overshoot:
    """By run, how far a bound was passed."""

    nodes: int
    bound: int
    counted: list[int]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        beyond = report.distribution([each - self.bound for each in self.counted])
        return {"nodes": self.nodes, "bound": self.bound, "runs": len(self.counted), "beyond": beyond}

    def table(self) -> Table:
        """See `report.Result`."""
        title = f"INCREX at {counted(self.nodes, 'node')} at once up to {self.bound:,}, {len(self.counted)} runs"
        return report.table(title, {"counted beyond the bound": [each - self.bound for each in self.counted]}, "", 0)


async def overshoot(nodes: int, bound: int, runs: int, show: Callable[[str], None]) -> Overshoot:
    """Let clients of all nodes count up to a bound at once, as fast as they are served. Raises `ClusterError`."""
    async with temporary(nodes, Settings()) as cluster:
        members, results = list(cluster.members.values()), list[int]()
        for run in range(runs):
            totals = await asyncio.gather(*(_count_up(member, f"bound:{run}", bound) for member in members))
            results.append(sum(totals))
            show(f"run {run + 1}: {results[-1] - bound} beyond {bound:,}")
        return Overshoot(nodes, bound, results)


async def _count_up(member: Member, name: str, bound: int) -> int:
    """Count at one node until it refuses a whole pipeline; how often it did not refuse."""
    reader, writer = await asyncio.open_connection(*member.address)
    try:
        total = applied = 0
        while applied or not total:
            writer.write(_increx(name, bound, 60_000) * DEPTH)
            applied = sum([await _is_applied(reader) for _ in range(DEPTH)])
            total += applied
            if not applied:
                return total
        return total
    finally:
        writer.close()
