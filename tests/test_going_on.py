"""Claim: rows that simply come after those that are held are taken in as all others are, only with less work."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.codec import deltas
from gossip_counter.node.core.counts import NOTHING_TAKEN, Actor, AnyRow, EndingRow, NamedRow, Row, Seen, Taken
from gossip_counter.node.core.holdings import NO_FLOORS, Floors
from gossip_counter.node.core.state import State

A, B = Actor("a"), Actor("b")
COUNTERS = "abcdefghij"
TIMES_MS = (1, 6000, 100_000_000)
DELETED = Taken(1, 0, (Seen(A, 0, 1, 0),), 90_000_000)


class Slow(State):
    """A state that merges all rows one by one."""

    def _append(self, *_: object) -> bool:
        return False


def any_row(rng: Random, version: int) -> AnyRow:
    p, n = rng.choice([0, 1, 1, 1, 2**60, 2**62]), rng.choice([0, 0, 1])
    if rng.random() < 0.85:
        return Row(p, n, version)
    taken = rng.choice([NOTHING_TAKEN, DELETED])
    return EndingRow(p, n, version, 0, rng.choice([0, 5000]), rng.choice([0, 7]), 0, taken)


def any_delta(rng: Random, version: int) -> tuple[int | None, list[NamedRow], int, int, Floors]:
    """Since, rows, source version, upto and floors; most go on where a version ends."""
    since = rng.choice([version, version, version, None, rng.randrange(13)])
    last, rows = since or 0, list[NamedRow]()
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        last += rng.choice([0, 1, 1, 2]) if rows else rng.choice([1, 1, 2])
        rows.append((rng.choice(COUNTERS), any_row(rng, last)))
    floors = Floors(last, rng.choice([0, last])) if rng.random() < 0.1 and since is not None else NO_FLOORS
    return since, rows, rng.choice([0, 0, last + 3]), 0, floors


def seen(state: State) -> list[object]:
    """All that others see of a state."""
    of_actor = (State.version, State.source_version, State.complete_version, State.covering_version, State.floors)
    versions = [each(state, actor) for each in of_actor for actor in (A, B)]
    counts = (state.fingerprint, state.row_count, state.counted, len(state.totals), state.shrinking_rows)
    kept = (state.special, state.forgotten, state.unsaid, state.ends.are_seen)
    return [sorted(state), dict(state.totals), state.digest(), state.newer(A, 0, 1000), *versions, counts, kept]


@pytest.mark.parametrize("first_seed", range(0, 2000, 250))
def test_it_comes_to_what_a_merge_would_come_to(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 250):
        compare(Random(seed))


def compare(rng: Random) -> None:
    """Let a quick state and a slow one take in the same."""
    quick, slow = State(), Slow()
    quick.owner = slow.owner = rng.choice([None, A])
    for _ in range(rng.randrange(1, 9)):
        actor = rng.choice([A, B])
        delta = any_delta(rng, quick.version(actor))
        assert sorted(quick.merge(actor, *delta)) == sorted(slow.merge(actor, *delta))
        if rng.random() < 0.3:
            now_ms = rng.choice(TIMES_MS)
            quick.advance(now_ms)
            slow.advance(now_ms)
        if rng.random() < 0.5:
            assert quick.digest() == slow.digest()
    assert seen(quick) == seen(slow)


def test_most_of_these_are_taken_in_so(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, append = list[bool](), State._append

    def noted(*given: Any) -> bool:
        taken.append(append(*given))
        return taken[-1]

    monkeypatch.setattr(State, "_append", noted)
    for seed in range(300):
        rng, state = Random(seed), State()
        for _ in range(4):
            state.merge(A, *any_delta(rng, state.version(A)))
    assert sum(taken) > 100


VALUES = st.sampled_from([0, 1, 300, 2**62, 2**63 - 1, 2**63, -1, True, None, (1, 0, 0, 0, 0, 0, 0, 0)])
NAMES = st.sampled_from(["", "x", "y", "z" * 63, "z" * 64, "z" * 256, "€" * 63, "€" * 85, "€" * 86, b"x"])
ABOVE = st.sampled_from([0, 1, 2, 3, 4, 5, 2**62, True])


@given(st.lists(st.tuples(NAMES, VALUES, VALUES, ABOVE), max_size=6), st.sampled_from([None, 0, 3, 2**62 - 2, 2**62]))
def test_plain_rows_are_unpacked_as_any_others(records: list[tuple[object, ...]], since: int | None) -> None:
    value = tuple(field for record in sorted(records, key=lambda each: int(each[3])) for field in record)  # type: ignore[call-overload]

    def unpacked() -> object:
        try:
            return deltas._unpack_rows(value, since)
        except ValueError as error:
            return str(error)

    quick = unpacked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "_unpack_plain_rows", lambda *_: ())
        assert unpacked() == quick
