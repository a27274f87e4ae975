"""How long a cluster of real processes takes to agree.

Each run starts a fresh cluster, sprays its increments over random nodes through the UDP door, and polls
`gossip_status` until all nodes hold the expected value and equal state. Convergence is the time from the last
acknowledgement to the moment the last node reached that state; nodes tell that moment themselves, on the monotonic
clock that all processes of a machine share, so the figure does not depend on how often they are polled.
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import Any

from bench.report import distribution
from cluster import launcher
from cluster.client import Client, Status

POLL_S = 0.02
WINDOW = 16
"""Requests under way at once at each node."""


class BenchError(Exception):
    """Why there is no figure: what went wrong, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every run does. With `decrements`, half as many random decrements are mixed in."""

    nodes: int = 5
    increments: int = 1000
    decrements: bool = False
    seed: int = 1
    settings: launcher.Settings = field(default_factory=launcher.Settings)
    timeout_s: float = 30.0

    @property
    def expected(self) -> int:
        """The value all nodes must come to."""
        return self.increments - self._taken_away

    def deltas(self, rng: Random) -> list[list[int]]:
        """For each node, what to add to it, in order."""
        sprayed = [1] * self.increments + [-1] * self._taken_away
        rng.shuffle(sprayed)
        per_node: list[list[int]] = [[] for _ in range(self.nodes)]
        for delta in sprayed:
            rng.choice(per_node).append(delta)
        return per_node

    @property
    def _taken_away(self) -> int:
        return self.increments // 2 if self.decrements else 0


@dataclass(slots=True)
class Progress:
    """One run as it goes: acknowledged adds and latest status by node, and when the last answer came."""

    run: int
    acknowledged: dict[str, int]
    statuses: dict[str, Status] = field(default_factory=dict)
    last_answer_ns: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to. `convergence_ms` is None if the nodes did not agree in time."""

    expected: int
    convergence_ms: float | None
    values: dict[str, int]
    datagrams_sent: dict[str, int]
    bytes_sent: dict[str, int]

    @property
    def agreed(self) -> bool:
        """Whether all nodes came to the expected value and equal state in time."""
        return self.convergence_ms is not None

    @property
    def differing(self) -> dict[str, int]:
        """The nodes whose value is not the expected one."""
        return {name: value for name, value in self.values.items() if value != self.expected}

    def as_json(self) -> dict[str, Any]:
        """The run as `bench converge --json` prints it."""
        return {
            "convergence_ms": self.convergence_ms,
            "agreed": self.agreed,
            "values": self.values,
            "datagrams_sent": self.datagrams_sent,
            "bytes_sent": self.bytes_sent,
        }


Watcher = Callable[[Progress], None]


async def measure(plan: Plan, runs: int, watch: Watcher, done: Callable[[Run], None]) -> list[Run]:
    """Run the plan on `runs` fresh clusters, one after the other.

    Raises `BenchError` if an add is not acknowledged, `LaunchError` if a cluster does not start.
    """
    results = []
    for number in range(1, runs + 1):
        directory = Path(tempfile.mkdtemp(prefix="counter-bench-"))
        async with launcher.temporary(directory, plan.nodes, plan.settings) as cluster:
            results.append(await _run(plan, number, cluster, watch))
        done(results[-1])
    return results


async def _run(plan: Plan, number: int, cluster: launcher.Cluster, watch: Watcher) -> Run:
    clients = {name: await Client.connect(member.address, timeout_s=5) for name, member in cluster.members.items()}
    progress = Progress(number, dict.fromkeys(clients, 0))
    try:
        rng = Random(f"{plan.seed} {number}")
        polling = asyncio.create_task(_poll(plan, clients, progress, watch))
        deltas = dict(zip(clients, plan.deltas(rng), strict=True))
        try:
            await asyncio.gather(*(_spray(clients[name], name, deltas[name], progress) for name in clients))
        except BaseException:
            polling.cancel()
            raise
        progress.last_answer_ns = progress.last_answer_ns or monotonic_ns()
        agreed = await polling
    finally:
        for client in clients.values():
            client.close()
    return _result(plan, progress, agreed)


async def _spray(client: Client, name: str, deltas: list[int], progress: Progress) -> None:
    left = iter(deltas)

    async def worker() -> None:
        for delta in left:
            await client.add(delta)
            progress.acknowledged[name] += 1
            last_answer[0] = monotonic_ns()

    last_answer = [0]
    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    progress.last_answer_ns = max(progress.last_answer_ns, last_answer[0])


async def _poll(plan: Plan, clients: dict[str, Client], progress: Progress, watch: Watcher) -> bool:
    """Poll until all agree; False if they do not within the plan's time after the last answer."""
    names = list(clients)
    while True:
        finished = progress.last_answer_ns
        statuses = await asyncio.gather(*(clients[name].gossip_status() for name in names))
        progress.statuses = dict(zip(names, statuses, strict=True))
        watch(progress)
        if finished and _agree(plan, progress):
            return True
        if finished and monotonic_ns() - finished > plan.timeout_s * 1e9:
            return False
        await asyncio.sleep(POLL_S)


def _agree(plan: Plan, progress: Progress) -> bool:
    told = progress.statuses.values()
    return (
        all(each["local_value"] == plan.expected for each in told) and len({each["fingerprint"] for each in told}) == 1
    )


def _result(plan: Plan, progress: Progress, agreed: bool) -> Run:
    told = progress.statuses
    reached_ns = max(each["state_since_ns"] for each in told.values())
    took_ms = max(0, reached_ns - progress.last_answer_ns) / 1e6
    return Run(
        expected=plan.expected,
        convergence_ms=round(took_ms, 3) if agreed else None,
        values={name: each["local_value"] for name, each in told.items()},
        datagrams_sent={name: each["datagrams_out"] for name, each in told.items()},
        bytes_sent={name: each["bytes_out"] for name, each in told.items()},
    )


def as_json(plan: Plan, runs: list[Run]) -> dict[str, Any]:
    """All runs as `bench converge --json` prints them."""
    took = [run.convergence_ms for run in runs if run.convergence_ms is not None]
    return {
        "nodes": plan.nodes,
        "increments": plan.increments,
        "decrements": plan.increments - plan.expected,
        "expected": plan.expected,
        "seed": plan.seed,
        "interval_ms": plan.settings.interval_ms,
        "fanout": plan.settings.fanout,
        "agreed": all(run.agreed for run in runs),
        "convergence_ms": distribution(took) if took else None,
        "datagrams_sent_per_node": distribution([n for run in runs for n in run.datagrams_sent.values()]),
        "bytes_sent_per_node": distribution([n for run in runs for n in run.bytes_sent.values()]),
        "runs": [run.as_json() for run in runs],
    }
