"""The command `bench`: options, progress and exit codes of the experiments."""

from dataclasses import replace
from enum import StrEnum
from itertools import count
from typing import Annotated

import typer
from rich.live import Live
from rich.progress import MofNCompleteColumn, Progress

from gossip_counter import __version__
from gossip_counter.bench import cli_flood, cli_fuzz, cli_rotation, cli_throughput, cli_windows, options, workload
from gossip_counter.bench import converge as converging
from gossip_counter.bench import cost as costing
from gossip_counter.bench import judge as judging
from gossip_counter.bench import plot as plotting
from gossip_counter.bench import recover as recovering
from gossip_counter.bench import spread as spreading
from gossip_counter.bench import torture as torturing
from gossip_counter.bench.options import Fanout, Gossip, IntervalMs, Json, Nodes, Plot, Runs, Sealed, err
from gossip_counter.cluster import running
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.options import GossipMode, Push, pushes
from gossip_counter.cluster.running import progress_line, run
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.cluster.sim.scenario import SCENARIOS
from gossip_counter.node.core.config import Config
from gossip_counter.node.encodings import tolerate_any_encoding

HELP = """Measure gossip counters: real processes, real sockets, every acknowledgement checked.

    bench converge --increments 1000     # time until five nodes agree

    bench throughput                     # acknowledged adds a second

    bench throughput --redis             # the same beside a redis-server

    bench recover --counters 10000       # time until dead nodes are back

    bench cost                           # processor, memory, bytes sent

    bench torture --seconds 60 --seed 7  # is any promise broken by faults?

    bench sim --nodes 5,25,100           # how an increment spreads

    bench windows --windows 100000       # what is kept of counters that ended

    bench week --days 0.1                # the same on a virtual clock

    bench overshoot --bound 10000        # how far is a bound passed?

    bench ends                           # how soon is what ended gone?

    bench limiter                        # windows beside a redis-server

    bench judge --seeds 1000             # is any promise broken, by seed?

    bench flood --rate 20000             # what does a flood at one node cost?

    bench rotation                       # does anybody wait while keys are rotated?

    bench fuzz --count 100000            # does any input go wrong?

sim, judge and week simulate, and fuzz starts no node. All others start clusters of their own on free ports. None leaves
anything behind, but for inputs that went wrong, and the logs and journals of a cluster that broke a promise under
torture.
Figures are distributions over several runs.
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

ScenarioName = StrEnum("ScenarioName", {name.upper(): name for name in SCENARIOS})  # type: ignore[misc]


in_one_line = running.in_one_line("bench", PromiseBroken, plotting.PlotError, recovering.RecoverError)

for command in (
    cli_throughput.throughput,
    cli_windows.windows,
    cli_windows.week,
    cli_windows.overshoot,
    cli_windows.ends,
    cli_windows.limiter,
    cli_flood.flood,
    cli_rotation.rotation,
    cli_fuzz.fuzz,
):
    app.command()(in_one_line(command))


@app.command()
@in_one_line
def converge(
    increments: Annotated[int, typer.Option(min=0, max=10_000_000, help="Increments of 1, at random nodes.")] = 1000,
    decrements: Annotated[bool, typer.Option("--decrements", help="Mix in half as many decrements of 1.")] = False,
    nodes: Nodes = 5,
    runs: Runs = 1,
    seed: Annotated[int, typer.Option(help="Determines which node gets which add, in which order.")] = 1,
    interval_ms: IntervalMs = 100,
    fanout: Fanout = 2,
    gossip: Gossip = GossipMode.DELTA,
    push: Push = None,
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of counters.")] = 1,
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of gossip that nodes drop on purpose.")] = 0,
    sealed: Sealed = False,
    against_full: Annotated[
        bool, typer.Option("--against-full", help="After each run, the same in full-state mode; print the ratio.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="How long nodes may take to agree.")] = 30,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Send increments to a fresh cluster and measure the time until all nodes agree on the exact sum.

    Exit code: 0 if they agreed in every run, 1 if not.
    """
    settings = Settings(interval_ms, fanout, gossip.value, pushes(push, gossip), loss=loss, sealed=sealed)
    plan = workload.Plan(
        nodes=nodes,
        increments=increments,
        decrements=decrements,
        seed=seed,
        counters=counters,
        settings=settings,
        timeout_s=timeout_s,
    )
    if against_full and gossip is GossipMode.FULL:
        raise typer.BadParameter("full state is what it would be compared with", param_hint="--against-full")
    full = [replace(plan, settings=replace(settings, gossip="full"))] if against_full else []
    options.check_plot(plot)
    series = _converge([plan, *full], runs)
    result = converging.Comparison(*series) if full else series[0]
    options.show_and_plot(result, as_json, plot)
    _fail_unless_agreed(result.runs, timeout_s)


