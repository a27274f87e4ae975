"""Commands about who belongs to a cluster: members, join, scale, leave, remove."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossip_counter.cluster import growth
from gossip_counter.cluster.commands.counting import choose
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.lock import changing
from gossip_counter.cluster.manifest import MAX_NODES, Member
from gossip_counter.cluster.member_lists import MemberLists
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, AtNode, Directory, NodeName, naming
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.cluster.wording import counted, duration
from gossip_counter.node.core.config import DEFAULTS
from gossip_counter.node.endpoints.addresses import Address, of_text, shown

if TYPE_CHECKING:
    from gossip_counter.cluster.seals import Keys

COLUMNS = ("name", "state", "addresses", "version", "boot", "key", "clock", "heard")


def _address(text: str) -> Address:
    if address := of_text(text):
        return address
    raise typer.BadParameter(f"{text!r} is not HOST:PORT")


At = Annotated[
    Any,  # an Address, which Typer can't make an option of
    typer.Option(
        "--at", metavar="HOST:PORT", parser=_address, help="Ask the node there, also of a cluster on other hosts."
    ),
]
KeyFileOption = Annotated[
    Path | None, typer.Option("--keys", metavar="FILE", help="With --at: the keys of that cluster if it is sealed.")
]
DEFAULT_NAME = str(DEFAULTS["cluster"])
ClusterName = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=DEFAULT_NAME, help="With --at and --keys: the name of that cluster."),
]


def _lists_at(address: Address | None, keys: Path | None, cluster: str | None) -> MemberLists | None:
    """The list of a node that is asked with --at; None without it. Raises `typer.BadParameter`."""
    if keys and not address:
        raise typer.BadParameter("it needs --at HOST:PORT: a cluster of --dir has its keys there", param_hint="--keys")
    if cluster and not keys:
        raise typer.BadParameter("it needs --at HOST:PORT and --keys FILE", param_hint="--cluster-name")
    if not address:
        return None
    name = cluster or DEFAULT_NAME
    option = f" --at {shown(address)}" + (f" --keys {keys} --cluster-name {name}" if keys else "")
    return MemberLists([address], _keys(keys, name) if keys else None, option)


def _keys(path: Path, cluster: str) -> "Keys":
    from gossip_counter.cluster.seals import Keys  # noqa: PLC0415 half the start-up of a command

    return Keys.read(path, cluster)


@in_one_line("cluster")
def list_members(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    node: AtNode = None,
    at: At = None,
    keys: KeyFileOption = None,
    cluster_name: ClusterName = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """List the members as one node knows them: up, suspect, down, left or removed."""
    if at and node:
        raise typer.BadParameter("--at names the node already: leave out one of them", param_hint="--node")
    (view,) = run((_lists_at(at, keys, cluster_name) or _lists_of(directory, node)).views())
    if as_json:
        typer.echo(json.dumps({"node": view.name, "members": view.members}, indent=2))
        return
    rows = [COLUMNS, *(_row(each) for each in view.members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _lists_of(directory: Path, node: str | None) -> MemberLists:
    """The list of one node in a directory. Raises `ClusterError`."""
    cluster = Cluster.load_up(directory)
    return MemberLists([choose(cluster, node).address], cluster.keys)


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
    joined = run(_join(directory))
    typer.echo(f"{joined.name} is a member now, on {joined.host}:{joined.port}, pid {joined.pid}")


async def _join(directory: Path) -> Member:
    async with changing(directory):
        return await growth.join(Cluster.load_up(directory))


@in_one_line("cluster")
def leave(
    node: NodeName,
    at: At = None,
    keys: KeyFileOption = None,
    cluster_name: ClusterName = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Let a node hand over all that it stores, leave the cluster, and stop."""
    lists = _lists_at(at, keys, cluster_name)
    typer.echo(run(lists.leave(node) if lists else _leave(directory, node)))


async def _leave(directory: Path, name: str) -> str:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        if name in cluster.members:
            return await growth.leave(cluster, choose(cluster, name))
        return await growth.lists_of(cluster).leave(name)


@in_one_line("cluster")
def scale(
    nodes: Annotated[int, typer.Argument(metavar="NODES", min=1, max=MAX_NODES, help="How many there should be.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Let nodes join, or let the newest ones leave, until there are so many."""
    typer.echo(naming(directory, run(_scale(directory, nodes))))


async def _scale(directory: Path, nodes: int) -> str:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        for member in list(cluster.members.values())[: nodes - 1 : -1]:
            _check_all_run(cluster)
            await growth.leave(cluster, member)
        while len(cluster.members) < nodes:
            await growth.join(cluster)
        dead = [f"; {each} is dead: 'cluster restart {each}' starts it again" for each in _dead(cluster)]
    return f"{counted(nodes, 'node')}: {', '.join(cluster.members)}{''.join(dead)}"


def _dead(cluster: Cluster) -> list[str]:
    return [each.name for each in cluster.members.values() if not cluster.process(each)]


def _check_all_run(cluster: Cluster) -> None:
    """Nobody leaves while another node is dead, or fewer would run than were asked for. Raises `ClusterError`."""
    for name in _dead(cluster):
        raise ClusterError(
            f"no node leaves while {name} is dead: 'cluster restart {name}' starts it again, 'cluster remove {name}'"
            " removes it for good"
        )
    for name in cluster.members:
        choose(cluster, name)  # it is not paused


@in_one_line("cluster")
def remove(
    node: NodeName,
    at: At = None,
    keys: KeyFileOption = None,
    cluster_name: ClusterName = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Remove a dead node for good: what it acknowledged and had sent to no other node is lost. Its data stays."""
    lists = _lists_at(at, keys, cluster_name)
    typer.echo(run(lists.remove(node) if lists else _remove(directory, node)))


async def _remove(directory: Path, name: str) -> str:
    async with changing(directory):
        cluster = Cluster.load_up(directory)
        if name in cluster.members:
            return await growth.remove(cluster, cluster.members[name])
        return await growth.lists_of(cluster).remove(name)
