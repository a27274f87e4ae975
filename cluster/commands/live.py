"""Commands that show a cluster: status, logs, and the live table of `up`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from gossip_counter.cluster import dashboard
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Manifest
from gossip_counter.cluster.monitor import Monitor, Snapshot
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, Directory, NodeName
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.cluster.supervisor import Supervisor

INTERVAL_S = 0.25
"""Seconds between two snapshots of the live table."""

out = Console()


@in_one_line("cluster")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the table as a picture.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Show every node once, and whether those that run agree."""
    snapshot = run(_snapshot(Cluster.load_up(directory), with_rates=not as_json))
    if svg:
        try:
            dashboard.save_picture(snapshot, svg)
        except OSError as error:
            raise ClusterError(f"can't write {svg}: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
    else:
        out.print(dashboard.table(snapshot, out.width))


async def _snapshot(cluster: Cluster, with_rates: bool) -> Snapshot:
    with contextlib.closing(Monitor()) as monitor:
        if with_rates:  # which need two snapshots
            await monitor.look(cluster)
            await asyncio.sleep(INTERVAL_S)
        return await monitor.look(cluster)


@in_one_line("cluster")
def logs(
    node: NodeName,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Print the last log lines of a node."""
    manifest = Manifest.load(directory)
    for line in manifest.log_lines(manifest.member(node).name)[-lines:]:
        typer.echo(line)


async def watch(cluster: Cluster, supervisor: Supervisor | None) -> None:
    """Show the cluster until cancelled, or until another command takes it down."""
    last = ""
    table = Live(console=out, auto_refresh=False) if out.is_terminal else None
    with table or contextlib.nullcontext():
        async for snapshot in _snapshots(cluster):
            if table:
                table.update(dashboard.table(snapshot, out.width), refresh=True)
            elif dashboard.line(snapshot) != last:
                last = dashboard.line(snapshot)
                typer.echo(last)
            if supervisor:
                for line in await supervisor.tend(snapshot, asyncio.get_running_loop().time()):
                    out.print(line, markup=False, soft_wrap=True)
    typer.echo("the cluster was taken down")


async def _snapshots(cluster: Cluster) -> AsyncIterator[Snapshot]:
    with contextlib.closing(Monitor()) as monitor:
        while True:
            try:
                saved = Manifest.load_up(cluster.manifest.directory)
            except ClusterError:
                return
            if saved.id != cluster.manifest.id:
                return
            cluster.manifest = saved  # other commands may have changed it
            yield await monitor.look(cluster)
            await asyncio.sleep(INTERVAL_S)
