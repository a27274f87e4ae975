"""One run: clients and faults at the same time, then the verdict."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gossip_counter.bench.torture.clients import Clients
from gossip_counter.bench.torture.faults import Faults
from gossip_counter.bench.torture.plan import Plan
from gossip_counter.bench.torture.redis_clients import RedisClients
from gossip_counter.bench.torture.trial import Progress, Trial
from gossip_counter.bench.torture.verdict import Findings, Verdict, check, verdict
from gossip_counter.cluster.client import ClientError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster, temporary
from gossip_counter.cluster.sim.oracle import PromiseBroken


async def run(plan: Plan, watch: Callable[[Progress], None]) -> Verdict:
    """Torture one fresh cluster. Raises `ClusterError` if it can't be started."""
    settings = Settings(faults=True, loss=plan.loss, sealed=plan.sealed)
    async with temporary(plan.nodes, settings) as cluster:
        trial, findings, broken = Trial(plan, cluster, watch), Findings(), None
        faults = Faults(trial)
        try:
            await trial.begin()
            await _torture(trial, faults)
            await check(trial, faults, findings)
        except (PromiseBroken, ClusterError, ClientError, OSError, EOFError) as error:
            broken = str(error) or type(error).__name__
        finally:
            await faults.movers.stop()
            await faults.rotations.stop()
            faults.copies.kill_all()
            trial.close()
        if broken:
            broken += f" (logs and journals: {_keep(cluster)})"
        return verdict(trial, findings, broken)


def _keep(cluster: Cluster) -> Path:
    """Kill the nodes, and copy all that they have written to where it stays; where that is.

    Raises `ClusterError`, `OSError`.
    """
    cluster.kill(*cluster.alive())
    kept = Path(tempfile.mkdtemp(prefix="counter-torture-"))
    shutil.copytree(cluster.manifest.directory, kept, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    return kept


async def _torture(trial: Trial, faults: Faults) -> None:
    """Until the schedule ends, or a client gets a reply that can't be true: that is raised."""
    clients, redis_clients = Clients(trial), RedisClients(trial)
    tasks = [
        asyncio.create_task(faults.follow()),
        *(asyncio.create_task(clients.count()) for _ in range(trial.plan.clients)),
        *(asyncio.create_task(redis_clients.count()) for _ in range(trial.plan.redis_clients)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