def _converge(plans: list[workload.Plan], runs: int) -> list[converging.Series]:
    if err.is_terminal:
        with Live(f"starting {plans[0].nodes} nodes", console=err, refresh_per_second=20) as live:
            show = lambda progress: live.update(progress.table(runs))  # noqa: E731
            return run(converging.measure(plans, runs, show, lambda _: None))
    numbers = count(1)

    def done(result: converging.Run) -> None:
        typer.echo(f"run {next(numbers)} of {runs * len(plans)}: {result.in_words}", err=True)

    return run(converging.measure(plans, runs, lambda _: None, done))


def _fail_unless_agreed(runs: list[converging.Run], timeout_s: float) -> None:
    failed = {number: each for number, each in enumerate(runs, 1) if not each.agreed}
    for number, each in failed.items():
        what = f"not agreed on {each.expected} within {timeout_s:g} s, or wrong when read"
        typer.echo(f"bench: run {number}: {what}: {each.difference}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
@in_one_line
def cost(
    context: typer.Context,
    only: Annotated[costing.Part | None, typer.Option(help="Only this part; without it, all.")] = None,
    nodes: Annotated[int, typer.Option("-n", "--nodes", min=1, max=100, help="At rest: number of nodes.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="At rest: how long to watch them.")] = 5,
    interval_ms: Annotated[
        int, typer.Option(min=1, max=3_600_000, help="At rest: milliseconds between two gossip rounds.")
    ] = 100,
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="In memory: number of counters.")] = 100_000,
    runs: Runs = 3,
    as_json: Json = False,
) -> None:
    """Measure what nodes cost: processor and memory at rest, memory per row, bytes on the wire."""
    if only:
        foreign = {"rest": "counters", "memory": "nodes seconds interval_ms"}
        everything = "nodes seconds interval_ms counters runs"
        options.refuse_given(context, f"--only {only}", foreign.get(only, everything))
    plan = costing.Plan(nodes=nodes, seconds=seconds, interval_ms=interval_ms, counters=counters, runs=runs)
    with progress_line() as show:
        result = run(costing.measure(plan, [only] if only else list(costing.Part), show))
    options.show(result, as_json)


@app.command()
@in_one_line
def recover(
    nodes: Annotated[int, typer.Option("-n", "--nodes", min=2, max=100, help="Number of nodes.")] = 5,
    counters: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Counters that change while nodes are dead.")
    ] = 10_000,
    name_bytes: Annotated[int, typer.Option(min=0, max=255, help="Bytes that their names have at least.")] = 0,
    death: Annotated[
        recovering.Death | None,
        typer.Option(help="One node with its journal, one without, or all nodes at once; without it, each in turn."),
    ] = None,
    runs: Runs = 5,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Kill nodes, change every counter without them, start them again, and measure until they are in sync.

    Every run checks that nothing acknowledged was lost and nothing counted twice. Where nodes stay up, one of them is
    sent adds, 5 ms after each reply, in two quiet seconds and while the others are fed: how long they take is shown.
    """
    options.check_plot(plot)
    deaths = [death] if death else list(recovering.Death)
    with progress_line() as show:
        show(f"starting {nodes} nodes")
        done = lambda which, each: show(f"{which}: level after {each.level_s:.2f} s")  # noqa: E731
        result = run(recovering.measure(deaths, nodes, recovering.Load(counters, name_bytes), runs, done))
    options.show_and_plot(result, as_json, plot)


@app.command()
@in_one_line
def torture(
    seconds: Annotated[
        float | None, typer.Option(min=1, max=1_000_000, help="How long everything goes wrong.  [default: 60]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Determines what happens when, and to which node.")] = 7,
    nodes: Annotated[int, typer.Option("-n", "--nodes", min=2, max=100, help="Number of nodes.")] = 5,
    loss: Annotated[float, typer.Option(min=0, max=0.99, help="Share of gossip lost throughout.")] = 0,
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Clients that add and read.")] = 32,
    counters: Annotated[int, typer.Option(min=1, max=1000, help="Number of counters.")] = 5,
    kill_all: Annotated[
        int, typer.Option(min=0, max=100_000, help="Instead: kill all nodes at once, so many times, once a second.")
    ] = 0,
    sealed: Sealed = False,
    as_json: Json = False,
) -> None:
    """Make everything go wrong for real nodes while clients count; check every reply, and every counter at the end.

    Nodes are killed, restarted, paused, cut off; gossip is lost. Their data directories are wiped, moved, put back from
    backups, damaged by flipped bits and cut files, and copied while nodes run: copies run as second processes. Nodes
    leave, join, are removed, and come back at other addresses: at the end each must list all. With
    --sealed, keys are rotated too. Redis clients delete counters, and count in transactions and in windows that end.
    After that it takes another minute or so, until nodes must have forgotten what ended.

    Exit code: 0 if every promise was kept, 1 if not; then the schedule is printed, and logs and journals are kept.
    """
    if kill_all and seconds:
        raise typer.BadParameter("it takes a second each time: leave out --seconds", param_hint="--kill-all")
    plan = torturing.Plan(seconds or 60, seed, nodes, loss, clients, counters, kill_all, sealed=sealed)
    if not torturing.schedule(plan):
        raise typer.BadParameter("nothing would go wrong in so short a time: take more", param_hint="--seconds")
    if err.is_terminal:
        with Live(f"starting {nodes} nodes", console=err, refresh_per_second=10, transient=True) as live:
            verdict = run(torturing.run(plan, lambda progress: live.update(progress.table())))
    else:
        verdict = run(torturing.run(plan, lambda _: None))
    options.show(verdict, as_json)
    if verdict.broken:
        for step in torturing.schedule(plan):
            typer.echo(str(step), err=True)
        raise PromiseBroken(verdict.broken)


@app.command()
@in_one_line
def sim(
    nodes: Annotated[str, typer.Option("-n", "--nodes", help="Number of nodes; several as in 5,25,100.")] = "5",
    counters: Annotated[int, typer.Option(min=1, max=1_000_000, help="Counters all nodes hold beforehand.")] = 1,
    loss: Annotated[str, typer.Option(help="Share of datagrams lost; several as in 0,0.1,0.3.")] = "0",
    delay_ms: Annotated[float, typer.Option(min=0.001, max=10_000, help="Mean delay of a datagram.")] = 0.2,
    interval_ms: IntervalMs = 100,
    fanout: Fanout = 2,
    gossip: Gossip = GossipMode.DELTA,
    push: Push = None,
    runs: Runs = 100,
    seed: Annotated[int, typer.Option(help="Determines everything.")] = 1,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Simulate how one increment spreads: the real replica and the real bytes, a virtual clock and network."""
    options.check_plot(plot)
    config = Config(
        name="?",
        gossip=gossip.value,
        push=pushes(push, gossip),
        gossip_interval_ms=interval_ms,
        gossip_fanout=fanout,
    )
    settings = [
        spreading.Setting(nodes=size, counters=counters, loss=share, delay_ms=delay_ms, config=config)
        for size in options.numbers(nodes, int, "--nodes", 1, 5000)
        for share in options.numbers(loss, float, "--loss", 0, 0.99)
    ]
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("simulating", total=runs * len(settings))
        done = lambda setting: progress.update(task, advance=1, description=setting.name)  # noqa: E731
        result = spreading.measure(settings, runs, seed, done)
    options.show_and_plot(result, as_json, plot)


@app.command()
@in_one_line
def judge(
    seeds: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of runs.")] = 1000,
    first_seed: Annotated[int, typer.Option(min=0, help="The seed of the first run; each next one adds 1.")] = 0,
    scenario: Annotated[ScenarioName | None, typer.Option(help="Only this one; without it, all in turn.")] = None,
    as_json: Json = False,
) -> None:
    """Break everything that a simulator can break, and check every promise against all requests and replies.

    Exit code: 0 if every promise was kept, 1 if not; then the command that replays it is printed.
    """
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("judging", total=seeds)

        def done(verdict: judging.Verdict) -> None:
            progress.advance(task)
            if verdict.broken:
                what = f"seed {verdict.seed}: {verdict.broken}\n  to replay: {verdict.replay}"
                progress.console.print(what, soft_wrap=True)

        campaign = judging.measure(scenario.value if scenario else None, first_seed, seeds, done)
    options.show(campaign, as_json)
    if campaign.broken:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def _about(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `bench`."""
    tolerate_any_encoding()
    app()
