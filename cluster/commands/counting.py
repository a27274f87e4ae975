"""Commands that count: add, read, counters."""

import json
import random
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from gossip_counter.cluster import counters
from gossip_counter.cluster.client import Client, Reading
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import MAX_NODES, Member
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, AtNode, CounterName, Directory
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.cluster.wording import duration, shown
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


MOST_SECONDS = MAX_COUNT // 1000


def _milliseconds(text: str) -> int:
    """Seconds as a user writes them, in milliseconds."""
    try:
        seconds = Decimal(text)
        ms = round(seconds * 1000) if 0 < seconds <= MOST_SECONDS else 0
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no number of seconds") from None
    if not ms:
        raise typer.BadParameter(f"it must be from 0.001 to {MOST_SECONDS} seconds")
    return ms


Bound = Annotated[
    int | None, typer.Option(metavar="VALUE", parser=_delta, help="Add nothing if the value would pass it.")
]


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
    expire: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", parser=_milliseconds, help="The counter ends so long from now; 1.5 is good too."
        ),
    ] = None,
    expire_if_new: Annotated[
        bool, typer.Option("--expire-if-new", help="Only if it has no end yet: counts in windows of --expire.")
    ] = False,
    lower: Bound = None,
    upper: Bound = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Add to a counter at one node; gossip brings it to the others."""
    _check_terms(expire, expire_if_new, lower, upper)
    cluster = Cluster.load_up(directory)
    if tell_token and cluster.settings.gossip == "full":
        raise ClusterError("nothing was added: there are no tokens in a cluster that was started with --gossip full")
    member = choose(cluster, node)
    terms: Any = {"expire_ms": expire, "expire_if_new": expire_if_new, "lower": lower, "upper": upper}
    token = run(request(cluster, member, lambda client: client.add(delta, counter, copies, **terms)))
    done = f"{member.name} counted {delta:+d}{f' in {shown(counter)}' if counter else ''}"
    if expire and not expire_if_new:
        done += f", which ends in {duration(expire)}" + ("" if delta else ", if there is such a counter")
    done += f", durable on {copies} nodes" if copies > 1 else ""
    typer.echo(done, err=tell_token)
    if token is None and tell_token:
        typer.echo("there is no token: too many nodes, or nodes that lost their journals, have written", err=True)
    elif tell_token:
        typer.echo(token)


def _check_terms(expire: int | None, expire_if_new: bool, lower: int | None, upper: int | None) -> None:
    if expire_if_new and not expire:
        raise typer.BadParameter("it needs --expire", param_hint="--expire-if-new")
    if lower is not None and upper is not None and lower > upper:
        raise typer.BadParameter(f"it must not be above --upper, {upper}", param_hint="--lower")


@in_one_line("cluster")
def read(
    node: AtNode = None,
    counter: CounterName = DEFAULT_COUNTER,
    token: Annotated[str | None, typer.Option(help="Wait until the node stores what this token covers.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Print one node's value of a counter, and nothing else on stdout.

    If the counter ends, stderr says when. If the node knows of no add to that counter, stderr says so: the name may be
    misspelled.
    """
    cluster = Cluster.load_up(directory)
    member = choose(cluster, node)
    found, is_known = run(request(cluster, member, lambda client: _read(client, counter, token)))
    if not is_known:
        say_unknown(member, counter)
    if found.deadline_ms is not None:
        typer.echo(f"ends in {duration(found.deadline_ms - time.time() * 1000)}", err=True)
    typer.echo(found.value)


async def _read(client: Client, counter: str, token: str | None) -> tuple[Reading, bool]:
    """The value, and whether anybody has added to the counter."""
    found = await client.look(counter, token)
    if found.value:
        return found, True
    status = await client.gossip_status(counter)
    return found, bool(status["increments"] or status["decrements"])


def say_unknown(member: Member, counter: str) -> None:
    """Say on stderr that a node knows of no such counter."""
    named = shown(counter) if counter else "the default counter"
    typer.echo(f"{member.name} knows of no add to {named}", err=True)


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
    """List one node's counters, their values, and what is left of those that end."""
    member = choose(Cluster.load_up(directory), node)
    order = counters.by_value if sort is Order.VALUE else counters.by_name
    found, left_ms = run(_first(member, pattern, top, order))
    if as_json:
        listed = [{"name": name, "value": value, "left_ms": left_ms.get(name)} for name, value in found.counters]
        typer.echo(json.dumps({"node": member.name, "matching": found.matching, "counters": listed}, indent=2))
        return
    width = max((len(f"{each.value:,}") for each in found.counters), default=0)
    left = {name: f"{duration(ms)} left  " for name, ms in left_ms.items()}
    left_width = max(map(len, left.values()), default=0)
    for name, value in found.counters:
        typer.echo(f"{value:>{width},}  {left.get(name, ''):>{left_width}}{shown(name)}")
    if not found.counters:
        typer.echo(f"{member.name} knows of no {'' if pattern == counters.EVERY else 'such '}counter", err=True)
    elif found.matching > len(found.counters):
        typer.echo(f"{len(found.counters):,} of {found.matching:,} counters: --top shows more", err=True)


async def _first(
    member: Member, pattern: str, most: int, order: Callable[[counters.Counter], Any]
) -> tuple[counters.Listing, dict[str, int]]:
    """The first counters, and by name what is left of them, in milliseconds."""
    found = await counters.first(member.address, pattern, most, order)
    return found, await counters.left_ms(member.address, [each.name for each in found.counters])


async def request(cluster: Cluster, member: Member, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """What a node replies. Raises `ClientError`."""
    async with await cluster.connect(member, TIMEOUT_S) as client:
        return await ask(client)


def choose(cluster: Cluster, name: str | None) -> Member:
    """The node of that name if it runs, or else any that does. Raises `ClusterError`."""
    if name is None:
        return random.choice(cluster.some_running())
    member = cluster.manifest.member(name)
    if cluster.process(member) is None:
        raise ClusterError(f"{name} is dead: 'cluster restart {name}' starts it again")
    if cluster.is_paused(member):
        raise ClusterError(f"{name} is paused: 'cluster resume {name}' lets it go on")
    return member
