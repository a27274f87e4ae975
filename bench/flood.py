"""What a flood of datagrams at one node costs that node, its peers, and those who count through the others."""

import asyncio
import multiprocessing
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from time import monotonic, sleep
from typing import Any, NamedTuple

import psutil
from rich.console import Group

from gossip_counter.bench import report
from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.gossip.messages import Confirm, Gossip, Syn
from gossip_counter.node.endpoints.addresses import Address

NODES = 3
COUNTERS = 200
"""Counted before: what a digest in a member's name asks for."""

BATCH_S = 0.001
"""The flood is sent in batches, so long apart."""

UDP_SEGMENT, MOST_SEGMENTS = 103, 64
"""Of Linux: the option of a socket by which one call sends several datagrams, and how many at the most."""

MAX_BYTES = 65_000
"""Of one call."""

ROUNDS_SHARE, ADDS_SHARE, P99_TIMES, GROWTH_MB, MIRROR = 0.95, 0.8, 2.0, 8.0, 1.0
"""What must hold: of the rounds of gossip and of the adds when it is quiet at least so much, of their p99 at most so
many times, memory grown by no more, and no more bytes sent to the flood's address than came from it.
"""

DROPPED = ("worthless_dropped", "overload_dropped", "answers_withheld", "bad_input")


class Kind(StrEnum):
    """What is sent."""

    SYN = "syn"
    """Digests in a member's name, of a sender that lacks everything."""
    CONFIRM = "confirm"
    """Questions in a member's name about writes that nobody has."""
    READ = "read"
    ADD = "add"
    JUNK = "junk"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent for how long, while so many adds are under way through the other nodes."""

    kinds: Sequence[Kind]
    rate: int
    seconds: float
    window: int = 4


class Sent(NamedTuple):
    """What a flood came to: datagrams and bytes sent, and bytes that came back."""

    datagrams: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of time: quiet, or under a flood of one kind at the last node."""

    kind: Kind | None
    seconds: float
    adds: int
    p99_ms: float
    rounds: dict[str, float]
    """By node, rounds of gossip a second."""
    memory_mb: float
    """By how much the memory of the flooded node grew."""
    sent: Sent
    dropped: dict[str, int]
    """By reason, what the flooded node dropped."""

    @property
    def adds_per_s(self) -> float:
        """Acknowledged adds a second."""
        return self.adds / self.seconds

    @property
    def mirrored(self) -> float:
        """Bytes that came back for each byte sent."""
        return self.sent.bytes_in / self.sent.bytes_out if self.sent.bytes_out else 0.0

    def broken(self, quiet: "Phase") -> list[str]:
        """What does not hold, beside the quiet phase."""
        checks = {
            # Where a phase is short, one round more or less is no difference.
            "rounds": min(self.rounds.values()) >= ROUNDS_SHARE * min(quiet.rounds.values()) - 1 / self.seconds,
            "adds": self.adds_per_s >= ADDS_SHARE * quiet.adds_per_s,
            "p99": self.p99_ms <= P99_TIMES * quiet.p99_ms,
            "memory": self.memory_mb <= GROWTH_MB,
            # A client on this machine is proven: what it asks for it gets.
            "bytes back": self.mirrored <= MIRROR or self.kind in {Kind.READ, Kind.ADD},
        }
        return [what for what, holds in checks.items() if not holds]


@dataclass(frozen=True, slots=True)
class Floods:
    """The quiet phase and all floods."""

    plan: Plan
    quiet: Phase
    phases: list[Phase]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        return {
            "rate": self.plan.rate,
            "seconds": self.plan.seconds,
            "window": self.plan.window,
            "quiet": _figures(self.quiet),
            "floods": {str(each.kind): _figures(each) | {"broken": each.broken(self.quiet)} for each in self.phases},
        }

    def table(self) -> Group:
        """See `report.Result`."""
        columns = (
            "", "sent/s", "adds/s", "p99 ms", "rounds/s", "MB more", "bytes back", "does not hold"
        )  # fmt: skip
        title = f"a flood at n{NODES} of {NODES} nodes for {self.plan.seconds:g} s, adds through the others"
        shown = report.table_of(title, columns)
        for each in (self.quiet, *self.phases):
            shown.add_row(
                each.kind or "quiet",
                f"{each.sent.datagrams / each.seconds:,.0f}",
                f"{each.adds_per_s:,.0f}",
                f"{each.p99_ms:.1f}",
                f"{min(each.rounds.values()):.1f}",
                f"{each.memory_mb:+.1f}",
                f"{each.mirrored:.2f}",
                ", ".join(each.broken(self.quiet)) or "-",
            )
        shown.caption = (
            "rounds/s: of the slowest node. bytes back: to the sender of the flood, for each byte that it sent."
        )
        return Group(shown)


def _figures(phase: Phase) -> dict[str, Any]:
    return asdict(phase) | {
        "sent": phase.sent._asdict(),
        "adds_per_s": round(phase.adds_per_s, 1),
        "bytes_back_per_byte": round(phase.mirrored, 3),
    }


