"""One cluster under torture: its processes, connections to them, the oracle, and how far it is."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.bench.torture.plan import Plan
from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.sim.oracle import Oracle

POLL_S = 0.02
STYLES = {"up": "green", "paused": "cyan", "dead": "bold red"}


@dataclass(slots=True)
class Progress:
    """By node, what clients got; the last steps, and what comes next."""

    plan: Plan
    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    """Actions by name."""
    last: list[str] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)
    """By node: up, dead or paused."""
    now_s: float = 0.0
    phase: str = "torture"

    def note(self, line: str) -> None:
        """One more line of what happened."""
        self.last = [*self.last[-5:], line]

    def table(self) -> Table:
        """The live view."""
        title = f"seed {self.plan.seed}, {self.phase}, {self.now_s:.0f} s"
        shown = report.table_of(title, ("node", "state", "acknowledged", "outcome unknown", "reads"), left=2)
        for name, condition in self.conditions.items():
            counts = (self.acknowledged[name], self.unknown[name], self.reads[name])
            shown.add_row(name, condition, *(f"{each:,}" for each in counts), style=STYLES[condition])
        shown.caption, shown.caption_justify = "\n".join(self.last), "left"
        return shown


class Trial:
    """What the clients, the faults and the verdict share."""

    def __init__(self, plan: Plan, cluster: Cluster, watch: Callable[[Progress], None]) -> None:
        self.plan = plan
        self.cluster = cluster
        self.oracle = Oracle()
        self.progress = Progress(plan, conditions=dict.fromkeys(plan.names, "up"))
        self.connections: dict[str, Client] = {}
        self.may_count = asyncio.Event()
        """Clear while the clients have to pause."""
        self._watch = watch

    async def connect(self) -> None:
        """Open the connections, and let the clients count."""
        for name, member in self.cluster.members.items():
            self.connections[name] = await Client.connect(member.address, timeout_s=1.5)
        self.may_count.set()

    def close(self) -> None:
        """Close the connections."""
        for client in self.connections.values():
            client.close()

    def show(self) -> None:
        """Pass the progress to whoever watches."""
        self._watch(self.progress)

    def note_conditions(self) -> None:
        """Find out which nodes are up, dead or paused."""
        for name, member in self.cluster.members.items():
            dead = self.cluster.process(member) is None
            self.progress.conditions[name] = "dead" if dead else "paused" if self.cluster.is_paused(member) else "up"

    async def statuses(self, counter: str = "") -> dict[str, Status]:
        """By node. Raises `ClientError` if one does not answer."""
        statuses = await asyncio.gather(*(client.gossip_status(counter) for client in self.connections.values()))
        return dict(zip(self.connections, statuses, strict=True))

    async def in_sync(self, timeout_s: float) -> bool:
        """Wait until no request is in flight and every node holds the same, durably; False if not so in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            self.show()
            with contextlib.suppress(ClientError):
                statuses = (await self.statuses()).values()
                durable = not any(status["dirty_rows"] for status in statuses)
                if self.oracle.all_answered and durable and len({each["fingerprint"] for each in statuses}) == 1:
                    return True
            await asyncio.sleep(POLL_S)
        return False
