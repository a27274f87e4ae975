"""Nodes that die are started again: at once the first time, then ever later if they keep dying."""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.launcher import Cluster, LaunchError, changing
from cluster.monitor import DEAD, Snapshot

LEAST_S = 0.5
MOST_S = 30.0
STEADY_S = 10.0
"""Who has lived so long is forgiven earlier deaths."""


@dataclass
class _Watched:
    wait_s: float = 0.0
    """How long the next death is waited out."""
    started: float = 0.0
    due: float | None = None
    """When to start it; None while it lives."""


class Supervisor:
    """Watches one cluster; whoever looks at the cluster calls `tend` after each look."""

    def __init__(self, directory_of: Cluster) -> None:
        self._cluster = directory_of
        self._watched = {name: _Watched() for name in directory_of.members}

    async def tend(self, snapshot: Snapshot, now: float) -> list[str]:
        """Start the nodes whose time has come; a line on each. `now` is in seconds."""
        due = list(self._due(snapshot, now))
        if not due:
            return []
        async with changing(self._cluster.directory):
            return [line for name in due if (line := self._start(name))]

    def _due(self, snapshot: Snapshot, now: float) -> Iterator[str]:
        for node in snapshot.nodes:
            watched = self._watched[node.name]
            if node.state != DEAD:
                if now - watched.started > STEADY_S:
                    watched.wait_s = 0.0
                continue
            if watched.due is None:
                watched.due = now + watched.wait_s
                watched.wait_s = min(MOST_S, max(LEAST_S, 2 * watched.wait_s))
            if watched.due <= now:
                watched.due, watched.started = None, now
                yield node.name

    def _start(self, name: str) -> str:
        """Start a node unless somebody was faster, or took the cluster down."""
        saved = Cluster.load(self._cluster.directory)
        member = saved.members[name]
        if saved.id != self._cluster.id or not saved.is_up or saved.process(member):
            return ""
        self._cluster.members, self._cluster.partition = saved.members, saved.partition
        try:
            self._cluster.start(member)
        except LaunchError as error:
            return f"{name} died, and {error}"
        return f"{name} died: started again, pid {member.pid}"
