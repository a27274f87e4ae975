"""The command `bench throughput`. `cli` adds it to the others."""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from gossip_counter.bench import against_redis, options
from gossip_counter.bench import throughput as rating
from gossip_counter.bench.options import Json, Plot, Runs
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.running import progress_line, run
from gossip_counter.cluster.sim.oracle import PromiseBroken


class Endpoint(StrEnum):
    """The endpoints of a node that take adds."""

    UDP = "udp"
    RESP = "resp"


def throughput(
    context: typer.Context,
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Adds in flight at once.")] = 64,
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Sockets that share them.")] = 8,
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="Counters that adds go to, in turn.")] = 1,
    endpoint: Annotated[Endpoint | None, typer.Option(help="Only this endpoint; without it, both.")] = None,
    durable: Annotated[
        bool, typer.Option("--durable/--ephemeral", help="Nodes with journals and without, or only without.")
    ] = True,
    sealed: Annotated[
        bool,
        typer.Option(
            "--sealed", help="Nodes with keys too, beside plain ones. They seal datagrams; Redis clients use none."
        ),
    ] = False,
    redis: Annotated[
        bool,
        typer.Option("--redis", help="Instead, drive a node and a real redis-server with redis-benchmark, in turn."),
    ] = False,
    nodes: Annotated[
        int,
        typer.Option("-n", "--nodes", min=1, max=100, help="More than 1: all of a durable cluster, by Redis clients."),
    ] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of a run.")] = 2,
    runs: Runs = 5,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Measure how many acknowledged adds a second are served: by endpoint, beside Redis, or by a whole cluster.

    Over the Redis endpoint (resp) each client has its share of the adds in flight in one pipeline; with as many clients
    as adds, there is no pipelining.
    """
    options.check_plot(plot)
    if redis:
        beside = "--redis, which has one node and loads of its own"
        options.refuse_given(context, beside, "nodes window clients counters endpoint sealed")
        options.show_and_plot(_against_redis(durable, seconds, runs), as_json, plot)
    elif nodes > 1:
        beside = "--nodes, which measures durable nodes through their Redis endpoints"
        options.refuse_given(context, beside, "endpoint durable plot sealed")
        result = _of_a_cluster(nodes, _load("resp", window, clients, counters), seconds, runs)
        options.show(result, as_json)
        if any(result.lost):
            raise PromiseBroken(f"totals were not what was acknowledged: off by {result.lost}")
    else:
        loads = [_load(each, window, clients, counters) for each in ([endpoint] if endpoint else Endpoint)]
        options.show_and_plot(_by_endpoint(loads, durable, sealed, seconds, runs), as_json, plot)


def _load(endpoint: str, window: int, clients: int, counters: int) -> rating.Load:
    if endpoint == Endpoint.RESP and window % clients:
        why = f"must be a multiple of --clients, {clients}: over the Redis endpoint each has its share"
        raise typer.BadParameter(why, param_hint="--window")
    return rating.Load(endpoint, window, clients, counters)


def _by_endpoint(loads: list[rating.Load], durable: bool, sealed: bool, seconds: float, runs: int) -> rating.NodeRates:
    kinds = {"durable": Settings()} if durable else {}
    kinds["in memory"] = Settings(ephemeral=True)
    if sealed:
        kinds |= {f"{kind}, sealed": replace(settings, sealed=True) for kind, settings in kinds.items()}
    with progress_line() as show:
        show(f"measuring {runs} runs of {seconds:g} s of each kind")
        done = lambda rate: show(f"{rate.per_second:,.0f} adds/s")  # noqa: E731
        return run(rating.measure(loads, kinds, seconds, runs, done))


def _of_a_cluster(nodes: int, load: rating.Load, seconds: float, runs: int) -> rating.ClusterRates:
    with progress_line() as show:
        show(f"starting {nodes} nodes")
        done = lambda rate: show(f"{rate.per_second:,.0f} adds/s of all nodes")  # noqa: E731
        return run(rating.measure_cluster(nodes, load, seconds, runs, done))


def _against_redis(durable: bool, seconds: float, runs: int) -> against_redis.Comparison:
    with progress_line() as show:
        show("starting a node and a redis-server")
        done = lambda case, pair: show(f"{case}: {pair.node:,.0f} against {pair.redis:,.0f}")  # noqa: E731
        return run(against_redis.measure(durable, runs, seconds / 2, done))
