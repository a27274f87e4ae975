"""What gathers while a commit is under way, against plain sums."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core.batch import Tally
from gossip_counter.node.core.counts import ZERO, Row
from gossip_counter.node.core.identity import Increment

ADDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 5).filter(bool)), max_size=12)


def tally(adds: list[Increment]) -> Tally:
    made = Tally()
    for name, delta in adds:
        made.add(name, delta)
    return made


def sums(adds: list[Increment]) -> tuple[Counter[str], Counter[str]]:
    """By counter, what was added and what was subtracted."""
    plus, minus = Counter[str](), Counter[str]()
    for name, delta in adds:
        (plus if delta > 0 else minus)[name] += abs(delta)
    return plus, minus


@given(ADDS, ADDS)
def test_a_tally_has_what_was_added_and_what_was_subtracted(first: list[Increment], then: list[Increment]) -> None:
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
def test_rows_come_on_top_of_those_held_in_the_order_of_their_versions(adds: list[Increment]) -> None:
    held = {"a": Row(7, 3, 5)}
    plus, minus = sums(adds)
    made = tally(adds)
    rows = made.rows([held.get(name, ZERO) for name in made.net], 9)
    assert {name: row[:2] for name, row in rows.items()} == {
        name: (held.get(name, ZERO).p + plus[name], held.get(name, ZERO).n + minus[name]) for name, _ in adds
    }
    assert [row[2] for row in rows.values()] == list(range(10, 10 + len(rows)))
