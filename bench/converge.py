"""How long a cluster of real processes takes to agree.

Each run starts a fresh cluster, sprays its increments over random nodes through the UDP door, and polls
`gossip_status` until all nodes hold the expected value and equal state. Convergence is the time from the last
acknowledgement to the moment the last node reached that state; nodes tell that moment themselves, on the monotonic
clock that all processes of a machine share, so the figure does not depend on how often they are polled.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from time import monotonic_ns
from typing import Any

from gossip_counter.bench.report import distribution
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.node.core.messages import DEFAULT_COUNTER

POLL_S = 0.02
WINDOW = 16
"""Requests under way at once at each node."""


Add = tuple[int, str]
"""A delta and a counter's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every run does. With `decrements`, half as many random decrements are mixed in.

    One counter is the default counter; of more, each increment takes one at random.
    """

    nodes: int = 5
    counters: int = 1
    increments: int = 1000
    decrements: bool = False
    seed: int = 1
    settings: Settings = field(default_factory=Settings)
    timeout_s: float = 30.0

    @property
    def expected(self) -> int:
        """The value all nodes must come to."""
        return self.increments - self._taken_away

    @property
    def names(self) -> list[str]:
        """The counters' names."""
        return [DEFAULT_COUNTER] if self.counters == 1 else [f"c{i}" for i in range(self.counters)]

    def adds(self, rng: Random) -> list[list[Add]]:
        """For each node, what to add to it, in order."""
        names = self.names
        sprayed = [(1, rng.choice(names)) for _ in range(self.increments)]
        sprayed += [(-1, rng.choice(names)) for _ in range(self._taken_away)]
        rng.shuffle(sprayed)
        per_node: list[list[Add]] = [[] for _ in range(self.nodes)]
        for add in sprayed:
            rng.choice(per_node).append(add)
        return per_node

    @property
    def changes(self) -> int:
        """Increments and decrements together."""
        return self.increments + self._taken_away

    @property
    def _taken_away(self) -> int:
        return self.increments // 2 if self.decrements else 0


@dataclass(slots=True)
class Progress:
    """One run as it goes: acknowledged adds and latest status by node, and when the last answer came."""

    plan: Plan
    run: int
    acknowledged: dict[str, int]
    statuses: dict[str, Status] = field(default_factory=dict)
    last_answers_ns: list[int] = field(default_factory=list)
    """Of each node that is through."""
    last_answer_ns: int = 0
    """Of all nodes; 0 until the last add is answered."""

    def holds_all(self, status: Status) -> bool:
        """Whether a node's state is the one that most others hold."""
        held = Counter(each["fingerprint"] for each in self.statuses.values())
        return bool(held.most_common(1)[0][0] == status["fingerprint"])


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to. `convergence_ms` is None if the nodes did not agree in time."""

    expected: int
    convergence_ms: float | None
    values: dict[str, int]
    states: dict[str, str]
    """By node, the hash of its state."""
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


async def measure(plans: list[Plan], runs: int, watch: Watcher, done: Callable[[Run], None]) -> list[list[Run]]:
    """Run each plan on `runs` fresh clusters, the plans taking turns; the runs of each.

    Raises `ClientError` if an add is not acknowledged, `ClusterError` if a cluster does not start.
    """
    results: list[list[Run]] = [[] for _ in plans]
    for number in range(1, runs + 1):
        for plan, its_results in zip(plans, results, strict=True):
            async with temporary(plan.nodes, plan.settings) as cluster:
                its_results.append(await _run(plan, number, cluster, watch))
            done(its_results[-1])
    return results


async def _run(plan: Plan, number: int, cluster: Cluster, watch: Watcher) -> Run:
    clients = {name: await Client.connect(member.address, timeout_s=5) for name, member in cluster.members.items()}
    progress = Progress(plan, number, dict.fromkeys(clients, 0))
    try:
        rng = Random(f"{plan.seed} {number}")
        polling = asyncio.create_task(_poll(plan, clients, progress, watch))
        adds = dict(zip(clients, plan.adds(rng), strict=True))
        try:
            await asyncio.gather(*(_spray(clients[name], name, adds[name], progress) for name in clients))
        except BaseException:
            polling.cancel()
            raise
        progress.last_answer_ns = max(progress.last_answers_ns, default=monotonic_ns())
        agreed = await polling
        result = _result(plan, progress, agreed)
        return result if plan.counters == 1 else await _with_every_counter(plan, clients, adds, result)
    finally:
        for client in clients.values():
            client.close()


async def _spray(client: Client, name: str, adds: list[Add], progress: Progress) -> None:
    left = iter(adds)

    async def worker() -> None:
        for delta, counter in left:
            await client.add(delta, counter)
            progress.acknowledged[name] += 1
            last_answer[0] = monotonic_ns()

    last_answer = [0]
    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    if adds:
        progress.last_answers_ns.append(last_answer[0])


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
    right = all(
        each["counted"] == plan.changes and (plan.counters > 1 or each["local_value"] == plan.expected) for each in told
    )
    return right and len({each["fingerprint"] for each in told}) == 1


async def _with_every_counter(plan: Plan, clients: dict[str, Client], adds: dict[str, list[Add]], result: Run) -> Run:
    """The run with the sums that nodes tell when every counter is read; not agreed if a single one is wrong."""
    expected: Counter[str] = Counter()
    for each in adds.values():
        for delta, counter in each:
            expected[counter] += delta
    values, right = {}, True
    for name, client in clients.items():
        told = await _read_all(client, plan.names)
        values[name] = sum(told.values())
        right &= all(told[counter] == expected[counter] for counter in plan.names)
    return replace(result, values=values, convergence_ms=result.convergence_ms if right else None)


async def _read_all(client: Client, names: list[str]) -> dict[str, int]:
    told: dict[str, int] = {}
    left = iter(names)

    async def worker() -> None:
        for name in left:
            told[name] = await client.read(name)

    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    return told


def _result(plan: Plan, progress: Progress, agreed: bool) -> Run:
    told = progress.statuses
    reached_ns = max(each["state_since_ns"] for each in told.values())
    took_ms = max(0, reached_ns - progress.last_answer_ns) / 1e6
    return Run(
        expected=plan.expected,
        convergence_ms=round(took_ms, 3) if agreed else None,
        values={name: each["local_value"] for name, each in told.items()},
        states={name: each["fingerprint"] for name, each in told.items()},
        datagrams_sent={name: each["datagrams_out"] for name, each in told.items()},
        bytes_sent={name: each["bytes_out"] for name, each in told.items()},
    )


def as_json(plan: Plan, runs: list[Run]) -> dict[str, Any]:
    """All runs as `bench converge --json` prints them."""
    took = [run.convergence_ms for run in runs if run.convergence_ms is not None]
    return {
        "nodes": plan.nodes,
        "counters": plan.counters,
        "gossip": plan.settings.gossip,
        "push": plan.settings.push,
        "loss": plan.settings.loss,
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
