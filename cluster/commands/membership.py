"""Commands about who belongs to a cluster: members, join, scale, leave, remove."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gossip_counter.cluster import growth
from gossip_counter.cluster.commands.counting import choose, request
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.lock import changing
from gossip_counter.cluster.manifest import MAX_NODES, Member
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, AtNode, Directory, NodeName
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.cluster.wording import counted, duration

COLUMNS = ("name", "state", "addresses", "version", "boot", "key", "clock", "heard")


@in_one_line("cluster")
def list_members(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    node: AtNode = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """List the members as one node knows them: up, suspect, down, left or removed."""
    cluster = Cluster.load_up(directory)
    member = choose(cluster, node)
    listed = run(request(cluster, member, lambda client: client.members()))
    if as_json:
        typer.echo(json.dumps({"node": member.name, "members": listed}, indent=2))
        return
    rows = [COLUMNS, *(_row(each) for each in listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _row(listed: dict[str, Any]) -> tuple[str, ...]:
    silent_ms, skew_ms = listed["silent_ms"], listed["skew_ms"]
    heard = "-" if silent_ms is None else f"{duration(silent_ms)} ago"
    clock = "-" if skew_ms is None else f"{skew_ms:+} ms"
    addresses = ", ".join(listed["addresses"]) or "-"
    known = [listed[field] or "-" for field in ("version", "boot", "key")]
    return (listed["name"], listed["state"], addresses, *known, clock, heard)


@in_one_line("cluster")
def join(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Start one more node, which becomes a member of the cluster that is up."""
    (joined,) = run(_join(directory, 1))
    typer.echo(f"{joined.name} is a member now, on {joined.host}:{joined.port}, pid {joined.pid}")


async def _join(directory: Path, nodes: int) -> list[Member]:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        return [await growth.join(cluster) for _ in range(nodes)]


@in_one_line("cluster")
def leave(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Let a node hand over all that it stores, leave the cluster, and stop."""
    run(_leave(directory, [node]))
    typer.echo(f"{node} has left: the others store all that it did")


async def _leave(directory: Path, names: list[str]) -> None:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        for name in names:
            choose(cluster, name)  # it runs
            await growth.leave(cluster, cluster.manifest.member(name))


@in_one_line("cluster")
def scale(
    nodes: Annotated[int, typer.Argument(metavar="NODES", min=1, max=MAX_NODES, help="How many there should be.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Let nodes join, or let the newest ones leave, until there are so many."""
    names = list(Cluster.load_up(directory).members)
    if nodes > len(names):
        run(_join(directory, nodes - len(names)))
    elif nodes < len(names):
        run(_leave(directory, names[: nodes - 1 : -1]))
    typer.echo(f"{counted(nodes, 'node')}: {', '.join(Cluster.load_up(directory).members)}")


@in_one_line("cluster")
def remove(node: NodeName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Remove a dead node for good: what it acknowledged and had sent to no other node is lost. Its data stays."""
    run(_remove(directory, node))
    typer.echo(f"{node} is removed: a node of that name needs an empty data directory")


async def _remove(directory: Path, name: str) -> None:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        member = cluster.manifest.member(name)
        if cluster.process(member):
            raise ClusterError(f"{name} is up: 'cluster leave {name}' lets it hand over first")
        if len(cluster.members) == 1:
            raise ClusterError(f"{name} is the only node: 'cluster restart {name}' starts it again")
        await growth.remove(cluster, member)
