"""The command `bench`, run in this process: an interpreter takes longer to start."""

import json
from collections.abc import Sequence
from typing import Any

from gossip_counter.bench import converge, workload
from gossip_counter.bench.cli import app
from gossip_counter.cluster.manifest import Settings
from tests.support.commands import Done, invoke


def bench(*arguments: str) -> Done:
    """The command with these arguments."""
    return invoke(app, *arguments)


def figures(*arguments: str) -> dict[str, Any]:
    """What it prints as JSON. Fails unless the exit code is 0."""
    done = bench(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def a_run(took_ms: float | None, value: int = 10) -> converge.Run:
    """A run of `bench converge` with two nodes that did not happen."""
    return converge.Run(10, took_ms, {"n1": 10, "n2": value}, {"n1": "aa", "n2": "bb"}, {"n1": 1}, {"n1": 100})


def comparison_of_modes(delta_ms: Sequence[float | None], full_ms: Sequence[float | None]) -> converge.Comparison:
    """What `bench converge --against-full` would return for runs that took so long."""
    plans = (workload.Plan(), workload.Plan(settings=Settings(gossip="full")))
    delta, full = (
        converge.Series(plan, [a_run(took_ms) for took_ms in times])
        for plan, times in zip(plans, (delta_ms, full_ms), strict=True)
    )
    return converge.Comparison(delta, full)
