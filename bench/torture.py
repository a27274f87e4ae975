"""Real processes under a seeded schedule of everything that can go wrong, clients that keep counting, and a ledger.

The ledger notes what was asked for and what was answered; nothing else is believed. At the end everything is made well,
the nodes must come to equal state, and every counter must hold what was acknowledged and some of what has no known
outcome; then all are killed at once and must hold the same again.

A node is wiped only when another holds durably all that it does, since what one node alone acknowledged goes with its
disk: the clients pause for that moment.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from gossip_counter.cluster import faults
from gossip_counter.cluster.client import Client, ClientError, NotSentError, RequestRefusedError, Status
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.ledger import Ledger, PromiseBroken
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary

DELTAS = (1, 1, 1, 2, 5, -1, -3)
READ_SHARE = 0.2
PAUSE_S = 0.02
"""How long a client waits before it turns to another node than the one that failed it."""
LEVEL_S = 60.0
WIPE_PATIENCE_S = 5.0
MOST_MEMORY = 200 * 10**6
MOST_JOURNAL = 50 * 10**6


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to a cluster. With `kill_all`, so many times all nodes are killed at once, and nothing else."""

    seconds: float = 60.0
    seed: int = 7
    nodes: int = 5
    loss: float = 0.0
    clients: int = 32
    counters: int = 5
    kill_all: int = 0

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return [f"n{i}" for i in range(1, self.nodes + 1)]

    @property
    def length_s(self) -> float:
        """How long it takes."""
        return self.kill_all * 1.0 + 0.5 if self.kill_all else self.seconds


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to the cluster, so many seconds after the start; `what` is its arguments."""

    at_s: float
    action: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.at_s:8.3f} s  {self.action} {self.what}".rstrip()


def schedule(plan: Plan) -> list[Step]:
    """All that will be done, in order; the same for the same plan."""
    rng = Random(f"torture {plan.seed}")
    steps = list(_kill_all(plan, rng) if plan.kill_all else _everything(plan, rng))
    return sorted((step for step in steps if step.at_s < plan.length_s), key=lambda step: step.at_s)


def _kill_all(plan: Plan, rng: Random) -> Iterator[Step]:
    for number in range(plan.kill_all):
        at = 0.5 + number + rng.random() * 0.3
        yield Step(at, "kill", ",".join(plan.names))
        yield Step(at + 0.05, "restart", ",".join(plan.names))


def _everything(plan: Plan, rng: Random) -> Iterator[Step]:
    at = 0.0
    while (at := at + rng.expovariate(1.5)) < plan.seconds:
        action = rng.choices(("kill", "pause", "partition", "loss", "wipe", "kill all"), (4, 3, 2, 2, 1, 0.5))[0]
        node, until = rng.choice(plan.names), at + rng.uniform(0.1, 3.0)
        match action:
            case "kill":
                yield from (Step(at, "kill", node), Step(until, "restart", node))
            case "kill all":
                everyone = ",".join(plan.names)
                yield from (Step(at, "kill", everyone), Step(at + 0.1, "restart", everyone))
            case "pause":
                yield from (Step(at, "pause", node), Step(until, "resume", node))
            case "partition":
                names = rng.sample(plan.names, plan.nodes)
                cut = rng.randrange(1, plan.nodes)
                groups = f"{','.join(names[:cut])}/{','.join(names[cut:])}"
                yield from (Step(at, "partition", groups), Step(until, "heal"))
            case "loss":
                yield from (Step(at, "loss", f"{rng.uniform(0.1, 0.9):.2f}"), Step(until, "loss", f"{plan.loss}"))
            case "wipe":
                yield Step(at, "wipe", node)


@dataclass(slots=True)
class Progress:
    """How a run goes: by node, what clients were told; what was done last, and what is left."""

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to. `broken` is the promise that was, None if all were kept."""

    acknowledged: int
    unknown: int
    reads: int
    steps: dict[str, int]
    level_s: float | None
    """Seconds from the end of all faults until every node held the same."""
    memory_mb: dict[str, float]
    journal_mb: dict[str, float]
    broken: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `bench torture --json` prints it."""
        return asdict(self)


async def run(plan: Plan, watch: Callable[[Progress], None]) -> Verdict:
    """Torture one fresh cluster. Raises `ClusterError` if it can't be started."""
    settings = Settings(faults=True, loss=plan.loss)
    async with temporary(plan.nodes, settings) as cluster:
        torture = _Torture(plan, cluster, watch)
        broken = None
        try:
            await torture.run()
        except (PromiseBroken, ClusterError, ClientError) as error:
            broken = str(error)
        finally:
            torture.close()
        return torture.verdict(broken)


