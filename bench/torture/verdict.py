"""What a tortured cluster must hold once all faults are gone."""

import asyncio
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.bench.torture import disks, redis_clients
from gossip_counter.bench.torture.books import Kind
from gossip_counter.bench.torture.faults import Faults
from gossip_counter.bench.torture.plan import Plan
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster.sim.oracle import PromiseBroken

IN_SYNC_S = 60.0
"""How long nodes may take to reach equal state."""
LOOK_S = 0.5
MOST_MEMORY = 200 * 10**6
MOST_JOURNAL = 50 * 10**6


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to. `broken` says which promise was broken, None if all were kept."""

    plan: Plan
    acknowledged: int
    unknown: int
    reads: int
    redis: dict[str, int]
    """Acknowledged requests of Redis clients: adds by the kind of counter, and deletes."""
    steps: dict[str, int]
    members: list[str]
    """At the end."""
    level_s: float | None
    """Seconds from the end of all faults until every node held the same."""
    memory_mb: dict[str, float]
    journal_mb: dict[str, float]
    broken: str | None = None

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        figures = asdict(self)
        del figures["plan"]
        return asdict(self.plan) | {"seconds": self.plan.length_s} | figures

    def table(self) -> Table:
        """See `report.Result`."""
        plan, kept = self.plan, "a promise was broken" if self.broken else "every promise was kept"
        what = f"all killed {plan.kill_all} times, " if plan.kill_all else f"{plan.seconds:g} s, "
        setting = f"{plan.nodes} nodes, {what}seed {plan.seed}, {plan.loss:.0%} loss, {plan.clients} clients"
        setting += ", sealed" if plan.sealed else ""
        shown = report.table_of(f"{setting}: {kept}", ("", ""))
        shown.add_row("acknowledged writes", f"{self.acknowledged:,}")
        shown.add_row("writes of unknown outcome", f"{self.unknown:,}")
        shown.add_row("reads, each within its bounds", f"{self.reads:,}")
        shown.add_row("writes of Redis clients, on counters that end", _in_words(self.redis))
        shown.add_row("what was done", _in_words(self.steps))
        shown.add_row("members at the end", ", ".join(self.members))
        if self.level_s is not None:
            memory, journal = (max(each.values(), default=0) for each in (self.memory_mb, self.journal_mb))
            shown.add_row("all level after", f"{self.level_s:.2f} s")
            shown.add_row("largest node, largest journal", f"{memory:.1f} MB, {journal:.1f} MB")
        shown.show_header = False
        return shown


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


@dataclass(slots=True)
class Findings:
    """What the checks found so far; kept when one of them fails."""

    level_s: float | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)
    journal_mb: dict[str, float] = field(default_factory=dict)


def verdict(trial: Trial, findings: Findings, broken: str | None) -> Verdict:
    """The verdict on a trial that has ended."""
    progress = trial.progress
    return Verdict(
        plan=trial.plan,
        acknowledged=progress.acknowledged.total(),
        unknown=progress.unknown.total(),
        reads=progress.reads.total(),
        redis=dict(trial.books.done),
        steps=dict(progress.done),
        members=list(trial.cluster.members),
        level_s=findings.level_s,
        memory_mb=findings.memory_mb,
        journal_mb=findings.journal_mb,
        broken=broken,
    )


async def check(trial: Trial, faults: Faults, findings: Findings) -> None:
    """Remove all faults and check every promise; then kill all nodes at once and check again.

    Raises `PromiseBroken`, `ClientError`, `ClusterError`.
    """
    loop = asyncio.get_running_loop()
    trial.progress.phase = "heal"
    await faults.remove_all()
    await faults.copies.end_all()
    await faults.movers.finish()
    await faults.rotations.finish()
    await faults.remove_all()  # for those that have come since
    began = loop.time()
    if not await trial.in_sync(IN_SYNC_S):
        states = {name: status["fingerprint"] for name, status in (await trial.statuses()).items()}
        raise PromiseBroken(f"the nodes do not agree {IN_SYNC_S:g} s after all was well: {states}")
    findings.level_s = loop.time() - began
    trial.books.settle(redis_clients.now_ms())
    await faults.movers.check_lists()
    await _check_totals(trial)
    await _check_bounds(trial, findings)
    rows = await _forgotten(trial) if trial.plan.awaits_end else None
    trial.progress.phase = "kill all, and look again"
    faults.kill(*trial.cluster.members.values())
    await faults.remove_all()
    if not await trial.in_sync(IN_SYNC_S):
        raise PromiseBroken("the nodes do not agree after all were killed and started again")
    await faults.movers.check_lists()
    await _check_totals(trial)
    if rows is not None:
        _check_journals(trial, rows)


async def _forgotten(trial: Trial) -> dict[str, int]:
    """Wait until all windows must be forgotten; by node, how many rows it holds then.

    Raises `PromiseBroken`, `ClientError`.
    """
    progress, end_ms = trial.progress, trial.books.forgotten_ms
    while (left_ms := end_ms - redis_clients.now_ms()) > 0:
        progress.phase = f"windows must be forgotten in {left_ms / 1000:.0f} s"
        trial.show()
        await asyncio.sleep(min(LOOK_S, left_ms / 1000))
    if not await trial.in_sync(IN_SYNC_S):
        raise PromiseBroken("the nodes do not agree any more once windows are forgotten")
    return {name: status["rows"] for name, status in (await trial.statuses()).items()}


def _check_journals(trial: Trial, rows: dict[str, int]) -> None:
    """Stop the nodes: their journals have the rows that they held, and none of windows. Raises `PromiseBroken`."""
    cluster = trial.cluster
    cluster.stop(cluster.members.values())
    for name in cluster.members:
        stored = disks.counters(cluster.manifest.data_path(name))
        if over := [counter for counter in stored if counter.startswith(Kind.WINDOW)]:
            raise PromiseBroken(f"{name} stores rows of windows 75 s after their end: {over}")
        if len(stored) != rows[name]:
            raise PromiseBroken(f"{name} held {rows[name]} rows, and stores {len(stored)}")


async def _check_totals(trial: Trial) -> None:
    for counter in trial.oracle.counters:
        for name, status in (await trial.statuses(counter)).items():
            totals = status["increments"], status["decrements"]
            trial.oracle.check_totals(name, counter, totals, status["local_value"])
    await redis_clients.check_all(trial)


async def _check_bounds(trial: Trial, findings: Findings) -> None:
    """No node grew without bound or met an unexpected error."""
    most_rows = (trial.plan.counters + len(trial.books.ledgers)) * trial.most_actors
    for name, status in (await trial.statuses()).items():
        member = trial.cluster.members[name]
        process = trial.cluster.process(member)
        memory = process.memory_info().rss if process else 0
        files = trial.cluster.manifest.data_path(name).iterdir()
        journal = sum(path.stat().st_size for path in files if "damaged" not in path.name)
        findings.memory_mb[name], findings.journal_mb[name] = round(memory / 1e6, 1), round(journal / 1e6, 2)
        if status["rows"] > most_rows:
            raise PromiseBroken(f"{name} holds {status['rows']} rows where {most_rows} can have been written")
        if memory > MOST_MEMORY or journal > MOST_JOURNAL:
            raise PromiseBroken(f"{name} grew to {memory:,} bytes of memory and {journal:,} of journal")
        if status["internal_errors"]:
            log = "\n".join(trial.cluster.manifest.log_lines(name)[-20:])
            raise PromiseBroken(f"{name} met {status['internal_errors']} unexpected errors:\n{log}")
