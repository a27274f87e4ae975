"""What a node costs while nobody counts, what a row costs in memory, and what messages cost on the wire."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import repeat
from random import Random
from time import monotonic
from typing import Any

import psutil
from rich.console import Group
from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.bench.load import WINDOW, add_to_all, concurrently
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import temporary
from gossip_counter.cluster.wording import counted
from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import NOTHING_TAKEN, Actor, AnyRow, EndingRow, Row, Seen, Taken
from gossip_counter.node.core.gossip.messages import Delta, Gossip, Push, Syn, SynAck
from gossip_counter.node.core.holdings import NO_FLOORS, DigestEntry, Floors
from gossip_counter.node.core.identity import Recovered, mint
from gossip_counter.node.core.recent_writes import MAX_WRITES
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import Presence

SETTLE_S = 1.0
"""Between the start of a cluster and the first look at what it costs."""


class Part(StrEnum):
    """What can be measured alone."""

    REST = "rest"
    MEMORY = "memory"
    WIRE = "wire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure each part: a cluster at rest of so many nodes for so long, and one node with so many counters."""

    nodes: int = 5
    seconds: float = 5
    interval_ms: int = 100
    counters: int = 100_000
    runs: int = 3


@dataclass(frozen=True, slots=True)
class Rest:
    """One cluster at rest: seconds until all nodes answered; by node, percent of one core and resident bytes."""

    start_s: float
    cpu_percent: list[float]
    memory_bytes: list[int]


PLAIN, EXPIRING = "bytes per row", "bytes per row of a counter that expires"
EXPIRE_MS = 86_400_000
"""No counter ends while it is measured."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One node that took many counters: resident bytes before and after, and the rows that it got.

    Before, it remembers as many recent adds as it ever will: those 3 MB are not part of a row.
    """

    before: int
    after: int
    rows: int

    @property
    def bytes_per_row(self) -> float:
        """What each row cost on average."""
        return (self.after - self.before) / self.rows


