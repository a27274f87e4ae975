"""Time until nodes that died are in sync again: one with its journal, one whose disk was lost, or all at once."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

from rich.console import Group

from gossip_counter.bench import plot, report
from gossip_counter.cluster import faults
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.wording import counted

POLL_S = 0.005
LIMIT_S = 60.0

LIMIT_PER_COUNTER_S = 0.0005
"""How much longer nodes may take for each counter."""

DEPTH = 500
"""Commands in a pipeline of those that fill a cluster."""

LOAD = "load"
"""The counter that clients add to at the nodes that stay."""

WINDOW = 4
"""Adds to it that are under way."""

QUIET_S = 2.0
"""For so long they are measured before a node comes back."""


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
    quiet_ms: Sequence[float] = ()
    """What adds at the nodes that stayed took before, each."""
    meanwhile_ms: Sequence[float] = ()
    """And from then on until the others were level."""


@dataclass(frozen=True, slots=True)
class Recoveries:
    """All runs, by who died."""

    nodes: int
    counters: int
    runs: int
    deaths: dict[Death, list[Recovery]]
    name_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        settings = {
            "nodes": self.nodes, "counters": self.counters, "name_bytes": self.name_bytes, "runs": self.runs,
        }  # fmt: skip
        return settings | {
            death.value: {
                "answers_s": report.distribution([each.answers_s for each in recoveries]),
                "level_s": report.distribution([each.level_s for each in recoveries]),
                "megabytes_in": report.distribution([each.bytes_in / 1e6 for each in recoveries]),
            }
            | {f"{name}_ms": report.distribution(took) for name, took in _adds(recoveries).items()}
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
            figures |= {f"an add {name}, ms": took for name, took in _adds(recoveries).items()}
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


def _adds(recoveries: list[Recovery]) -> dict[str, list[float]]:
    """What adds took at nodes that stayed, of all runs, before and meanwhile."""
    took = {
        "quiet": [each for recovery in recoveries for each in recovery.quiet_ms],
        "meanwhile": [each for recovery in recoveries for each in recovery.meanwhile_ms],
    }
    return took if all(took.values()) else {}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many nodes, and counters with names of at least so many bytes."""

    nodes: int
    counters: int
    name_bytes: int = 0

    @property
    def limit_s(self) -> float:
        """For so long nodes may not be in sync."""
        return LIMIT_S + self.counters * LIMIT_PER_COUNTER_S


async def measure(deaths: list[Death], plan: Plan, runs: int, done: Callable[[Death, Recovery], None]) -> Recoveries:
    """Add to every counter, kill, add to all again at the nodes that remain, restart; `runs` times on fresh clusters.

    Raises `RecoverError`, `ClusterError`, `ClientError`.
    """
    results: dict[Death, list[Recovery]] = {death: [] for death in deaths}
    for _ in range(runs):
        for death in deaths:
            async with temporary(plan.nodes, Settings()) as cluster:
                results[death].append(await _run(cluster, death, plan))
            done(death, results[death][-1])
    return Recoveries(plan.nodes, plan.counters, runs, results, plan.name_bytes)


async def _run(cluster: Cluster, death: Death, plan: Plan) -> Recovery:
    members = list(cluster.members.values())
    dying = members if death is Death.ALL else members[-1:]
    clients = {member.name: await Client.connect(member.address, timeout_s=5) for member in members}
    try:
        await _fill(members, plan)
        await _in_sync(clients.values(), plan)
        cluster.kill(*dying)
        staying = [member for member in members if member not in dying]
        if staying:
            await _fill(staying, plan)
            await _in_sync([clients[member.name] for member in staying], plan)
        if death is Death.WIPED:
            faults.wipe(cluster, members[-1])
        return await _recover(cluster, dying, clients, plan)
    finally:
        for client in clients.values():
            client.close()


