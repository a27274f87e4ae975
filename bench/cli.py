"""The command `bench`: measure clusters of real processes."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Annotated, Any, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.progress import MofNCompleteColumn, Progress, track
from rich.table import Table

from gossip_counter import __version__
from gossip_counter.bench import against_redis as comparing
from gossip_counter.bench import converge as converging
from gossip_counter.bench import memory as weighing
from gossip_counter.bench import plot as plotting
from gossip_counter.bench import recover as recovering
from gossip_counter.bench import report
from gossip_counter.bench import rest as resting
from gossip_counter.bench import simulate as simulating
from gossip_counter.bench import sizes as sizing
from gossip_counter.bench import throughput as rating
from gossip_counter.bench import torture as torturing
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.ledger import PromiseBroken
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.options import GossipMode, Push, pushes
from gossip_counter.cluster.running import in_one_line as told_in_one_line
from gossip_counter.cluster.running import interruptible, run
from gossip_counter.cluster.simulator import SCENARIOS
from gossip_counter.node.core.config import Config

T = TypeVar("T")

HELP = """Measure gossip counters: real processes, real sockets, every acknowledgement checked.

    bench converge --increments 1000     # how soon do five nodes agree?

    bench throughput                     # how many adds a second does one node serve?

    bench throughput --redis             # and how many does Redis, on this machine?

    bench rest                           # what does a node cost while nobody counts?

    bench recover --counters 10000       # how soon are nodes that died level again?

    bench torture --seconds 60 --seed 7  # is anything lost when everything goes wrong?

    bench memory                         # what does a row cost?

    bench sizes                          # what do messages cost on the wire?

    bench sim --nodes 5,25,100           # how does it grow, what does loss do? (simulated)

    bench judge --seeds 1000             # are all promises kept when everything goes wrong? (simulated)

All but the simulated ones start clusters of their own on free ports. None leaves anything behind.
Figures are distributions over several runs.
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
out = Console()
err = Console(stderr=True)

ScenarioName = StrEnum("ScenarioName", {name.upper(): name for name in SCENARIOS})  # type: ignore[misc]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Nodes = Annotated[int, typer.Option("-n", "--nodes", min=1, max=100, help="How many nodes.")]
Runs = Annotated[int, typer.Option(min=1, max=10_000, help="How many runs the distribution is made of.")]
IntervalMs = Annotated[int, typer.Option(min=1, max=3_600_000, help="Between two gossip rounds.")]
Fanout = Annotated[int, typer.Option(min=0, max=1000, help="Random peers a round speaks to.")]
Gossip = Annotated[GossipMode, typer.Option(help="Digests and changes, or the whole state every round.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw a picture: .svg, .png or .pdf.")]


in_one_line = told_in_one_line("bench", PromiseBroken, plotting.PlotError, recovering.RecoverError)


