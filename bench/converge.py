"""Time to agreement of a cluster of real processes.

Each run starts a fresh cluster, sends its increments to random nodes over UDP, and polls `gossip_status` until all
nodes hold the expected value and equal state. Convergence is the time from the last acknowledgement to the moment the
last node reached that state. Nodes report that moment themselves, on the monotonic clock that all processes of a
machine share, so the figure does not depend on how often they are polled.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gossip_counter.bench import plot, report
from gossip_counter.bench.load import concurrently
from gossip_counter.bench.workload import Add, Plan, kind, mode
from gossip_counter.cluster.client import Client, Status
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.wording import counted

AT_ONCE = "at once"
"""Shown for no time: nodes can agree before the last acknowledgement arrives at its client."""
POLL_S = 0.02
WINDOW = 16
"""Requests in flight at each node."""


@dataclass(slots=True)
class Progress:
    """One run in progress: acknowledged adds and latest status by node, and when the last reply came."""

    plan: Plan
    run: int
    acknowledged: dict[str, int]
    statuses: dict[str, Status] = field(default_factory=dict)
    last_replies_ns: list[int] = field(default_factory=list)
    """One for each node that has answered all its adds."""
    last_reply_ns: int = 0
    """The latest of all nodes; 0 until the last add is answered."""

    def in_majority(self, status: Status) -> bool:
        """Whether this node's state is the most common one."""
        states = Counter(each["fingerprint"] for each in self.statuses.values())
        return bool(states.most_common(1)[0][0] == status["fingerprint"])

    def table(self, runs: int) -> Table:
        """The live view; `runs` is how many there will be."""
        acknowledged = f"{sum(self.acknowledged.values()):,} adds acknowledged"
        title = f"run {self.run} of {runs}, {self.plan.settings.gossip} gossip: {acknowledged}"
        value = "value" if self.plan.counters == 1 else "rows"
        shown = report.table_of(title, ("node", "acknowledged", value, "rounds", "synced", "reached after ms"))
        for name, status in self.statuses.items():
            in_sync = self.last_reply_ns and self.in_majority(status)
            after_ns = max(0, status["state_since_ns"] - self.last_reply_ns)
            reached = (f"{after_ns / 1e6:.1f}" if after_ns else AT_ONCE) if in_sync else "…"
            value = status["local_value"] if self.plan.counters == 1 else status["rows"]
            cells = (self.acknowledged[name], value, status["gossip_rounds"], status["peers_synced"])
            shown.add_row(name, *(f"{cell:,}" for cell in cells), reached, style="green" if in_sync else None)
        return shown


@dataclass(frozen=True, slots=True)
class Run:
    """One run's outcome. `convergence_ms` is None if the nodes did not agree in time."""

    expected: int
    convergence_ms: float | None
    values: dict[str, int]
    states: dict[str, str]
    """By node, the hash of its state."""
    datagrams_sent: dict[str, int]
    bytes_sent: dict[str, int]

    @property
    def agreed(self) -> bool:
        """Whether all nodes reached the expected value and equal state in time."""
        return self.convergence_ms is not None

    @property
    def in_words(self) -> str:
        """Whether the nodes agreed, and how soon."""
        if self.convergence_ms is None:
            return "not agreed"
        if not self.convergence_ms:
            return "agreed before the last acknowledgement arrived"
        return f"agreed after {self.convergence_ms:.1f} ms"

    @property
    def difference(self) -> str:
        """In what the nodes differ: the values that are not the expected one, else the hashes of the states."""
        wrong = ", ".join(f"{name}={value}" for name, value in self.values.items() if value != self.expected)
        states = ", ".join(f"{name}={state}" for name, state in self.states.items())
        return wrong or f"the sums match, but not the states behind them: {states}"

    def as_json(self) -> dict[str, Any]:
        """One element of `runs`."""
        return {
            "convergence_ms": self.convergence_ms,
            "agreed": self.agreed,
            "values": self.values,
            "datagrams_sent": self.datagrams_sent,
            "bytes_sent": self.bytes_sent,
        }


