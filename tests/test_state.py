"""All rows of a node: merging any subset, in any order, any number of times; what a version may claim; the hashes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core import actor_log
from gossip_counter.node.core.actor_log import ActorLog
from gossip_counter.node.core.batch import Tally
from gossip_counter.node.core.counts import ZERO, Actor, AnyRow, HeldRow, NamedRow, Row, added, as_row, row_hash, value
from gossip_counter.node.core.gossip.ranges import ALL, DigestRanges, Range
from gossip_counter.node.core.holdings import NO_ENTRY, Stored
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.restoring import restored
from gossip_counter.node.core.state import State

A = Actor("a")
Merge = tuple[Actor, int | None, list[NamedRow]]

rows = st.lists(
    st.tuples(
        st.sampled_from(["", "likes", "b"]),
        st.builds(Row, st.integers(0, 50), st.integers(0, 50), st.integers(0, 9)),
    ),
    max_size=6,
)
merges = st.lists(
    st.tuples(st.sampled_from([A, Actor("b"), Actor("ab")]), st.none() | st.integers(0, 9), rows), max_size=12
)


def ascending(since: int | None, named: list[NamedRow]) -> list[NamedRow]:
    """As the wire lets them through."""
    if since is None:
        return named
    return sorted((each for each in named if each[1].version > since), key=lambda each: each[1].version)


def state_of(given: list[Merge]) -> State:
    state = State()
    for actor, since, named in given:
        state.merge(actor, since, ascending(since, named))
    return state


def detached(state: State, actor: Actor) -> tuple[NamedRow, ...]:
    """The rows that no version claims, in no order."""
    return tuple(state.log(actor).detached.items())


def written(*counters: str) -> list[NamedRow]:
    """One actor's rows after it added 1 to these counters, one after the other."""
    held: dict[str, AnyRow] = {}
    for version, counter in enumerate(counters, 1):
        held[counter] = added(held.pop(counter, ZERO), 1, version)
    return list(held.items())


# Merging and writing.


@given(st.integers(0, 2**32))
def test_to_write_is_to_merge(seed: int) -> None:
    rng, written, merged = Random(seed), State(), State()
    for _ in range(rng.randrange(1, 20)):
        if rng.random() < 0.3:
            row = rng.choice("xyz"), Row(rng.randrange(1, 9), rng.randrange(3), rng.randrange(1, 9))
            since = rng.choice((0, None))
            for state in (written, merged):
                state.merge(Actor("b"), since, [row])
        else:
            write_and_merge(rng, written, merged)
        if rng.random() < 0.5:  # hashes are made now and then
            assert written.digest() == merged.digest()
            assert [written.newer(A, since, 3) for since in (0, 2)] == [merged.newer(A, since, 3) for since in (0, 2)]
        assert seen(written) == seen(merged)
    assert (written.digest(), written.fingerprint) == (merged.digest(), merged.fingerprint)


def write_and_merge(rng: Random, written: State, merged: State) -> None:
    """The same writes of A, in one of the two ways each."""
    tally = Tally()
    for _ in range(rng.randrange(1, 6)):
        tally.add(rng.choice("xyz"), rng.choice((1, 2, -1, -3)))
    rows = tally.rows(written.contiguous(A, tally.net), written.version(A))
    written.write(A, rows, tally.net, tally.counted)
    merged.merge(A, merged.version(A), [(name, Row(*row)) for name, row in rows.items()])


def seen(state: State) -> list[object]:
    """What can be asked of a state without making its hashes."""
    return [
        [state.contiguous(A, "xyz"), [state.row(A, name) for name in "xyz"], detached(state, A)],
        [[*state.ends.rows(name).values()] for name in "xyz"],
        [state.version(A), state.source_version(A), state.complete_version(A), state.covering_version(A)],
        [len(state.totals), state.row_count, state.actors, state.counted, state.shrinking_rows],
        [dict(state.totals), list(state.names), set(state)],
    ]


