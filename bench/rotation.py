"""What a rotation of keys costs those who count meanwhile, with one node down.

At each node that runs, a client adds to a counter of that node as fast as it is answered, and another reads the counter
of the node before it. A gap is the time between two acknowledged adds at a node, or between two reads that show a
larger value than before: for so long nothing of one node came to another. Both are taken at rest first, since clients
and nodes share this machine's cores.

No add may fail. At the end the node that was down starts, and all must hold all that was acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.cluster import key_rings, rotation
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.security.keyring import Keyring

STEPS = {
    "a key that opens": key_rings.rotate,
    "it seals": key_rings.rotate,
    "the old one goes": key_rings.retire,
}
PAUSE_S = 0.005
"""Between two requests of a client: they must not take all of this machine."""
LEVEL_S = 20.0
"""How long nodes may take to hold the same at the end."""
INTERVAL_MS = 100


@dataclass(slots=True)
class Gaps:
    """The longest gaps in one phase, in milliseconds, and how long it took."""

    phase: str
    seconds: float = 0.0
    adds: int = 0
    adds_ms: float = 0.0
    gossip_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """Gaps at rest, and in each step."""

    nodes: int
    interval_ms: int
    phases: list[Gaps] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        phases = [
            {
                "phase": each.phase,
                "seconds": round(each.seconds, 3),
                "acknowledged_adds": each.adds,
                "longest_gap_in_adds_ms": round(each.adds_ms, 3),
                "longest_gap_in_gossip_ms": round(each.gossip_ms, 3),
            }
            for each in self.phases
        ]
        return {"nodes": self.nodes, "down": 1, "interval_ms": self.interval_ms, "phases": phases}

    def table(self) -> Table:
        """See `report.Result`."""
        title = f"keys of {self.nodes} nodes are rotated, one node down, gossip every {self.interval_ms} ms"
        columns = ("longest gaps", "seconds", "adds", "in adds, ms", "in gossip, ms")
        shown = report.table_of(title, columns)
        for each in self.phases:
            gaps = (f"{each.adds_ms:.1f}", f"{each.gossip_ms:.1f}")
            shown.add_row(each.phase, f"{each.seconds:.1f}", f"{each.adds:,}", *gaps)
        return shown


class _Load:
    """Clients of the nodes that run, and the gaps that they see in the present phase."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.gaps = Gaps("")
        self.acknowledged = 0
        self._is_over = False
        self._clients: list[asyncio.Task[None]] = []
        self._events: list[int] = []
        """By client, its adds that were acknowledged, or the larger values that it read."""

    def begin(self) -> None:
        """Start all clients."""
        names = [member.name for member in self._cluster.alive()]
        before = [names[-1], *names[:-1]]
        self._events = [0] * (2 * len(names))
        readers = enumerate(zip(names, before, strict=True), len(names))
        self._clients = [
            *(asyncio.create_task(self._add(client, name)) for client, name in enumerate(names)),
            *(asyncio.create_task(self._read(client, name, other)) for client, (name, other) in readers),
        ]

    async def end(self) -> None:
        """Let all requests be answered. Raises `ClientError` if one was not."""
        self._is_over = True
        await asyncio.gather(*self._clients)

    async def goes_on(self) -> None:
        """Wait until each client has seen something happen, so that no gap is overlooked that has not ended yet."""
        before = list(self._events)
        while any(now == then for now, then in zip(self._events, before, strict=True)):
            if any(client.done() for client in self._clients):
                return  # one has failed: `end` raises why
            await asyncio.sleep(PAUSE_S)

    async def phase(self, name: str, during: Awaitable[object]) -> Gaps:
        """The gaps while something is done. Raises what that does."""
        began_s, self.gaps = monotonic(), Gaps(name)
        await during
        await self.goes_on()
        self.gaps.seconds = monotonic() - began_s
        return self.gaps

    async def _add(self, number: int, name: str) -> None:
        async with await self._cluster.connect(self._cluster.members[name]) as client:
            last_s = monotonic()
            while not self._is_over:
                await client.add(1, name)
                now_s, self.acknowledged = monotonic(), self.acknowledged + 1
                self.gaps.adds += 1
                self._events[number] += 1
                self.gaps.adds_ms = max(self.gaps.adds_ms, (now_s - last_s) * 1000)
                last_s = now_s
                await asyncio.sleep(PAUSE_S)

    async def _read(self, number: int, name: str, counter: str) -> None:
        async with await self._cluster.connect(self._cluster.members[name]) as client:
            last_s, last = monotonic(), 0
            while not self._is_over:
                value = await client.read(counter)
                if value > last:
                    now_s, last = monotonic(), value
                    self._events[number] += 1
                    self.gaps.gossip_ms = max(self.gaps.gossip_ms, (now_s - last_s) * 1000)
                    last_s = now_s
                await asyncio.sleep(PAUSE_S)


async def measure(nodes: int, rest_s: float, show: Callable[[str], None]) -> Rotation:
    """Rotate the keys of a sealed cluster whose last node is down; `rest_s` seconds at rest come first.

    Raises `ClusterError`, `ClientError` if an add failed, and `PromiseBroken` if one is lost or counted twice.
    """
    result = Rotation(nodes, INTERVAL_MS)
    async with temporary(nodes, Settings(interval_ms=INTERVAL_MS, sealed=True)) as cluster:
        *_, down = cluster.members.values()
        cluster.kill(down)
        load = _Load(cluster)
        load.begin()
        try:
            await load.goes_on()
            result.phases.append(await load.phase("at rest", asyncio.sleep(rest_s)))
            for name, change in STEPS.items():
                show(name)
                result.phases.append(await load.phase(name, _step(cluster, change)))
        finally:
            await load.end()
        cluster.start(down)
        await _check(cluster, load.acknowledged)
    return result


async def _step(cluster: Cluster, change: Callable[[Path], Keyring]) -> None:
    """Change the keys, and wait until all nodes that run use them. Raises `ClusterError` if they do not."""
    if late := await rotation.late(cluster, change(cluster.manifest.keys_path)):
        raise ClusterError(f"{', '.join(late)} did not take the keys: see the log")


async def _check(cluster: Cluster, acknowledged: int) -> None:
    """Wait until all nodes hold the same, which must be all that was acknowledged. Raises `PromiseBroken`."""
    deadline, names = monotonic() + LEVEL_S, list(cluster.members)
    for member in cluster.members.values():
        await cluster.ready(member)
        async with await cluster.connect(member) as client:
            while (total := sum([await client.read(name) for name in names])) < acknowledged:
                if monotonic() > deadline:
                    raise PromiseBroken(f"{member.name} has {total} of {acknowledged} acknowledged adds")
                await asyncio.sleep(PAUSE_S)
            if total > acknowledged:
                raise PromiseBroken(f"{member.name} has {total}, where {acknowledged} adds were asked for")
