"""A rate limiter's windows at a node, beside the usual ways to have them at a real redis-server, in turn.

A node is asked with `INCREX … EX 60 ENX`, which adds within a bound and sets the expiry of a new counter. Redis 7 does
not have it: there people send a script, or a transaction of INCR and EXPIRE. Beside them, a node is asked to `INCR`
these windows, and counters that do not end. All are made durable before the reply.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.bench.against_redis import benchmark, missing, redis_server
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import HOST, Settings
from gossip_counter.cluster.processes import temporary

OPTIONS = "-c 50 -P 16 -r 10000"
REQUESTS = 100_000

SCRIPT = """\
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count"""

NODE, LUA = "INCREX at a node", "a script at Redis"
AGAIN, PLAIN = "INCR at a node, of the same windows", "INCR at a node, nothing ends"


@dataclass(frozen=True, slots=True)
class Rates:
    """By what was asked, windows counted a second, one for each run."""

    rates: dict[str, list[float]]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast the node is as the script, by run."""
        return [node / redis for node, redis in zip(self.rates[NODE], self.rates[LUA], strict=True)]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        ratios = [round(each, 3) for each in self.ratios]
        return {"options": OPTIONS, "per_second": self.rates, "ratio": round(median(ratios), 3), "ratios": ratios}

    def table(self) -> Table:
        """See `report.Result`."""
        title = f"windows at one node and one Redis (appendfsync always): redis-benchmark {OPTIONS}, ratio"
        return report.table(f"{title} {median(self.ratios):.2f}", self.rates, "per second", 0)


async def measure(runs: int, requests: int, show: Callable[[str], None]) -> Rates:
    """Measure each way `runs` times, in turn; the first turn does not count. Raises `ClusterError`."""
    if program := missing():
        raise ClusterError(f"{program} is not installed: on Debian, apt-get install redis-server redis-tools")
    rates: dict[str, list[float]] = {NODE: [], AGAIN: [], LUA: [], PLAIN: []}
    async with temporary(1, Settings()) as cluster, redis_server(durable=True) as port:
        sha = await _load(port)
        node_port = cluster.members["n1"].port
        for run in range(-1, runs):
            key = f"{run}:__rand_int__"
            asked = {
                NODE: (node_port, ["INCREX", key, "BYINT", "1", "UBOUND", "100", "EX", "60", "ENX"]),
                AGAIN: (node_port, ["INCR", key]),
                LUA: (port, ["EVALSHA", sha, "1", key, "60"]),
                PLAIN: (node_port, ["INCR", f"plain:{key}"]),
            }
            for name, (at, command) in asked.items():
                rate = await benchmark(at, [*OPTIONS.split(), "-n", str(requests), *command])
                if run >= 0:
                    rates[name].append(rate)
                    show(f"run {run + 1}: {name}: {rate:,.0f}/s")
    return Rates(rates)


async def _load(port: int) -> str:
    """The hash of the script, once Redis has it."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        words = (b"SCRIPT", b"LOAD", SCRIPT.encode())
        writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        await reader.readuntil(b"\n")
        return (await reader.readuntil(b"\n")).strip().decode()
    finally:
        writer.close()
