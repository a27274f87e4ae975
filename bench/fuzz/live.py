"""Datagrams at random at running nodes: a plain cluster, and one with keys.

They come from many sockets, so that they are read although most are worth nothing. What is asked of the node in between
is answered only once what came before was read, so the sender is no faster than the node.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from random import Random
from time import monotonic, time_ns

from gossip_counter.bench.fuzz import samples
from gossip_counter.bench.fuzz.campaign import Outcome
from gossip_counter.bench.fuzz.datagram_targets import repaired
from gossip_counter.bench.fuzz.mutation import Mutator
from gossip_counter.bench.fuzz.targets import WIRE
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.gossip.messages import Members
from gossip_counter.node.core.restoring import restored
from gossip_counter.node.endpoints.addresses import Address
from gossip_counter.node.storage.journal import Journal

SOCKETS = 64
BURST = 48
"""Datagrams between two questions: the kernel keeps as many for a node that does not run."""

PER_CLUSTER = 20_000
"""Datagrams at one cluster: a plain one believes some of them, and actors that they make up stay in its digests."""

TIMEOUT_S = 10.0

ENDS_MEMBERS = (Members, "leave", "remove")
"""What may end the node's membership if it is believed: then there is nothing more to try."""

KEPT, KEPT_VALUE = "kept", 5
"""A counter that no sample names, and what it comes to."""

SETTLE_S = 20.0
POLL_S = 0.1


async def measure(count: int, seed: int, done: Callable[[str, int], None]) -> list[Outcome]:
    """Send about so many datagrams, half of them at each cluster. `done` gets how many were sent.

    Raises `WrongError`, `ClusterError`, `ClientError`.
    """
    return [
        await _measure(name, count // 2, seed, lambda sent, name=name: done(name, sent))  # type: ignore[misc]
        for name in ("live", "live sealed")
    ]


async def _measure(name: str, count: int, seed: int, done: Callable[[int], None]) -> Outcome:
    read, took_s = 0, 0.0
    for first in range(0, count, PER_CLUSTER):
        most = min(PER_CLUSTER, count - first)
        tried = await _at_one(name.endswith("sealed"), most, seed + first, lambda sent, first=first: done(first + sent))  # type: ignore[misc]
        read, took_s = read + tried[0], took_s + tried[1]
    return Outcome(name, "datagrams", read, -(-count // PER_CLUSTER), took_s, 0)


async def _at_one(is_sealed: bool, count: int, seed: int, done: Callable[[int], None]) -> tuple[int, float]:
    """Datagrams at one cluster: how many were read there and not dropped unread, and how many seconds that took."""
    async with temporary(2, Settings(sealed=is_sealed)) as cluster:
        clients = [await cluster.connect(member, TIMEOUT_S) for member in cluster.members.values()]
        try:
            await clients[0].add(KEPT_VALUE, KEPT)
            before = await _level(clients)
            began = monotonic()
            await _send_all(clients[0], next(iter(cluster.members.values())).address, before, count, seed, done)
            seconds = monotonic() - began
            after = await _level(clients)
            _check(before, after, is_sealed)
            await clients[0].add(1, KEPT)
            value = await clients[0].read(KEPT)
            check(value == KEPT_VALUE + 1, "after all that,", KEPT, "is", value)
        finally:
            for client in clients:
                client.close()
        cluster.stop_all()
        _check_journal(cluster)
    return after["datagrams_in"] - after["worthless_dropped"] - after["overload_dropped"] - before[
        "datagrams_in"
    ], seconds


async def _send_all(
    client: Client, address: Address, status: Status, count: int, seed: int, done: Callable[[int], None]
) -> None:
    cluster_id = ClusterId(int(status["cluster_id"], 16), True)
    mutator = Mutator(samples.of_datagrams(str(status["cluster"]), cluster_id, ENDS_MEMBERS), WIRE, Random(seed))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(SOCKETS)]
        for each in sockets:
            each.setblocking(False)
            each.connect(address)
        for sent in range(0, count, BURST):
            for number, item in enumerate(mutator.items(BURST)):
                datagram = item.content if item.control & 32 else repaired(item.content)
                with contextlib.suppress(OSError):  # too long for a datagram, or what came back from a closed socket
                    sockets[number % SOCKETS].send(datagram)
            await _answered(client)
            for each in sockets:
                _discard(each)
            done(sent + BURST)


def _discard(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while each.recv(65_536):
            pass


async def _answered(client: Client) -> None:
    """The node has read what was sent before; asked again if the question was lost."""
    for _ in range(3):
        with contextlib.suppress(ClientError):
            await client.read(KEPT)
            return
    await client.read(KEPT)


async def _level(clients: list[Client]) -> Status:
    """The first node's status, once all have one state. Raises `WrongError`."""
    until = monotonic() + SETTLE_S
    while monotonic() < until:
        statuses = [await client.gossip_status() for client in clients]
        if len({each["fingerprint"] for each in statuses}) == 1:
            return statuses[0]
        await asyncio.sleep(POLL_S)
    check(False, "the nodes do not come to one state")
    return statuses[0]


def _check(before: Status, after: Status, is_sealed: bool) -> None:
    check(after["internal_errors"] == 0, after["internal_errors"], "errors were not expected")
    refused = "no_key" if is_sealed else "bad_input"
    check(after[refused] > before[refused], "nothing was refused")
    if is_sealed:
        check(after["fingerprint"] == before["fingerprint"], "what is not sealed has changed the state")


def _check_journal(cluster: Cluster) -> None:
    """What each node stores is what its rows come to."""
    for name in cluster.members:
        with contextlib.closing(Journal(cluster.manifest.data_path(name), name, cluster.manifest.id)) as journal:
            state = restored(journal.recovered.stored if journal.recovered else ())
            state.advance(time_ns() // 1_000_000)
            recomputed.check(state)
