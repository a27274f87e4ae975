"""What a row costs in memory: the resident set of one real node before and after it took many counters."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster import launcher
from cluster.client import Client

WINDOW = 64


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
    """Add once to each of so many counters at a fresh node, `runs` times. Raises `LaunchError`, `ClientError`."""
    results = []
    for _ in range(runs):
        directory = Path(tempfile.mkdtemp(prefix="counter-bench-"))
        async with launcher.temporary(directory, 1, launcher.Settings()) as cluster:
            member = cluster.members["n1"]
            process = psutil.Process(member.pid)
            before = process.memory_info().rss
            async with await Client.connect(member.address, timeout_s=5) as client:
                await _add_to_all(client, counters)
                rows = (await client.gossip_status())["rows"]
            results.append(Growth(before, process.memory_info().rss, rows))
        done(results[-1])
    return results


async def _add_to_all(client: Client, counters: int) -> None:
    left = iter(range(counters))

    async def worker() -> None:
        for counter in left:
            await client.add(1, f"counter:{counter}")

    await asyncio.gather(*(worker() for _ in range(WINDOW)))