async def _recover(cluster: Cluster, dying: list[Member], clients: dict[str, Client], plan: Plan) -> Recovery:
    """Start nodes again, while clients add at the others."""
    names = [member.name for member in dying]
    staying, back = [client for name, client in clients.items() if name not in names], [clients[name] for name in names]
    counted = plan.counters * (2 if staying else 1)
    quiet_ms, meanwhile_ms = list[float](), list[float]()
    load = asyncio.gather(*(_add(staying, number, quiet_ms) for number in range(WINDOW) if staying))
    await asyncio.sleep(QUIET_S if staying else 0)  # the time that is measured
    load.cancel()
    load = asyncio.gather(*(_add(staying, number, meanwhile_ms) for number in range(WINDOW) if staying))
    began_ns, answered_ns = await _restart(cluster, dying)
    await asyncio.gather(*(_reaches(client, counted, plan) for client in back))
    level_s = (monotonic_ns() - answered_ns) / 1e9
    load.cancel()
    statuses = await _in_sync(clients.values(), plan)
    _check(statuses, counted)
    bytes_in = sum(status["bytes_in"] for status in statuses if status["name"] in names)
    return Recovery((answered_ns - began_ns) / 1e9, level_s, bytes_in, quiet_ms, meanwhile_ms)


async def _fill(members: list[Member], plan: Plan) -> None:
    """One increment of each counter, the nodes in turn. Raises `ClusterError`."""

    async def fill(number: int) -> None:
        reader, writer = await asyncio.open_connection(*members[number].address)
        mine = (f"counter:{at}:".ljust(plan.name_bytes, "x") for at in range(number, plan.counters, len(members)))
        try:
            while names := list(islice(mine, DEPTH)):
                writer.write(
                    b"".join(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(each), each.encode()) for each in names)
                )
                for _ in names:
                    if not (reply := await reader.readuntil(b"\n")).startswith(b":"):
                        raise ClusterError(f"a node refused an INCR: {reply.decode(errors='replace').strip()}")
        finally:
            writer.close()

    await asyncio.gather(*map(fill, range(len(members))))


async def _add(clients: list[Client], number: int, took_ms: list[float]) -> None:
    """Add at one node, without end, and note what each add takes."""
    while True:
        began = monotonic()
        await clients[number % len(clients)].add(1, LOAD)
        took_ms.append((monotonic() - began) * 1000)


async def _restart(cluster: Cluster, dead: list[Member]) -> tuple[int, int]:
    """When the first process was started, and when the last node answered."""
    began_ns = monotonic_ns()
    for member in dead:
        cluster.start(member)
    await asyncio.gather(*(cluster.ready(member) for member in dead))
    return began_ns, monotonic_ns()


def _counted(status: Status) -> int:
    """Increments of the counters that were filled."""
    return int(status["counted"]) - int(status["local_value"])


def _check(statuses: list[Status], acknowledged: int) -> None:
    for status in statuses:
        if _counted(status) != acknowledged:
            raise RecoverError(
                f"{status['name']} holds {_counted(status):,} increments of {acknowledged:,} acknowledged"
            )


async def _reaches(client: Client, counted: int, plan: Plan) -> None:
    """Poll until a node holds so many increments of the counters that were filled. Raises `RecoverError`."""
    deadline = monotonic() + plan.limit_s
    while _counted(status := await client.gossip_status(LOAD)) < counted:
        if monotonic() > deadline:
            raise RecoverError(f"not level after {plan.limit_s:g} s: {status['name']} holds {status['rows']} rows")
        await asyncio.sleep(POLL_S)


async def _in_sync(clients: Iterable[Client], plan: Plan) -> list[Status]:
    """Poll until all have equal state; their statuses then. Raises `RecoverError`."""
    deadline = monotonic() + plan.limit_s
    while True:
        statuses = list(await asyncio.gather(*(client.gossip_status(LOAD) for client in clients)))
        if len({status["fingerprint"] for status in statuses}) == 1:
            return statuses
        if monotonic() > deadline:
            rows = ", ".join(f"{status['name']} holds {status['rows']} rows" for status in statuses)
            raise RecoverError(f"not level after {plan.limit_s:g} s: {rows}")
        await asyncio.sleep(POLL_S)