@dataclass(frozen=True, slots=True)
class Series:
    """All runs of one plan."""

    plan: Plan
    runs: list[Run]

    @property
    def times_ms(self) -> list[float]:
        """The times of the runs that agreed."""
        return [run.convergence_ms for run in self.runs if run.convergence_ms is not None]

    @property
    def datagrams_sent(self) -> list[float]:
        """By every node in every run."""
        return [sent for run in self.runs for sent in run.datagrams_sent.values()]

    @property
    def bytes_sent(self) -> list[float]:
        """By every node in every run."""
        return [sent for run in self.runs for sent in run.bytes_sent.values()]

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        plan, settings = self.plan, self.plan.settings
        return {
            "nodes": plan.nodes,
            "counters": plan.counters,
            "gossip": settings.gossip,
            "push": settings.push,
            "loss": settings.loss,
            "sealed": settings.sealed,
            "increments": plan.increments,
            "decrements": plan.subtracted,
            "expected": plan.expected,
            "seed": plan.seed,
            "interval_ms": settings.interval_ms,
            "fanout": settings.fanout,
            "agreed": all(run.agreed for run in self.runs),
            "convergence_ms": report.distribution(self.times_ms) if self.times_ms else None,
            "datagrams_sent_per_node": report.distribution(self.datagrams_sent),
            "bytes_sent_per_node": report.distribution(self.bytes_sent),
            "runs": [run.as_json() for run in self.runs],
        }

    def table(self) -> RenderableType:
        """See `report.Result`."""
        parts: list[RenderableType] = [self._headline()]
        if self.times_ms:
            title = "from the last acknowledgement to agreement"
            if not all(self.times_ms):
                title += f" ({AT_ONCE}: before it arrived)"
            parts.append(report.table(title, {"convergence": self.times_ms}, "ms", zero=AT_ONCE))
        sent = {"datagrams": self.datagrams_sent, "bytes": self.bytes_sent}
        return Group(*parts, report.table("sent per node", sent, "", digits=0))

    def plot(self, path: Path) -> None:
        """See `report.Plottable`."""
        _plot([self], path)

    def _headline(self) -> Text:
        plan, agreed = self.plan, len(self.times_ms)
        counters = "" if plan.counters == 1 else f"{plan.counters:,} counters, "
        sizes = ((plan.nodes, "node"), (plan.increments, "increment"), (plan.subtracted, "decrement"))
        nodes, increments, decrements = (counted(*each) for each in sizes)
        return Text(
            f"{nodes}, {counters}{increments}, {decrements}, {mode(plan.settings)}, seed {plan.seed}:"
            f" {agreed} of {len(self.runs)} runs agreed on {plan.expected:,}",
            style="bold green" if agreed == len(self.runs) else "bold red",
            no_wrap=True,
            overflow="ignore",
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same runs with delta gossip and with full-state gossip, in turn."""

    delta: Series
    full: Series

    @property
    def runs(self) -> list[Run]:
        """Those of both."""
        return self.delta.runs + self.full.runs

    @property
    def ratio(self) -> float | None:
        """How many times as long full-state gossip took, p50 to p50; None if one of them never agreed."""
        delta, full = self.delta.times_ms, self.full.times_ms
        if not delta or not full or not report.percentile(delta, 0.5):
            return None
        return round(report.percentile(full, 0.5) / report.percentile(delta, 0.5), 2)

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`: that of delta gossip, with the other beside it."""
        return self.delta.as_json() | {"full": self.full.as_json(), "full_to_delta_p50": self.ratio}

    def table(self) -> RenderableType:
        """See `report.Result`."""
        parts = [self.delta.table(), self.full.table()]
        if self.ratio:
            parts.append(Text(f"full-state mode took {self.ratio:,.1f} times as long (p50 to p50)", style="bold"))
        return Group(*parts)

    def plot(self, path: Path) -> None:
        """See `report.Plottable`."""
        _plot([self.delta, self.full], path)


def _plot(series: list[Series], path: Path) -> None:
    """Runs that did not agree took no time that could be drawn: the caption counts them."""
    spans = {kind(each.plan.settings): plot.Span.of(each.times_ms, report.p50) for each in series}
    plan, failed = series[0].plan, sum(not run.agreed for each in series for run in each.runs)
    caption = (
        f"Dot: median of {len(series[0].runs)} runs. Line: least to most. Less is better."
        f" A round every {plan.settings.interval_ms} ms, fanout {plan.settings.fanout}."
    )
    if failed:
        caption += f" {counted(failed, 'run')} did not agree."
    words = plot.Words(
        f"Time until {plan.nodes} nodes agree after {plan.increments:,} increments",
        caption,
        "milliseconds from the last acknowledgement to agreement",
    )
    plot.save(plot.dots(words, {"": spans}, 1, log=True), path)


Watcher = Callable[[Progress], None]


async def measure(plans: list[Plan], runs: int, watch: Watcher, done: Callable[[Run], None]) -> list[Series]:
    """Run each plan on `runs` fresh clusters, the plans in turn.

    Raises `ClientError` if an add is not acknowledged, `ClusterError` if a cluster does not start.
    """
    results = [Series(plan, []) for plan in plans]
    for number in range(1, runs + 1):
        for series in results:
            async with temporary(series.plan.nodes, series.plan.settings) as cluster:
                series.runs.append(await _run(series.plan, number, cluster, watch))
            done(series.runs[-1])
    return results


async def _run(plan: Plan, number: int, cluster: Cluster, watch: Watcher) -> Run:
    clients = {name: await cluster.connect(member, timeout_s=5) for name, member in cluster.members.items()}
    progress = Progress(plan, number, dict.fromkeys(clients, 0))
    try:
        polling = asyncio.create_task(_poll(clients, progress, watch))
        adds = dict(zip(clients, plan.adds(Random(f"{plan.seed} {number}")), strict=True))
        try:
            await asyncio.gather(*(_add_all(clients[name], name, adds[name], progress) for name in clients))
        except BaseException:
            polling.cancel()
            raise
        progress.last_reply_ns = max(progress.last_replies_ns, default=monotonic_ns())
        result = _outcome(progress, agreed=await polling)
        return result if plan.counters == 1 else await _with_every_counter(plan, clients, adds, result)
    finally:
        for client in clients.values():
            client.close()


async def _add_all(client: Client, name: str, adds: list[Add], progress: Progress) -> None:
    last_reply_ns = 0

    async def add(what: Add) -> None:
        nonlocal last_reply_ns
        await client.add(*what)
        progress.acknowledged[name] += 1
        last_reply_ns = monotonic_ns()

    await concurrently(WINDOW, adds, add)
    if adds:
        progress.last_replies_ns.append(last_reply_ns)


async def _poll(clients: dict[str, Client], progress: Progress, watch: Watcher) -> bool:
    """Poll until all nodes agree; False if they do not within the plan's time after the last reply."""
    while True:
        finished_ns = progress.last_reply_ns
        statuses = await asyncio.gather(*(client.gossip_status() for client in clients.values()))
        progress.statuses = dict(zip(clients, statuses, strict=True))
        watch(progress)
        if finished_ns and _agree(progress):
            return True
        if finished_ns and monotonic_ns() - finished_ns > progress.plan.timeout_s * 1e9:
            return False
        await asyncio.sleep(POLL_S)


def _agree(progress: Progress) -> bool:
    plan, statuses = progress.plan, progress.statuses.values()
    complete = all(status["counted"] == plan.changes for status in statuses)
    correct = plan.counters > 1 or all(status["local_value"] == plan.expected for status in statuses)
    return complete and correct and len({status["fingerprint"] for status in statuses}) == 1


async def _with_every_counter(plan: Plan, clients: dict[str, Client], adds: dict[str, list[Add]], result: Run) -> Run:
    """The run with each node's sum over all counters; not agreed if a single counter is wrong."""
    expected: Counter[str] = Counter()
    for each in adds.values():
        for delta, counter in each:
            expected[counter] += delta
    values, correct = {}, True
    for name, client in clients.items():
        counters = await _read_all(client, plan.names)
        values[name] = sum(counters.values())
        correct &= all(counters[counter] == expected[counter] for counter in plan.names)
    return replace(result, values=values, convergence_ms=result.convergence_ms if correct else None)


async def _read_all(client: Client, names: list[str]) -> dict[str, int]:
    values: dict[str, int] = {}

    async def read(name: str) -> None:
        values[name] = await client.read(name)

    await concurrently(WINDOW, names, read)
    return values


def _outcome(progress: Progress, agreed: bool) -> Run:
    statuses = progress.statuses
    reached_ns = max(status["state_since_ns"] for status in statuses.values())
    took_ms = max(0, reached_ns - progress.last_reply_ns) / 1e6
    return Run(
        expected=progress.plan.expected,
        convergence_ms=round(took_ms, 3) if agreed else None,
        values={name: status["local_value"] for name, status in statuses.items()},
        states={name: status["fingerprint"] for name, status in statuses.items()},
        datagrams_sent={name: status["datagrams_out"] for name, status in statuses.items()},
        bytes_sent={name: status["bytes_out"] for name, status in statuses.items()},
    )
