"""Named counters: merging any subset, in any order, any number of times; totals and fingerprint kept up to date."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from node.counter import Row, value
from node.state import Actor, State, row_hash

Entry = tuple[Actor, str, Row]
entries = st.lists(
    st.tuples(
        st.sampled_from([Actor("a"), Actor("b"), Actor("ab")]),
        st.sampled_from(["", "likes", "b"]),
        st.builds(Row, st.integers(0, 50), st.integers(0, 50), st.integers(0, 9)),
    ),
    max_size=30,
)


def state_of(rows: list[Entry]) -> State:
    state = State()
    for row in rows:
        state.merge(*row)
    return state


@given(entries, st.randoms())
def test_order_and_repetition_change_nothing(rows: list[Entry], rng: Random) -> None:
    again = rows + rng.sample(rows, len(rows) // 2)
    rng.shuffle(again)
    assert sorted(state_of(again)) == sorted(state_of(rows))
    assert state_of(again).fingerprint == state_of(rows).fingerprint


@given(entries)
def test_totals_fingerprint_and_row_count_are_those_of_the_rows(rows: list[Entry]) -> None:
    state = state_of(rows)
    for counter in ("", "likes", "b", "never written"):
        assert state.value(counter) == value(state.rows_of(counter))
    assert state.fingerprint == sum(row_hash(*row) for row in state) % 2**64
    assert state.row_count == len(list(state))
    assert state.counters == len({counter for _, counter, _ in state})


@given(entries)
def test_merge_tells_whether_anything_was_news(rows: list[Entry]) -> None:
    state = State()
    for row in rows:
        before = state.fingerprint
        assert state.merge(*row) == (state.fingerprint != before)
        assert not state.merge(*row)


def test_fingerprint_tells_apart_what_totals_do_not() -> None:
    one = state_of([(Actor("a"), "", Row(5, 0, 1))])
    other = state_of([(Actor("b"), "", Row(5, 0, 1))])
    cancelled = state_of([(Actor("a"), "", Row(6, 1, 2))])
    assert one.value("") == other.value("") == cancelled.value("")
    assert len({one.fingerprint, other.fingerprint, cancelled.fingerprint}) == 3


def test_fingerprint_is_the_same_in_every_process() -> None:
    assert row_hash(Actor("n1"), "likes", Row(3, 2, 1)) == 5807238230666413806


def test_a_row_that_counts_nothing_is_not_kept() -> None:
    state = State()
    assert not state.merge(Actor("a"), "x", Row(0, 0, 7))
    assert list(state) == []
