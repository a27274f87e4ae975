"""Claim: while a node and a copy of it run at once, as real processes, each acknowledged add counts exactly once."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from gossip_counter.cluster.client import Client
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.endpoints.addresses import Address
from tests.support.processes import ask, node_process
from tests.support.waiting import until

ROUNDS = 20


class Processes:
    """Nodes n1 and n2, and copies of n1, by their ports and data directories. All are killed in the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.original, self.peer, self.copy = (("127.0.0.1", port) for port in free_ports(3))
        self.data = {self.original: directory / "n1", self.peer: directory / "n2", self.copy: directory / "copy"}
        self._running = dict[Address, ExitStack]()

    def start(self, at: Address, knows: Address, *options: str) -> None:
        """A node that is ready for requests; n2 if it is at the peer's address, else n1."""
        name, other = ("n2", "n1") if at == self.peer else ("n1", "n2")
        place = f"--bind=127.0.0.1:{at[1]}", f"--peer={other}=127.0.0.1:{knows[1]}", f"--data={self.data[at]}"
        self._running[at] = ExitStack()
        process = self._running[at].enter_context(node_process(f"--name={name}", *place, *options))
        assert process.stderr
        until(lambda: process.stderr and "listens" in process.stderr.readline())

    def kill(self, *places: Address) -> None:
        """End these, as a crash would."""
        for at in places:
            self._running.pop(at).close()

    def kill_all(self) -> None:
        """End all."""
        self.kill(*list(self._running))

    def copy_data(self) -> None:
        """Copy the data of the original, which runs."""
        shutil.copytree(self.data[self.original], self.data[self.copy])

    def add(self, at: Address, delta: int) -> None:
        """Add once, which is acknowledged."""
        ask(at, lambda client: client.add(delta))

    def add_at_both(self) -> int:
        """Add at the original and at the copy in turn and at once; what they acknowledged, which is all."""
        return asyncio.run(_added({self.original: 5, self.copy: 7}))

    def hold(self, value: int, *places: Address) -> None:
        """Wait until these have that value."""
        until(lambda: all(ask(at, lambda client: client.read()) == value for at in places))


async def _added(deltas: dict[Address, int]) -> int:
    async with AsyncExitStack() as stack:
        clients = {await stack.enter_async_context(await Client.connect(at)): delta for at, delta in deltas.items()}
        for _ in range(ROUNDS):
            await asyncio.gather(*(client.add(delta) for client, delta in clients.items()))
    return ROUNDS * sum(deltas.values())


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Processes]:
    """n1 and n2, which know each other and hold 100."""
    made = Processes(tmp_path)
    try:
        made.start(made.original, made.peer)
        made.start(made.peer, made.original)
        made.add(made.original, 100)
        made.hold(100, made.peer)
        yield made
    finally:
        made.kill_all()


@pytest.mark.parametrize("apart", [False, True])
def test_adds_at_a_node_and_at_its_copy_count_once(nodes: Processes, apart: bool) -> None:
    """The peer knows only the original. The copy speaks from its start, or after both have taken adds."""
    nodes.copy_data()
    nodes.start(nodes.copy, nodes.peer, "--faults", *(["--fault-cut=n2"] if apart else []))
    total = 100 + nodes.add_at_both()
    if apart:
        ask(nodes.copy, lambda client: client.fault(0, []))
    nodes.hold(total, nodes.original, nodes.peer)
    total += nodes.add_at_both()
    nodes.hold(total, nodes.original, nodes.peer)


def test_a_node_that_restarts_beside_its_copy_loses_nothing(nodes: Processes) -> None:
    """The copy speaks first, and the original comes back as the second of the name. The peer sends to one of them."""
    nodes.copy_data()
    nodes.kill(nodes.original)
    nodes.start(nodes.copy, nodes.peer)
    nodes.start(nodes.original, nodes.peer)
    total = 100 + nodes.add_at_both()
    nodes.hold(total, nodes.peer)
    nodes.kill(nodes.copy)
    nodes.hold(total, nodes.original, nodes.peer)


def test_adds_at_a_moved_node_and_at_its_old_self_count_once(nodes: Processes) -> None:
    """The peer is started again with the new address in its list. Both take adds, until the old one is ended."""
    nodes.copy_data()
    nodes.kill(nodes.peer)
    nodes.start(nodes.peer, nodes.copy)
    nodes.start(nodes.copy, nodes.peer)
    total = 100 + nodes.add_at_both()
    nodes.hold(total, nodes.peer)
    nodes.kill(nodes.original)
    nodes.hold(total, nodes.copy, nodes.peer)
