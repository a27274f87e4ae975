"""How many acknowledged adds a second one node serves through its UDP door."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns

from bench.report import percentile
from cluster import launcher
from cluster.client import Client

WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Rate:
    """One run: acknowledged adds a second, and how long an answer took."""

    per_second: float
    latency_p50_ms: float
    latency_p99_ms: float


async def measure(window: int, seconds: float, runs: int, done: Callable[[Rate], None]) -> list[Rate]:
    """Keep `window` adds under way at one node for `seconds`, `runs` times. Raises `ClientError`, `LaunchError`."""
    async with launcher.temporary(1, launcher.Settings()) as cluster:
        member = cluster.members["n1"]
        async with await Client.connect(member.address, timeout_s=5) as client:
            await _adds(client, window, WARM_UP_S)
            rates = []
            for _ in range(runs):
                rates.append(await _adds(client, window, seconds))
                done(rates[-1])
    return rates


async def _adds(client: Client, window: int, seconds: float) -> Rate:
    began = monotonic_ns()
    end = began + int(seconds * 1e9)
    took_ns: list[int] = []

    async def worker() -> None:
        while (asked := monotonic_ns()) < end:
            await client.add(1)
            took_ns.append(monotonic_ns() - asked)

    await asyncio.gather(*(worker() for _ in range(window)))
    elapsed_s = (monotonic_ns() - began) / 1e9
    return Rate(len(took_ns) / elapsed_s, percentile(took_ns, 0.5) / 1e6, percentile(took_ns, 0.99) / 1e6)
