"""The command `bench fuzz`."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from gossip_counter.bench import options
from gossip_counter.bench.fuzz import campaign, corpus, guided, live
from gossip_counter.bench.fuzz.campaign import Found, Outcome, Outcomes, Plan
from gossip_counter.bench.fuzz.targets import TARGETS, Target
from gossip_counter.bench.options import Json, err
from gossip_counter.cluster.running import progress_line, run

TargetName = StrEnum("TargetName", {name.upper(): name for name in TARGETS})  # type: ignore[misc]
COUNT = 100_000


class Kept(NamedTuple):
    """Where inputs are: those to begin with, and those that go wrong."""

    corpus: Path | None
    found: Path


def fuzz(
    context: typer.Context,
    target: Annotated[list[TargetName] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Datagrams, lines, … of each target.")] = COUNT,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes for all targets together, in place of a number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Determines the inputs, but for --guided.")] = 1,
    guided_: Annotated[
        bool, typer.Option("--guided", help="Let coverage lead the way (atheris): 'make fuzz' has what it needs.")
    ] = False,
    live_: Annotated[
        bool, typer.Option("--live", help="Send datagrams to running nodes, plain ones and some with keys.")
    ] = False,
    directory: Annotated[
        Path | None, typer.Option("--corpus", metavar="DIR", help="Inputs to begin with: a directory for each target.")
    ] = None,
    found: Annotated[Path, typer.Option(metavar="DIR", help="Where inputs that go wrong are kept.")] = Path("found"),
    replay: Annotated[Path | None, typer.Option(metavar="FILE", help="Try this input alone, of one target.")] = None,
    as_json: Json = False,
) -> None:
    """Send what nobody would send on purpose to everything that takes input.

    No error may be unexpected, nothing that is not sealed may change a state, totals and hashes must be those of the
    rows, and what is decoded must be the same when it is encoded and decoded again. Exit code: 0 if nothing went wrong,
    1 if something did; then the input is kept, and the command printed that tries it again.
    """
    targets, kept = [TARGETS[each] for each in target or TARGETS], Kept(directory, found)
    if replay:
        options.refuse_given(context, "--replay", "count minutes seed guided_ live_ directory found")
        if len(targets) != 1:
            raise typer.BadParameter("needs one --target", param_hint="--replay")
        _replay(targets[0], replay)
        return
    if live_:
        options.refuse_given(context, "--live", "target minutes guided_ directory found")
        outcomes = _live(count, seed)
    elif guided_:
        options.refuse_given(context, "--guided", "count")
        guided.check()
        seconds = (minutes or 1) * 60 / len(targets)
        outcomes = [_guided(each, seconds, seed, kept) for each in targets]
    else:
        if minutes:
            options.refuse_given(context, "--minutes", "count")
        plan = Plan(0 if minutes else count, (minutes or 0) * 60 / len(targets), seed, directory)
        outcomes = [_campaign(each, plan, kept) for each in targets]
    options.show(result := Outcomes(outcomes), as_json)
    if result.found:
        raise typer.Exit(1)


def _campaign(target: Target, plan: Plan, kept: Kept) -> Outcome:
    with progress_line() as show:

        def done(units: int, found: Sequence[Found]) -> None:
            show(f"{target.name}: {units:,} {target.unit}")
            _keep(target, found, kept)

        return campaign.measure(target, plan, done)


def _guided(target: Target, seconds: float, seed: int, kept: Kept) -> Outcome:
    with progress_line() as show:

        def done(progress: guided.Progress, found: Sequence[Found]) -> None:
            show(f"{target.name}: {progress.inputs:,} inputs, which reach {progress.covered:,} places in the code")
            _keep(target, found, kept)

        return guided.measure(target, seconds, seed, kept.corpus, done)


def _live(count: int, seed: int) -> list[Outcome]:
    with progress_line() as show:
        return run(live.measure(count, seed, lambda name, sent: show(f"{name}: {sent:,} datagrams sent")))


def _keep(target: Target, found: Sequence[Found], kept: Kept) -> None:
    for each in found:
        path = corpus.keep(kept.found, target, each.data)
        line = f"{target.name}: {each.what}\n  to replay: bench fuzz --target {target.name} --replay {path}"
        err.print(line, soft_wrap=True, markup=False)


def _replay(target: Target, path: Path) -> None:
    """Show an input, and what is wrong with it: the traceback is what one looks for."""
    data = path.read_bytes()
    for line in campaign.shown(data):
        typer.echo(line)
    campaign.replay(target, data)
    typer.echo("nothing went wrong")
