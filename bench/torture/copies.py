"""Second processes under the names of nodes, each with a copy of the node's data and a port of its own.

Peers' lists know only the original. Clients add at a copy too. What it acknowledged must count, as soon as it was in
contact with a peer for a moment: so a copy that is to end is asked for nothing more, and goes on until it was.
"""

import asyncio
from dataclasses import dataclass, field

from gossip_counter.bench.torture import disks
from gossip_counter.bench.torture.trial import TIMEOUT_S, Trial
from gossip_counter.cluster import ports
from gossip_counter.cluster.client import ClientError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Manifest, Member
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.sim.oracle import PromiseBroken

CONTACT_S = 1.5
"""For how long a copy must be able to exchange gossip with one and the same process before it may end.

Its original must run as well: peers reply to the address in their lists. Only where they hear two processes speak under
one name do they ask each for its rows at its own address.
"""
MOST_LOSS = 0.3
"""The largest share of gossip that may be lost meanwhile."""
LOOK_S = 0.1
END_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Copy:
    """One second process, as a cluster of which only it runs."""

    node: str
    cluster: Cluster
    is_apart: bool
    is_ending: bool = False
    contact: dict[tuple[int, int], float] = field(default_factory=dict)
    """By pids of its original and of a peer, since when it has been in contact."""

    @property
    def member(self) -> Member:
        """Its process."""
        return self.cluster.members[self.node]


class Copies:
    """All copies that run, by name: "n1 copy 3" is one of n1."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._running: dict[str, Copy] = {}

    def have_one(self, node: str = "") -> bool:
        """Whether there is a copy of a node, or of any."""
        return any(node in ("", copy.node) for copy in self._running.values())

    async def start(self, name: str, is_apart: bool) -> bool:
        """Copy a node's data, whatever the node does meanwhile, and start from it; False if there is none.

        A copy that is apart receives from nobody, and nobody from it.
        """
        manifest, node = self._trial.cluster.manifest, name.split(maxsplit=1)[0]
        directory = manifest.directory / name
        if not await asyncio.to_thread(disks.copy, manifest.data_path(node), directory / "data" / node):
            return False
        (directory / "logs").mkdir()
        (directory / manifest.keys_path.name).symlink_to(manifest.keys_path)
        members = manifest.members | {node: Member(node, port=ports.free_ports(1)[0])}
        copy = Copy(node, Cluster(Manifest(directory, manifest.id, manifest.settings, members)), is_apart)
        copy.cluster.manifest.partition = [[each] for each in members] if is_apart else manifest.partition
        self._running[name] = copy
        self._trial.note_start(name)
        copy.cluster.start(copy.member)
        self._trial.connections[name] = await copy.cluster.connect(copy.member, TIMEOUT_S)
        self._trial.progress.conditions[name] = "up"
        return True

    async def meet(self, name: str) -> bool:
        """Let a copy that was apart exchange gossip with the others; False if there is none."""
        copy = self._running.get(name)
        if not copy or not copy.is_apart:
            return False
        copy.is_apart = False
        await self._set_faults(name, copy)
        return True

    def end(self, name: str) -> bool:
        """Ask a copy for nothing more, and kill it as soon as it may end; False if there is none."""
        copy = self._running.get(name)
        if not copy or copy.is_ending:
            return False
        copy.is_ending = True
        self._trial.progress.conditions.pop(name)
        return True

    async def part_all(self) -> None:
        """Let partitions and loss that have changed hold for the copies too."""
        await asyncio.gather(*(self._set_faults(*each) for each in self._running.items()))

    async def end_all(self) -> None:
        """End all as soon as they may. Raises `PromiseBroken`, `ClusterError`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + END_TIMEOUT_S
        for name in list(self._running):
            await self.meet(name)
            self.end(name)
        while self._running:
            if loop.time() > deadline:
                raise ClusterError(f"{', '.join(self._running)}: not in contact with a peer")
            await self.look()
            await asyncio.sleep(LOOK_S)

    def kill_all(self) -> None:
        """End all at once."""
        for copy in self._running.values():
            copy.cluster.kill(*copy.cluster.alive())

    async def look(self) -> None:
        """Kill the copies that may end. Raises `PromiseBroken` if one has ended by itself."""
        for name, copy in list(self._running.items()):
            if not copy.cluster.process(copy.member):
                raise PromiseBroken(f"{name} ended by itself: {copy.cluster.manifest.log_lines(copy.node)[-1:]}")
            if copy.is_ending:
                pairs, now_s = await self._in_reach(name, copy), asyncio.get_running_loop().time()
                copy.contact = {pids: copy.contact.get(pids, now_s) for pids in pairs}
                if pairs and now_s - min(copy.contact.values()) >= CONTACT_S:
                    self._kill(name)

    async def _in_reach(self, name: str, copy: Copy) -> list[tuple[int, int]]:
        """By pids, its original and each process that exchanges gossip with a copy at present, as both confirm."""
        cluster = self._trial.cluster
        if copy.is_apart or cluster.settings.loss > MOST_LOSS or not await self._set_faults(name, copy):
            return []
        apart = set(cluster.manifest.cut_off_from(copy.node))
        apart |= cluster.members.keys() - set(self._trial.nodes)
        up = [each for each in cluster.running() if each.name not in apart]
        original = next((each for each in up if each.name == copy.node), None)
        if original is None:
            return []
        up.remove(original)
        cuts = [cluster.manifest.cut_off_from(each.name) for each in up]
        confirmed = await asyncio.gather(*(self._set(each.name, cut) for each, cut in zip(up, cuts, strict=True)))
        return [(original.pid, each.pid) for each, is_confirmed in zip(up, confirmed, strict=True) if is_confirmed]

    async def _set_faults(self, name: str, copy: Copy) -> bool:
        manifest = self._trial.cluster.manifest
        return await self._set(name, list(manifest.members) if copy.is_apart else manifest.cut_off_from(copy.node))

    async def _set(self, name: str, cut: list[str]) -> bool:
        """Let faults hold at a process; whether it confirmed. One that starts just now has what held before."""
        try:
            await self._trial.connections[name].fault(self._trial.cluster.settings.loss, cut)
        except ClientError:
            return False
        return True

    def _kill(self, name: str) -> None:
        copy = self._running.pop(name)
        self._trial.note_end(name)
        copy.cluster.kill(copy.member)
        self._trial.connections.pop(name).close()
        disks.remove(copy.cluster.manifest.data_path(copy.node))
        self._trial.books.replaced(name)