class _Torture:
    def __init__(self, plan: Plan, cluster: Cluster, watch: Callable[[Progress], None]) -> None:
        self._plan = plan
        self._cluster = cluster
        self._watch = watch
        self._rng = Random(f"clients {plan.seed}")
        self._ledger = Ledger()
        self._progress = Progress(conditions=dict.fromkeys(plan.names, "up"))
        self._clients: dict[str, Client] = {}
        self._may_count = asyncio.Event()
        self._wipes = 0
        self._level_s: float | None = None
        self._memory: dict[str, float] = {}
        self._journals: dict[str, float] = {}

    async def run(self) -> None:
        for name, member in self._cluster.members.items():
            self._clients[name] = await Client.connect(member.address, timeout_s=1.5)
        self._may_count.set()
        counting = [asyncio.create_task(self._count()) for _ in range(self._plan.clients)]
        faults = asyncio.create_task(self._break_everything())
        try:
            # The first client that is told what can't be ends it all.
            done, _ = await asyncio.wait([faults, *counting], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for task in (faults, *counting):
                task.cancel()
            await asyncio.gather(faults, *counting, return_exceptions=True)
        await self._judge()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def verdict(self, broken: str | None) -> Verdict:
        progress = self._progress
        return Verdict(
            acknowledged=progress.acknowledged.total(),
            unknown=progress.unknown.total(),
            reads=progress.reads.total(),
            steps=dict(progress.done),
            level_s=self._level_s,
            memory_mb=self._memory,
            journal_mb=self._journals,
            broken=broken,
        )

    # What clients do.

    async def _count(self) -> None:
        while True:
            await self._may_count.wait()
            name = self._rng.choice(
                [name for name, state in self._progress.conditions.items() if state != "dead"] or [""]
            )
            if not name or not await (self._read(name) if self._rng.random() < READ_SHARE else self._add(name)):
                await asyncio.sleep(PAUSE_S)

    async def _add(self, name: str) -> bool:
        counter, delta = f"c{self._rng.randrange(self._plan.counters)}", self._rng.choice(DELTAS)
        asked = self._ledger.ask_add(name, 0, counter, delta)
        try:
            await self._clients[name].add(delta, counter)
        except NotSentError:
            self._ledger.refused(asked)
            return False
        except RequestRefusedError as error:
            self._ledger.failed(asked, error.code, str(error), disk_is_ill=False)
            return False
        except (ClientError, asyncio.CancelledError) as error:
            self._ledger.unknown(asked)
            self._progress.unknown[name] += 1
            if isinstance(error, asyncio.CancelledError):
                raise
            return False
        self._ledger.acknowledged(asked)
        self._progress.acknowledged[name] += 1
        return True

    async def _read(self, name: str) -> bool:
        counter = f"c{self._rng.randrange(self._plan.counters)}"
        asked = self._ledger.ask_read(name, 0, counter)
        try:
            value = await self._clients[name].read(counter)
        except RequestRefusedError as error:
            self._ledger.failed(asked, error.code, str(error), disk_is_ill=False)
            return False
        except (ClientError, asyncio.CancelledError) as error:
            self._ledger.unknown(asked)
            if isinstance(error, asyncio.CancelledError):
                raise
            return False
        self._ledger.told(asked, value)
        self._progress.reads[name] += 1
        return True

    # What is done to the nodes.

    async def _break_everything(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in [*schedule(self._plan), Step(self._plan.length_s, "end")]:
            while (left := began + step.at_s - loop.time()) > 0:
                self._progress.now_s = loop.time() - began
                self._watch(self._progress)
                await asyncio.sleep(min(left, 0.1))
            if step.action != "end" and await self._do(step):
                self._progress.done[step.action] += 1
                self._progress.note(str(step))

    async def _do(self, step: Step) -> bool:
        """Do one step; False where it makes no sense now, such as to kill the dead."""
        members = [self._cluster.members[name] for name in step.what.split(",") if name in self._cluster.members]
        alive = [member for member in members if self._cluster.process(member)]
        match step.action:
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
            case "wipe" if alive:
                return await self._wipe(step.what)
            case "partition" | "heal" | "loss":
                await self._do_to_network(step)
            case _:
                return False
        self._note_conditions()
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
        await self._set_faults(groups)

    async def _set_faults(self, groups: list[list[str]]) -> None:
        with contextlib.suppress(ClusterError):  # one that starts just now was told by its command line
            await faults.partition(self._cluster, groups)

    def _note_conditions(self) -> None:
        for name, member in self._cluster.members.items():
            dead = self._cluster.process(member) is None
            self._progress.conditions[name] = "dead" if dead else "paused" if self._cluster.is_paused(member) else "up"

    async def _wipe(self, name: str) -> bool:
        """Kill a node and delete its journal, once another holds durably all that it holds; False if none does soon."""
        self._may_count.clear()
        groups, loss = self._cluster.manifest.partition, self._cluster.settings.loss
        try:
            await self._make_well()
            if not await self._all_level(WIPE_PATIENCE_S):
                return False
            member = self._cluster.members[name]
            self._cluster.kill(member)
            faults.wipe(self._cluster, member)
            self._ledger.forget_acknowledged_at(name)
            self._wipes += 1
            self._cluster.start(member)
            return True
        finally:
            self._cluster.settings.loss = loss
            await self._set_faults(groups)
            self._note_conditions()
            self._may_count.set()

    async def _make_well(self) -> None:
        for member in self._cluster.members.values():
            if self._cluster.process(member) is None:
                self._cluster.start(member)
            elif self._cluster.is_paused(member):
                self._cluster.resume(member)
        await asyncio.gather(*(self._cluster.ready(member) for member in self._cluster.members.values()))
        self._cluster.settings.loss = self._plan.loss
        await faults.partition(self._cluster, [])
        self._note_conditions()

    async def _all_level(self, patience_s: float) -> bool:
        """Wait until nothing is under way and every node holds the same, durably."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while loop.time() < deadline:
            self._watch(self._progress)
            with contextlib.suppress(ClientError):
                statuses = await self._statuses()
                if (
                    self._ledger.all_answered
                    and len({status["fingerprint"] for status in statuses.values()}) == 1
                    and not any(status["dirty_rows"] for status in statuses.values())
                ):
                    return True
            await asyncio.sleep(PAUSE_S)
        return False

    async def _statuses(self, counter: str = "") -> dict[str, Status]:
        told = await asyncio.gather(*(client.gossip_status(counter) for client in self._clients.values()))
        return dict(zip(self._clients, told, strict=True))

    # The verdict.

    async def _judge(self) -> None:
        self._progress.phase = "heal"
        loop = asyncio.get_running_loop()
        await self._make_well()
        began = loop.time()
        if not await self._all_level(LEVEL_S):
            held = {name: status["fingerprint"] for name, status in (await self._statuses()).items()}
            raise PromiseBroken(f"the nodes do not agree {LEVEL_S:g} s after all was well: {held}")
        self._level_s = loop.time() - began
        await self._check_totals()
        await self._check_bounds()
        self._progress.phase = "kill all, and look again"
        self._cluster.kill(*self._cluster.members.values())
        await self._make_well()
        if not await self._all_level(LEVEL_S):
            raise PromiseBroken("the nodes do not agree after all were killed and started again")
        await self._check_totals()

    async def _check_totals(self) -> None:
        for counter in self._ledger.counters:
            for name, status in (await self._statuses(counter)).items():
                totals = status["increments"], status["decrements"]
                self._ledger.check_totals(name, counter, totals, status["local_value"])

    async def _check_bounds(self) -> None:
        """No node grew without bound, or met an exception that nobody foresaw."""
        most_rows = self._plan.counters * (self._plan.nodes + self._wipes)
        for name, status in (await self._statuses()).items():
            process = self._cluster.process(self._cluster.members[name])
            memory = process.memory_info().rss if process else 0
            journal = sum(path.stat().st_size for path in self._cluster.manifest.data_path(name).iterdir())
            self._memory[name], self._journals[name] = round(memory / 1e6, 1), round(journal / 1e6, 2)
            if status["rows"] > most_rows:
                raise PromiseBroken(f"{name} holds {status['rows']} rows where {most_rows} can have been written")
            if memory > MOST_MEMORY or journal > MOST_JOURNAL:
                raise PromiseBroken(f"{name} grew to {memory:,} bytes of memory and {journal:,} of journal")
            if status["internal_errors"]:
                log = "\n".join(self._cluster.manifest.log_lines(name)[-20:])
                raise PromiseBroken(f"{name} met {status['internal_errors']} exceptions that nobody foresaw:\n{log}")
