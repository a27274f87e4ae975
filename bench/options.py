"""Options that several commands of `bench` share, and how they print what they measured."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from gossip_counter.bench import plot as plotting
from gossip_counter.bench.report import Plottable, Result
from gossip_counter.cluster.options import GossipMode

Number = TypeVar("Number", int, float)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
Nodes = Annotated[int, typer.Option("-n", "--nodes", min=1, max=100, help="Number of nodes.")]
Runs = Annotated[int, typer.Option(min=1, max=10_000, help="Number of runs; figures are distributions over them.")]
IntervalMs = Annotated[int, typer.Option(min=1, max=3_600_000, help="Milliseconds between two gossip rounds.")]
Fanout = Annotated[int, typer.Option(min=0, max=1000, help="Random peers that each gossip round contacts.")]
Gossip = Annotated[GossipMode, typer.Option(help="Send digests and changes, or the whole state every round.")]
Sealed = Annotated[bool, typer.Option("--sealed", help="Seal all datagrams with a key of the cluster's own.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw a picture: .svg, .png or .pdf.")]

out = Console()
err = Console(stderr=True)


def show(result: Result, as_json: bool) -> None:
    """Print a result on stdout."""
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
    else:
        out.print(result.table(), crop=False)


def show_and_plot(result: Plottable, as_json: bool, plot: Path | None) -> None:
    """Print a result, and draw it if there is a file for it."""
    show(result, as_json)
    if plot:
        result.plot(plot)


def check_plot(plot: Path | None) -> None:
    """Find out before anything is measured whether the picture can be drawn. Raises `BadParameter`, `PlotError`."""
    if plot:
        try:
            plotting.check(plot)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--plot") from None


def refuse_given(context: typer.Context, beside: str, names: str) -> None:
    """Refuse those of the named options that the user gave. Raises `BadParameter`."""
    for name in names.split():
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            option = next(each for each in context.command.params if each.name == name)
            hint = " / ".join(option.opts + option.secondary_opts)
            raise typer.BadParameter(f"makes no sense beside {beside}", param_hint=hint)


def numbers(text: str, kind: Callable[[str], Number], option: str, low: float, high: float) -> Sequence[Number]:
    """The numbers in a list such as 5,25. Raises `BadParameter`."""
    try:
        values = [kind(each) for each in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers, such as 5,25", param_hint=option) from None
    if not all(low <= each <= high for each in values):
        raise typer.BadParameter(f"each must be from {low} to {high}", param_hint=option)
    return values