async def measure(plan: Plan, done: Callable[[Phase], None]) -> Floods:
    """A quiet phase, then one of each kind of flood, on one cluster. Raises `ClusterError`, `ClientError`.

    When it is quiet, the flood goes to a socket that nobody reads: its sender takes as much of the processor then.
    """
    spawn = multiprocessing.get_context("spawn")
    async with temporary(NODES, Settings()) as cluster:
        members = list(cluster.members.values())
        clients = [await Client.connect(member.address, timeout_s=2) for member in members]
        try:
            for number in range(COUNTERS):
                await clients[number % NODES].add(1, f"counter:{number}")
            phases = []
            # A Ctrl-C ends the process that sends at once: this one reports it.
            with ProcessPoolExecutor(1, spawn, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
                pool.submit(monotonic).result()  # it takes a while to start
                for kind in (None, *plan.kinds):
                    phases.append(await _phase(cluster, clients, plan, kind, pool))
                    done(phases[-1])
        finally:
            for client in clients:
                client.close()
    return Floods(plan, phases[0], phases[1:])


async def _phase(
    cluster: Cluster, clients: list[Client], plan: Plan, kind: Kind | None, pool: ProcessPoolExecutor
) -> Phase:
    target, before = list(cluster.members.values())[-1], [await _status(client) for client in clients]
    process = psutil.Process(target.pid)
    memory, began = process.memory_info().rss, monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unread:
        unread.bind(("127.0.0.1", 0))
        address = target.address if kind else unread.getsockname()
        datagram = _datagram(kind or Kind.JUNK, before[-1])
        flood = asyncio.get_running_loop().run_in_executor(pool, send, datagram, address, plan.rate, plan.seconds)
        flood.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # as it is awaited below, or not
        took = await _count(clients[:-1], plan)
        seconds = monotonic() - began
        sent = await flood
    after, rounds = list[Status](), dict[str, float]()
    for client, old in zip(clients, before, strict=True):
        after.append(await _status(client))
        more = after[-1]["gossip_rounds"] - old["gossip_rounds"]
        rounds[str(old["name"])] = round(more / (monotonic() - began), 1)
    dropped = {reason: after[-1][reason] - before[-1][reason] for reason in DROPPED}
    grown = (process.memory_info().rss - memory) / 1e6
    p99_ms = report.percentile(took, 0.99) * 1000 if took else float("inf")
    return Phase(kind, seconds, len(took), p99_ms, rounds, grown, sent, dropped)


async def _status(client: Client) -> Status:
    """A node's status; a flood may push the first question out of the kernel's buffer."""
    for _ in range(3):
        with suppress(ClientError):
            return await client.gossip_status()
    return await client.gossip_status()


async def _count(clients: list[Client], plan: Plan) -> list[float]:
    """Add through these nodes in turn until the time is over; the seconds that each acknowledged add took."""
    took, until = list[float](), monotonic() + plan.seconds

    async def worker(number: int) -> None:
        while (began := monotonic()) < until:
            with suppress(ClientError):
                await clients[number % len(clients)].add(1, "adds")
                took.append(monotonic() - began)

    await asyncio.gather(*(worker(number) for number in range(plan.window)))
    return took


def _datagram(kind: Kind, status: Status) -> bytes:
    return datagram_of(kind, str(status["cluster"]), ClusterId(int(status["cluster_id"], 16), True))


def datagram_of(kind: Kind, cluster: str, cluster_id: ClusterId) -> bytes:
    """What is sent again and again."""
    match kind:
        case Kind.SYN:
            return _packed(Syn("n2", 1, {}, boot=1), cluster, cluster_id)
        case Kind.CONFIRM:
            return _packed(Confirm("n2", 1, Actor("n2.nobody"), 7), cluster, cluster_id)
        case Kind.READ:
            return datagrams.pack_body({"type": "read", "msg_id": 1})
        case Kind.ADD:
            return _add(0)
    return b"\xc1" * 40


def _packed(message: Gossip, cluster: str, cluster_id: ClusterId) -> bytes:
    return datagrams.pack_gossip(replace(message, cluster_id=cluster_id), cluster, 1200, 1)[0]


def send(datagram: bytes, address: Address, rate: int, seconds: float) -> Sent:
    """Send a datagram as often as `rate` a second, and count what comes back. An add is another one each time."""
    count = sent = size = back = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.connect(address)
        flood.setblocking(False)
        at_once = _cut_by_the_kernel(flood, len(datagram))
        began, is_add = monotonic(), b"add" in datagram[:16]
        while (elapsed := monotonic() - began) < seconds:
            missing = int(rate * elapsed) - count
            while missing > 0 and monotonic() - began < seconds:
                several = range(count, count + min(missing, at_once))
                with suppress(OSError):
                    size += flood.send(b"".join(map(_add, several)) if is_add else datagram * len(several))
                    sent += len(several)
                count, missing = count + len(several), missing - len(several)
                with suppress(OSError):
                    while True:
                        back += len(flood.recv(65_536))
            sleep(BATCH_S)
    return Sent(sent, size, back)


def _cut_by_the_kernel(flood: socket.socket, size: int) -> int:
    """How many datagrams of one size a call can send, which the kernel cuts apart: 1 where it can't."""
    with suppress(OSError):
        flood.setsockopt(socket.SOL_UDP, UDP_SEGMENT, size)
        return max(1, min(MOST_SEGMENTS, MAX_BYTES // size))
    return 1


def _add(number: int) -> bytes:
    """A request of the same size for each number."""
    return datagrams.pack_body({"type": "add", "msg_id": 2**32 + number, "delta": 1})
