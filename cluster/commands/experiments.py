"""Commands that make things go wrong: kill, pause, resume, wipe, partition, heal."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gossip_counter.cluster import faults
from gossip_counter.cluster.lock import changing
from gossip_counter.cluster.manifest import Member
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, Directory, NodeName, naming
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run


@in_one_line("cluster")
def kill(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Kill a node with SIGKILL, as a crash would."""
    run(_change(directory, node, Cluster.kill))
    typer.echo(f"{node} killed")


@in_one_line("cluster")
def pause(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Pause a node (SIGSTOP), as a machine that swaps or a debugger would."""
    run(_change(directory, node, Cluster.pause))
    typer.echo(f"{node} paused")


@in_one_line("cluster")
def resume(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Let a paused node go on (SIGCONT)."""
    run(_change(directory, node, Cluster.resume))
    typer.echo(f"{node} goes on")


@in_one_line("cluster")
def wipe(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Delete a dead node's data directory, as if its disk was lost.

    After its restart the others send it what they have. What it acknowledged and had sent to no other node is lost:
    'cluster add --copies 2' waits until others have it too.
    """
    cluster = run(_change(directory, node, faults.wipe, Cluster.load))  # also in a cluster that is down
    command = f"cluster restart {node}" if cluster.manifest.is_up else "cluster up"
    typer.echo(naming(directory, f"{node} has nothing left: '{command}' starts it anew"))


async def _change(
    directory: Path,
    name: str,
    change: Callable[[Cluster, Member], None],
    load: Callable[[Path], Cluster] = Cluster.load_up,
) -> Cluster:
    async with changing(directory):
        cluster = load(directory)
        change(cluster, cluster.manifest.member(name))
        return cluster


@in_one_line("cluster")
def partition(
    groups: Annotated[str, typer.Argument(metavar="GROUPS", help="Nodes that stay connected, as in n1,n2/n3,n4,n5.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Cut groups of nodes off from each other, in a cluster started with --faults; 'cluster heal' ends it."""
    run(_partition(directory, [[name.strip() for name in group.split(",")] for group in groups.split("/")]))
    typer.echo(f"cut into {groups}; clients still reach every node")


@in_one_line("cluster")
def heal(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """End a partition: all nodes receive from each other again."""
    run(_partition(directory, []))
    typer.echo("healed")


async def _partition(directory: Path, groups: list[list[str]]) -> None:
    async with changing(directory):
        await faults.partition(Cluster.load_up(directory), groups)
