"""How many acknowledged adds a second one node serves through its UDP door, in memory and durably."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic_ns

from bench.report import percentile
from cluster import launcher
from cluster.client import Client

WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """What one run asks of a node: `window` adds under way, spread over so many clients and counters."""

    window: int = 64
    clients: int = 8
    counters: int = 1

    def names(self) -> Iterator[str]:
        """The counters, again and again."""
        while True:
            yield from (f"counter:{i}" for i in range(self.counters))


@dataclass(frozen=True, slots=True)
class Rate:
    """One run: acknowledged adds a second, how long an answer took, and adds that shared a commit on average."""

    per_second: float
    latency_p50_ms: float
    latency_p99_ms: float
    adds_a_commit: float


async def measure(
    modes: list[launcher.Settings], load: Load, seconds: float, runs: int, done: Callable[[Rate], None]
) -> list[list[Rate]]:
    """Keep one node of each mode under load for `seconds`, `runs` times, the modes taking turns; the rates of each.

    Raises `ClientError`, `LaunchError`.
    """
    results: list[list[Rate]] = [[] for _ in modes]
    for _ in range(runs):
        for mode, its_results in zip(modes, results, strict=True):
            async with launcher.temporary(1, mode) as cluster:
                its_results.append(await _run(cluster.members["n1"], load, seconds))
            done(its_results[-1])
    return results


async def _run(member: launcher.Member, load: Load, seconds: float) -> Rate:
    clients = [await Client.connect(member.address, timeout_s=5) for _ in range(load.clients)]
    try:
        await _adds(clients, load, WARM_UP_S)
        return await _adds(clients, load, seconds)
    finally:
        for client in clients:
            client.close()


async def _adds(clients: list[Client], load: Load, seconds: float) -> Rate:
    before = (await clients[0].gossip_status())["commits"]
    began = monotonic_ns()
    end = began + int(seconds * 1e9)
    took_ns: list[int] = []
    names = load.names()

    async def worker(client: Client) -> None:
        while (asked := monotonic_ns()) < end:
            await client.add(1, next(names))
            took_ns.append(monotonic_ns() - asked)

    await asyncio.gather(*(worker(clients[i % len(clients)]) for i in range(load.window)))
    elapsed_s = (monotonic_ns() - began) / 1e9
    commits = (await clients[0].gossip_status())["commits"] - before
    p50, p99 = (percentile(took_ns, share) / 1e6 for share in (0.5, 0.99))
    return Rate(len(took_ns) / elapsed_s, p50, p99, len(took_ns) / commits)
