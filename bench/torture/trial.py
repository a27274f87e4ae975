"""One cluster under torture: its processes, connections to them, the oracle, and how far it is."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.bench.torture.books import Books
from gossip_counter.bench.torture.plan import Plan
from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.manifest import Member
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.sim.oracle import Oracle, PromiseBroken
from gossip_counter.node.endpoints.addresses import Address

POLL_S = 0.02
TIMEOUT_S = 1.5
"""How long a client waits for a reply."""
ECHO_S = 10.0
"""For how long a process that ended may still be taken for one that speaks: its datagrams may wait at a paused node."""
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
    """By node or copy of one: up, dead or paused."""
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
        self.books = Books()
        self.progress = Progress(plan, conditions=dict.fromkeys(plan.names, "up"))
        self.connections: dict[str, Client] = {}
        """By node or copy of one."""
        self.answering = set[str]()
        """Those that have replied since their start: others are asked for no add, since nobody may listen yet."""
        self.most_actors = 0
        """How many actors can have begun."""
        self.killed = set[str]()
        """Nodes that are dead because of a fault."""
        self.leaving = set[str]()
        """Nodes that were asked to leave, and may end by themselves."""
        self._refuses_until_s: dict[str, float] = {}
        """Of those that were since their start, until when they may refuse adds, in monotonic seconds."""
        self._ended_s: dict[str, float] = {}
        """By node or copy of one, when its process ended, in monotonic seconds."""
        self.put_back = set[str]()
        """Nodes with an older journal, that may not have met a peer since: they may write as their former life did."""
        self.may_count = asyncio.Event()
        """Clear while the clients have to pause."""
        self._watch = watch

    async def begin(self) -> None:
        """Connect to all nodes, and let the clients count."""
        for name, member in self.cluster.members.items():
            self.note_start(name)
            await self.connect(member)
        self.may_count.set()

    async def connect(self, member: Member) -> None:
        """Open a connection to a node, instead of one to another address."""
        before = self.connections.pop(member.name, None)
        if before:
            before.close()
        self.connections[member.name] = await self.cluster.connect(member, TIMEOUT_S)

    def forget(self, name: str) -> None:
        """A node is no member any more, or soon will be none: nobody asks it for anything."""
        self.progress.conditions.pop(name, None)
        self.connections.pop(name).close()

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes but those that join or are removed at present."""
        return [name for name in self.cluster.members if name in self.connections]

    def close(self) -> None:
        """Close the connections."""
        for client in self.connections.values():
            client.close()

    def address(self, name: str) -> Address:
        """Where a node, or a copy of one, takes requests, be it of Redis clients."""
        return self.connections[name].address

    def show(self) -> None:
        """Pass the progress to whoever watches."""
        self._watch(self.progress)

    def note_start(self, name: str) -> None:
        """A process of a node, or of a copy of one, is being started.

        It may begin an epoch at its start, and so may it and each other process of that name when they meet.
        """
        now_s, node = time.monotonic(), name.split(maxsplit=1)[0]
        rivals = [
            other
            for other, ended_s in self._ended_s.items()
            if other != name and other.split()[0] == node and now_s < ended_s + ECHO_S
        ]
        self.most_actors += 1 + 2 * len(rivals)
        self._ended_s[name] = math.inf
        self.killed.discard(name)
        self._refuses_until_s.pop(name, None)
        self.answering.discard(name)

    def note_leaving(self, name: str) -> None:
        """A node is being asked to leave."""
        self._refuses_until_s[name] = math.inf

    def note_stayed(self, name: str) -> None:
        """A node has replied that it stays a member: it takes writes again."""
        if name in self._refuses_until_s:
            self._refuses_until_s[name] = time.monotonic()

    def may_refuse(self, name: str, asked_s: float) -> bool:
        """Whether a node may refuse an add that it was asked for then, in monotonic seconds."""
        return asked_s <= self._refuses_until_s.get(name, -math.inf)

    def note_end(self, name: str) -> None:
        """Such a process is being killed."""
        self._ended_s[name] = time.monotonic()
        self.killed.add(name)

    def note_conditions(self) -> None:
        """Find out which nodes are up, dead or paused. Raises `PromiseBroken` if one has ended by itself."""
        for name in self.nodes:
            member = self.cluster.members[name]
            dead = self.cluster.process(member) is None
            if dead and name not in self.killed | self.leaving:
                raise PromiseBroken(f"{name} ended by itself: {self.cluster.manifest.log_lines(name)[-1:]}")
            self.progress.conditions[name] = "dead" if dead else "paused" if self.cluster.is_paused(member) else "up"

    async def statuses(self, counter: str = "") -> dict[str, Status]:
        """By node. Raises `ClientError` if one does not answer."""
        names = self.nodes
        statuses = await asyncio.gather(*(self.connections[name].gossip_status(counter) for name in names))
        return dict(zip(names, statuses, strict=True))

    async def in_sync(self, timeout_s: float) -> bool:
        """Wait until no request is in flight and every node holds the same, durably; False if not so in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while loop.time() < deadline:
            self.show()
            with contextlib.suppress(ClientError):
                statuses = (await self.statuses()).values()
                durable = not any(status["dirty_rows"] for status in statuses)
                answered = self.oracle.all_answered and self.books.all_answered
                if answered and durable and len({each["fingerprint"] for each in statuses}) == 1:
                    self.put_back.clear()
                    return True
            await asyncio.sleep(POLL_S)
        return False
