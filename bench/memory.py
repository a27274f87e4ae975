"""What a row costs in memory: the resident set of one real node before and after it took many counters."""

from collections.abc import Callable
from dataclasses import dataclass

import psutil

from gossip_counter.bench.load import add_to_all
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import temporary


@dataclass(frozen=True, slots=True)
class Growth:
    """One run: resident bytes before and after, and the rows that came in between."""

    before: int
    after: int
    rows: int

    @property
    def bytes_per_row(self) -> float:
        """What each row cost on average."""
        return (self.after - self.before) / self.rows


async def measure(counters: int, runs: int, done: Callable[[Growth], None]) -> list[Growth]:
    """Add once to each of so many counters at a fresh node, `runs` times. Raises `ClusterError`, `ClientError`."""
    results = []
    for _ in range(runs):
        async with temporary(1, Settings()) as cluster:
            member = cluster.members["n1"]
            process = psutil.Process(member.pid)
            before = process.memory_info().rss
            async with await Client.connect(member.address, timeout_s=5) as client:
                await add_to_all([client], counters)
                rows = (await client.gossip_status())["rows"]
            results.append(Growth(before, process.memory_info().rss, rows))
        done(results[-1])
    return results
