"""Time until nodes that died are in sync again: one with its journal, one whose disk was lost, or all at once."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import monotonic_ns
from typing import Any

from rich.console import Group

from gossip_counter.bench import plot, report
from gossip_counter.bench.load import add_to_all
from gossip_counter.cluster import faults
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.wording import counted

POLL_S = 0.005
LIMIT_S = 60.0


class RecoverError(Exception):
    """The nodes were not in sync in time, or something was lost; the text says what was reached."""


class Death(StrEnum):
    """Who dies, and what remains."""

    CLEAN = "clean"
    """One node; its journal stays as it is."""
    WIPED = "wiped"
    """One node; its journal is gone."""
    ALL = "all"
    """All nodes at once; their journals stay."""

    def describe(self, nodes: int) -> str:
        """In words, of so many nodes."""
        match self:
            case Death.CLEAN:
                return f"one of {nodes} nodes killed, its journal intact"
            case Death.WIPED:
                return f"one of {nodes} nodes killed, its journal lost"
        return f"all {nodes} nodes killed at once"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One run: seconds from the start of the processes until they answered, and from there until all were in sync."""

    answers_s: float
    level_s: float
    bytes_in: int
    """Received meanwhile by the nodes that were started again."""


@dataclass(frozen=True, slots=True)
class Recoveries:
    """All runs, by who died."""

    nodes: int
    counters: int
    runs: int
    deaths: dict[Death, list[Recovery]]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        settings = {"nodes": self.nodes, "counters": self.counters, "runs": self.runs}
        return settings | {
            death.value: {
                "answers_s": report.distribution([each.answers_s for each in recoveries]),
                "level_s": report.distribution([each.level_s for each in recoveries]),
                "megabytes_in": report.distribution([each.bytes_in / 1e6 for each in recoveries]),
            }
            for death, recoveries in self.deaths.items()
        }

    def table(self) -> Group:
        """See `report.Result`."""
        tables = []
        for death, recoveries in self.deaths.items():
            counters, runs = counted(self.counters, "counter"), counted(self.runs, "run")
            title = f"{death.describe(self.nodes)}, {counters}, {runs}"
            figures = {
                "answers after s": [each.answers_s for each in recoveries],
                "level after another s": [each.level_s for each in recoveries],
                "MB received": [each.bytes_in / 1e6 for each in recoveries],
            }
            tables.append(report.table(title, figures, "", 2))
        return Group(*tables)

    def plot(self, path: Path) -> None:
        """See `report.Plottable`."""
        rows = {
            "answers after": {
                death.describe(self.nodes): plot.Span.of([each.answers_s for each in recoveries], report.p50)
                for death, recoveries in self.deaths.items()
            },
            "level after another": {
                death.describe(self.nodes): plot.Span.of([each.level_s for each in recoveries], report.p50)
                for death, recoveries in self.deaths.items()
            },
        }
        words = plot.Words(
            f"Recovery of killed nodes, {self.counters:,} counters",
            f"Dot: median of {self.runs} runs. Line: least to most. Less is better. Level: all nodes hold equal state.",
            "seconds from the start of the processes, and from the answer",
        )
        plot.save(plot.dots(words, rows, 2), path)


async def measure(
    deaths: list[Death], nodes: int, counters: int, runs: int, done: Callable[[Death, Recovery], None]
) -> Recoveries:
    """Add to every counter, kill, add to all again at the nodes that remain, restart; `runs` times on fresh clusters.

    Raises `RecoverError`, `ClusterError`, `ClientError`.
    """
    results: dict[Death, list[Recovery]] = {death: [] for death in deaths}
    for _ in range(runs):
        for death in deaths:
            async with temporary(nodes, Settings()) as cluster:
                results[death].append(await _run(cluster, death, counters))
            done(death, results[death][-1])
    return Recoveries(nodes, counters, runs, results)


async def _run(cluster: Cluster, death: Death, counters: int) -> Recovery:
    members = list(cluster.members.values())
    dying = members if death is Death.ALL else members[-1:]
    clients = {member.name: await Client.connect(member.address, timeout_s=5) for member in members}
    try:
        await add_to_all(list(clients.values()), counters)
        await _in_sync(clients.values())
        cluster.kill(*dying)
        staying = [clients[member.name] for member in members if member not in dying]
        if staying:
            await add_to_all(staying, counters)
            await _in_sync(staying)
        if death is Death.WIPED:
            faults.wipe(cluster, members[-1])
        began_ns, answered_ns = await _restart(cluster, dying)
        statuses = await _in_sync(clients.values())
        _check(statuses, counters * (2 if staying else 1))
        restarted = [status for status in statuses if status["name"] in {member.name for member in dying}]
        level_s = max(0, max(status["state_since_ns"] for status in restarted) - answered_ns) / 1e9
        return Recovery((answered_ns - began_ns) / 1e9, level_s, sum(status["bytes_in"] for status in restarted))
    finally:
        for client in clients.values():
            client.close()


async def _restart(cluster: Cluster, dead: list[Member]) -> tuple[int, int]:
    """When the first process was started, and when the last node answered."""
    began_ns = monotonic_ns()
    for member in dead:
        cluster.start(member)
    await asyncio.gather(*(cluster.ready(member) for member in dead))
    return began_ns, monotonic_ns()


def _check(statuses: list[Status], acknowledged: int) -> None:
    for status in statuses:
        if status["counted"] != acknowledged:
            raise RecoverError(
                f"{status['name']} holds {status['counted']:,} increments of {acknowledged:,} acknowledged"
            )


async def _in_sync(clients: Iterable[Client]) -> list[Status]:
    """Poll until all have equal state; their statuses then. Raises `RecoverError`."""
    deadline = monotonic_ns() + LIMIT_S * 1e9
    while True:
        statuses = list(await asyncio.gather(*(client.gossip_status() for client in clients)))
        if len({status["fingerprint"] for status in statuses}) == 1:
            return statuses
        if monotonic_ns() > deadline:
            rows = ", ".join(f"{status['name']} holds {status['rows']} rows" for status in statuses)
            raise RecoverError(f"not level after {LIMIT_S:g} s: {rows}")
        await asyncio.sleep(POLL_S)
