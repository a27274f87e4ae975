"""The command `bench`: measure clusters of real processes."""

import json
from collections.abc import Callable
from functools import wraps
from statistics import median
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import track
from rich.table import Table

from bench import converge as converging
from bench import report
from bench import rest as resting
from bench import throughput as rating
from cluster.client import ClientError
from cluster.launcher import LaunchError, Settings
from cluster.running import InterruptedBySignal, run
from node import __version__

P = ParamSpec("P")
T = TypeVar("T")

HELP = """Measure gossip counters: real processes, real sockets, every acknowledgement checked.

    bench converge --increments 1000     # how soon do five nodes agree?

    bench throughput                     # how many adds a second does one node serve?

    bench rest                           # what does a node cost while nobody counts?

Each starts clusters of its own on free ports and leaves nothing behind. Figures are distributions over several runs.
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

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Nodes = Annotated[int, typer.Option("-n", "--nodes", min=1, max=100, help="How many nodes.")]
Runs = Annotated[int, typer.Option(min=1, max=10_000, help="How many runs the distribution is made of.")]
IntervalMs = Annotated[int, typer.Option(min=1, max=3_600_000, help="Between two gossip rounds.")]
Fanout = Annotated[int, typer.Option(min=0, max=1000, help="Random peers a round speaks to.")]


def in_one_line(command: Callable[P, T]) -> Callable[P, T]:
    """What goes wrong in a command is told in one line on stderr, with exit code 1."""

    @wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (LaunchError, ClientError) as error:
            typer.echo(f"bench: {error}", err=True)
            raise typer.Exit(1) from None
        except InterruptedBySignal as signal:
            typer.echo(f"bench: stopped ({signal})", err=True)
            raise typer.Exit(signal.exit_code) from None

    return told


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
    timeout_s: Annotated[float, typer.Option(min=0.1, help="How long nodes may take to agree.")] = 30,
    as_json: Json = False,
) -> None:
    """Spray increments over a fresh cluster and measure the time until all nodes agree on the exact sum.

    Exit code: 0 if they agreed in every run, 1 if not.
    """
    plan = converging.Plan(
        nodes=nodes,
        increments=increments,
        decrements=decrements,
        seed=seed,
        settings=Settings(interval_ms, fanout),
        timeout_s=timeout_s,
    )
    results = _converge(plan, runs)
    if as_json:
        typer.echo(json.dumps(converging.as_json(plan, results), indent=2))
    else:
        _summarise(plan, results)
    failed = [(number, each) for number, each in enumerate(results, 1) if not each.agreed]
    for number, each in failed:
        values = ", ".join(f"{name}={value}" for name, value in each.differing.items())
        typer.echo(
            f"bench: run {number}: not agreed on {plan.expected} after {timeout_s:g} s:"
            f" {values or 'the values match, but not the states behind them'}",
            err=True,
        )
    if failed:
        raise typer.Exit(1)


def _converge(plan: converging.Plan, runs: int) -> list[converging.Run]:
    if not err.is_terminal:
        finished = iter(range(1, runs + 1))

        def tell(result: converging.Run) -> None:
            took = "not agreed" if result.convergence_ms is None else f"agreed after {result.convergence_ms:.1f} ms"
            typer.echo(f"run {next(finished)} of {runs}: {took}", err=True)

        return run(converging.measure(plan, runs, lambda _: None, tell))
    with Live(console=err, refresh_per_second=20) as live:

        def show(progress: converging.Progress) -> None:
            live.update(_live_table(plan, progress, runs))

        return run(converging.measure(plan, runs, show, lambda _: None))


def _live_table(plan: converging.Plan, progress: converging.Progress, runs: int) -> Table:
    shown = Table(header_style="bold", title_justify="left")
    shown.title = f"run {progress.run} of {runs}: {sum(progress.acknowledged.values()):,} adds acknowledged"
    for title in ("node", "acknowledged", "value", "rounds", "synced", "reached after ms"):
        shown.add_column(title, justify="left" if title == "node" else "right")
    for name, status in progress.statuses.items():
        level = progress.last_answer_ns and status["local_value"] == plan.expected
        reached = f"{max(0, status['state_since_ns'] - progress.last_answer_ns) / 1e6:.1f}" if level else "…"
        cells = (progress.acknowledged[name], status["local_value"], status["gossip_rounds"], status["peers_synced"])
        shown.add_row(name, *(f"{cell:,}" for cell in cells), reached, style="green" if level else None)
    return shown


def _summarise(plan: converging.Plan, results: list[converging.Run]) -> None:
    took = [each.convergence_ms for each in results if each.convergence_ms is not None]
    out.print(
        f"{plan.nodes} nodes, {plan.increments:,} increments, {plan.increments - plan.expected:,} decrements,"
        f" interval {plan.settings.interval_ms} ms, fanout {plan.settings.fanout}, seed {plan.seed}:"
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


@app.command()
@in_one_line
def throughput(
    window: Annotated[int, typer.Option(min=1, max=10_000, help="Adds under way at once.")] = 32,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of a run.")] = 2,
    runs: Runs = 5,
    as_json: Json = False,
) -> None:
    """Measure how many acknowledged adds a second one node serves over UDP."""
    with Live(console=err, transient=True) as live:
        rates = run(rating.measure(window, seconds, runs, lambda rate: live.update(f"{rate.per_second:,.0f} adds/s")))
    if as_json:
        adds = {"median": median(rate.per_second for rate in rates), "runs": [rate.per_second for rate in rates]}
        latency = {
            "p50": median(rate.latency_p50_ms for rate in rates),
            "p99": median(rate.latency_p99_ms for rate in rates),
        }
        typer.echo(
            json.dumps({"window": window, "seconds": seconds, "adds_per_second": adds, "latency_ms": latency}, indent=2)
        )
        return
    out.print(_rates(f"one node, {window} adds under way, {runs} runs of {seconds:g} s", rates))


def _rates(title: str, rates: list[rating.Rate]) -> Table:
    shown = Table(title=title, title_justify="left", header_style="bold")
    for each in ("", "min", "median", "max"):
        shown.add_column(each, justify="right" if each else "left")
    rows: list[tuple[str, list[float], int]] = [
        ("acknowledged adds/s", [rate.per_second for rate in rates], 0),
        ("answer p50 ms", [rate.latency_p50_ms for rate in rates], 2),
        ("answer p99 ms", [rate.latency_p99_ms for rate in rates], 2),
    ]
    for name, figures, digits in rows:
        shown.add_row(name, *(f"{pick(figures):,.{digits}f}" for pick in (min, median, max)))
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
