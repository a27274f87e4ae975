"""Commands that start and stop nodes: up, restart, down."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated

import psutil
import typer

from gossip_counter.cluster import key_rings, orphans, ports
from gossip_counter.cluster.commands import live
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.lock import changing
from gossip_counter.cluster.manifest import FILE, MAX_NODES, Settings
from gossip_counter.cluster.options import (
    DEFAULT_DIRECTORY,
    CounterName,
    Directory,
    GossipMode,
    LogLevel,
    NodeName,
    Push,
    dir_option,
    pushes,
)
from gossip_counter.cluster.processes import Cluster, end
from gossip_counter.cluster.running import InterruptedBySignal, in_one_line, progress_line, run
from gossip_counter.cluster.supervisor import Supervisor
from gossip_counter.cluster.wording import counted
from gossip_counter.node.core.messages import DEFAULT_COUNTER

DEFAULT_NODES = 5
DEFAULT_PORT = 7101


Nodes = Annotated[int | None, typer.Option("-n", "--nodes", min=1, max=MAX_NODES, help="How many nodes.  [default: 5]")]
BasePort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65_435,
        help="Port of n1, for UDP and Redis clients; n2 has the next. 0 takes free ones.  [default: 7101]",
    ),
]
Interval = Annotated[int, typer.Option(min=1, max=3_600_000, help="Between two gossip rounds.")]
Fanout = Annotated[int, typer.Option(min=0, max=1000, help="Random peers per gossip round.")]
Gossip = Annotated[GossipMode, typer.Option(help="Digests and changes, or the whole state every round.")]
Ephemeral = Annotated[
    bool,
    typer.Option("--ephemeral", help="Keep counts in memory: a node that dies gets back only what others store."),
]
Faults = Annotated[bool, typer.Option("--faults", help="Allow 'cluster partition', which is for experiments.")]
Metrics = Annotated[
    bool,
    typer.Option("--metrics", help="Serve /metrics, /healthz and /readyz of each node; 'status --json' shows where."),
]
Sealed = Annotated[
    bool,
    typer.Option(
        "--sealed", help="Seal all UDP datagrams with a key of the cluster's own ('cluster keys'); it stays so."
    ),
]
Restarting = Annotated[
    bool,
    typer.Option(
        "--restart", help="Restart nodes that die, after longer waits if they keep dying (not with --detach)."
    ),
]
Log = Annotated[LogLevel, typer.Option(help="Of the nodes' logs.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave the nodes running and return.")]


@in_one_line("cluster")
def up(
    nodes: Nodes = None,
    base_port: BasePort = None,
    interval_ms: Interval = 100,
    fanout: Fanout = 2,
    gossip: Gossip = GossipMode.DELTA,
    push: Push = None,
    ephemeral: Ephemeral = False,
    faults: Faults = False,
    metrics: Metrics = False,
    sealed: Sealed = False,
    restarting: Restarting = False,
    log_level: Log = LogLevel.INFO,
    detach: Detach = False,
    counter: CounterName = DEFAULT_COUNTER,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Start a cluster and show it live until Ctrl-C, which stops it.

    If the directory has a cluster that is down, that one is started again: the same nodes and ports, with their data.
    All other settings are as the options say now.
    """
    if restarting and detach:
        raise typer.BadParameter("nodes are restarted by this command: leave out --detach", param_hint="--restart")
    does_push = pushes(push, gossip)
    settings = Settings(
        interval_ms, fanout, gossip.value, does_push, log_level.value, ephemeral, faults, metrics, sealed
    )
    watched: list[Cluster] = []
    try:
        started = _up(
            directory, settings, watched, nodes=nodes, base_port=base_port, detach=detach, restarting=restarting,
            counter=counter,
        )  # fmt: skip
        run(started)
    except InterruptedBySignal as signal:
        if not watched:
            raise
        typer.echo(f"stopped ({signal})", err=True)


async def _up(
    directory: Path,
    settings: Settings,
    watched: list[Cluster],
    *,
    nodes: int | None,
    base_port: int | None,
    detach: bool,
    restarting: bool,
    counter: str,
) -> None:
    """Start; then stay and watch until cancelled, unless `detach`. `watched` gets the cluster once it is watched."""
    began = asyncio.get_running_loop().time()
    async with changing(directory, make=True):
        cluster = _old_or_new(directory, settings, nodes, base_port)
        with progress_line() as show:
            await cluster.start_all(lambda answer: show(f"starting: {answer} of {len(cluster.members)} nodes answer"))
    keep_running = False
    try:
        _report_start(cluster, asyncio.get_running_loop().time() - began)
        if detach:
            report_next(directory)
            keep_running = True
        else:
            watched.append(cluster)
            await live.show(cluster, counter, Supervisor(cluster) if restarting else None)
    finally:
        if not keep_running:
            async with _changing_unless_deleted(directory):
                cluster.stop_all()


