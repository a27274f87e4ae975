"""Time until nodes that died are in sync again: one with its journal, one whose disk was lost, or all at once."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any, Self

from rich.console import Group

from gossip_counter.bench import plot, report
from gossip_counter.bench.load import add_to_all
from gossip_counter.cluster import faults
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.wording import counted

POLL_S = 0.005
POLL_SHARE = 0.02
"""Polls are apart by so much of the time that has passed: they take time from the nodes."""
LIMIT_S = 60.0
QUIET_S = 2.0
PROBE_S = 0.005
"""Between an add's reply and the next add."""


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
class Load:
    """So many counters, with names of so many bytes at least."""

    counters: int
    name_bytes: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """One run: seconds from the start of the processes until they answered, and from there until all were in sync."""

    answers_s: float
    level_s: float
    bytes_in: int
    """Received meanwhile by the nodes that were started again."""
    rows: int
    """What each node holds at the end."""
    quiet_ms: list[float]
    fed_ms: list[float]
    """How long adds took at a node that stayed: in two quiet seconds, and meanwhile."""


@dataclass(frozen=True, slots=True)
class Recoveries:
    """All runs, by who died."""

    nodes: int
    load: Load
    runs: int
    deaths: dict[Death, list[Recovery]]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        settings = {"nodes": self.nodes, **asdict(self.load), "runs": self.runs}
        return settings | {
            death.value: {
                "answers_s": report.distribution([each.answers_s for each in recoveries]),
                "level_s": report.distribution([each.level_s for each in recoveries]),
                "megabytes_in": report.distribution([each.bytes_in / 1e6 for each in recoveries]),
                "rows": report.distribution([each.rows for each in recoveries]),
            }
            | {what: report.distribution(times) for what, times in _adds_ms(recoveries).items()}
            for death, recoveries in self.deaths.items()
        }

    def table(self) -> Group:
        """See `report.Result`."""
        tables = []
        for death, recoveries in self.deaths.items():
            counters, runs = counted(self.load.counters, "counter"), counted(self.runs, "run")
            title = f"{death.describe(self.nodes)}, {counters}, {recoveries[-1].rows:,} rows, {runs}"
            figures = {
                "answers after s": [each.answers_s for each in recoveries],
                "level after another s": [each.level_s for each in recoveries],
                "MB received": [each.bytes_in / 1e6 for each in recoveries],
            }
            tables.append(report.table(title, figures, "", 2))
            if adds := _adds_ms(recoveries):
                tables.append(report.table("adds at a node that stayed", adds, "ms", 1))
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
            f"Recovery of killed nodes, {self.load.counters:,} counters",
            f"Dot: median of {self.runs} runs. Line: least to most. Less is better. Level: all nodes hold equal state.",
            "seconds from the start of the processes, and from the answer",
        )
        plot.save(plot.dots(words, rows, 2), path)


def _adds_ms(recoveries: list[Recovery]) -> dict[str, list[float]]:
    """How long adds took, all runs together; nothing where no node stayed."""
    quiet = [time for each in recoveries for time in each.quiet_ms]
    fed = [time for each in recoveries for time in each.fed_ms]
    return {"quiet": quiet, "others are fed": fed} if fed else {}


async def measure(
    deaths: list[Death], nodes: int, load: Load, runs: int, done: Callable[[Death, Recovery], None]
) -> Recoveries:
    """Add to every counter, kill, add to all again at the nodes that remain, restart; `runs` times on fresh clusters.

    Raises `RecoverError`, `ClusterError`, `ClientError`.
    """
    results: dict[Death, list[Recovery]] = {death: [] for death in deaths}
    for _ in range(runs):
        for death in deaths:
            async with temporary(nodes, Settings()) as cluster:
                results[death].append(await _run(cluster, death, load))
            done(death, results[death][-1])
    return Recoveries(nodes, load, runs, results)


async def _run(cluster: Cluster, death: Death, load: Load) -> Recovery:
    members = list(cluster.members.values())
    dying = members if death is Death.ALL else members[-1:]
    clients = {member.name: await Client.connect(member.address, timeout_s=5) for member in members}
    try:
        add = partial(add_to_all, counters=load.counters, name_bytes=load.name_bytes)
        await add(list(clients.values()))
        await _in_sync(clients.values())
        cluster.kill(*dying)
        staying = [clients[member.name] for member in members if member not in dying]
        if staying:
            await add(staying)
            await _in_sync(staying)
        if death is Death.WIPED:
            faults.wipe(cluster, members[-1])
        async with _Probe(staying[:1]) as quiet:
            await asyncio.sleep(QUIET_S if staying else 0)
        async with _Probe(staying[:1]) as probe:
            began_ns, answered_ns = await _restart(cluster, dying)
            await _in_sync(clients.values())
            level_ns = monotonic_ns()
        statuses = await _in_sync(clients.values())
        probed = len(quiet.took_ms) + len(probe.took_ms)
        _check(statuses, load.counters * (2 if staying else 1) + probed)
        restarted = [status for status in statuses if status["name"] in {member.name for member in dying}]
        if not staying:  # nothing else has changed their states
            level_ns = max(answered_ns, *(status["state_since_ns"] for status in restarted))
        bytes_in, rows = sum(status["bytes_in"] for status in restarted), statuses[0]["rows"]
        return Recovery(
            (answered_ns - began_ns) / 1e9, (level_ns - answered_ns) / 1e9, bytes_in, rows, quiet.took_ms, probe.took_ms
        )
    finally:
        for client in clients.values():
            client.close()


class _Probe:
    """Adds at a node, one after the other, and how long each takes."""

    def __init__(self, clients: list[Client]) -> None:
        self.took_ms = list[float]()
        self._is_over = asyncio.Event()
        self._clients = clients
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._add(each)) for each in self._clients]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._is_over.set()
        await asyncio.gather(*self._tasks)

    async def _add(self, client: Client) -> None:
        while not self._is_over.is_set():
            began_ns = monotonic_ns()
            await client.add(1, "probe")
            self.took_ms.append((monotonic_ns() - began_ns) / 1e6)
            await asyncio.sleep(PROBE_S)


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
    began_ns = monotonic_ns()
    deadline = began_ns + LIMIT_S * 1e9
    while True:
        statuses = list(await asyncio.gather(*(client.gossip_status() for client in clients)))
        if len({status["fingerprint"] for status in statuses}) == 1:
            return statuses
        if monotonic_ns() > deadline:
            rows = ", ".join(f"{status['name']} holds {status['rows']} rows" for status in statuses)
            raise RecoverError(f"not level after {LIMIT_S:g} s: {rows}")
        await asyncio.sleep(max(POLL_S, POLL_SHARE * (monotonic_ns() - began_ns) / 1e9))
