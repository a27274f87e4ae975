"""Commands that count: add, read."""

import random
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from gossip_counter.cluster.client import Client
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import MAX_NODES, Member
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, AtNode, CounterName, Directory
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import DEFAULT_COUNTER

T = TypeVar("T")

TIMEOUT_S = 3
"""Longer than a node waits for copies or for what a token covers, which is one second."""


def _delta(text: str) -> int:
    try:
        delta = int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number, nor an option of this command") from None
    if abs(delta) > MAX_COUNT:
        raise typer.BadParameter(f"it must be from -{MAX_COUNT} to {MAX_COUNT}")
    return delta


@in_one_line("cluster")
def add(
    delta: Annotated[
        int,
        typer.Argument(metavar="DELTA", parser=_delta, help="What to add; negative takes away, as in: cluster add -5"),
    ],
    node: AtNode = None,
    counter: CounterName = DEFAULT_COUNTER,
    copies: Annotated[
        int, typer.Option(min=1, max=MAX_NODES, help="Wait until so many nodes store it durably, this one included.")
    ] = 1,
    tell_token: Annotated[
        bool,
        typer.Option(
            "--tell-token", help="Print a token, with which 'cluster read --token' sees this add at any node."
        ),
    ] = False,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Add to a counter at one node; gossip brings it to the others."""
    cluster = Cluster.load_up(directory)
    if tell_token and cluster.settings.gossip == "full":
        raise ClusterError("nothing was added: there are no tokens in a cluster that was started with --gossip full")
    member = _choose(cluster, node)
    token = run(_request(member, lambda client: client.add(delta, counter, copies)))
    done = f"{member.name} counted {delta:+d}" + (f", durable on {copies} nodes" if copies > 1 else "")
    typer.echo(done, err=tell_token)
    if token is None and tell_token:
        typer.echo("there is no token: too many nodes, or nodes that lost their journals, have written", err=True)
    elif tell_token:
        typer.echo(token)


@in_one_line("cluster")
def read(
    node: AtNode = None,
    counter: CounterName = DEFAULT_COUNTER,
    token: Annotated[str | None, typer.Option(help="Wait until the node stores what this token covers.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Print one node's value of a counter, and nothing else."""
    member = _choose(Cluster.load_up(directory), node)
    typer.echo(run(_request(member, lambda client: client.read(counter, token))))


async def _request(member: Member, request: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    async with await Client.connect(member.address, TIMEOUT_S) as client:
        return await request(client)


def _choose(cluster: Cluster, name: str | None) -> Member:
    """The node of that name if it runs, or else any that does. Raises `ClusterError`."""
    if name is None:
        return _any(cluster)
    member = cluster.manifest.member(name)
    if cluster.process(member) is None:
        raise ClusterError(f"{name} is dead: 'cluster restart {name}' starts it again")
    if cluster.is_paused(member):
        raise ClusterError(f"{name} is paused: 'cluster resume {name}' lets it go on")
    return member


def _any(cluster: Cluster) -> Member:
    running = [each for each in cluster.alive() if not cluster.is_paused(each)]
    if not running:
        raise ClusterError("no node is up: 'cluster restart n1' starts one, 'cluster status' shows all")
    return random.choice(running)