@dataclass(frozen=True, slots=True)
class Costs:
    """All that was measured; a part that was not is empty."""

    plan: Plan
    rest: list[Rest]
    memory: dict[str, list[Growth]]
    """By the kind of the rows."""
    wire: dict[str, int]
    """Bytes, by what costs them."""

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`: a field for each part that was measured."""
        plan, parts = self.plan, dict[str, Any]()
        if self.rest:
            parts["rest"] = {"nodes": plan.nodes, "runs": plan.runs, "seconds": plan.seconds} | {
                key: report.distribution(figures) for key, (_, figures) in self._rest_figures.items()
            }
        if self.memory:
            per_row = {kind: report.distribution(each) for kind, each in self._bytes_per_row.items()}
            parts["memory"] = {
                "counters": plan.counters, "runs": plan.runs,
                "bytes_per_row": per_row[PLAIN], "bytes_per_expiring_row": per_row[EXPIRING],
            }  # fmt: skip
        if self.wire:
            parts["wire"] = self.wire
        return parts

    def table(self) -> Group:
        """See `report.Result`."""
        plan, tables = self.plan, list[Table]()
        if self.rest:
            nodes, runs = counted(plan.nodes, "node"), counted(plan.runs, "run")
            title = f"{nodes} at rest, watched for {plan.seconds:g} s in {runs}"
            tables.append(report.table(title, dict(self._rest_figures.values()), "", 2))
        if self.memory:
            title = f"one node, {counted(plan.counters, 'counter')}, {counted(plan.runs, 'run')}"
            tables.append(report.table(title, self._bytes_per_row, "", 0))
        if self.wire:
            shown = report.table_of("gossip on the wire", ("", "bytes"))
            for what, cost in self.wire.items():
                shown.add_row(what, f"{cost}")
            tables.append(shown)
        return Group(*tables)

    @property
    def _bytes_per_row(self) -> dict[str, list[float]]:
        return {kind: [growth.bytes_per_row for growth in each] for kind, each in self.memory.items()}

    @property
    def _rest_figures(self) -> dict[str, tuple[str, list[float]]]:
        """By its JSON field: its name in the table, and its figures."""
        return {
            "start_s": ("all nodes answer after s", [each.start_s for each in self.rest]),
            "cpu_percent": ("percent of a core, per node", [used for each in self.rest for used in each.cpu_percent]),
            "memory_mb": ("memory MB, per node", [rss / 1e6 for each in self.rest for rss in each.memory_bytes]),
        }


async def measure(plan: Plan, parts: Sequence[Part], show: Callable[[str], None]) -> Costs:
    """Measure these parts, one after the other; `show` gets lines about what is being done.

    Raises `ClusterError`, `ClientError`.
    """
    rest, memory = [], dict[str, list[Growth]]()
    for number in range(1, plan.runs + 1 if Part.REST in parts else 1):
        show(f"at rest: {plan.nodes} nodes, run {number} of {plan.runs}, {plan.seconds:g} s")
        rest.append(await _at_rest(plan))
        show(f"at rest: all nodes answered after {rest[-1].start_s:.2f} s")
    for number in range(1, plan.runs + 1 if Part.MEMORY in parts else 1):
        show(f"in memory: {plan.counters:,} counters, run {number} of {plan.runs}")
        for kind, expire_ms in ((PLAIN, None), (EXPIRING, EXPIRE_MS)):
            growth = await _growth(plan.counters, expire_ms)
            memory.setdefault(kind, []).append(growth)
            show(f"{growth.bytes_per_row:.0f} {kind}")
    return Costs(plan, rest, memory, bytes_on_the_wire() if Part.WIRE in parts else {})


async def _at_rest(plan: Plan) -> Rest:
    """Start a fresh cluster, let it settle, and watch it."""
    began = monotonic()
    async with temporary(plan.nodes, Settings(plan.interval_ms)) as cluster:
        start_s = monotonic() - began
        await asyncio.sleep(SETTLE_S)
        processes = [psutil.Process(member.pid) for member in cluster.members.values()]
        before = [_cpu_s(process) for process in processes]
        since = monotonic()
        await asyncio.sleep(plan.seconds)
        elapsed = monotonic() - since
        used = [100 * (_cpu_s(process) - was) / elapsed for process, was in zip(processes, before, strict=True)]
        return Rest(start_s, used, [process.memory_info().rss for process in processes])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _growth(counters: int, expire_ms: int | None) -> Growth:
    """Add once to each of so many counters at a node that has answered others before; `expire_ms`: when they end."""
    async with temporary(1, Settings()) as cluster:
        member = cluster.members["n1"]
        process = psutil.Process(member.pid)
        async with await Client.connect(member.address, timeout_s=5) as client:
            await concurrently(WINDOW, repeat("", 2 * MAX_WRITES), partial(client.add, 1))
            before = process.memory_info().rss
            await add_to_all([client], counters, expire_ms)
            rows = (await client.gossip_status())["rows"]
        return Growth(before, process.memory_info().rss, rows)


CLUSTER = "f00dcafe"
"""As long as the ids that `cluster up` gives."""
FINGERPRINT = 2**63
COUNTER = "likes:12345"
NOW_MS = 1_800_000_000_000


def bytes_on_the_wire() -> dict[str, int]:
    """Bytes, by what costs them: versions and counts in the thousands, 11-byte counter names, random epochs.

    Real messages are packed. What one more entry or row costs is the difference of two.
    """
    rng = Random(1)
    actors = [mint(f"n{i}", rng.getrandbits(63)) for i in range(1, 6)]
    digest = {actor: DigestEntry(2000, rng.getrandbits(64), 0) for actor in actors}
    one = dict(list(digest.items())[:1])
    level, search = _one_of_many(4000)
    return {
        "SYN of five nodes that hold something each": _bytes(
            Syn("n1", FINGERPRINT, digest, boot=2**32 - 1, clock_ms=NOW_MS, members=FINGERPRINT)
        ),
        "SYN to a node of equal state, 4,000 actors": level,
        "SYN-ACK when states are equal": _bytes(SynAck("n1", FINGERPRINT, (), {}, 2**32 - 1)),
        "all SYNs that find the one of 4,000 actors that differs": search,
        "one digest entry": _bytes(Syn("n1", FINGERPRINT, one)) - _bytes(Syn("n1", FINGERPRINT, {})),
        "push of one row": _bytes(_push(1)),
        "one row more": _bytes(_push(2)) - _bytes(_push(1)),
        "one row more, begun after another counter ended": _bytes(_push(2, _LATER)) - _bytes(_push(1)),
        "one row more, of a counter that expires": _bytes(_push(2, _ending(()))) - _bytes(_push(1)),
        "one row more, of a counter that was deleted": _bytes(_push(2, _ending(actors[:1]))) - _bytes(_push(1)),
        "one more actor that the delete names": _bytes(_push(1, _ending(actors[:2])))
        - _bytes(_push(1, _ending(actors[:1]))),
        "a delta, once its sender has forgotten rows": _bytes(_push(1, floors=Floors(1900))) - _bytes(_push(1)),
    }


def _one_of_many(actors: int) -> tuple[int, int]:
    """Bytes of a SYN between two nodes of equal state, and of all SYNs once one of so many actors differs."""
    rng, recovered = Random(1), Recovered(None, cluster_id=ClusterId(2**63 - 1, True))
    nodes = {
        name: Replica(
            Config(name=name, peers=(peer,), cluster=CLUSTER, max_actors=actors), rng, 0, recovered, None, Presence()
        )
        for name, peer in (("n1", "n2"), ("n2", "n1"))
    }
    names = [mint(f"n{number % 5}", rng.getrandbits(63)) for number in range(actors)]
    for node in nodes.values():
        node.set_clock(0, NOW_MS)
        node.begin(0)
        for actor in names:
            node.state.merge(actor, 0, ((COUNTER, Row(1500, 0, 2000)),))
    _syns_of_a_round(nodes)  # in which they learn that they are equal
    level = _syns_of_a_round(nodes)
    nodes["n1"].state.merge(names[0], 2000, ((COUNTER, Row(1501, 0, 2001)),))
    return sum(map(_bytes, level)), sum(map(_bytes, _syns_of_a_round(nodes)))


def _syns_of_a_round(nodes: dict[str, Replica]) -> list[Gossip]:
    """What two nodes say that they hold in one round of the first, and in all that follows from it."""
    sent = list[Gossip]()
    nodes["n1"].tick(0)
    is_busy = True
    while is_busy:
        is_busy = False
        for name, node in nodes.items():
            while ready := node.ready(0):
                is_busy = True
                for send in ready.sends:
                    sent.append(send.message)
                    nodes[str(send.to[0])].step(send.message, name, 0)
                if ready.commit:
                    node.persisted()
    return [each for each in sent if isinstance(each, Syn)]


_LATER = EndingRow(1500, 0, 2002, NOW_MS, born=1950)


def _push(rows: int, last: AnyRow | None = None, floors: Floors = NO_FLOORS) -> Push:
    """As a node pushes its latest writes: versions just above the last one pushed."""
    actor = mint("n1", Random(1).getrandbits(63))
    named = [(COUNTER, last if last and i == rows else Row(1500, 0, 2000 + i)) for i in range(1, rows + 1)]
    delta = Delta(actor, 2000, tuple(named), floors=floors, clock_ms=NOW_MS, is_whole=True)
    return Push("n1", FINGERPRINT, (delta,))


def _ending(deleted: Sequence[Actor]) -> EndingRow:
    """A row in its second lineage, by a delete at its node if there are `deleted` ones."""
    seen = tuple(Seen(actor, 1900, 1500, 0) for actor in deleted)
    taken = Taken(seen=seen, forget_at=NOW_MS) if seen else NOTHING_TAKEN
    return EndingRow(1500, 0, 2002, NOW_MS, 0 if seen else NOW_MS, NOW_MS, 1950, taken)


def _bytes(message: Gossip) -> int:
    identified = replace(message, cluster_id=ClusterId(2**63 - 1, True))
    (datagram,) = datagrams.pack_gossip(identified, CLUSTER, 1200, 1)
    return len(datagram)
