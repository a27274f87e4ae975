"""A node and a real redis-server, driven by the same redis-benchmark commands in turn."""

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import HOST, Settings
from gossip_counter.cluster.ports import free_ports
from gossip_counter.cluster.processes import temporary

CASES = {
    "-c 50 -P 64": 1_500_000,
    "-c 50 -P 1": 60_000,
    "-c 1 -P 1": 5_000,
    "-c 50 -P 16 -r 10000": 400_000,
}
"""What redis-benchmark is told, and how many requests a run makes: some seconds."""

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


def missing() -> str:
    """The program that is needed and not there, or ""."""
    return next((each for each in ("redis-server", "redis-benchmark") if not shutil.which(each)), "")


async def measure(durable: bool, runs: int, share: float, done: Callable[[str, Pair], None]) -> dict[str, list[Pair]]:
    """Measure every case `runs` times, each with `share` of its requests; the two sides take turns to go first.

    Before, each case runs once without being counted. Raises `ClusterError`.
    """
    pairs: dict[str, list[Pair]] = {case: [] for case in CASES}
    settings = Settings(ephemeral=not durable)
    async with temporary(1, settings) as cluster, _redis(durable) as redis_port:
        ports = {"node": cluster.members["n1"].port, "redis": redis_port}
        for run in range(-1, runs):
            for case, requests in CASES.items():
                order = list(ports) if run % 2 else list(reversed(ports))
                told = {side: await _benchmark(ports[side], case, max(1000, int(requests * share))) for side in order}
                if run >= 0:
                    pairs[case].append(Pair(told["node"], told["redis"]))
                    done(case, pairs[case][-1])
    return pairs


async def _benchmark(port: int, case: str, requests: int) -> float:
    command = ["redis-benchmark", "-p", str(port), "-t", "incr", *case.split(), "-n", str(requests), "--csv"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        told = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = re.search(r'"INCR","([\d.]+)"', told)
    if not found:
        *_, last = ["it said nothing", *told.strip().splitlines()]
        raise ClusterError(f"redis-benchmark failed: {last}")
    return float(found[1])


@asynccontextmanager
async def _redis(durable: bool) -> AsyncIterator[int]:
    """A redis-server in a directory of its own, gone afterwards; durable means `appendfsync always`."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="counter-bench-redis-") as directory:
        command = ["redis-server", "--port", str(port), "--save", "", "--dir", directory, "--bind", HOST]
        command += ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
        quiet = subprocess.DEVNULL
        # In a session of its own, as nodes are: the scheduler shares the processors between sessions.
        process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, start_new_session=True)
        try:
            await _listens(process, port)
            yield port
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int) -> None:
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
