"""Commands that count: add, read, counters."""

import json
import random
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from gossip_counter.cluster import counters
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import MAX_NODES, Member
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, AtNode, CounterName, Directory
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.cluster.wording import shown
from gossip_counter.node import encodings
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import DEFAULT_COUNTER

T = TypeVar("T")


class Order(StrEnum):
    """In which order counters are listed."""

    NAME = "name"
    VALUE = "value"


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
    done = f"{member.name} counted {delta:+d}{f' in {shown(counter)}' if counter else ''}"
    done += f", durable on {copies} nodes" if copies > 1 else ""
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
    """Print one node's value of a counter, and nothing else on stdout.

    If the node knows of no add to that counter, stderr says so: the name may be misspelled.
    """
    member = _choose(Cluster.load_up(directory), node)
    value, is_known = run(_request(member, lambda client: _read(client, counter, token)))
    if not is_known:
        named = shown(counter) if counter else "the default counter"
        typer.echo(f"{member.name} knows of no add to {named}", err=True)
    typer.echo(value)


async def _read(client: Client, counter: str, token: str | None) -> tuple[int, bool]:
    """The value, and whether anybody has added to the counter."""
    value = await client.read(counter, token)
    if value:
        return value, True
    status = await client.gossip_status(counter)
    return value, bool(status["increments"] or status["decrements"])


@in_one_line("cluster")
def list_counters(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", parser=encodings.name, help="A glob, as in 'page:*'; quote it.")
    ] = counters.EVERY,
    sort: Annotated[Order, typer.Option(help="By name, or by value with the greatest first.")] = Order.NAME,
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="Print so many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    node: AtNode = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """List one node's counters and their values."""
    member = _choose(Cluster.load_up(directory), node)
    order = counters.by_value if sort is Order.VALUE else counters.by_name
    found = run(counters.first(member.address, pattern, top, order))
    if as_json:
        listed = [{"name": each.name, "value": each.value} for each in found.counters]
        typer.echo(json.dumps({"node": member.name, "matching": found.matching, "counters": listed}, indent=2))
        return
    width = max((len(f"{each.value:,}") for each in found.counters), default=0)
    for each in found.counters:
        typer.echo(f"{each.value:>{width},}  {shown(each.name)}")
    if not found.counters:
        typer.echo(f"{member.name} knows of no {'' if pattern == counters.EVERY else 'such '}counter", err=True)
    elif found.matching > len(found.counters):
        typer.echo(f"{len(found.counters):,} of {found.matching:,} counters: --top shows more", err=True)


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
