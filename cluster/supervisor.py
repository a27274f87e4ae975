"""Restart of nodes that die: at once the first time, then after longer and longer waits if they keep dying."""

from collections.abc import Iterator
from dataclasses import dataclass

from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.lock import changing
from gossip_counter.cluster.manifest import Manifest
from gossip_counter.cluster.monitor import DEAD, Snapshot
from gossip_counter.cluster.processes import Cluster

MIN_WAIT_S = 0.5
MAX_WAIT_S = 30.0
STABLE_S = 10.0
"""A node that has run for so long is restarted at once again when it dies."""


@dataclass
class _Watched:
    """One node. Times are the caller's clock, in seconds."""

    wait_s: float = 0.0
    """How long to wait before the restart after its next death."""
    started_s: float = 0.0
    due_s: float | None = None
    """When to start it; None while it runs."""


class Supervisor:
    """Restarts the nodes of one cluster. The owner calls `tend` after each snapshot of it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._watched = {name: _Watched() for name in cluster.members}

    async def tend(self, snapshot: Snapshot, now_s: float) -> list[str]:
        """Start the nodes that are due. Returns one line for each that was started or could not be."""
        due = list(self._due(snapshot, now_s))
        if not due:
            return []
        try:
            async with changing(self._cluster.manifest.directory):
                return [line for name in due if (line := await self._start(name, now_s))]
        except ClusterError as error:
            return [f"{', '.join(due)} can't be started again now: {error}"]

    def _due(self, snapshot: Snapshot, now_s: float) -> Iterator[str]:
        for node in snapshot.nodes:
            watched = self._watched.setdefault(node.name, _Watched())
            if node.state != DEAD:
                watched.due_s = None
                if now_s - watched.started_s > STABLE_S:
                    watched.wait_s = 0.0
                continue
            if watched.due_s is None:
                watched.due_s = now_s + watched.wait_s
                watched.wait_s = min(MAX_WAIT_S, max(MIN_WAIT_S, 2 * watched.wait_s))
            if watched.due_s <= now_s:
                yield node.name

    async def _start(self, name: str, now_s: float) -> str:
        """Start a node, unless another command has started it or has taken the cluster down."""
        self._watched[name].due_s, self._watched[name].started_s = None, now_s
        saved = Manifest.load(self._cluster.manifest.directory)
        member = saved.members.get(name)
        if saved.id != self._cluster.manifest.id or not saved.is_up or not member or self._cluster.process(member):
            return ""
        self._cluster.manifest = saved
        try:
            self._cluster.start(member)
            await self._cluster.ready(member)
        except ClusterError as error:
            return f"{name} died, and {error}"
        return f"{name} died: started again, pid {member.pid}"