def _changing_unless_deleted(directory: Path) -> contextlib.AbstractAsyncContextManager[None]:
    return changing(directory) if directory.exists() else contextlib.nullcontext()


def _old_or_new(directory: Path, settings: Settings, nodes: int | None, base_port: int | None) -> Cluster:
    """The cluster that was in a directory before, or else a new one. Raises `ClusterError`."""
    if not (directory / FILE).exists():
        if orphans.of(directory):
            raise ClusterError(orphans.no_cluster(directory))
        new_nodes, new_port = (
            DEFAULT_NODES if nodes is None else nodes,
            DEFAULT_PORT if base_port is None else base_port,
        )
        return Cluster.create(directory, new_nodes, new_port, settings)
    found = Cluster.load(directory)
    _check_old(found, settings, nodes)
    settings.sealed |= found.settings.sealed
    if settings.sealed and not found.settings.sealed:
        key_rings.ensure(found.manifest.keys_path)
    found.manifest.settings, found.manifest.partition = settings, []
    if base_port is None:
        ports.check(found.manifest)
    else:
        ports.assign(found.manifest, base_port)
    return found


def _check_old(found: Cluster, settings: Settings, nodes: int | None) -> None:
    directory = found.manifest.directory
    if alive := ", ".join(each.name for each in found.alive()):
        raise ClusterError(
            f"a cluster is already up in {directory} ({alive}): 'cluster down' first, or use another --dir and"
            " --base-port"
        )
    if nodes not in (None, len(found.members)):
        size = counted(len(found.members), "node")
        raise ClusterError(f"{directory} holds a cluster of {size}: leave out --nodes, or use another --dir")
    if settings.ephemeral and not found.settings.ephemeral:
        raise ClusterError(f"{directory} holds durable counts: leave out --ephemeral, or use another --dir")


def report_next(directory: Path) -> None:
    """Print commands to try next: with `--dir`, unless they find the directory without it."""
    option = dir_option(directory)
    where = f", each with{option}" if option else ""
    typer.echo(f"next: cluster status, cluster add 1, cluster read, cluster down{where}")


def _report_start(cluster: Cluster, took_s: float) -> None:
    numbers = [member.port for member in cluster.members.values()]
    nodes, first = len(numbers), cluster.members["n1"]
    others = f" to {numbers[-1]}" if numbers == list(range(numbers[0], numbers[0] + nodes)) else " and others"
    where = f"{first.host}:{first.port}{others if nodes > 1 else ''}"
    logs = cluster.manifest.directory / "logs"
    typer.echo(f"{counted(nodes, 'node')} up in {took_s:.2f} s on {where}, logs in {logs}")
    if cluster.settings.metrics:
        typer.echo(f"metrics of n1: http://{first.host}:{first.metrics_port}/metrics")


@in_one_line("cluster")
def restart(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Start a dead node again, or stop and start one that runs; the others send it what it missed."""
    pid = run(_restart(directory, node))
    typer.echo(f"{node} up again, pid {pid}")


async def _restart(directory: Path, name: str) -> int:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        member = cluster.manifest.member(name)
        cluster.stop([member])
        cluster.start(member)
        await cluster.ready(member)
    return member.pid


@in_one_line("cluster")
def down(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop every node of the cluster, and no other process. Data and logs stay."""
    stopped = run(_down(directory))
    typer.echo(
        f"the cluster in {directory} is down already" if stopped is None else f"{counted(stopped, 'node')} stopped"
    )


def _without_file(directory: Path) -> list[psutil.Process]:
    """The nodes of a directory, if the file of their cluster is gone."""
    has_file = os.path.exists(directory / FILE)  # noqa: PTH110 a Path raises where the directory is another user's
    return [] if has_file else orphans.of(directory)


async def _down(directory: Path) -> int | None:
    """How many nodes were stopped; None if the cluster was down."""
    if left := _without_file(directory):
        end(lambda: orphans.of(directory), f"nodes of {directory}")
        return len(left)
    async with changing(directory):
        cluster = Cluster.load(directory)
        alive = len(cluster.alive())
        if not alive and not cluster.manifest.is_up:
            return None
        cluster.stop_all()
    return alive
