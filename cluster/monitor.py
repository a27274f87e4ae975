"""The state of a whole cluster at one moment: each node's own status, and its process as the system shows it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import psutil

from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.manifest import Member
from gossip_counter.cluster.processes import Cluster
from gossip_counter.node.core.messages import DEFAULT_COUNTER

UP, SILENT, PAUSED, DEAD = "up", "silent", "paused", "dead"
RATES = ("datagrams_in", "datagrams_out", "bytes_in", "bytes_out")
TIMEOUT_S = 0.5
"""A node that does not answer within this time is silent."""


@dataclass
class NodeView:
    """One node at one moment. `state` is up, silent (it runs but does not answer), paused (by SIGSTOP) or dead.

    `level`: its state equals that of the node that has counted most. `rates` are per second since the snapshot before,
    empty in the first. `cpu` is in percent of one core, None in the first. `memory` is the resident set in bytes.
    """

    name: str
    pid: int
    state: str
    address: str
    metrics: str | None = None
    level: bool = False
    status: Status = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    cpu: float | None = None
    memory: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The view as `cluster status --json` prints it."""
        view = {"name": self.name, "pid": self.pid, "state": self.state, "level": self.level, "address": self.address}
        view |= {"resp": self.address, "metrics": self.metrics}
        left_out = view.keys() | {"type", "in_reply_to", "msg_id"}
        status = {key: value for key, value in self.status.items() if key not in left_out}
        return view | status | {"memory": self.memory}


@dataclass
class Snapshot:
    """All nodes at one moment."""

    nodes: list[NodeView]
    partition: list[list[str]] = field(default_factory=list)
    counter: str = DEFAULT_COUNTER
    """The counter that values are of."""

    @property
    def up(self) -> list[NodeView]:
        """The nodes that answer."""
        return [node for node in self.nodes if node.state == UP]

    @property
    def agreed(self) -> bool:
        """Whether every node that runs answers, and all of them have equal state. Dead nodes do not matter."""
        running = [node for node in self.nodes if node.state != DEAD]
        return bool(running) and self.up == running and len({node.status["fingerprint"] for node in running}) == 1

    @property
    def value(self) -> int | None:
        """The counter's value if all nodes agree, else None."""
        return int(self.up[0].status["local_value"]) if self.agreed else None

    def as_json(self) -> dict[str, Any]:
        """The snapshot as `cluster status --json` prints it."""
        summary = {"counter": self.counter, "agreed": self.agreed, "value": self.value, "partition": self.partition}
        return summary | {"nodes": [node.as_json() for node in self.nodes]}


class Monitor:
    """Takes snapshots of a cluster. It keeps one client and one process handle per node."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, int], Client] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._before: dict[int, tuple[float, Status]] = {}

    async def look(self, cluster: Cluster, counter: str = DEFAULT_COUNTER) -> Snapshot:
        """A snapshot: every node is asked at once, for its value of `counter`."""
        views = await asyncio.gather(*(self._view(cluster, member, counter) for member in cluster.members.values()))
        snapshot = Snapshot(views, cluster.manifest.partition, counter)
        if snapshot.up:
            most = max(snapshot.up, key=lambda view: int(view.status["counted"])).status["fingerprint"]
            for view in snapshot.up:
                view.level = view.status["fingerprint"] == most
        return snapshot

    def close(self) -> None:
        """Close the clients' sockets."""
        for client in self._clients.values():
            client.close()

    async def _view(self, cluster: Cluster, member: Member, counter: str) -> NodeView:
        metrics = f"{member.host}:{member.metrics_port}" if cluster.settings.metrics else None
        view = NodeView(member.name, member.pid, DEAD, "{}:{}".format(*member.address), metrics)
        process = cluster.process(member)
        if process is None:
            return view
        self._measure(view, process)
        if cluster.is_paused(member):
            view.state = PAUSED
            return view
        view.state = SILENT
        try:
            view.status = await (await self._client(cluster, member)).gossip_status(counter)
        except ClientError:
            return view
        view.state = UP
        self._rate(view)
        return view

    async def _client(self, cluster: Cluster, member: Member) -> Client:
        if member.address not in self._clients:
            self._clients[member.address] = await cluster.connect(member, TIMEOUT_S)
        return self._clients[member.address]

    def _measure(self, view: NodeView, process: psutil.Process) -> None:
        known = self._processes.setdefault(view.pid, process)
        try:
            first = known is process
            cpu = known.cpu_percent()  # since the call before, so the first has no meaning
            view.cpu = None if first else cpu
            view.memory = known.memory_info().rss
        except psutil.Error:
            self._processes.pop(view.pid)

    def _rate(self, view: NodeView) -> None:
        now = asyncio.get_running_loop().time()
        then, before = self._before.get(view.pid, (now, view.status))
        if now > then:
            view.rates = {each: (view.status[each] - before[each]) / (now - then) for each in RATES}
        self._before[view.pid] = (now, view.status)
