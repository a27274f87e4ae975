"""A rate limiter that runs for a week, on a virtual clock: what nodes keep of windows that were over long ago.

The nodes are those of the simulator: the real replica, committer and Redis session, with nothing that goes wrong. Each
user calls about once a minute, at one of the nodes, in a window of a minute. A week at three takes some three hours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import psutil
from rich.console import Group

from gossip_counter.bench import report
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.sim.clock import SECOND
from gossip_counter.cluster.sim.network import Conditions
from gossip_counter.cluster.sim.scenario import Scenario
from gossip_counter.cluster.sim.simulation import Simulation
from gossip_counter.cluster.sim.streams import Connection
from gossip_counter.cluster.wording import counted
from gossip_counter.node.core.config import Config
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS

WINDOW_S = 60
GOSSIP_INTERVAL_MS = 5000
"""News is pushed at once; rounds that find nothing new cost time in which a simulation gets nowhere."""
STEP_S = 10
"""All users that call in so many seconds do so together."""
DAY_S = 86_400
FORGOTTEN_S = 3 * WINDOW_S
"""A minute after a window is over it is forgotten."""
IDLE_S = 300
LOOKS = 20

QUIET = Scenario(
    config=replace(Config(name="?"), gossip_interval_ms=GOSSIP_INTERVAL_MS),
    network=Conditions(),
    bounds=(DEFAULT_BOUNDS,),
)


@dataclass(frozen=True, slots=True)
class Look:
    """The largest node at a time: rows that it holds, rows on its disk; and this process's resident memory, in MB."""

    day: float
    calls: int
    rows: int
    stored: int
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Week:
    """What was seen."""

    users: int
    nodes: int
    refused: int
    looks: list[Look]
    idle_bytes_a_second: tuple[float, float]
    """Gossip of one node, before the first call and after the last window was forgotten."""

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        before, after = self.idle_bytes_a_second
        looks = [
            {"day": round(each.day, 2), "calls": each.calls, "rows": each.rows, "stored": each.stored,
             "memory_mb": round(each.memory_mb, 1)}
            for each in self.looks
        ]  # fmt: skip
        idle = {"before": round(before, 1), "after": round(after, 1)}
        return {
            "users": self.users,
            "nodes": self.nodes,
            "refused": self.refused,
            "looks": looks,
            "idle_bytes_a_second": idle,
        }

    def table(self) -> Group:
        """See `report.Result`."""
        title = f"{self.users:,} users a minute at {counted(self.nodes, 'simulated node')}; {self.refused} refused"
        shown = report.table_of(title, ("day", "calls", "rows", "rows on disk", "memory of all MB"), left=0)
        for each in self.looks:
            cells = (f"{each.calls:,}", f"{each.rows:,}", f"{each.stored:,}", f"{each.memory_mb:.1f}")
            shown.add_row(f"{each.day:.2f}", *cells)
        before, after = self.idle_bytes_a_second
        last = report.table_of("afterwards", ("", ""))
        last.add_row("idle gossip of a node, bytes/s, before and after", f"{before:,.1f}, {after:,.1f}")
        return Group(shown, last)


def measure(days: float, users: int, nodes: int, show: Callable[[str], None]) -> Week:
    """Let the days pass. Raises `ClusterError` if a node keeps what is over, or `PromiseBroken`."""
    limiter = _Limiter(users, nodes)
    before, looks, steps = limiter.idle_bytes_a_second(), list[Look](), max(1, round(days * DAY_S / STEP_S))
    for step in range(1, steps + 1):
        limiter.call()
        if step * LOOKS % steps < LOOKS:
            looks.append(limiter.look(step * STEP_S / DAY_S))
            show(f"day {looks[-1].day:.2f}: {looks[-1].calls:,} calls, {looks[-1].rows:,} rows")
    limiter.wait(FORGOTTEN_S)
    looks.append(limiter.look(days + FORGOTTEN_S / DAY_S))
    if looks[-1].rows or looks[-1].stored:
        raise ClusterError(f"{looks[-1].rows} rows are held, and {looks[-1].stored} stored, of windows that are over")
    return Week(users, nodes, limiter.refused, looks, (before, limiter.idle_bytes_a_second()))


class _Limiter:
    """Who asks the nodes before each call of a user."""

    def __init__(self, users: int, nodes: int) -> None:
        self.refused = 0
        self._users = users
        self._nodes = nodes
        self._rng = Random(users)
        self._simulation = simulation = Simulation(replace(QUIET, nodes=nodes), users)
        self._connections = [
            Connection(node.process, simulation.clock, self._rng, partial(self._received, at))
            for at, node in enumerate(simulation.nodes.values())
            if node.process
        ]
        self._tails = [b""] * nodes
        """By connection, what came of a line that has not ended."""
        self._calls = 0
        self._replies = 0

    def call(self) -> None:
        """Let the users of one step call, and its time pass."""
        calls = max(1, self._users * STEP_S // WINDOW_S)
        for at, connection in enumerate(self._connections):
            names = [f"calls:{self._rng.randrange(self._users)}" for _ in range(at, calls, self._nodes)]
            if names:
                connection.send(b"".join(map(_increx, names)))
        self._calls += calls
        self.wait(STEP_S)

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        clock = self._simulation.clock
        self._simulation.run_until(clock.now_ns + seconds * SECOND)

    def look(self, day: float) -> Look:
        """What there is now. Raises `ClusterError` if a call was not answered."""
        if self._replies < self._calls:
            raise ClusterError(f"{self._calls - self._replies} calls were not answered")
        nodes = list(self._simulation.nodes.values())
        rows = max(node.replica.state.row_count for node in nodes)
        stored = max(node.disk.contents.row_count for node in nodes)
        return Look(day, self._calls, rows, stored, psutil.Process().memory_info().rss / 1e6)

    def idle_bytes_a_second(self) -> float:
        """What a node sends while nobody calls."""
        traffic = self._simulation.network.traffic
        sent = traffic.total_bytes
        self.wait(IDLE_S)
        return (traffic.total_bytes - sent) / self._nodes / IDLE_S

    def _received(self, at: int, data: bytes) -> None:
        """Replies, each of which is an array of two integers: the value, and what was added."""
        *lines, self._tails[at] = (self._tails[at] + data).split(b"\r\n")
        self._replies += lines.count(b"*2")
        self.refused += lines.count(b":0")
        if errors := [line for line in lines if line.startswith(b"-")]:
            raise ClusterError(f"a node refused an INCREX: {errors[0].decode()}")


def _increx(name: str) -> bytes:
    words = ("INCREX", name, "BYINT", "1", "UBOUND", "100", "EX", str(WINDOW_S), "ENX")
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
