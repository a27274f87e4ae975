"""The commands of `bench` about counters that end. `cli` adds them to the others."""

from typing import Annotated

import typer

from gossip_counter.bench import ends as ending
from gossip_counter.bench import limiter as limiting
from gossip_counter.bench import options
from gossip_counter.bench import week as weekly
from gossip_counter.bench import windows as windowing
from gossip_counter.bench.options import Json, Nodes, Runs
from gossip_counter.cluster.running import progress_line, run


def windows(
    nodes: Nodes = 3,
    count: Annotated[int, typer.Option("--windows", min=1, max=100_000_000, help="Windows that come and go.")] = 20_000,
    ttl: Annotated[float, typer.Option(min=0.05, max=3600, help="Seconds that each lasts.")] = 1,
    per_second: Annotated[int, typer.Option(min=1, max=1_000_000, help="Windows that begin in a second.")] = 4000,
    as_json: Json = False,
) -> None:
    """Count in windows that end, as a rate limiter does, and watch what nodes keep of them.

    Each window takes two requests, at nodes taken at random. In the end, every node must have forgotten all of them.
    """
    plan = windowing.Plan(nodes=nodes, windows=count, ttl_s=ttl, per_second=per_second)
    with progress_line() as show:
        show(f"starting {nodes} nodes")
        result = run(windowing.measure(plan, show))
    options.show(result, as_json)


def week(
    days: Annotated[float, typer.Option(min=0.01, max=1000, help="Virtual days that pass.")] = 1,
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="Each calls about once a minute.")] = 1000,
    nodes: Nodes = 3,
    as_json: Json = False,
) -> None:
    """Let a rate limiter run for days of virtual time, at simulated nodes, and watch what they keep of its windows."""
    with progress_line() as show:
        result = weekly.measure(days, users, nodes, show)
    options.show(result, as_json)


def overshoot(
    nodes: Nodes = 5,
    bound: Annotated[int, typer.Option(min=1, max=10_000_000, help="What the counter must not pass.")] = 10_000,
    runs: Runs = 10,
    as_json: Json = False,
) -> None:
    """Count at all nodes at once up to one bound, as fast as they serve, and measure by how much it is passed.

    A node refuses what would pass the bound as far as it knows. What others count in the same milliseconds it does not.
    """
    with progress_line() as show:
        show(f"starting {nodes} nodes")
        result = run(windowing.overshoot(nodes, bound, runs, show))
    options.show(result, as_json)


def ends(nodes: Nodes = 5, runs: Runs = 100, as_json: Json = False) -> None:
    """Delete counters and let others expire, and measure how soon they are gone at all nodes."""
    with progress_line() as show:
        show(f"starting {nodes} nodes")
        result = run(ending.measure(nodes, runs, show))
    options.show(result, as_json)


def limiter(
    runs: Runs = 5,
    requests: Annotated[int, typer.Option(min=1000, max=100_000_000, help="Requests of a run.")] = limiting.REQUESTS,
    as_json: Json = False,
) -> None:
    """Count in windows at a node, and with a script at a real redis-server, in turn. Both are durable."""
    with progress_line() as show:
        show("starting a node and a redis-server")
        result = run(limiting.measure(runs, requests, show))
    options.show(result, as_json)
