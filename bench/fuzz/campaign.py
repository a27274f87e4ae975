"""Random inputs by the million: which of them go wrong?

One input is made from its number alone, so workers share nothing, and the same numbers are the same inputs.
"""

import gc
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from random import Random
from time import monotonic
from traceback import extract_tb
from typing import Any, NamedTuple

from rich.table import Table

from gossip_counter.bench import report
from gossip_counter.bench.fuzz import corpus
from gossip_counter.bench.fuzz.items import Item, join, split
from gossip_counter.bench.fuzz.mutation import Mutator
from gossip_counter.bench.fuzz.targets import TARGETS, Target
from gossip_counter.bench.fuzz.wrong import check

MOST_CPU_S = 10.0
"""An input that takes longer has found an endless loop, or a cost that grows too fast."""

INPUTS = 16
"""Inputs that a worker tries before it reports."""

WAITING = 8
"""Chunks of work that are given out in advance."""


class SlowInputError(Exception):
    """An input took too much time of the processor."""


class Found(NamedTuple):
    """An input that goes wrong."""

    target: str
    what: str
    data: bytes


class Tried(NamedTuple):
    """What some inputs came to."""

    units: int
    found: list[Found]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one target came to."""

    target: str
    unit: str
    units: int
    inputs: int
    seconds: float
    found: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What all targets came to."""

    outcomes: list[Outcome]

    @property
    def found(self) -> int:
        """How many inputs went wrong."""
        return sum(each.found for each in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """See `report.Result`."""
        return {
            each.target: {
                each.unit: each.units, "inputs": each.inputs, "seconds": round(each.seconds, 1), "found": each.found,
            }
            for each in self.outcomes
        }  # fmt: skip

    def table(self) -> Table:
        """See `report.Result`."""
        shown = report.table_of("inputs at random", ("target", "", "tried", "a second", "went wrong"), left=2)
        for each in self.outcomes:
            rate = each.units / each.seconds if each.seconds else 0
            shown.add_row(each.target, each.unit, f"{each.units:,}", f"{rate:,.0f}", f"{each.found:,}")
        return shown


class Plan(NamedTuple):
    """How much of each target is tried: so many units, or for so many seconds. `directory`: the corpus."""

    units: int
    seconds: float
    seed: int
    directory: Path | None

    def is_met(self, units: int, seconds: float) -> bool:
        """Whether that is done."""
        return units >= self.units if self.units else seconds >= self.seconds


def measure(target: Target, plan: Plan, done: Callable[[int, Sequence[Found]], None]) -> Outcome:
    """Try inputs on all processors. `done` gets the units that are tried, and what was found with the last of them."""
    began, units, chunks, found = monotonic(), 0, 0, set[str]()
    # Spawned, not forked: a worker that inherited our signal handlers could not be ended.
    with get_context("spawn").Pool(initializer=_begin_worker) as pool:
        for tried in _results(pool, target, plan):
            units, chunks = units + tried.units, chunks + 1
            new = {each.what: each for each in tried.found if each.what not in found}
            found |= new.keys()
            done(units, list(new.values()))
            if plan.is_met(units, monotonic() - began):
                break
    return Outcome(target.name, target.unit, units, chunks * INPUTS, monotonic() - began, len(found))


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # it takes a sixth of the time; garbage is collected between chunks


def _results(pool: Any, target: Target, plan: Plan) -> Iterator[Tried]:
    """What chunks of work come to, in their order, for ever."""
    numbers, waiting = count(), list[Any]()
    while True:
        while len(waiting) < WAITING:
            waiting.append(pool.apply_async(try_some, (target.name, plan.directory, plan.seed, next(numbers))))
        yield waiting.pop(0).get()


def try_some(name: str, directory: Path | None, seed: int, chunk: int) -> Tried:
    """One chunk of work."""
    target, units, found = TARGETS[name], 0, list[Found]()
    for number in range(INPUTS):
        items = _made(target, directory, f"{seed} {chunk} {number}")
        count, what = try_one(target, join(items))
        units += count
        if what:
            found.append(Found(name, what, join(smaller(items, partial(_goes_wrong, target, what)))))
    gc.collect()
    return Tried(units, found)


def _goes_wrong(target: Target, what: str, items: list[Item]) -> bool:
    return try_one(target, join(items))[1] == what


def _made(target: Target, directory: Path | None, seed: str) -> list[Item]:
    return Mutator(_corpus(target.name, directory), target.tokens, Random(seed)).items(target.length)


@cache
def _corpus(name: str, directory: Path | None) -> list[Item]:
    return corpus.items(directory, TARGETS[name])


def try_one(target: Target, data: bytes) -> tuple[int, str]:
    """The units of one input, and what went wrong: empty if nothing did."""
    try:
        with _limited():
            return target.run(data), ""
    except Exception as error:  # noqa: BLE001 whatever is raised is what is looked for
        return 0, described(error)


def described(error: Exception) -> str:
    """An error and where it was raised, without what differs from input to input."""
    place = [each for each in extract_tb(error.__traceback__) if each.name != check.__name__][-1]
    path = place.filename.rpartition("gossip_counter/")[2]
    return f"{type(error).__name__} in {path}:{place.lineno}, {place.name}"


@contextmanager
def _limited() -> Iterator[None]:
    """Raise `SlowInputError` in what takes too much time of the processor."""

    def slow(*_: object) -> None:
        raise SlowInputError(f"it took more than {MOST_CPU_S:g} s of one processor")

    before = signal.signal(signal.SIGVTALRM, slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def smaller(items: list[Item], is_wrong: Callable[[list[Item]], bool]) -> list[Item]:
    """The fewest items that still go wrong, as far as leaving out some at a time shows."""
    size = len(items) // 2
    while size:
        at = 0
        while at < len(items):
            fewer = items[:at] + items[at + size :]
            if is_wrong(fewer):
                items = fewer
            else:
                at += size
        size //= 2
    return items


def replay(target: Target, data: bytes) -> int:
    """Try one input again. Raises what is wrong with it. Returns how many units it had."""
    with _limited():
        return target.run(data)


def shown(data: bytes) -> list[str]:
    """The items of an input, for people."""
    return [f"{item.control:3} {item.content[:100]!r}{'…' * (len(item.content) > 100)}" for item in split(data)]
