"""What breaks a cluster as its schedule says, and what removes all faults again."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from random import Random

from gossip_counter.bench.torture import disks
from gossip_counter.bench.torture.copies import Copies
from gossip_counter.bench.torture.plan import Step, schedule
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster import faults
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member

LOOK_S = 0.1
IN_SYNC_S = 5.0
"""How long a fault that takes a disk may wait until the other nodes hold what the disk does."""


class Faults:
    """The faults of one trial."""

    def __init__(self, trial: Trial) -> None:
        self.copies = Copies(trial)
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
        for member in self._cluster.members.values():
            if self._cluster.process(member) is None:
                self._start(member)
            elif self._cluster.is_paused(member):
                self._cluster.resume(member)
        await asyncio.gather(*(self._cluster.ready(member) for member in self._cluster.members.values()))
        self._cluster.settings.loss = self._trial.plan.loss
        await faults.heal(self._cluster)
        await self.copies.part_all()
        self._trial.note_conditions()

    async def _do(self, step: Step) -> bool:
        """Do one step; False where it makes no sense now, such as to kill the dead."""
        match step.action:
            case "copy" | "copy apart":
                return await self.copies.start(step.what, step.action == "copy apart")
            case "meet":
                return await self.copies.meet(step.what)
            case "end copy":
                return self.copies.end(step.what)
            case "wipe" | "damage" | "put back":
                return await self._do_to_disk(step)
            case "partition" | "heal" | "loss":
                await self._do_to_network(step)
                done = True
            case _:
                members = [self._cluster.members[name] for name in step.what.split(",")]
                done = await self._do_to_processes(step.action, members)
        self._trial.note_conditions()
        return done

    async def _do_to_processes(self, action: str, members: list[Member]) -> bool:
        alive = [member for member in members if self._cluster.process(member)]
        match action:
            case "kill" if alive:
                self.kill(*alive)
            case "restart" if len(alive) < len(members):
                for member in members:
                    if member not in alive:
                        self._start(member)
            case "pause" if alive and not self._cluster.is_paused(alive[0]):
                self._cluster.pause(alive[0])
            case "resume" if alive and self._cluster.is_paused(alive[0]):
                self._cluster.resume(alive[0])
            case "move":
                self._move(members[0])
            case "back up":
                return await self._back_up(members[0])
            case _:
                return False
        return True

    def kill(self, *members: Member) -> None:
        """Kill these, which run. Raises `ClusterError`."""
        for member in members:
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
        with contextlib.suppress(ClusterError):  # a node that starts just now gets its faults by its command line
            await faults.partition(self._cluster, groups)
        await self.copies.part_all()

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
        """Kill a node and harm its disk, once other nodes hold durably what it holds; False if they soon don't.

        What one node alone acknowledged may be lost with its disk. So clients pause for that moment.
        """
        self._trial.may_count.clear()
        groups, loss = self._cluster.manifest.partition, self._cluster.settings.loss
        try:
            await self.remove_all()
            if not await self._trial.in_sync(IN_SYNC_S):
                return False
            self.kill(member)
            done = harm() is not False
            self._trial.oracle.forget_acknowledged_at(member.name)
            self._trial.books.replaced(member.name)
            self._start(member)
            return done
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
