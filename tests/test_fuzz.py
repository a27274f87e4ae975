"""Claim: no input causes an unexpected error or a state that is not what its rows come to; the fuzzer finds both."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip_counter.bench.fuzz import campaign, corpus, guided
from gossip_counter.bench.fuzz.campaign import Found, Outcome, Plan
from gossip_counter.bench.fuzz.items import Item, join, split
from gossip_counter.bench.fuzz.mutation import Mutator
from gossip_counter.bench.fuzz.targets import TARGETS, Target
from gossip_counter.cluster.sim import recomputed
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.codec import datagrams, requests
from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.state import State
from gossip_counter.node.endpoints.envelopes import Envelopes
from gossip_counter.node.endpoints.redis.parser import Parser
from gossip_counter.node.security.sealing import Window
from gossip_counter.node.storage import entries
from tests.support import planted_faults as faults
from tests.support.bench import bench, figures
from tests.support.planted_faults import Plant
from tests.support.replica import X

CORPUS = Path(__file__).parent / "corpus"
ALL = [pytest.param(each, id=each.name) for each in TARGETS.values()]


def made(target: Target, seed: int) -> bytes:
    return join(Mutator(target.samples(), target.tokens, Random(seed)).items(target.length))


# Nothing goes wrong.


@pytest.mark.parametrize("target", ALL)
def test_well_formed_input_goes_well(target: Target) -> None:
    assert target.run(join(target.samples())) > 0


@pytest.mark.parametrize("target", ALL)
def test_random_inputs_go_well(target: Target) -> None:
    for seed in range(3):
        target.run(made(target, seed))


@pytest.mark.parametrize("target", ALL)
@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_an_input(target: Target, data: bytes) -> None:
    target.run(data)


KEPT = [
    pytest.param(target, path, id=f"{target.name}-{path.name}")
    for target in TARGETS.values()
    for path in sorted((CORPUS / target.name).glob("*"))
]


@pytest.mark.parametrize(("target", "path"), KEPT)
def test_inputs_that_are_kept_go_well(target: Target, path: Path) -> None:
    """Those that went wrong once are among them."""
    campaign.replay(target, path.read_bytes())


# What is wrong is found.


def counts_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "count", lambda value, _: value)


def versions_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(limits, "version", lambda value, _: value)


def a_decoder_raises_something_else(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(datagrams, "_hash", lambda value: value % 2**64)


def a_request_raises_something_else(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(requests, "_counter", lambda body: body["counter"])


def replays_are_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "is_new", lambda *_: True)


def what_is_not_sealed_is_taken(patch: pytest.MonkeyPatch) -> None:
    opened = Envelopes.opened
    patch.setattr(Envelopes, "opened", lambda self, datagram, *rest: opened(self, datagram, *rest) or datagram)


def an_encoder_forgets_something(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(datagrams, "_pack_wants", lambda *_: b"\x90")


def a_total_is_not_kept_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "_count", lambda *_: None)


def a_journal_forgets_floors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(entries, "_plain", lambda value: tuple(value)[:4])


def a_command_is_cut_by_a_read(patch: pytest.MonkeyPatch) -> None:
    feed = Parser.feed

    def forgetful(self: Parser, *given: Any) -> list[Any]:
        self._rest = bytearray()
        return feed(self, *given)

    patch.setattr(Parser, "feed", forgetful)


PLANTS: list[tuple[str, Plant]] = [
    ("datagrams", counts_have_no_bound),
    ("datagrams", versions_have_no_bound),
    ("datagrams", a_decoder_raises_something_else),
    ("datagrams", a_request_raises_something_else),
    ("datagrams", an_encoder_forgets_something),
    ("datagrams", a_total_is_not_kept_up),
    ("sealed", faults.a_datagram_for_another_process_is_taken),
    ("sealed", what_is_not_sealed_is_taken),
    ("sealed", replays_are_taken),
    ("lines", a_request_raises_something_else),
    ("redis", a_command_is_cut_by_a_read),
    ("entries", a_journal_forgets_floors),
    ("sequences", faults.merge_by_sum),
]


@pytest.mark.parametrize(("name", "plant"), PLANTS, ids=[f"{name}-{plant.__name__}" for name, plant in PLANTS])
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, name: str, plant: Plant) -> None:
    target = TARGETS[name]
    inputs = [join(5 * target.samples()), *(made(target, seed) for seed in range(20))]
    plant(monkeypatch)
    assert any(campaign.try_one(target, data)[1] for data in inputs)


def test_an_input_that_goes_wrong_is_made_smaller_and_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    a_decoder_raises_something_else(monkeypatch)
    first, *_ = campaign.try_some("datagrams", None, 1, 0).found
    assert len(list(split(first.data))) == 1
    assert campaign.try_one(TARGETS["datagrams"], first.data) == (0, first.what)


def test_an_endless_loop_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_: bytes) -> int:
        while True:
            pass

    monkeypatch.setattr(campaign, "MOST_CPU_S", 0.05)
    assert "SlowInputError" in campaign.try_one(TARGETS["lines"]._replace(run=endless), b"")[1]


# Inputs.


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)).map(lambda each: Item(*each))))
def test_items_come_back_as_they_were(items: list[Item]) -> None:
    assert list(split(join(items))) == items


def test_the_same_seed_makes_the_same_inputs() -> None:
    target = TARGETS["lines"]
    assert made(target, 7) == made(target, 7) != made(target, 8)


def test_kept_inputs_are_begun_with(tmp_path: Path) -> None:
    target, item = TARGETS["lines"], Item(3, b"kept")
    path = corpus.keep(tmp_path, target, join([item]))
    assert path.parent == tmp_path / "lines"
    assert corpus.items(tmp_path, target) == [*target.samples(), item]
    assert corpus.items(None, target) == target.samples()


# The command.


@pytest.mark.soak
def test_a_number_of_inputs_is_tried_on_all_processors() -> None:
    found = figures("fuzz", "--target", "keyrings", "--count", "100")
    assert found["keyrings"]["files"] >= 100
    assert found["keyrings"]["found"] == 0


def test_what_goes_wrong_is_kept_and_can_be_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = join([Item(0, b"x")])
    outcome = Outcome("keyrings", "files", 1, 1, 1.0, 1)

    def measure(target: Target, plan: Plan, done: Callable[[int, Sequence[Found]], None]) -> Outcome:
        done(1, [Found("keyrings", "planted", data)])
        return outcome

    monkeypatch.setattr(campaign, "measure", measure)
    done = bench("fuzz", "--target", "keyrings", "--found", str(tmp_path))
    (path,) = (tmp_path / "keyrings").iterdir()
    assert (done.exit_code, path.read_bytes()) == (1, data)
    command = f"fuzz --target keyrings --replay {path}"
    assert f"keyrings: planted\n  to replay: bench {command}\n" in done.stderr
    replayed = bench(*command.split())
    assert (replayed.exit_code, replayed.stdout) == (0, "  0 b'x'\nnothing went wrong\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--replay", "x"],
        ["--replay", "x", "--target", "lines", "--count", "5"],
        ["--live", "--target", "lines"],
        ["--guided", "--count", "5"],
        ["--count", "5", "--minutes", "1"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_together_are_refused(options: list[str]) -> None:
    assert bench("fuzz", *options).exit_code == 2


def test_without_atheris_it_says_where_that_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided, "find_spec", lambda _: None)
    done = bench("fuzz", "--guided")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "make fuzz" in done.stderr


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: make fuzz does it")
@pytest.mark.soak
def test_coverage_leads_the_way(tmp_path: Path) -> None:
    reached = list[int]()
    outcome = guided.measure(TARGETS["keyrings"], 3, 1, None, lambda progress, _: reached.append(progress.covered))
    assert outcome.found == 0
    assert outcome.units > 100
    assert reached[-1] > reached[0]


@pytest.mark.soak
def test_running_nodes_stand_what_comes() -> None:
    outcomes = figures("fuzz", "--live", "--count", "4000")
    assert all(each["datagrams"] > 1000 for each in outcomes.values())


# What rows come to.

ROWS = (("a", Row(5, 2, 1)), ("b", Row(1, 0, 2)))


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda state: state._totals.update(a=4), "totals"),
        (lambda state: state.names.remove("a"), "names"),
        (lambda state: setattr(state, "row_count", 3), "rows"),
        (lambda state: setattr(state, "counted", 9), "sum of all p and n"),
        (lambda state: setattr(state, "_fingerprint", 9), "fingerprint"),
        (lambda state: state._digest.update({X: DigestEntry(2, 9, 0)}), "digest entry of x"),
        (lambda state: setattr(state._logs[X], "version", 1), "x's rows above its version"),
        (lambda state: state._logs[X]._index_names.__setitem__(0, "b"), "x's rows by name"),
        (lambda state: state._logs[X].unhashed.add("a"), "fingerprint"),
        (lambda state: setattr(state.ends, "expiring", 1), "counters that expire"),
    ],
)
def test_what_is_kept_is_compared_with_the_rows(harm: Callable[[Any], None], named: str) -> None:
    state = State()
    state.merge(X, 0, ROWS)
    recomputed.check(state)
    harm(state)
    with pytest.raises(PromiseBroken, match=f"^{named}: "):
        recomputed.check(state)
