"""How soon a node that was away is level again: killed, everything changed without it, and started anew."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic_ns

from bench.load import add_to_all
from cluster import launcher
from cluster.client import Client, Status

POLL_S = 0.005
LIMIT_S = 60.0


class RecoverError(Exception):
    """The node was not level in time; the text says how far it came."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One run: seconds from the start of the process until it answered, and from its answer until it was level."""

    answers_s: float
    level_s: float
    bytes_in: int


async def measure(nodes: int, counters: int, runs: int, done: Callable[[Recovery], None]) -> list[Recovery]:
    """Kill the last node, add to every counter at the others, start it again; `runs` times on fresh clusters.

    Raises `RecoverError`, `LaunchError`, `ClientError`.
    """
    results = []
    for _ in range(runs):
        async with launcher.temporary(nodes, launcher.Settings()) as cluster:
            results.append(await _run(cluster, counters))
        done(results[-1])
    return results


async def _run(cluster: launcher.Cluster, counters: int) -> Recovery:
    *others, away = cluster.members.values()
    clients = [await Client.connect(member.address, timeout_s=5) for member in others]
    returned = await Client.connect(away.address, timeout_s=5)
    try:
        await add_to_all(clients, counters)
        await _all_hold_the_same([*clients, returned])
        cluster.kill(away)
        await add_to_all(clients, counters)
        await _all_hold_the_same(clients)
        began = monotonic_ns()
        cluster.start(away)
        await cluster.ready(away)
        answered = monotonic_ns()
        status = (await _all_hold_the_same([*clients, returned]))[-1]
        level_s = max(0, status["state_since_ns"] - answered) / 1e9
        return Recovery((answered - began) / 1e9, level_s, status["bytes_in"])
    finally:
        for client in (*clients, returned):
            client.close()


async def _all_hold_the_same(clients: Iterable[Client]) -> list[Status]:
    deadline = monotonic_ns() + LIMIT_S * 1e9
    while True:
        statuses = list(await asyncio.gather(*(client.gossip_status() for client in clients)))
        if len({status["fingerprint"] for status in statuses}) == 1:
            return statuses
        if monotonic_ns() > deadline:
            rows = ", ".join(f"{status['name']} holds {status['rows']} rows" for status in statuses)
            raise RecoverError(f"not level after {LIMIT_S:g} s: {rows}")
        await asyncio.sleep(POLL_S)
