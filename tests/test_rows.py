"""One row: the laws of merging, its bounds, its encoding, its hash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core.counts import (
    FIELDS,
    ZERO,
    Actor,
    AnyRow,
    Row,
    added,
    as_ending,
    as_row,
    counts_nothing,
    decode,
    encode,
    merged,
    row_hash,
    value,
)
from gossip_counter.node.core.limits import MAX_COUNT

A = Actor("a")
counts = st.integers(0, MAX_COUNT)
rows = st.builds(Row, counts, counts, counts)


# Merging.


@given(rows, rows)
def test_merge_is_commutative(a: Row, b: Row) -> None:
    assert merged(a, b) == merged(b, a)


@given(rows, rows, rows)
def test_merge_is_associative(a: Row, b: Row, c: Row) -> None:
    assert merged(merged(a, b), c) == merged(a, merged(b, c))


@given(rows)
def test_merge_is_idempotent(a: Row) -> None:
    assert merged(a, a) == a
    assert merged(a, ZERO) == merged(ZERO, a) == a


@given(rows, rows)
def test_merge_loses_nothing(a: Row, b: Row) -> None:
    assert all(new >= max(old) for new, *old in zip(as_ending(merged(a, b))[:3], a, b, strict=True))


# Counting.


@given(st.lists(st.integers(-1000, 1000)))
def test_a_negative_increment_is_a_decrement(deltas: list[int]) -> None:
    row: AnyRow = ZERO
    for version, delta in enumerate(deltas, 1):
        row = added(row, delta, version)
    assert value([row]) == sum(deltas)
    assert row.p == sum(delta for delta in deltas if delta > 0)
    assert row.n == -sum(delta for delta in deltas if delta < 0)


@pytest.mark.parametrize(("row", "delta"), [(Row(MAX_COUNT, 0), 1), (Row(0, MAX_COUNT), -1), (Row(2, 0), MAX_COUNT)])
def test_counts_stay_below_2_to_the_63(row: Row, delta: int) -> None:
    with pytest.raises(ValueError, match=str(MAX_COUNT)):
        added(row, delta, 1)


def test_a_plain_row_is_the_same_row() -> None:
    assert as_row((1, 2, 3)) == Row(1, 2, 3) == (1, 2, 3)
    row = Row(1, 2, 3)
    assert as_row(row) is row
    assert [counts_nothing(each) for each in (ZERO, (0, 0, 9), (1, 0, 9), (0, 1, 9))] == [True, True, False, False]


# Encoding.


@given(rows, counts)
def test_what_is_encoded_is_decoded_to_the_same_row(row: Row, base: int) -> None:
    base = min(base, row.version)
    encoded = encode(row, base)
    assert len(encoded) == len(FIELDS)
    assert base + int(str(encoded[2])) == row.version
    decoded = decode(encoded, base)
    assert decoded == row
    assert type(decoded) is Row


@pytest.mark.parametrize("bad", [-1, MAX_COUNT + 1, 1.0, True, None, "1", b"1", (1,)], ids=repr)
@pytest.mark.parametrize("at", range(3))
def test_a_value_out_of_its_bounds_is_refused_by_the_name_of_its_field(at: int, bad: object) -> None:
    values: list[object] = [1, 2, 3]
    values[at] = bad
    with pytest.raises(ValueError, match=f"^{FIELDS[at]} must be an integer from 0 to {MAX_COUNT}, not "):
        decode(values, 0)


def test_a_version_is_bounded_with_its_base() -> None:
    assert decode([1, 2, 3], MAX_COUNT - 3) == Row(1, 2, MAX_COUNT)
    with pytest.raises(ValueError, match="version must be an integer"):
        decode([1, 2, 4], MAX_COUNT - 3)


# Hashing.


def test_a_hash_is_the_same_in_every_process() -> None:
    assert row_hash(Actor("n1"), "likes", Row(3, 2, 1)) == row_hash(Actor("n1"), "likes", (3, 2, 1))
    assert row_hash(Actor("n1"), "likes", Row(3, 2, 1)) == 5807238230666413806


def test_a_hash_tells_rows_apart_but_by_their_versions() -> None:
    row = Row(3, 2, 1)
    others = [
        (A, "x", Row(2, 3, 1)),
        (A, "y", row),
        (Actor("b"), "x", row),
        (Actor("ax"), "", row),
        (Actor(""), "ax", row),
    ]
    assert len({row_hash(A, "x", row), *(row_hash(*each) for each in others)}) == 6
    assert row_hash(A, "x", Row(3, 2, 9)) == row_hash(A, "x", row)


def test_a_row_that_counts_nothing_adds_nothing_to_a_hash() -> None:
    assert row_hash(A, "x", ZERO) == row_hash(A, "y", (0, 0, 7)) == 0