@given(merges, st.randoms())
def test_whatever_comes_in_whatever_order_counts_the_same(given: list[Merge], rng: Random) -> None:
    again = given + rng.sample(given, len(given) // 2)
    rng.shuffle(again)
    one, other = state_of(given), state_of(again)
    assert {(a, c, row[:2]) for a, c, row in one} == {(a, c, row[:2]) for a, c, row in other}
    assert one.fingerprint == other.fingerprint


@given(merges)
def test_totals_fingerprint_and_counts_are_those_of_the_rows(given: list[Merge]) -> None:
    state = state_of(given)
    for counter in ("", "likes", "b", "never written"):
        assert state.value(counter) == value(state.ends.rows(counter).values())
    assert state.fingerprint == sum(row_hash(*row) for row in state) % 2**64
    assert state.row_count == len(list(state))
    assert len(state.totals) == len({counter for _, counter, _ in state})


@given(merges)
def test_digest_hashes_what_is_held(given: list[Merge]) -> None:
    state = state_of(given)
    for actor, entry in state.digest().items():
        contiguous = state.newer(actor, -1, 10**6)
        assert entry.version == state.version(actor)
        assert entry.hash == sum(row_hash(actor, *named) for named in contiguous) % 2**64
        assert entry.detached == sum(row_hash(actor, *named) for named in detached(state, actor)) % 2**64
        assert [row.version for _, row in contiguous] == sorted(row.version for _, row in contiguous)


@given(merges)
def test_merge_gives_what_was_news(given: list[Merge]) -> None:
    state = State()
    for actor, since, named in given:
        before = state.fingerprint
        news = state.merge(actor, since, ascending(since, named))
        assert bool(news) == (state.fingerprint != before)
        assert not state.merge(actor, since, ascending(since, named))


def test_a_delta_raises_the_version_to_that_of_its_last_row() -> None:
    state = State()
    state.merge(A, 0, written("x", "y", "x"))
    assert state.version(A) == 3
    assert state.newer(A, 0, 9) == (("y", Row(1, 0, 2)), ("x", Row(2, 0, 3)))
    assert state.newer(A, 2, 9) == (("x", Row(2, 0, 3)),)
    assert state.newer(A, 3, 9) == ()


def test_a_truncated_delta_claims_only_what_was_sent() -> None:
    sender, receiver = State(), State()
    sender.merge(A, 0, written(*(f"c{i}" for i in range(5000))))
    while receiver.version(A) < 5000:
        before = receiver.version(A)
        receiver.merge(A, before, sender.newer(A, before, 1962))
        assert receiver.version(A) == min(5000, before + 1962)
    assert receiver.digest() == sender.digest()


def test_a_delta_beyond_a_gap_counts_but_claims_nothing() -> None:
    first, second, third = written("x", "y", "z")
    state = State()
    state.merge(A, 0, [first])
    state.merge(A, 2, [third])
    assert state.value("z") == 1
    assert state.version(A) == 1
    assert state.newer(A, 0, 9) == (first,)
    assert detached(state, A) == (third,)
    state.merge(A, 1, [second])
    assert (state.version(A), detached(state, A)) == (2, (third,))
    state.merge(A, 1, [second, third])
    assert (state.version(A), detached(state, A)) == (3, ())
    assert state.newer(A, 0, 9) == (first, second, third)


def test_detached_rows_leave_the_contiguous_ones_as_their_writer_had_them() -> None:
    """Otherwise every lost push of a busy counter would look like unequal state at equal versions."""
    behind, gapped = State(), State()
    for state in (behind, gapped):
        state.merge(A, 0, written("x", "y"))
    gapped.merge(A, 3, [("x", Row(3, 0, 4))])
    assert gapped.value("x") == 3
    assert gapped.digest()[A][:2] == behind.digest()[A][:2]
    assert gapped.digest()[A].detached


def test_a_detached_row_joins_when_a_cut_delta_covers_it() -> None:
    state = State()
    state.merge(A, 2, [("x", Row(1, 0, 3))])
    state.merge(A, 0, [("y", Row(1, 0, 1)), ("z", Row(1, 0, 4))])  # its sender had rewritten x after 4
    assert detached(state, A) == ()
    assert [counter for counter, _ in state.newer(A, 0, 9)] == ["y", "x", "z"]


def test_equal_versions_are_not_yet_equal_state() -> None:
    """A row at version 3 is rewritten at 7, and a delta cut at 5 skips it."""
    complete, holed = State(), State()
    complete.merge(A, 0, written("a", "b", "x", "c", "d"))
    holed.merge(A, 0, [named for named in written("a", "b", "x", "c", "d") if named[0] != "x"])
    assert complete.version(A) == holed.version(A) == 5
    assert complete.digest()[A].hash != holed.digest()[A].hash
    holed.merge(A, 0, complete.newer(A, 0, 9))
    assert holed.digest() == complete.digest()
    assert holed.newer(A, 0, 9) == complete.newer(A, 0, 9)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[HeldRow]:
    """Every row that a log looks at."""
    looked: list[HeldRow] = []

    def noted(row: HeldRow) -> AnyRow:
        looked.append(row)
        return as_row(row)

    monkeypatch.setattr(actor_log, "as_row", noted)
    return looked


@pytest.mark.parametrize("held", [1_000, 50_000])
def test_a_delta_costs_the_rows_taken(looked_at: list[HeldRow], held: int) -> None:
    state = State()
    state.merge(A, 0, written(*(f"c{i}" for i in range(held))))
    for since in (0, 500, 990):
        looked_at.clear()
        assert len(state.newer(A, since, 10)) == 10
        assert len(looked_at) <= 11


def test_old_entries_of_rewritten_rows_do_not_pile_up(looked_at: list[HeldRow]) -> None:
    state = State()
    state.merge(A, 0, written(*(f"c{i}" for i in range(10))))
    for version in range(11, 5000):
        state.merge(A, version - 1, [(f"c{version % 7}", Row(version, 0, version))])
        looked_at.clear()
        state.newer(A, 0, 99)
        assert len(looked_at) <= 2 * 10 + 8
    assert len(state.newer(A, 0, 99)) == 10
    assert [row.version for _, row in state.newer(A, 4995, 99)] == [4996, 4997, 4998, 4999]


def test_rows_of_one_version_are_taken_together() -> None:
    state = State()
    state.merge(A, 0, [(f"c{i}", Row(1, 0, 1 + i // 3)) for i in range(9)])
    assert len(state.newer(A, 0, 4)) == 6


def test_a_value_is_read_without_looking_at_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    state = State()
    state.merge(A, 0, written(*(f"c{i}" for i in range(1000))))

    def never(*_: object) -> None:
        raise AssertionError("looked at a row")

    for name in ("visible", "__iter__", "contiguous", "newer"):
        monkeypatch.setattr(ActorLog, name, never)
    assert state.value("c5") == 1


def test_fingerprint_tells_apart_what_totals_do_not() -> None:
    one = state_of([(A, None, [("", Row(5, 0, 1))])])
    other = state_of([(Actor("b"), None, [("", Row(5, 0, 1))])])
    cancelled = state_of([(A, None, [("", Row(6, 1, 2))])])
    assert one.value("") == other.value("") == cancelled.value("")
    assert len({one.fingerprint, other.fingerprint, cancelled.fingerprint}) == 3


def test_a_row_that_counts_nothing_is_not_kept() -> None:
    state = State()
    assert not state.merge(A, 0, [("x", Row(0, 0, 7))])
    assert list(state) == []
    assert state.digest() == {}


def test_shrinking_counts_and_jumping_versions_take_nothing_back() -> None:
    state = State()
    state.merge(A, 0, written("x", "x", "x"))
    state.merge(A, 3, [("x", Row(1, 0, MAX_COUNT))])
    assert state.value("x") == 3
    assert state.digest()[A].version == MAX_COUNT
    state.merge(A, None, [("x", Row(4, 0, 4))])
    assert state.value("x") == 4


def test_of_an_unknown_actor_nothing_is_held() -> None:
    state = State()
    assert state.version(A) == state.source_version(A) == state.complete_version(A) == state.covering_version(A) == 0
    assert state.newer(A, 0, 9) == detached(state, A) == ()
    assert state.contiguous(A, ["x", "y"]) == [ZERO, ZERO]
    assert state.row(A, "x") == ZERO
    assert A not in state
    assert state.digest() == {}
    assert NO_ENTRY == (0, 0, 0)


# Complete: when a version stands for every single write.


def test_a_delta_that_was_cut_short_is_not_complete_until_its_source_version_is_reached() -> None:
    """A row at version 3 is rewritten at 7; who got the rows up to 5 lacks what the write of version 3 came to."""
    state = State()
    state.merge(A, 0, [("b", Row(1, 0, 4)), ("c", Row(1, 0, 5))], 7)
    assert (state.version(A), state.source_version(A), state.complete_version(A)) == (5, 7, 0)
    state.merge(A, 5, [("a", Row(2, 0, 7))])
    assert (state.version(A), state.source_version(A), state.complete_version(A)) == (7, 7, 7)


def test_a_state_that_is_not_complete_passes_its_source_version_on() -> None:
    first, second = State(), State()
    first.merge(A, 0, [("b", Row(1, 0, 4))], 7)
    second.merge(A, 0, first.newer(A, 0, 10), first.source_version(A))
    assert (second.version(A), second.complete_version(A)) == (4, 0)
    second.merge(A, 4, [("c", Row(1, 0, 6))])  # from one who knows of 6 only: still less than 7
    assert (second.version(A), second.complete_version(A)) == (6, 0)


def test_an_old_cut_delta_takes_nothing_from_a_complete_state() -> None:
    state = State()
    state.merge(A, 0, [("a", Row(1, 0, 1)), ("b", Row(1, 0, 2))])
    state.merge(A, 0, [("b", Row(1, 0, 2))], 9)
    assert (state.version(A), state.complete_version(A)) == (2, 2)


def test_what_covers_a_state_reaches_its_detached_rows_too() -> None:
    state = State()
    state.merge(A, 0, [("a", Row(1, 0, 1))], 3)
    assert state.covering_version(A) == 3
    state.merge(A, 7, [("b", Row(1, 0, 9))])
    assert state.covering_version(A) == 9


stored_rows = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 20)), max_size=6
)


@given(stored_rows, st.integers(0, 20))
def test_what_a_journal_gives_back_counts_the_same_and_can_be_given_on(
    held: dict[str, tuple[int, int, int]], version: int
) -> None:
    rows = tuple((name, Row(*row)) for name, row in held.items())
    state = restored([Stored(A, version, version, dict(rows))])
    assert sorted(state) == sorted((A, name, row) for name, row in rows)
    assert state.version(A) <= version
    given_on = state.newer(A, 0, 100)
    assert (given_on[-1][1].version if given_on else 0) == state.version(A)
    assert {name for name, _ in detached(state, A)} == {name for name, row in rows if row.version > version}
    # A detached row hides an older one that is gone: until its version is reached, nothing is complete.
    if state.version(A):
        assert state.source_version(A) == max(version, *(row.version for _, row in rows))


def test_what_is_described_of_ranges_follows_the_state() -> None:
    rng, state = Random(1), State()
    followed = DigestRanges(state)
    for _ in range(100):
        number, version = rng.randrange(60), rng.randrange(1, 50)
        state.merge(Actor(f"x{number:02}"), None if rng.random() < 0.3 else 0, (("c", Row(1, 0, version)),))
        bounds = sorted((Actor(f"x{rng.randrange(60):02}"), Actor(f"x{rng.randrange(60):02}")))
        for each in (ALL, Range(bounds[0], bounds[1]), Range(bounds[1])):
            assert followed.describe(each) == DigestRanges(state).describe(each)
            assert followed.entries(each) == {actor: state.entry(actor) for actor in state.digest() if actor in each}
        assert followed.root == DigestRanges(state).root
