"""Nodes that die are started again: at once the first time, then ever later if they keep dying."""

from collections.abc import Iterator
from dataclasses import dataclass

from gossip_counter.cluster.launcher import Cluster, LaunchError, changing
from gossip_counter.cluster.monitor import DEAD, Snapshot

LEAST_S = 0.5
MOST_S = 30.0
STEADY_S = 10.0
"""Who has lived so long is forgiven earlier deaths."""


@dataclass
class _Watched:
    wait_s: float = 0.0
    """How long the next death is waited out."""
    started_s: float = 0.0
    due_s: float | None = None
    """When to start it; None while it lives."""


class Supervisor:
    """Watches one cluster; whoever looks at the cluster calls `tend` after each look."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._watched = {name: _Watched() for name in cluster.members}

    async def tend(self, snapshot: Snapshot, now_s: float) -> list[str]:
        """Start the nodes whose time has come; a line on each, also on what could not be done. Raises nothing."""
        due = list(self._due(snapshot, now_s))
        if not due:
            return []
        try:
            async with changing(self._cluster.directory):
                return [line for name in due if (line := await self._start(name, now_s))]
        except LaunchError as error:
            return [f"{', '.join(due)} can't be started again now: {error}"]

    def _due(self, snapshot: Snapshot, now_s: float) -> Iterator[str]:
        for node in snapshot.nodes:
            watched = self._watched[node.name]
            if node.state != DEAD:
                watched.due_s = None
                if now_s - watched.started_s > STEADY_S:
                    watched.wait_s = 0.0
                continue
            if watched.due_s is None:
                watched.due_s = now_s + watched.wait_s
                watched.wait_s = min(MOST_S, max(LEAST_S, 2 * watched.wait_s))
            if watched.due_s <= now_s:
                yield node.name

    async def _start(self, name: str, now_s: float) -> str:
        """Start a node unless somebody was faster, or took the cluster down."""
        self._watched[name].due_s, self._watched[name].started_s = None, now_s
        saved = Cluster.load(self._cluster.directory)
        member = saved.members[name]
        if saved.id != self._cluster.id or not saved.is_up or saved.process(member):
            return ""
        self._cluster.members, self._cluster.partition = saved.members, saved.partition
        try:
            self._cluster.start(member)
            await self._cluster.ready(member)
        except LaunchError as error:
            return f"{name} died, and {error}"
        return f"{name} died: started again, pid {member.pid}"
