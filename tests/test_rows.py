"""The lattice laws of one row, and counting against a plain integer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core.counts import NOTHING, Row, added, merged, value
from gossip_counter.node.core.limits import MAX_COUNT

counts = st.integers(0, MAX_COUNT)
rows = st.builds(Row, counts, counts, counts)


@given(rows, rows)
def test_merge_is_commutative(a: Row, b: Row) -> None:
    assert merged(a, b) == merged(b, a)


@given(rows, rows, rows)
def test_merge_is_associative(a: Row, b: Row, c: Row) -> None:
    assert merged(merged(a, b), c) == merged(a, merged(b, c))


@given(rows)
def test_merge_is_idempotent(a: Row) -> None:
    assert merged(a, a) == a


@given(rows, rows)
def test_merge_loses_nothing(a: Row, b: Row) -> None:
    assert all(new >= max(old) for new, *old in zip(merged(a, b), a, b, strict=True))


@given(st.lists(st.integers(-1000, 1000)))
def test_a_negative_increment_is_a_decrement(deltas: list[int]) -> None:
    row = NOTHING
    for version, delta in enumerate(deltas, 1):
        row = added(row, delta, version)
    assert value([row]) == sum(deltas)
    assert row.p == sum(delta for delta in deltas if delta > 0)
    assert row.n == -sum(delta for delta in deltas if delta < 0)


@pytest.mark.parametrize(("row", "delta"), [(Row(MAX_COUNT, 0), 1), (Row(0, MAX_COUNT), -1), (Row(2, 0), MAX_COUNT)])
def test_counts_stay_below_2_to_the_63(row: Row, delta: int) -> None:
    with pytest.raises(ValueError, match=str(MAX_COUNT)):
        added(row, delta, 1)
