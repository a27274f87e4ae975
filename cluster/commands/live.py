"""Commands that show a cluster: status, watch, logs, and the live table of `up`."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gossip_counter.cluster import dashboard
from gossip_counter.cluster.errors import ClusterError, reason
from gossip_counter.cluster.manifest import FILE, Manifest
from gossip_counter.cluster.monitor import Monitor, Snapshot
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, CounterName, Directory, NodeName, naming
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import InterruptedBySignal, in_one_line, run
from gossip_counter.cluster.screen import Screen
from gossip_counter.cluster.supervisor import Supervisor
from gossip_counter.cluster.wording import shown
from gossip_counter.node.core.messages import DEFAULT_COUNTER

INTERVAL_S = 0.25
"""Seconds between two snapshots of the live table, and between two looks at a log."""

CHUNK = 65_536
"""Bytes of a log that are read at once."""

out = Console()
if not out.width:  # the variable COLUMNS is 0, as in some containers
    out.width = 80


@in_one_line("cluster")
def status(
    counter: CounterName = DEFAULT_COUNTER,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the table as a picture.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Show every node once, and whether those that run agree."""
    snapshot = run(_snapshot(Cluster.load_up(directory), counter, with_rates=not as_json))
    if svg:
        try:
            dashboard.save_picture(snapshot, svg)
        except OSError as error:
            raise ClusterError(f"can't write {svg}: {reason(error)}") from None
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
    else:
        out.print(dashboard.table(snapshot, out.width))
    up = snapshot.up if counter else []
    if up and not any(node.status["increments"] or node.status["decrements"] for node in up):
        typer.echo(f"no node knows of an add to {shown(counter)}", err=True)


async def _snapshot(cluster: Cluster, counter: str, with_rates: bool) -> Snapshot:
    with contextlib.closing(Monitor()) as monitor:
        if with_rates:  # which need two snapshots
            await monitor.look(cluster, counter)
            await asyncio.sleep(INTERVAL_S)
        return await monitor.look(cluster, counter)


@in_one_line("cluster")
def watch(counter: CounterName = DEFAULT_COUNTER, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Show a cluster that is up live, as 'cluster up' does. Ctrl-C ends the view and leaves the cluster running."""
    with _until_signal(naming(directory, "the cluster runs on; 'cluster down' stops it")):
        run(show(Cluster.load_up(directory), counter))


@in_one_line("cluster")
def logs(
    node: NodeName,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Print the last log lines of a node."""
    manifest = Manifest.load(directory)
    path = manifest.log_path(manifest.member(node).name)
    size = path.stat().st_size if follow and path.exists() else 0
    for line in manifest.log_lines(node)[-lines:]:
        typer.echo(line)
    if follow:
        with _until_signal(""):
            run(_follow(path, size))


@contextlib.contextmanager
def _until_signal(farewell: str) -> Iterator[None]:
    """For commands that have no other end: a signal is none of their errors."""
    try:
        yield
    except InterruptedBySignal:
        if farewell:
            typer.echo(farewell, err=True)


async def _follow(path: Path, position: int) -> None:
    """Print what is written to a file from now on, line by line, also if it is begun again. Raises `ClusterError`."""
    rest = b""
    while True:
        try:
            with path.open("rb") as log:  # anew each time: it may have been put away
                size = log.seek(0, os.SEEK_END)
                position = log.seek(position if position <= size else 0)
                chunk = log.read(CHUNK)
        except OSError as error:
            raise ClusterError(f"can't read {path}: {reason(error)}") from None
        position += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            typer.echo(line.decode(errors="replace"))
        if len(rest) > CHUNK:
            typer.echo(rest.decode(errors="replace"), nl=False)
            rest = b""
        if len(chunk) < CHUNK:
            await asyncio.sleep(INTERVAL_S)


async def show(cluster: Cluster, counter: str, supervisor: Supervisor | None = None) -> None:
    """Show the cluster until cancelled, or until another command takes it down. Errors in showing it end nothing."""
    with contextlib.closing(Monitor()) as monitor, Screen(out) as screen:
        while _is_still_up(cluster):
            try:
                snapshot = await monitor.look(cluster, counter)
                lines = await supervisor.tend(snapshot, asyncio.get_running_loop().time()) if supervisor else []
                screen.show(snapshot, lines)
            except Exception as error:  # noqa: BLE001 counted and reported: what is shown goes on
                screen.failed(error)
            await asyncio.sleep(INTERVAL_S)
    path = cluster.manifest.directory / FILE
    typer.echo("the cluster was taken down" if path.exists() else f"{path} is gone: nothing more can be shown")


def _is_still_up(cluster: Cluster) -> bool:
    """Whether no other command has taken the cluster down. What others changed is known from now on."""
    try:
        saved = Manifest.load_up(cluster.manifest.directory)
    except ClusterError:
        return False
    if saved.id != cluster.manifest.id:
        return False
    cluster.manifest = saved
    return True