@app.command()
@in_one_line
def converge(
    increments: Annotated[int, typer.Option(min=0, max=10_000_000, help="Increments of 1 over random nodes.")] = 1000,
    decrements: Annotated[bool, typer.Option("--decrements", help="Mix in half as many decrements of 1.")] = False,
    nodes: Nodes = 5,
    runs: Runs = 1,
    seed: Annotated[int, typer.Option(help="Of which node gets what, in which order.")] = 1,
    interval_ms: IntervalMs = 100,
    fanout: Fanout = 2,
    gossip: Gossip = GossipMode.DELTA,
    push: Push = None,
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="Over how many counters.")] = 1,
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of gossip that nodes drop on purpose.")] = 0,
    against_full: Annotated[
        bool, typer.Option("--against-full", help="After each run, the same in full-state mode, and the ratio.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="How long nodes may take to agree.")] = 30,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Spray increments over a fresh cluster and measure the time until all nodes agree on the exact sum.

    Exit code: 0 if they agreed in every run, 1 if not.
    """
    plan = converging.Plan(
        nodes=nodes,
        increments=increments,
        decrements=decrements,
        seed=seed,
        counters=counters,
        settings=Settings(interval_ms, fanout, gossip.value, pushes(push, gossip), loss=loss),
        timeout_s=timeout_s,
    )
    plans = {plan.settings.gossip: plan}
    if against_full:
        if gossip is GossipMode.FULL:
            raise typer.BadParameter("full state is what it would be compared with", param_hint="--against-full")
        plans["full"] = replace(plan, settings=replace(plan.settings, gossip="full"))
    if plot:
        plotting.check(plot)
    results = dict(zip(plans, _converge(list(plans.values()), runs), strict=True))
    _tell_convergence(plans, results, as_json)
    if plot:
        took = {
            name: [timeout_s * 1000 if each.convergence_ms is None else each.convergence_ms for each in its]
            for name, its in results.items()
        }
        plotting.distributions(plot, took, "ms from the last acknowledgement to agreement")
    _fail_unless_agreed([each for its in results.values() for each in its], timeout_s)


def _converge(plans: list[converging.Plan], runs: int) -> list[list[converging.Run]]:
    total = runs * len(plans)
    finished = iter(range(1, total + 1))
    if not err.is_terminal:

        def tell(result: converging.Run) -> None:
            took = "not agreed" if result.convergence_ms is None else f"agreed after {result.convergence_ms:.1f} ms"
            typer.echo(f"run {next(finished)} of {total}: {took}", err=True)

        return run(converging.measure(plans, runs, lambda _: None, tell))
    with Live(console=err, refresh_per_second=20) as live:

        def show(progress: converging.Progress) -> None:
            live.update(_live_table(progress, runs))

        return run(converging.measure(plans, runs, show, lambda _: None))


def _tell_convergence(
    plans: dict[str, converging.Plan], results: dict[str, list[converging.Run]], as_json: bool
) -> None:
    (name, plan), *others = plans.items()
    ratio = _ratio(results) if others else None
    if as_json:
        told = converging.as_json(plan, results[name])
        if others:
            told |= {"full": converging.as_json(plans["full"], results["full"]), "full_to_delta_p50": ratio}
        typer.echo(json.dumps(told, indent=2))
        return
    for each, its_plan in plans.items():
        _summarise(its_plan, results[each])
    if ratio:
        out.print(f"full-state mode took {ratio:,.1f} times as long (p50 to p50)", style="bold")


def _ratio(results: dict[str, list[converging.Run]]) -> float | None:
    took = {
        name: [each.convergence_ms for each in its if each.convergence_ms is not None] for name, its in results.items()
    }
    if len(took) < 2 or not all(took.values()):
        return None
    mine, full = (report.percentile(each, 0.5) for each in took.values())
    return round(full / mine, 2) if mine else None


def _fail_unless_agreed(results: list[converging.Run], timeout_s: float) -> None:
    failed = [(number, each) for number, each in enumerate(results, 1) if not each.agreed]
    for number, each in failed:
        values = ", ".join(f"{name}={value}" for name, value in each.differing.items())
        states = ", ".join(f"{name}={state}" for name, state in each.states.items())
        typer.echo(
            f"bench: run {number}: not agreed on {each.expected} within {timeout_s:g} s, or wrong when read:"
            f" {values or f'the sums match, but not the states behind them: {states}'}",
            err=True,
        )
    if failed:
        raise typer.Exit(1)


def _live_table(progress: converging.Progress, runs: int) -> Table:
    shown = Table(header_style="bold", title_justify="left")
    plan = progress.plan
    done = f"{sum(progress.acknowledged.values()):,} adds acknowledged"
    shown.title = f"run {progress.run} of {runs}, {plan.settings.gossip} gossip: {done}"
    held = "value" if progress.plan.counters == 1 else "rows"
    for title in ("node", "acknowledged", held, "rounds", "synced", "reached after ms"):
        shown.add_column(title, justify="left" if title == "node" else "right")
    for name, status in progress.statuses.items():
        level = progress.last_answer_ns and progress.holds_all(status)
        reached = f"{max(0, status['state_since_ns'] - progress.last_answer_ns) / 1e6:.1f}" if level else "…"
        value = status["local_value"] if plan.counters == 1 else status["rows"]
        cells = (progress.acknowledged[name], value, status["gossip_rounds"], status["peers_synced"])
        shown.add_row(name, *(f"{cell:,}" for cell in cells), reached, style="green" if level else None)
    return shown


def _summarise(plan: converging.Plan, results: list[converging.Run]) -> None:
    took = [each.convergence_ms for each in results if each.convergence_ms is not None]
    counters = "" if plan.counters == 1 else f"{plan.counters:,} counters, "
    out.print(
        f"{plan.nodes} nodes, {counters}{plan.increments:,} increments, {plan.increments - plan.expected:,} decrements,"
        f" {_mode(plan.settings)}, seed {plan.seed}:"
        f" {len(took)} of {len(results)} runs agreed on {plan.expected:,}",
        style="bold green" if len(took) == len(results) else "bold red",
        highlight=False,
        soft_wrap=True,
    )
    if took:
        out.print(report.table("from the last acknowledgement to agreement", {"convergence": took}, "ms"))
    sent: dict[str, list[float]] = {
        "datagrams": [n for each in results for n in each.datagrams_sent.values()],
        "bytes": [n for each in results for n in each.bytes_sent.values()],
    }
    out.print(report.table("sent per node", sent, "", digits=0))


def _mode(settings: Settings) -> str:
    """How nodes gossip, in a few words."""
    push = "" if settings.gossip == "full" else ", push" if settings.push else ", no push"
    loss = f", {settings.loss:.0%} loss" if settings.loss else ""
    return f"{settings.gossip} gossip{push}{loss}, interval {settings.interval_ms} ms, fanout {settings.fanout}"


class DoorName(StrEnum):
    """The doors of a node that take adds."""

    UDP = "udp"
    RESP = "resp"


@app.command()
@in_one_line
def throughput(
    context: typer.Context,
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Adds under way at once.")] = 64,
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Sockets that share them.")] = 8,
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="Over how many counters, in turn.")] = 1,
    door: Annotated[DoorName | None, typer.Option(help="Only this door; without it, both.")] = None,
    durable: Annotated[
        bool, typer.Option("--durable/--ephemeral", help="With journals beside those without, or only without.")
    ] = True,
    redis: Annotated[
        bool,
        typer.Option("--redis", help="Instead, drive a node and a real redis-server with redis-benchmark, in turn."),
    ] = False,
    nodes: Annotated[
        int,
        typer.Option(
            "-n", "--nodes", min=1, max=100, help="More than 1: the sum of a durable cluster, over Redis doors."
        ),
    ] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of a run.")] = 2,
    runs: Runs = 5,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Measure how many acknowledged adds a second are served: by door, beside Redis, or by a whole cluster.

    Over the Redis door (resp) each client has its share of the adds under way in one pipeline; with as many clients as
    adds, there is no pipelining.
    """
    if plot:
        plotting.check(plot)
    if redis:
        _refuse(context, "--redis, which has one node and loads of its own", "nodes window clients counters door")
        _against_redis(durable, seconds, runs, plot, as_json)
    elif nodes > 1:
        _refuse(context, "--nodes, which measures durable nodes through their Redis doors", "door durable plot")
        _check_shares(window, clients)
        _of_a_cluster(nodes, rating.Load("resp", window, clients, counters), seconds, runs, as_json)
    else:
        doors = [door.value] if door else [each.value for each in DoorName]
        if DoorName.RESP in doors:
            _check_shares(window, clients)
        loads = [rating.Load(each, window, clients, counters) for each in doors]
        _by_door(loads, durable, seconds, runs, plot, as_json)


def _check_shares(window: int, clients: int) -> None:
    if window % clients:
        why = f"must be a multiple of --clients, {clients}: over the Redis door each has its share"
        raise typer.BadParameter(why, param_hint="--window")


def _refuse(context: typer.Context, beside: str, names: str) -> None:
    """Options that say nothing there. Raises `BadParameter`."""
    for name in names.split():
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            option = next(each for each in context.command.params if each.name == name)
            hint = " / ".join(option.opts + option.secondary_opts)
            raise typer.BadParameter(f"makes no sense beside {beside}", param_hint=hint)


def _by_door(
    loads: list[rating.Load], durable: bool, seconds: float, runs: int, plot: Path | None, as_json: bool
) -> None:
    kinds = {"durable": Settings(), "in memory": Settings(ephemeral=True)}
    if not durable:
        del kinds["durable"]
    modes = {f"{load.door}, {kind}": (settings, load) for load in loads for kind, settings in kinds.items()}
    with Live(console=err, transient=True) as live:
        told = lambda rate: live.update(f"{rate.per_second:,.0f} adds/s")  # noqa: E731
        results = run(rating.measure(list(modes.values()), seconds, runs, told))
    rates = dict(zip(modes, results, strict=True))
    load = loads[0]
    if plot:
        bars = {mode: [rate.per_second for rate in its] for mode, its in rates.items()}
        plotting.bars(plot, bars, "acknowledged adds a second")
    if as_json:
        asked = {"window": load.window, "clients": load.clients, "counters": load.counters, "seconds": seconds}
        typer.echo(json.dumps(asked | {mode: _rates_json(its) for mode, its in rates.items()}, indent=2))
        return
    over = f"{load.counters} counter{'s' * (load.counters > 1)}"
    title = f"one node, {load.window} adds under way from {load.clients} clients over {over}"
    out.print(_rates(f"{title}, {runs} runs of {seconds:g} s", rates))


def _against_redis(durable: bool, seconds: float, runs: int, plot: Path | None, as_json: bool) -> None:
    if program := comparing.missing():
        raise ClusterError(f"{program} is not installed: on Debian, apt-get install redis-server redis-tools")
    told: dict[str, dict[str, list[comparing.Pair]]] = {}
    with Live(console=err, transient=True) as live:
        show = lambda case, pair: live.update(f"{case}: {pair.node:,.0f} against {pair.redis:,.0f}")  # noqa: E731
        for kind in ("durable", "in memory") if durable else ("in memory",):
            told[kind] = run(comparing.measure(kind == "durable", runs, seconds / 2, show))
    if plot:
        bars = {
            f"{case}\n{side}, {kind}": [getattr(pair, side) for pair in pairs]
            for kind, cases in told.items()
            for case, pairs in cases.items()
            for side in ("node", "redis")
        }
        plotting.bars(plot, bars, "INCR a second")
    if as_json:
        found = {
            kind: {
                case: {
                    "ratio": round(median(pair.ratio for pair in pairs), 3),
                    "ratios": [round(pair.ratio, 3) for pair in pairs],
                    "node_per_second": [pair.node for pair in pairs],
                    "redis_per_second": [pair.redis for pair in pairs],
                }
                for case, pairs in cases.items()
            }
            for kind, cases in told.items()
        }
        typer.echo(json.dumps({"runs": runs, "python": platform.python_version()} | found, indent=2))
        return
    for kind, cases in told.items():
        out.print(_pairs(kind, runs, cases))


def _pairs(kind: str, runs: int, cases: dict[str, list[comparing.Pair]]) -> Table:
    redis = "appendfsync always" if kind == "durable" else "no append-only file"
    node = f"a node (Python {platform.python_version()})"
    title = f"redis-benchmark -t incr, {kind}: {node} beside redis-server ({redis}), {runs} pairs of runs"
    shown = Table(title=title, title_justify="left", header_style="bold")
    for each in ("", "node INCR/s", "Redis INCR/s", "ratio, median", "least", "most"):
        shown.add_column(each, justify="right" if each else "left")
    for case, pairs in cases.items():
        ratios = [pair.ratio for pair in pairs]
        rates = (median(pair.node for pair in pairs), median(pair.redis for pair in pairs))
        spread = (median(ratios), min(ratios), max(ratios))
        shown.add_row(case, *(f"{each:,.0f}" for each in rates), *(f"{each:.2f}" for each in spread))
    return shown


def _of_a_cluster(nodes: int, load: rating.Load, seconds: float, runs: int, as_json: bool) -> None:
    rates = [
        run(rating.measure_cluster(nodes, load, seconds))
        for _ in track(range(runs), "full load", console=err, transient=True)
    ]
    lost = [rate.lost for rate in rates]
    figures = {
        "acknowledged adds/s, all nodes": [rate.per_second for rate in rates],
        "ms until all agree after the last reply": [rate.agreed_ms for rate in rates],
        "ms until an add is seen elsewhere, under load": [each for rate in rates for each in rate.seen_ms],
    }
    if as_json:
        asked = {"nodes": nodes, "clients_per_node": load.clients, "window_per_node": load.window, "runs": runs}
        typer.echo(
            json.dumps(asked | {k: report.distribution(v) for k, v in figures.items()} | {"lost": lost}, indent=2)
        )
    else:
        what = f"{nodes} durable nodes, each with {load.window} adds under way from {load.clients} Redis clients"
        out.print(report.table(f"{what}, {runs} runs of {seconds:g} s", figures, ""))
        out.print(f"total exact in {lost.count(0)} of {runs} runs")
    if any(lost):
        raise PromiseBroken(f"totals were not what was acknowledged: off by {lost}")


def _rates_json(rates: list[rating.Rate]) -> dict[str, Any]:
    adds = {"median": median(rate.per_second for rate in rates), "runs": [rate.per_second for rate in rates]}
    latency = {
        "p50": median(rate.latency_p50_ms for rate in rates),
        "p99": median(rate.latency_p99_ms for rate in rates),
    }
    return {"adds_per_second": adds, "latency_ms": latency, "adds_a_commit": median(r.adds_a_commit for r in rates)}


def _rates(title: str, rates: dict[str, list[rating.Rate]]) -> Table:
    shown = Table(title=title, title_justify="left", header_style="bold")
    for each in ("", "", "min", "median", "max"):
        shown.add_column(each, justify="right" if each else "left")
    for mode, its in rates.items():
        rows: list[tuple[str, list[float], int]] = [
            ("acknowledged adds/s", [rate.per_second for rate in its], 0),
            ("answer p50 ms", [rate.latency_p50_ms for rate in its], 2),
            ("answer p99 ms", [rate.latency_p99_ms for rate in its], 2),
            ("adds that share a commit", [rate.adds_a_commit for rate in its], 1),
        ]
        for name, figures, digits in rows:
            cells = (f"{pick(figures):,.{digits}f}" for pick in (min, median, max))
            shown.add_row(mode if name == rows[0][0] else "", name, *cells)
        shown.add_section()
    return shown


@app.command()
@in_one_line
def rest(
    nodes: Nodes = 5,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to watch.")] = 5,
    runs: Runs = 3,
    interval_ms: IntervalMs = 100,
    as_json: Json = False,
) -> None:
    """Measure start-up time, and what each node costs while nobody counts."""
    costs = [
        run(resting.measure(nodes, seconds, Settings(interval_ms)))
        for _ in track(range(runs), "at rest", console=err, transient=True)
    ]
    figures: dict[str, list[float]] = {
        "all nodes answer after s": [cost.start_s for cost in costs],
        "percent of a core, per node": [used for cost in costs for used in cost.cpu_percent],
        "memory MB, per node": [held / 1e6 for cost in costs for held in cost.memory_bytes],
    }
    if as_json:
        told: dict[str, Any] = {"nodes": nodes, "runs": runs, "seconds": seconds}
        keys = ("start_s", "cpu_percent", "memory_mb")
        told |= {key: report.distribution(each) for key, each in zip(keys, figures.values(), strict=True)}
        typer.echo(json.dumps(told, indent=2))
        return
    out.print(report.table(f"{nodes} nodes at rest, watched for {seconds:g} s in each of {runs} runs", figures, "", 2))


@app.command()
@in_one_line
def recover(
    nodes: Annotated[int, typer.Option("-n", "--nodes", min=2, max=100, help="How many nodes.")] = 5,
    counters: Annotated[int, typer.Option(min=1, max=100_000, help="Counters that change meanwhile.")] = 10_000,
    death: Annotated[
        recovering.Death | None,
        typer.Option(help="One node with its journal, one without, all nodes at once; else each in turn."),
    ] = None,
    runs: Runs = 5,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Kill nodes, change every counter without them, start them again, and measure until they are level.

    Every run checks that nothing acknowledged was lost and nothing counted twice.
    """
    if plot:
        plotting.check(plot)
    deaths = [death] if death else list(recovering.Death)
    with Live(console=err, transient=True) as live:
        told = lambda which, each: live.update(f"{which}: level after {each.level_s:.2f} s")  # noqa: E731
        results = run(recovering.measure(deaths, nodes, counters, runs, told))
    if as_json:
        whole: dict[str, Any] = {"nodes": nodes, "counters": counters, "runs": runs}
        for which, its in results.items():
            keys = ("answers_s", "level_s", "megabytes_in")
            figures = zip(keys, _recovery(its).values(), strict=True)
            whole[which.value] = {key: report.distribution(each) for key, each in figures}
        typer.echo(json.dumps(whole, indent=2))
    else:
        names = {
            recovering.Death.CLEAN: f"one of {nodes} nodes killed, its journal intact",
            recovering.Death.WIPED: f"one of {nodes} nodes killed, its journal lost",
            recovering.Death.ALL: f"all {nodes} nodes killed at once",
        }
        for which, its in results.items():
            out.print(report.table(f"{names[which]}, {counters:,} counters, {runs} runs", _recovery(its), "", 2))
    if plot:
        took = {which.value: [each.answers_s + each.level_s for each in its] for which, its in results.items()}
        plotting.distributions(plot, took, "s from the start of the processes until all are level")


def _recovery(results: list[recovering.Recovery]) -> dict[str, list[float]]:
    return {
        "answers after s": [each.answers_s for each in results],
        "level after another s": [each.level_s for each in results],
        "MB received": [each.bytes_in / 1e6 for each in results],
    }


@app.command()
@in_one_line
def torture(
    seconds: Annotated[
        float | None, typer.Option(min=1, max=1_000_000, help="How long everything goes wrong.  [default: 60]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what happens when, and to whom.")] = 7,
    nodes: Annotated[int, typer.Option("-n", "--nodes", min=2, max=100, help="How many nodes.")] = 5,
    loss: Annotated[float, typer.Option(min=0, max=0.99, help="Share of gossip lost throughout.")] = 0,
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Clients that add and read.")] = 32,
    counters: Annotated[int, typer.Option(min=1, max=1000, help="Over how many counters.")] = 5,
    kill_all: Annotated[
        int, typer.Option(min=0, max=100_000, help="Instead: kill all nodes at once, so many times, once a second.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Kill, restart, pause, wipe, cut off and deafen real nodes while clients count, and check every answer.

    Exit code: 0 if every promise was kept, 1 if not; then all that was to happen is printed.
    """
    if kill_all and seconds:
        raise typer.BadParameter("it takes a second each time: leave out --seconds", param_hint="--kill-all")
    plan = torturing.Plan(seconds or 60, seed, nodes, loss, clients, counters, kill_all)
    if not torturing.schedule(plan):
        raise typer.BadParameter("nothing would go wrong in so short a time: take more", param_hint="--seconds")
    if err.is_terminal:
        with Live(console=err, refresh_per_second=10, transient=True) as live:
            verdict = run(torturing.run(plan, lambda progress: live.update(_torture_table(plan, progress))))
    else:
        verdict = run(torturing.run(plan, lambda _: None))
    if as_json:
        asked = asdict(plan) | {"seconds": plan.length_s}
        typer.echo(json.dumps(asked | verdict.as_json(), indent=2))
    else:
        out.print(_tortured(plan, verdict))
    if verdict.broken:
        for step in torturing.schedule(plan):
            typer.echo(str(step), err=True)
        typer.echo(f"bench: {verdict.broken}", err=True)
        raise typer.Exit(1)


def _torture_table(plan: torturing.Plan, progress: torturing.Progress) -> Table:
    shown = Table(header_style="bold", title_justify="left", caption_justify="left")
    shown.title = f"seed {plan.seed}, {progress.phase}, {progress.now_s:.0f} s"
    for title in ("node", "state", "acknowledged", "outcome unknown", "reads"):
        shown.add_column(title, justify="left" if title in {"node", "state"} else "right")
    styles = {"up": "green", "paused": "cyan", "dead": "bold red"}
    for name, state in progress.conditions.items():
        counts = (progress.acknowledged[name], progress.unknown[name], progress.reads[name])
        shown.add_row(name, state, *(f"{each:,}" for each in counts), style=styles[state])
    shown.caption = "\n".join(progress.last)
    return shown


def _tortured(plan: torturing.Plan, verdict: torturing.Verdict) -> Table:
    kept = "a promise was broken" if verdict.broken else "every promise was kept"
    what = f"all killed {plan.kill_all} times, " if plan.kill_all else f"{plan.seconds:g} s, "
    setting = f"{plan.nodes} nodes, {what}seed {plan.seed}, {plan.loss:.0%} loss, {plan.clients} clients"
    shown = Table(title=f"{setting}: {kept}", title_justify="left")
    shown.add_column("")
    shown.add_column("", justify="right")
    shown.add_row("acknowledged adds", f"{verdict.acknowledged:,}")
    shown.add_row("adds of unknown outcome", f"{verdict.unknown:,}")
    shown.add_row("reads, each within its bounds", f"{verdict.reads:,}")
    shown.add_row("what was done", ", ".join(f"{count} {action}" for action, count in verdict.steps.items()))
    if verdict.level_s is not None:
        shown.add_row("all level after", f"{verdict.level_s:.2f} s")
        shown.add_row("largest node, largest journal", f"{_most(verdict.memory_mb)} MB, {_most(verdict.journal_mb)} MB")
    shown.show_header = False
    return shown


def _most(figures: dict[str, float]) -> str:
    return f"{max(figures.values(), default=0):.1f}"


@app.command()
@in_one_line
def memory(
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 100_000,
    runs: Runs = 3,
    as_json: Json = False,
) -> None:
    """Measure what one row costs a node in memory."""
    with Live(console=err, transient=True) as live:
        results = run(
            weighing.measure(counters, runs, lambda each: live.update(f"{each.bytes_per_row:.0f} bytes a row"))
        )
    per_row = [each.bytes_per_row for each in results]
    if as_json:
        typer.echo(
            json.dumps({"counters": counters, "runs": runs, "bytes_per_row": report.distribution(per_row)}, indent=2)
        )
        return
    out.print(report.table(f"one node, {counters:,} counters, {runs} runs", {"bytes per row": per_row}, "", 0))


@app.command()
def sizes(as_json: Json = False) -> None:
    """Show what gossip messages cost on the wire."""
    costs = sizing.measure()
    if as_json:
        typer.echo(json.dumps(costs, indent=2))
        return
    shown = Table(title="gossip on the wire", title_justify="left", header_style="bold")
    shown.add_column("")
    shown.add_column("bytes", justify="right")
    for what, cost in costs.items():
        shown.add_row(what, f"{cost}")
    out.print(shown)


@app.command()
@in_one_line
def sim(
    nodes: Annotated[str, typer.Option("-n", "--nodes", help="How many; several as in 5,25,100.")] = "5",
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="Counters all nodes hold beforehand.")] = 1,
    loss: Annotated[str, typer.Option(help="Share of datagrams lost; several as in 0,0.1,0.3.")] = "0",
    delay_ms: Annotated[float, typer.Option(min=0.001, max=10_000, help="Of a datagram, on average.")] = 0.2,
    interval_ms: IntervalMs = 100,
    fanout: Fanout = 2,
    gossip: Gossip = GossipMode.DELTA,
    push: Push = None,
    runs: Runs = 100,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 1,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Simulate how one increment spreads: the real replica and the real bytes, a virtual clock and network."""
    if plot:
        plotting.check(plot)
    does_push = pushes(push, gossip)
    config = Config(name="?", gossip=gossip.value, push=does_push, gossip_interval_ms=interval_ms, gossip_fanout=fanout)
    settings = [
        simulating.Setting(nodes=size, counters=counters, loss=lost, delay_ms=delay_ms, config=config)
        for size in _several(nodes, int, "--nodes", 1, 5000)
        for lost in _several(loss, float, "--loss", 0, 0.99)
    ]
    results = _simulate(settings, runs, seed)
    told = [
        simulating.as_json(setting, outcomes, simulating.ideal_mean_ms(setting, seed))
        for setting, outcomes in zip(settings, results, strict=True)
    ]
    if as_json:
        told_of: dict[str, Any] = {
            "gossip": gossip.value,
            "push": does_push,
            "interval_ms": interval_ms,
            "fanout": fanout,
        }
        typer.echo(json.dumps(told_of | {"delay_ms": delay_ms, "runs": runs, "seed": seed, "results": told}, indent=2))
    else:
        mode = _mode(Settings(interval_ms, fanout, gossip.value, does_push))
        what = f"{counters:,} counter{'s' * (counters > 1)}, links of {delay_ms:g} ms, seed {seed}, {runs} runs each"
        out.print(_simulated(f"{mode}\n{what}", told))
    if plot:
        _plot_simulated(plot, settings, results, told)


def _several(text: str, kind: Callable[[str], T], option: str, low: float, high: float) -> list[T]:
    try:
        values = [kind(each) for each in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers, such as 5,25", param_hint=option) from None
    if not all(low <= each <= high for each in values):  # type: ignore[operator]  # int or float
        raise typer.BadParameter(f"each must be from {low} to {high}", param_hint=option)
    return values


def _simulate(settings: list[simulating.Setting], runs: int, seed: int) -> list[list[simulating.Outcome]]:
    results = []
    with interruptible(), Progress(console=err, transient=True) as progress:
        task = progress.add_task("simulating", total=runs * len(settings))
        for setting in settings:
            progress.update(task, description=f"{setting.nodes} nodes, {setting.loss:.0%} loss")
            outcomes = []
            for outcome in simulating.measure(setting, runs, seed):
                outcomes.append(outcome)
                progress.advance(task)
            results.append(outcomes)
    return results


def _simulated(title: str, results: list[dict[str, Any]]) -> Table:
    shown = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("nodes", "loss", "mean ms", "p50", "p99", "max", "ideal", "dgrams", "bytes", "row bytes", "idle"):
        shown.add_column(column, justify="right")
    for each in results:
        took = [f"{each['convergence_ms'][key]:,.1f}" for key in ("mean", "p50", "p99", "max")]
        costs = [f"{each[key]:,.1f}" for key in ("datagrams_per_node", "bytes_per_node", "row_bytes_per_node")]
        ideal, idle = f"{each['ideal_mean_ms']:,.1f}", f"{each['largest_idle_datagram']:,}"
        shown.add_row(f"{each['nodes']:,}", f"{each['loss']:.0%}", *took, ideal, *costs, idle)
    shown.caption = (
        "ideal: mean of exchanges that cost and lose nothing. dgrams, bytes, bytes of datagrams with rows: per node,"
        " from the write to agreement. idle: bytes of the largest datagram at rest."
    )
    return shown


MOST_CURVES = 8


def _plot_simulated(
    path: Path,
    settings: list[simulating.Setting],
    results: list[list[simulating.Outcome]],
    told: list[dict[str, Any]],
) -> None:
    # Of many kinds, only those with the least loss: more curves than a legend can tell apart say nothing.
    losses = {setting.loss for setting in settings} if len(settings) <= MOST_CURVES else {settings[0].loss}
    reached = {
        f"{setting.nodes} nodes, {setting.loss:.0%} loss": [outcome.reached_ms for outcome in outcomes]
        for setting, outcomes in zip(settings, results, strict=True)
        if setting.loss in losses
    }
    sizes: dict[str, list[tuple[float, float]]] = {}
    for each in told:
        sizes.setdefault(f"{each['loss']:.0%} loss", []).append((each["nodes"], each["convergence_ms"]["mean"]))
    ideal = {each["nodes"]: each["ideal_mean_ms"] for each in told}
    plotting.spread(path, reached, sizes | {"ideal": list(ideal.items())})


@app.command()
@in_one_line
def judge(
    seeds: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many runs.")] = 1000,
    first_seed: Annotated[int, typer.Option(min=0, help="The first one's seed.")] = 0,
    scenario: Annotated[ScenarioName | None, typer.Option(help="Only this one; else seeds take turns.")] = None,
) -> None:
    """Let the simulator break everything it can, and check every promise against a ledger of what clients were told.

    Exit code: 0 if every promise was kept, 1 if not; then the command that replays it is printed.
    """
    broken: list[simulating.Verdict] = []
    took_s: list[float] = []
    with (
        interruptible(),
        Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=err, transient=True) as progress,
    ):
        task = progress.add_task("judging", total=seeds)

        def done(verdict: simulating.Verdict) -> None:
            progress.advance(task)
            took_s.append(verdict.cpu_s)
            if verdict.broken:
                broken.append(verdict)
                replay = f"bench judge --scenario {verdict.scenario} --first-seed {verdict.seed} --seeds 1"
                progress.console.print(f"seed {verdict.seed}: {verdict.broken}\n  to replay: {replay}", soft_wrap=True)

        simulating.judge(scenario.value if scenario else None, first_seed, seeds, done)
    kept = f"{seeds - len(broken):,} of {seeds:,} runs kept every promise"
    typer.echo(f"{kept}; each took {median(took_s):.2f} s of one core (median)")
    if broken:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def _about(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `bench`."""
    app()


if __name__ == "__main__":
    main()
