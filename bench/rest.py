"""What a cluster costs while nobody counts: time to start, and each node's processor time and memory."""

import asyncio
from dataclasses import dataclass
from time import monotonic

import psutil

from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import temporary

SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: seconds until all nodes answered; by node, percent of one core and resident bytes."""

    start_s: float
    cpu_percent: list[float]
    memory_bytes: list[int]


async def measure(nodes: int, seconds: float, settings: Settings) -> Cost:
    """Start a fresh cluster, let it settle, and watch it rest for `seconds`. Raises `ClusterError`."""
    began = monotonic()
    async with temporary(nodes, settings) as cluster:
        start_s = monotonic() - began
        await asyncio.sleep(SETTLE_S)
        processes = [psutil.Process(member.pid) for member in cluster.members.values()]
        before = [_cpu_s(process) for process in processes]
        since = monotonic()
        await asyncio.sleep(seconds)
        elapsed = monotonic() - since
        used = [100 * (_cpu_s(process) - was) / elapsed for process, was in zip(processes, before, strict=True)]
        return Cost(start_s, used, [process.memory_info().rss for process in processes])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
