"""How soon counters are gone at all nodes: after a delete, and at a deadline.

A delete is timed as the add before it is, and as `bench converge` does it: from its acknowledgement until the last node
came to the state that all have then. Nodes say themselves when they did.

At a deadline nobody sends anything: the time is that between the first node at which the counter is over and the last.
All nodes are read in turn as fast as they answer, so this figure is coarse by the time of one such round, which is
measured too.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from time import monotonic_ns, time_ns
from typing import Any

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import temporary
from gossip_counter.cluster.wording import counted

TTL_MS = 300
"""How long a counter lasts: longer than its add needs to reach all nodes."""

POLL_S = 0.02
"""Between two looks: they must not keep nodes from what is measured."""

LIMIT_NS = 5_000_000_000
"""How long it may take until a counter is gone."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Times in milliseconds, one for each run."""

    nodes: int
    added_ms: list[float] = field(default_factory=list)
    """From the acknowledgement of an add until the last node had it."""
    deleted_ms: list[float] = field(default_factory=list)
    """The same of a delete."""
    spread_ms: list[float] = field(default_factory=list)
    """Between the first and the last node at which a deadline had passed."""
    late_ms: list[float] = field(default_factory=list)
    """By how much the last of them came after the deadline."""
    round_ms: list[float] = field(default_factory=list)
    """How long it takes to read all nodes once."""

    def _figures(self) -> dict[str, list[float]]:
        return {
            "an add, at all nodes": self.added_ms,
            "a delete, at all nodes": self.deleted_ms,
            "a deadline, from the first node to the last": self.spread_ms,
            "a deadline, at the last node": self.late_ms,
            "one look at all nodes": self.round_ms,
        }

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        figures = (self.added_ms, self.deleted_ms, self.spread_ms, self.late_ms, self.round_ms)
        names = ("added_ms", "deleted_ms", "spread_ms", "late_ms", "round_ms")
        shown = {name: report.distribution(each) for name, each in zip(names, figures, strict=True)}
        return {"nodes": self.nodes, "runs": len(self.deleted_ms)} | shown

    def table(self) -> Table:
        """See `report.Result`."""
        title = f"counters that end at {counted(self.nodes, 'node')}, {counted(len(self.deleted_ms), 'run')}"
        return report.table(title, self._figures(), "ms", 2)


async def measure(nodes: int, runs: int, show: Callable[[str], None]) -> Ends:
    """Delete counters and let others expire, at nodes taken at random. Raises `ClusterError`, `ClientError`."""
    result, rng = Ends(nodes), Random(runs)
    async with temporary(nodes, Settings()) as cluster, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await Client.connect(member.address)) for member in cluster.members.values()
        ]
        for run in range(runs):
            await _delete(clients, f"deleted:{run}", rng, result)
            await _expire(clients, f"expired:{run}", rng, result)
            show(f"run {run + 1}: deleted in {result.deleted_ms[-1]:.1f} ms, spread {result.spread_ms[-1]:.1f} ms")
    return result


async def _delete(clients: list[Client], counter: str, rng: Random, result: Ends) -> None:
    deleter = rng.choice(clients)
    await deleter.add(1, counter)
    result.added_ms.append(await _until_all(clients, counter, 1))
    await deleter.delete(counter)
    result.deleted_ms.append(await _until_all(clients, counter, 0))


async def _until_all(clients: list[Client], counter: str, value: int) -> float:
    """From now until the last node has this value, in milliseconds; nothing waits for the disk any more on return.

    Raises `ClusterError`.
    """
    began_ns = monotonic_ns()
    while monotonic_ns() - began_ns < LIMIT_NS:
        await asyncio.sleep(POLL_S)
        statuses = await asyncio.gather(*(client.gossip_status(counter) for client in clients))
        is_agreed = len({status["fingerprint"] for status in statuses}) == 1
        is_stored = not any(status["dirty_rows"] for status in statuses)
        if is_agreed and is_stored and all((status["local_value"] or 0) == value for status in statuses):
            return max(0.0, (max(int(status["state_since_ns"]) for status in statuses) - began_ns) / 1e6)
    raise ClusterError(f"not all nodes agree on {counter} after {LIMIT_NS // 10**9} s")


async def _expire(clients: list[Client], counter: str, rng: Random, result: Ends) -> None:
    asked = rng.choice(clients)
    await asked.add(1, counter, expire_ms=TTL_MS)
    await _watch(clients, counter, lambda value: value == 1)
    deadline_ms = (await asked.look(counter)).deadline_ms
    if deadline_ms is None:
        raise ClusterError(f"{counter} has no deadline")
    deadline_ns = monotonic_ns() + deadline_ms * 1_000_000 - time_ns()
    gone_ns = await _watch(clients, counter, lambda value: not value, result.round_ms)
    result.spread_ms.append((max(gone_ns) - min(gone_ns)) / 1e6)
    result.late_ms.append((max(gone_ns) - deadline_ns) / 1e6)


async def _watch(
    clients: list[Client], counter: str, is_it: Callable[[int], bool], rounds_ms: list[float] | None = None
) -> list[int]:
    """Read a counter at all nodes until each has such a value; when each had it first. Raises `ClusterError`."""
    seen: dict[int, int] = {}
    began_ns, rounds = monotonic_ns(), 0
    while len(seen) < len(clients):
        if monotonic_ns() - began_ns > LIMIT_NS:
            raise ClusterError(f"not all nodes agree on {counter} after {LIMIT_NS // 10**9} s")
        missing = [number for number in range(len(clients)) if number not in seen]
        await asyncio.gather(*(_look(clients[number], number, counter, is_it, seen) for number in missing))
        rounds += 1
    if rounds_ms is not None:
        rounds_ms.append((monotonic_ns() - began_ns) / 1e6 / rounds)
    return list(seen.values())


async def _look(client: Client, number: int, counter: str, is_it: Callable[[int], bool], seen: dict[int, int]) -> None:
    if is_it(await client.read(counter)):
        seen[number] = monotonic_ns()
