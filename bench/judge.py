"""Simulated clusters in which everything goes wrong: is every promise kept?"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from time import process_time
from typing import Any

from gossip_counter.bench import report
from gossip_counter.bench.parallel import for_each_seed
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.cluster.sim.scenario import SCENARIOS
from gossip_counter.cluster.sim.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Verdict:
    """One seed: the promise that was broken, None if all were kept; and how many seconds of one core it took."""

    scenario: str
    seed: int
    broken: str | None
    cpu_s: float

    @property
    def replay(self) -> str:
        """The command that runs this seed again."""
        return f"bench judge --scenario {self.scenario} --first-seed {self.seed} --seeds 1"


@dataclass(frozen=True, slots=True)
class Campaign:
    """All seeds: what each took, and those that broke a promise."""

    cpu_s: list[float]
    broken: list[Verdict]

    @property
    def runs(self) -> int:
        """How many seeds."""
        return len(self.cpu_s)

    @property
    def kept(self) -> int:
        """How many of them kept every promise."""
        return self.runs - len(self.broken)

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        return {
            "runs": self.runs,
            "kept": self.kept,
            "cpu_s": report.distribution(self.cpu_s),
            "broken": [asdict(verdict) | {"replay": verdict.replay} for verdict in self.broken],
        }

    def table(self) -> str:
        """See `report.Result`: one line."""
        took = f"each took {median(self.cpu_s):.2f} s of one core (median)"
        return f"{self.kept:,} of {self.runs:,} runs kept every promise; {took}"


def measure(scenario: str | None, first_seed: int, seeds: int, done: Callable[[Verdict], None]) -> Campaign:
    """Run so many seeds, on all processors; without a scenario, the seeds take turns among all of them."""
    scenarios = [scenario] if scenario else list(SCENARIOS)
    campaign = Campaign([], [])
    for verdict in for_each_seed(partial(judge_one, scenarios), range(first_seed, first_seed + seeds)):
        campaign.cpu_s.append(verdict.cpu_s)
        if verdict.broken:
            campaign.broken.append(verdict)
        done(verdict)
    return campaign


def judge_one(scenarios: list[str], seed: int) -> Verdict:
    """One seed; it determines which of the scenarios it runs."""
    scenario = scenarios[seed % len(scenarios)]
    began = process_time()
    broken = None
    try:
        Simulation(SCENARIOS[scenario], seed).run()
    except PromiseBroken as verdict:
        broken = str(verdict)
    return Verdict(scenario, seed, broken, process_time() - began)
