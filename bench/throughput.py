"""How many acknowledged adds a second one node serves, by door, and a whole cluster through its Redis doors."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from time import monotonic_ns

from gossip_counter.bench.report import percentile
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import temporary

WARM_UP_S = 0.5
AGREE_S = 60.0
"""How long a cluster may take to agree once the load is off."""

PROBE_S = 0.05
"""Between two probes of how soon an add at one node is seen at another."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run asks of a node: `window` adds under way, spread over so many clients and counters.

    Over the Redis door each client has `window / clients` of them in one pipeline, and waits for all its replies.
    """

    door: str = "udp"
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


@dataclass(frozen=True, slots=True)
class ClusterRate:
    """One run against a cluster: the sum over its nodes, and what gossip made of it.

    `agreed_ms` is from the last reply to the moment the last node held everything; `seen_ms` are the times from an
    add's answer at one node, while the load was on, until others gave it to a reader; `lost` is what the total lacks.
    """

    per_second: float
    agreed_ms: float
    seen_ms: list[float]
    lost: int


async def measure(
    modes: list[tuple[Settings, Load]], seconds: float, runs: int, done: Callable[[Rate], None]
) -> list[list[Rate]]:
    """Keep one node of each mode under load for `seconds`, `runs` times, the modes taking turns; the rates of each.

    Raises `ClientError`, `ClusterError`.
    """
    results: list[list[Rate]] = [[] for _ in modes]
    for _ in range(runs):
        for (settings, load), its_results in zip(modes, results, strict=True):
            async with temporary(1, settings) as cluster:
                its_results.append(await _run(cluster.members["n1"], load, seconds))
            done(its_results[-1])
    return results


async def measure_cluster(nodes: int, load: Load, seconds: float) -> ClusterRate:
    """Spread the load over all nodes of a cluster. Raises `ClientError`, and `ClusterError` if they do not agree."""
    async with temporary(nodes, Settings()) as cluster:
        members = list(cluster.members.values())
        stop = asyncio.Event()
        probing = asyncio.create_task(_probe(members, stop))
        try:
            began = monotonic_ns()
            took = await asyncio.gather(*(_adds_over_redis(member, load, seconds) for member in members))
            ended = monotonic_ns()
            stop.set()
            probes = await probing
        finally:
            probing.cancel()
        acknowledged = sum(map(len, took))
        statuses = await _agreed(members)
        counted = statuses[0]["counted"]
        agreed_ns = max(status["state_since_ns"] for status in statuses)
        agreed_ms = max(0, agreed_ns - ended) / 1e6
        return ClusterRate(
            acknowledged / ((ended - began) / 1e9), agreed_ms, probes, acknowledged + len(probes) - counted
        )


async def _agreed(members: list[Member]) -> list[dict[str, int]]:
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
    """Add at one node, and read at the next with the token of that add, which waits until it is held there."""
    seen_ms = []
    clients = [await Client.connect(member.address, timeout_s=5) for member in members]
    try:
        for turn in count():
            writer, reader = clients[turn % len(clients)], clients[(turn + 1) % len(clients)]
            token = await writer.add(1, "probe")
            asked = monotonic_ns()
            await reader.read("probe", token)
            seen_ms.append((monotonic_ns() - asked) / 1e6)
            try:
                await asyncio.wait_for(stop.wait(), PROBE_S)
            except TimeoutError:
                continue
            break
    finally:
        for client in clients:
            client.close()
    return seen_ms


async def _run(member: Member, load: Load, seconds: float) -> Rate:
    adds = _adds_over_redis if load.door == "resp" else _adds_over_udp
    await adds(member, load, WARM_UP_S)
    async with await Client.connect(member.address, timeout_s=5) as client:
        before = (await client.gossip_status())["commits"]
        began = monotonic_ns()
        took_ns = await adds(member, load, seconds)
        elapsed_s = (monotonic_ns() - began) / 1e9
        commits = (await client.gossip_status())["commits"] - before
    p50, p99 = (percentile(took_ns, share) / 1e6 for share in (0.5, 0.99))
    return Rate(len(took_ns) / elapsed_s, p50, p99, len(took_ns) / commits)


async def _adds_over_udp(member: Member, load: Load, seconds: float) -> list[int]:
    clients = [await Client.connect(member.address, timeout_s=5) for _ in range(load.clients)]
    end = monotonic_ns() + int(seconds * 1e9)
    took_ns: list[int] = []
    names = load.names()

    async def worker(client: Client) -> None:
        while (asked := monotonic_ns()) < end:
            await client.add(1, next(names))
            took_ns.append(monotonic_ns() - asked)

    try:
        await asyncio.gather(*(worker(clients[i % len(clients)]) for i in range(load.window)))
    finally:
        for client in clients:
            client.close()
    return took_ns


async def _adds_over_redis(member: Member, load: Load, seconds: float) -> list[int]:
    end = monotonic_ns() + int(seconds * 1e9)
    took_ns: list[int] = []
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
                took_ns.extend([monotonic_ns() - asked] * depth)
        finally:
            writer.close()

    await asyncio.gather(*(worker() for _ in range(load.clients)))
    return took_ns
