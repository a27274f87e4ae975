"""What breaks a cluster as its schedule says, and what removes all faults again."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from gossip_counter.bench.torture import disks
from gossip_counter.bench.torture.copies import Copies
from gossip_counter.bench.torture.movers import Movers
from gossip_counter.bench.torture.plan import Step, schedule
from gossip_counter.bench.torture.rotations import Rotations
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster import faults, ports
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member

LOOK_S = 0.1
IN_SYNC_S = 5.0
"""How long a fault that takes a disk may wait until the other nodes hold what the disk does."""


class Faults:
    """The faults of one trial."""

    def __init__(self, trial: Trial) -> None:
        self.copies = Copies(trial)
        self.movers = Movers(trial, self.copies)
        self.rotations = Rotations(trial)
        self._trial = trial
        self._cluster = trial.cluster
        self._rng = Random(f"disks {trial.plan.seed}")

    async def follow(self) -> None:
        """Do each step of the schedule at its time; return when the plan's time is up. Raises `PromiseBroken`."""
        loop, progress, plan = asyncio.get_running_loop(), self._trial.progress, self._trial.plan
        began = loop.time()
        for step in [*schedule(plan), Step(plan.length_s, "end")]:
            while (left := began + step.at_s - loop.time()) > 0:
                progress.now_s = loop.time() - began
                self._trial.show()
                await self.copies.look()
                self._trial.note_conditions()
                await asyncio.sleep(min(left, LOOK_S))
            if step.action != "end" and await self._do(step):
                progress.done[step.action] += 1
                progress.note(str(step))
                await self.copies.look()

    async def remove_all(self) -> None:
        """Start the dead, resume the paused, heal partitions, reset loss to the plan's. Raises `ClusterError`."""
        for member in self._staying:
            if self._cluster.process(member) is None:
                self._start(member)
        for member in self._cluster.alive():
            if self._cluster.is_paused(member):
                self._cluster.resume(member)
        await asyncio.gather(*(self._ready(member) for member in self._staying))
        self._cluster.settings.loss = self._trial.plan.loss
        await self._part([])
        self._trial.note_conditions()

    async def _ready(self, member: Member) -> None:
        try:
            await self._cluster.ready(member)
        except ClusterError:
            if member in self._staying:  # else it has just left
                raise

    @property
    def _staying(self) -> list[Member]:
        """All nodes but those that come or go at present."""
        return [self._cluster.members[name] for name in self._trial.nodes if name not in self._trial.leaving]

    async def _do(self, step: Step) -> bool:
        """Do one step; False where it makes no sense now, such as to kill the dead."""
        match step.action:
            case "copy" | "copy apart" | "meet" | "end copy":
                return await self._do_to_copies(step)
            case "wipe" | "damage" | "put back":
                return self._stays(step.what) and await self._do_to_disk(step)
            case "leave" | "remove" | "new address" | "join":
                return (step.action == "join" or self._stays(step.what)) and await self._do_to_list(step)
            case "rotate keys":
                return not self.copies.have_one() and self.rotations.begin()
            case "partition" | "heal" | "loss":
                await self._do_to_network(step)
                done = True
            case _:
                members = [self._cluster.members[name] for name in step.what.split(",") if name in self._trial.nodes]
                done = bool(members) and await self._do_to_processes(step.action, members)
        self._trial.note_conditions()
        return done

    async def _do_to_copies(self, step: Step) -> bool:
        match step.action:
            case "meet":
                return await self.copies.meet(step.what)
            case "end copy":
                return self.copies.end(step.what)
            case _:
                # While keys are rotated, a copy may be in no contact for a second: until it looks for them again.
                is_possible = self._stays(step.what) and not self.rotations.is_under_way
                return is_possible and await self.copies.start(step.what, step.action == "copy apart")

    def _stays(self, what: str) -> bool:
        """Whether the node that a step names first is a member, and does not come or go at present."""
        return what.split(maxsplit=1)[0] in [member.name for member in self._staying]

    async def _do_to_processes(self, action: str, members: list[Member]) -> bool:
        alive = [member for member in members if self._cluster.process(member)]
        match action:
            case "kill" if alive:
                self.kill(*alive)
            case "restart" if len(alive) < len(members):
                for member in members:
                    if member not in alive and member in self._staying:
                        self._start(member)
            case "pause" if alive and not self._cluster.is_paused(alive[0]):
                self._cluster.pause(alive[0])
            case "resume" if alive and self._cluster.is_paused(alive[0]):
                self._cluster.resume(alive[0])
            case "move" if members[0] in self._staying:
                self._move(members[0])
            case "back up":
                return await self._back_up(members[0])
            case _:
                return False
        return True

    def kill(self, *members: Member) -> None:
        """Kill these, which run. Raises `ClusterError`."""
        for member in members:
            self.movers.killed(member)
            self._trial.note_end(member.name)
        self._cluster.kill(*members)

    def _start(self, member: Member) -> None:
        self._trial.note_start(member.name)
        self._cluster.start(member)

    # The network.

    async def _do_to_network(self, step: Step) -> None:
        groups = self._cluster.manifest.partition
        match step.action:
            case "partition":
                groups = [group.split(",") for group in step.what.split("/")]
            case "heal":
                groups = []
            case _:
                self._cluster.settings.loss = float(step.what)
        await self._part(groups)

    async def _part(self, groups: list[list[str]]) -> None:
        """Cut groups off from each other. Those that have come meanwhile are in the first, and those that went in none.

        With fewer than two groups left, all is healed.
        """
        members, named = set(self._cluster.members), {name for group in groups for name in group}
        groups = [kept for group in groups if (kept := [name for name in group if name in members])]
        groups = [groups[0] + sorted(members - named), *groups[1:]] if len(groups) > 1 else []
        with contextlib.suppress(ClusterError):  # a node that starts just now gets its faults by its command line
            await faults.partition(self._cluster, groups)
        await self.copies.part_all()

    # The list of members.

    async def _do_to_list(self, step: Step) -> bool:
        """As many go as come: one that can't be removed now leaves."""
        if step.action == "join":
            self.movers.join(step.what)
            return True
        member = self._cluster.members[step.what]
        has_copy = self.copies.have_one(step.what)
        match step.action:
            case "new address" if not has_copy:
                await self._change_address(member)
            case "remove" if not has_copy and await self._at_rest(member, lambda: self._remove(member)):
                pass
            case "leave" | "remove":
                self.movers.leave(member)
            case _:
                return False
        return True

    def _remove(self, member: Member) -> bool:
        self.kill(member)
        self.movers.remove(member)
        return True

    async def _change_address(self, member: Member) -> None:
        """Kill a node, and start it at another port with the data that it has."""
        if self._cluster.process(member):
            self.kill(member)
        (member.port,) = ports.free_ports(1)
        await self._trial.connect(member)
        self._start(member)
        self._trial.note_conditions()

    # Disks.

    def _move(self, member: Member) -> None:
        """Stop a node as an operator does, and start it from a copy of its data; the old directory is kept."""
        self._trial.note_end(member.name)
        self._cluster.stop([member])
        if self._data(member).exists():  # a node that had only just begun has none yet
            disks.move(self._data(member), self._backup(member))
        self._start(member)

    async def _back_up(self, member: Member) -> bool:
        """Copy a node's data, whatever the node does meanwhile."""
        disks.remove(self._backup(member))
        return await asyncio.to_thread(disks.copy, self._data(member), self._backup(member))

    async def _do_to_disk(self, step: Step) -> bool:
        name, _, how = step.what.partition(" ")
        member = self._cluster.members[name]
        data, backup = self._data(member), self._backup(member)
        match step.action:
            case "wipe":
                return await self._replace(member, lambda: disks.remove(data))
            case "damage":
                return await self._replace(member, lambda: disks.damage(data, how, self._rng))
            case _:
                return backup.exists() and await self._replace(member, lambda: self._put_back(member, how))

    async def _replace(self, member: Member, harm: Callable[[], object]) -> bool:
        """Kill a node, harm its disk, and start it again, once all that it holds is durable at others too."""

        def replace() -> bool:
            self.kill(member)
            done = harm() is not False
            self._trial.oracle.forget_acknowledged_at(member.name)
            self._trial.books.replaced(member.name)
            self._start(member)
            return done

        return await self._at_rest(member, replace)

    async def _at_rest(self, member: Member, act: Callable[[], bool]) -> bool:
        """Do what takes a node's disk, once others hold durably what it does; False if they soon don't, or it is gone.

        What one node alone acknowledged may be lost with its disk. So clients pause for that moment.
        """
        self._trial.may_count.clear()
        groups, loss = self._cluster.manifest.partition, self._cluster.settings.loss
        try:
            await self.remove_all()
            is_at_rest = await self._trial.in_sync(IN_SYNC_S) and await self.movers.come_to_list_alike(IN_SYNC_S)
            return is_at_rest and member in self._staying and act()
        finally:
            self._cluster.settings.loss = loss
            await self._part(groups)
            self._trial.note_conditions()
            self._trial.may_count.set()

    def _put_back(self, member: Member, how: str) -> None:
        disks.put_back(self._data(member), self._backup(member), how)
        self._trial.put_back.add(member.name)

    def _data(self, member: Member) -> Path:
        return self._cluster.manifest.data_path(member.name)

    def _backup(self, member: Member) -> Path:
        return self._cluster.manifest.directory / "backups" / member.name
