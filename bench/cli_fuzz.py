"""The command `bench fuzz`."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn

from gossip_counter.bench import options
from gossip_counter.bench.fuzz import campaign, corpus
from gossip_counter.bench.fuzz.campaign import Found, Outcome, Outcomes, Plan
from gossip_counter.bench.fuzz.targets import TARGETS, Target
from gossip_counter.bench.options import Json, err

TargetName = StrEnum("TargetName", {name.upper(): name for name in TARGETS})  # type: ignore[misc]
COUNT = 100_000


def fuzz(
    target: Annotated[list[TargetName] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help=f"Datagrams, lines, … of each; else {COUNT:,}.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.001, help="Minutes for all, in place of a number.")] = None,
    seed: Annotated[int, typer.Option(help="Determines the inputs.")] = 1,
    directory: Annotated[
        Path | None, typer.Option("--corpus", metavar="DIR", help="Inputs to begin with, in a directory per target.")
    ] = None,
    found: Annotated[Path, typer.Option(metavar="DIR", help="Where inputs that go wrong are kept.")] = Path("found"),
    replay: Annotated[Path | None, typer.Option(metavar="FILE", help="Try this input alone, of one target.")] = None,
    as_json: Json = False,
) -> None:
    """Send what nobody would send on purpose to everything that takes input, in this process.

    No error may be unexpected, nothing that is not sealed may change a state, and totals and hashes must be those of
    the rows. Exit code: 0 if nothing went wrong, 1 if something did; then the command that replays it is printed.
    """
    targets = [TARGETS[each] for each in target or TARGETS]
    if replay:
        if len(targets) != 1:
            raise typer.BadParameter("needs one --target", param_hint="--replay")
        _replay(targets[0], replay)
        return
    if minutes and count:
        raise typer.BadParameter("makes no sense beside --minutes", param_hint="--count")
    seconds = minutes * 60 / len(targets) if minutes else 0
    plan = Plan(0 if minutes else count or COUNT, seconds, seed, directory)
    outcomes = Outcomes([_measure(each, plan, found) for each in targets])
    options.show(outcomes, as_json)
    if outcomes.found:
        raise typer.Exit(1)


def _measure(target: Target, plan: Plan, kept: Path) -> Outcome:
    columns = (*Progress.get_default_columns(), TextColumn("{task.completed:,}"))
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(target.name, total=plan.units or None)

        def done(units: int, found: Sequence[Found]) -> None:
            progress.update(task, completed=units)
            for each in found:
                path = corpus.keep(kept, target, each.data)
                progress.console.print(
                    f"{target.name}: {each.what}\n  to replay: {command(target, path)}", soft_wrap=True
                )

        return campaign.measure(target, plan, done)


def command(target: Target, path: Path) -> str:
    """What tries an input again."""
    return f"bench fuzz --target {target.name} --replay {path}"


def _replay(target: Target, path: Path) -> None:
    data = path.read_bytes()
    for line in campaign.shown(data):
        typer.echo(line)
    campaign.replay(target, data)
    typer.echo("nothing went wrong")
