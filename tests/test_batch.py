"""What gathers while a commit is under way, against plain sums."""

from collections import Counter
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from gossip_counter.node.core.batch import Tally
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import NOTHING, Row
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.replica import SMALL, Replica

NAMES = st.sampled_from("abc")
DELTAS = st.integers(-5, 5).filter(bool)
ADDS = st.lists(st.tuples(NAMES, DELTAS), max_size=12)
EDGES = [0, 1, -1, SMALL - 1, SMALL, SMALL + 1, -SMALL, MAX_COUNT, MAX_COUNT - 2 * SMALL, -MAX_COUNT, 2**62]
RUNS = st.lists(st.lists(st.tuples(NAMES, st.sampled_from(EDGES)), min_size=1, max_size=8), min_size=1, max_size=6)


def tally(adds: list[tuple[str, int]]) -> Tally:
    made = Tally()
    for name, delta in adds:
        made.add(name, delta)
    return made


def sums(adds: list[tuple[str, int]]) -> tuple[Counter[str], Counter[str]]:
    """By counter, what was added and what was taken away."""
    plus, minus = Counter[str](), Counter[str]()
    for name, delta in adds:
        (plus if delta > 0 else minus)[name] += abs(delta)
    return plus, minus


@given(ADDS, ADDS)
def test_a_tally_tells_what_was_added_and_what_was_taken_away(
    first: list[tuple[str, int]], then: list[tuple[str, int]]
) -> None:
    both = tally(first)
    both.include(tally(then))
    plus, minus = sums(first + then)
    assert {name: both.of(name) for name in "abc"} == {name: (plus[name], minus[name]) for name in "abc"}
    assert both.counted == plus.total() + minus.total()
    for name, delta in then:
        both.forget(name, delta)
    plus, minus = sums(first)
    assert {name: both.of(name) for name in "abc"} == {name: (plus[name], minus[name]) for name in "abc"}


@given(ADDS)
def test_rows_come_on_top_of_those_held_in_the_order_of_their_versions(adds: list[tuple[str, int]]) -> None:
    held = {"a": Row(7, 3, 5)}
    plus, minus = sums(adds)
    made = tally(adds)
    rows = made.rows([held.get(name, NOTHING) for name in made.net], 9)
    assert {name: row[:2] for name, row in rows.items()} == {
        name: (held.get(name, NOTHING).p + plus[name], held.get(name, NOTHING).n + minus[name]) for name, _ in adds
    }
    assert [version for _, _, version in rows.values()] == list(range(10, 10 + len(rows)))


@example([[("a", MAX_COUNT), ("a", 1)]], [True], 99)
@example([[("a", MAX_COUNT - 2 * SMALL)], *[[("a", SMALL - 1)] * 2] * 2], [True, False, False], 99)
@given(RUNS, st.lists(st.booleans(), min_size=6, max_size=6), st.sampled_from([1, 2, 4, 99]))
def test_a_run_is_what_its_adds_one_by_one_would_be(
    runs: list[list[tuple[str, int]]], commits: list[bool], max_rows: int
) -> None:
    """Near every bound and far from it, whether the commits before are done or under way."""
    node = Replica(Config(name="n1", max_rows=max_rows), Random(1), 0)
    taken: list[tuple[str, int]] = []
    same: dict[tuple[str, int], tuple[str, int]] = {}
    """An add that is known again is the same object."""
    for run, is_done in zip(runs, commits, strict=False):
        expected: list[int | None] = []
        for name, delta in run:
            plus, minus = sums([*taken, (name, delta)])
            value = plus[name] - minus[name]
            rows = {each for each, _ in taken} | ({name} if delta else set())
            fits = max(plus[name], minus[name], abs(value)) <= MAX_COUNT and len(rows) <= max_rows
            expected.append(value if fits else None)
            taken += [(name, delta)] if fits and delta else []
        told = node.add_run("c", 1, [same.setdefault(each, each) for each in run])
        assert [None if isinstance(each, RequestError) else each for each in told] == expected
        node.flush()
        if is_done and node._committing:
            node.committed(0)
    while node._committing or node.flush():
        node.committed(0)
    plus, minus = sums(taken)
    assert {name: (row.p, row.n) for _, name, row in node.state} == {
        name: (plus[name], minus[name]) for name, _ in taken
    }
