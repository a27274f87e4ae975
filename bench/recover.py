"""How soon nodes that died are level again: one with its journal, one whose disk was lost, or all of them at once."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic_ns

from gossip_counter.bench.load import add_to_all
from gossip_counter.cluster import faults
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary

POLL_S = 0.005
LIMIT_S = 60.0


class RecoverError(Exception):
    """The nodes were not level in time, or something was lost; the text says how far they came."""


class Death(StrEnum):
    """Who dies, and what is left."""

    CLEAN = "clean"
    """One node; its journal is as it left it."""
    WIPED = "wiped"
    """One node; its journal is gone."""
    ALL = "all"
    """All nodes at once, with their journals."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One run: seconds from the start of the processes until they answered, and from there until all were level."""

    answers_s: float
    level_s: float
    bytes_in: int
    """Received meanwhile by those that came back."""


async def measure(
    deaths: list[Death], nodes: int, counters: int, runs: int, done: Callable[[Death, Recovery], None]
) -> dict[Death, list[Recovery]]:
    """Add to every counter, kill, add to all again at who is left, start again; `runs` times on fresh clusters.

    Raises `RecoverError`, `ClusterError`, `ClientError`.
    """
    results: dict[Death, list[Recovery]] = {death: [] for death in deaths}
    for _ in range(runs):
        for death in deaths:
            async with temporary(nodes, Settings()) as cluster:
                results[death].append(await _run(cluster, death, counters))
            done(death, results[death][-1])
    return results


async def _run(cluster: Cluster, death: Death, counters: int) -> Recovery:
    members = list(cluster.members.values())
    dying = members if death is Death.ALL else members[-1:]
    clients = {member.name: await Client.connect(member.address, timeout_s=5) for member in members}
    try:
        await add_to_all(list(clients.values()), counters)
        await _all_level(clients.values())
        cluster.kill(*dying)
        staying = [clients[member.name] for member in members if member not in dying]
        if staying:
            await add_to_all(staying, counters)
            await _all_level(staying)
        if death is Death.WIPED:
            faults.wipe(cluster, members[-1])
        began = monotonic_ns()
        for member in dying:
            cluster.start(member)
        await asyncio.gather(*(cluster.ready(member) for member in dying))
        answered = monotonic_ns()
        statuses = await _all_level(clients.values())
        _check(statuses, counters * (2 if staying else 1))
        back = [status for status in statuses if status["name"] in {member.name for member in dying}]
        level_s = max(0, max(status["state_since_ns"] for status in back) - answered) / 1e9
        return Recovery((answered - began) / 1e9, level_s, sum(status["bytes_in"] for status in back))
    finally:
        for client in clients.values():
            client.close()


def _check(statuses: list[Status], counted: int) -> None:
    for status in statuses:
        if status["counted"] != counted:
            raise RecoverError(f"{status['name']} holds {status['counted']:,} increments of {counted:,} acknowledged")


async def _all_level(clients: Iterable[Client]) -> list[Status]:
    deadline = monotonic_ns() + LIMIT_S * 1e9
    while True:
        statuses = list(await asyncio.gather(*(client.gossip_status() for client in clients)))
        if len({status["fingerprint"] for status in statuses}) == 1:
            return statuses
        if monotonic_ns() > deadline:
            rows = ", ".join(f"{status['name']} holds {status['rows']} rows" for status in statuses)
            raise RecoverError(f"not level after {LIMIT_S:g} s: {rows}")
        await asyncio.sleep(POLL_S)
