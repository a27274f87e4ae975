"""Members that come and go while clients count: nodes leave, join, come back at other addresses, and are removed.

All other faults go on meanwhile. What takes its time runs as a task beside the schedule. A node that leaves may refuse
adds, until it replies that it stays; one that is killed before it has left does so later.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from gossip_counter.bench.torture.copies import Copies
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster import growth
from gossip_counter.cluster.client import ClientError, Status
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member
from gossip_counter.cluster.sim.oracle import PromiseBroken

DONE_S = 60.0
"""How long what is under way may take once nothing is wrong any more."""
LISTED_S = 20.0
"""How long all nodes may take to list each other then."""
RETRY_S = 0.1

Lists = dict[str, dict[str, Status]]
"""By node, what it lists, by name."""


class Movers:
    """All members of one trial that come or go at present."""

    def __init__(self, trial: Trial, copies: Copies) -> None:
        self._trial = trial
        self._copies = copies
        self._cluster = trial.cluster
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By node."""

    def leave(self, member: Member) -> None:
        """Let a node leave, as soon as it runs, no copy of it does, and others take over what it stores."""
        self._begin(member.name, self._leave(member))

    async def _leave(self, member: Member) -> None:
        name, leaving, is_in_doubt = member.name, self._trial.leaving, False
        while name in self._cluster.members:
            if self._cluster.process(member) and not self._copies.have_one(name):
                leaving.add(name)
                try:
                    await self._cluster.ready(member)  # one that starts at present could not be asked yet
                    self._trial.note_leaving(name)
                    await growth.leave(self._cluster, member)
                    self._trial.forget(name)
                except ClientError:
                    is_in_doubt = True  # it may go on leaving, whatever it replies when it is asked again
                except ClusterError:
                    if not is_in_doubt:
                        self._trial.note_stayed(name)
                leaving.discard(name)
            await asyncio.sleep(RETRY_S)

    def killed(self, member: Member) -> None:
        """A node is being killed. If it was about to leave, it will be once it runs again."""
        if member.name in self._trial.leaving:
            self._trial.leaving.discard(member.name)
            self._tasks.pop(member.name).cancel()
            self.leave(member)

    def remove(self, member: Member) -> None:
        """Remove a node that was killed just now."""
        self._trial.forget(member.name)
        self._begin(member.name, self._remove(member))

    async def _remove(self, member: Member) -> None:
        while member.name in self._cluster.members:
            try:
                await growth.remove(self._cluster, member)
            except (ClientError, ClusterError):
                await asyncio.sleep(RETRY_S)  # the one that was asked is dead or paused, or was until just now

    def join(self, name: str) -> None:
        """Let a new node join."""
        self._begin(name, self._join(name))

    async def _join(self, name: str) -> None:
        while True:
            self._trial.note_start(name)
            try:
                member = await growth.join(self._cluster, name)
            except (ClientError, ClusterError):
                await asyncio.sleep(RETRY_S)  # no node that is up took it in
            else:
                await self._trial.connect(member)
                return

    def _begin(self, name: str, coming_or_going: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(coming_or_going)
        task.add_done_callback(lambda _: self._done(name, task))

    def _done(self, name: str, task: "asyncio.Task[None]") -> None:
        """One has come or gone. What went wrong is kept until `finish`."""
        if self._tasks.get(name) is task and (task.cancelled() or not task.exception()):
            del self._tasks[name]

    async def finish(self) -> None:
        """Wait until all have come or gone. Raises `PromiseBroken` if they do not, or what went wrong."""
        if self._tasks:
            done, late = await asyncio.wait(list(self._tasks.values()), timeout=DONE_S)
            for task in done:
                task.result()
            if late:
                raise PromiseBroken(f"{', '.join(self._tasks)} did not come or go within {DONE_S:g} s")

    async def stop(self) -> None:
        """Wait for nothing any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Who lists whom.

    async def come_to_list_alike(self, timeout_s: float) -> bool:
        """Wait until all nodes list the same members, and the same that left or were removed; False if not in time."""
        return await self._wait(timeout_s, _are_alike)

    async def check_lists(self) -> None:
        """Wait until every node lists all nodes as up, at their addresses, and no others as members.

        Raises `PromiseBroken` if they do not in time.
        """
        places = {name: "{}:{}".format(*member.address) for name, member in self._cluster.members.items()}
        lists: Lists = {}

        def is_right(found: Lists) -> bool:
            lists.update(found)
            return _are_alike(found) and all(_lists_all(each, places) for each in found.values())

        if not await self._wait(LISTED_S, is_right):
            raise PromiseBroken(f"{LISTED_S:g} s after all was well there are {places}, and nodes list {lists}")

    async def _wait(self, timeout_s: float, is_right: Callable[[Lists], bool]) -> bool:
        """Wait until the lists of all nodes are right; False if they are not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            self._trial.show()
            with contextlib.suppress(ClientError):
                if is_right(await self._lists()):
                    return True
            await asyncio.sleep(RETRY_S)
        return False

    async def _lists(self) -> Lists:
        """What each node lists. Raises `ClientError`."""
        names = self._trial.nodes
        lists = await asyncio.gather(*(self._trial.connections[name].members() for name in names))
        return {name: {each["name"]: each for each in listed} for name, listed in zip(names, lists, strict=True)}


def _is_member(listed: Status) -> bool:
    return listed["state"] not in {"left", "removed"}


def _are_alike(lists: Lists) -> bool:
    shown = [
        {name: (_is_member(each), each["addresses"]) for name, each in listed.items()} for listed in lists.values()
    ]
    return all(each == shown[0] for each in shown)


def _lists_all(listed: dict[str, Status], places: dict[str, str]) -> bool:
    members = {name: each for name, each in listed.items() if _is_member(each)}
    return members.keys() == places.keys() and all(
        each["state"] == "up" and places[name] in each["addresses"] for name, each in members.items()
    )
