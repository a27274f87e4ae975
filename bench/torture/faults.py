"""What breaks a cluster as its schedule says, and what removes all faults again."""

import asyncio
import contextlib

from gossip_counter.bench.torture.plan import Step, schedule
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster import faults
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member

LOOK_S = 0.1
WIPE_TIMEOUT_S = 5.0
"""How long a wipe may wait until another node holds what the wiped one does."""


class Faults:
    """The faults of one trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._cluster = trial.cluster
        self.wipes = 0
        """Disks that were wiped."""

    async def follow(self) -> None:
        """Do each step of the schedule at its time; return when the plan's time is up."""
        loop, progress, plan = asyncio.get_running_loop(), self._trial.progress, self._trial.plan
        began = loop.time()
        for step in [*schedule(plan), Step(plan.length_s, "end")]:
            while (left := began + step.at_s - loop.time()) > 0:
                progress.now_s = loop.time() - began
                self._trial.show()
                await asyncio.sleep(min(left, LOOK_S))
            if step.action != "end" and await self._do(step):
                progress.done[step.action] += 1
                progress.note(str(step))

    async def remove_all(self) -> None:
        """Start the dead, resume the paused, heal partitions, reset loss to the plan's. Raises `ClusterError`."""
        for member in self._cluster.members.values():
            if self._cluster.process(member) is None:
                self._cluster.start(member)
            elif self._cluster.is_paused(member):
                self._cluster.resume(member)
        await asyncio.gather(*(self._cluster.ready(member) for member in self._cluster.members.values()))
        self._cluster.settings.loss = self._trial.plan.loss
        await faults.heal(self._cluster)
        self._trial.note_conditions()

    async def _do(self, step: Step) -> bool:
        """Do one step; False where it makes no sense now, such as to kill the dead."""
        members = [self._cluster.members[name] for name in step.what.split(",") if name in self._cluster.members]
        match step.action:
            case "wipe" if self._alive(members):
                return await self._wipe(members[0])
            case "partition" | "heal" | "loss":
                await self._do_to_network(step)
                done = True
            case _:
                done = self._do_to_processes(step.action, members)
        self._trial.note_conditions()
        return done

    def _alive(self, members: list[Member]) -> list[Member]:
        return [member for member in members if self._cluster.process(member)]

    def _do_to_processes(self, action: str, members: list[Member]) -> bool:
        alive = self._alive(members)
        match action:
            case "kill" if alive:
                self._cluster.kill(*alive)
            case "restart" if len(alive) < len(members):
                for member in members:
                    if member not in alive:
                        self._cluster.start(member)
            case "pause" if alive and not self._cluster.is_paused(alive[0]):
                self._cluster.pause(alive[0])
            case "resume" if alive and self._cluster.is_paused(alive[0]):
                self._cluster.resume(alive[0])
            case _:
                return False
        return True

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

    async def _wipe(self, member: Member) -> bool:
        """Kill a node and delete its journal, once another node holds all of it durably; False if none does soon."""
        self._trial.may_count.clear()
        groups, loss = self._cluster.manifest.partition, self._cluster.settings.loss
        try:
            await self.remove_all()
            if not await self._trial.in_sync(WIPE_TIMEOUT_S):
                return False
            self._cluster.kill(member)
            faults.wipe(self._cluster, member)
            self._trial.oracle.forget_acknowledged_at(member.name)
            self.wipes += 1
            self._cluster.start(member)
            return True
        finally:
            self._cluster.settings.loss = loss
            await self._part(groups)
            self._trial.note_conditions()
            self._trial.may_count.set()
