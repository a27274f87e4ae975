"""Every bound, at one add and at ten thousand, near it and far from it."""

from collections import Counter
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gossip_counter.node.core.admission import SMALL, Admission
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import LARGE, Actor, AnyRow, Row
from gossip_counter.node.core.effects import Answer
from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.gossip.messages import Delta, Push, Syn
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.identity import Increment, Recovered
from gossip_counter.node.core.increases import Outcome
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, Written
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.state import State
from gossip_counter.node.core.writes import Writes
from tests.support.replica import (
    ME,
    Effect,
    X,
    add,
    drain,
    is_committing,
    persisted,
    pushed,
    receive,
    refusal,
    replica,
    replies,
    settle,
    step,
    submit,
)

NAMES = st.sampled_from("abc")
EDGES = [
    0, 1, -1, SMALL - 1, SMALL, SMALL + 1, -SMALL, MAX_COUNT, MAX_COUNT - 2 * SMALL, -MAX_COUNT, 2**62, LARGE - 1,
    -LARGE,
]  # fmt: skip
RUNS = st.lists(st.lists(st.tuples(NAMES, st.sampled_from(EDGES)), min_size=1, max_size=8), min_size=1, max_size=6)
ROWS = st.sampled_from([1, 2, 4, 99])


def values_of(effects: list[Effect], request_id: int) -> list[Outcome]:
    (found,) = [each for each in replies(effects) if isinstance(each, Written) and each.in_reply_to == request_id]
    return list(found.values)


def known(value: Outcome) -> int | None:
    return value if isinstance(value, int) else None


# Counts.


def test_after_an_error_nothing_has_changed() -> None:
    node = replica()
    add(node, MAX_COUNT)
    before = list(node.state)
    error = refusal(step(node, Add(2, 1)))
    assert (error.code, error.in_reply_to) == (MALFORMED, 2)
    assert error.text == f"delta would take this node's increments of the counter past {MAX_COUNT}"
    assert drain(node) == []
    assert list(node.state) == before
    assert node.stats.requests_refused == 1


def test_the_bound_of_a_count_holds_within_a_batch_too() -> None:
    node = replica()
    step(node, Add(1, MAX_COUNT))
    assert refusal(step(node, Add(2, 1))).code == MALFORMED
    persisted(node)
    assert node.state.value("") == MAX_COUNT


def test_a_request_that_an_endpoint_found_malformed_is_answered_and_counted() -> None:
    node = replica()
    node.refuse("c", RequestError(MALFORMED, "delta must be an integer", 7))
    error = refusal(drain(node))
    assert (error.in_reply_to, error.code, error.text) == (7, MALFORMED, "delta must be an integer")
    assert node.stats.requests_refused == 1


# Rows and actors.


def test_rows_are_bounded() -> None:
    node = replica(max_rows=2)
    add(node, 1, "a")
    flood = tuple(Delta(Actor(f"x{i}"), 0, (("b", Row(1, 0, 1)),)) for i in range(5))
    receive(node, Push("n2", 1, flood))
    assert node.state.row_count == 2
    assert node.stats.rows_dropped == 4
    error = refusal(step(node, Add(2, 1, "new")))
    assert error.code == TEMPORARILY_UNAVAILABLE
    assert "max_rows" in error.text
    assert add(node, 1, "a", msg_id=3)[0] == Answer("c", Written(3, (), ME, 2))


def test_rows_that_are_held_already_need_no_room() -> None:
    node = replica(max_rows=3)
    receive(node, pushed(X, 0, ("a", Row(1, 0, 1)), ("b", Row(1, 0, 2))))
    rows = (("a", Row(2, 0, 3)), ("b", Row(2, 0, 4)), ("c", Row(2, 0, 5)), ("d", Row(2, 0, 6)))
    receive(node, pushed(X, 2, *rows))
    assert [node.state.value(name) for name in "abcd"] == [2, 2, 2, 0]
    assert node.stats.rows_dropped == 1
    assert node.state.version(X) == 2  # what was dropped is no part of what is held


def test_a_write_of_many_adds_keeps_to_the_bound_of_rows_with_all_that_waits() -> None:
    node = replica(max_rows=10)
    submit(node, 1, *((f"a{i}", 1) for i in range(5)))
    submit(node, 2, *((f"b{i}", 1) for i in range(6)))
    assert refusal(step(node, Add(3, 1, "new"))).code == TEMPORARILY_UNAVAILABLE
    *fit, last = values_of(settle(node), 2)
    assert fit == [1] * 5
    assert "max_rows" in str(last)
    assert node.state.row_count == 10
    submit(node, 4, ("a1", 3), (two := ("a1", -2)), two, (none := ("a1", 0)), none)
    assert values_of(settle(node), 4) == [4, 2, 0, 0, 0]
    assert node.state.value("a1") == 0


def test_after_a_new_epoch_what_waits_needs_new_rows() -> None:
    """What was no new row of the former actor is one of the new one."""
    node = replica(max_rows=5)
    add(node, 1, "a")
    add(node, 1, "b")
    submit(node, 1, ("c", 1))
    submit(node, 2, ("a", 1), ("b", 1), ("d", 1))  # as the former actor, four rows in all
    step(node, Syn("n2", 1, {ME: DigestEntry(50, 7, 0)}))
    submit(node, 3, ("e", 1))
    effects = settle(node)
    assert values_of(effects, 2) == [2, 2, 1]
    assert [known(value) for value in values_of(effects, 3)] == [None]


def test_at_the_bound_of_rows_a_write_costs_no_more_than_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows looked at: what waits for the disk is not gone through for each add that is refused."""
    node, looked, row = replica(max_rows=500), list[str](), State.row

    def noted(self: State, actor: Actor, counter: str) -> AnyRow:
        looked.append(counter)
        return row(self, actor, counter)

    monkeypatch.setattr(State, "row", noted)
    node.submit("c", 1, [(f"a{i}", 1) for i in range(1000)])
    assert len(looked) < 5 * 1000
    assert sum(isinstance(each, RequestError) for each in values_of(settle(node), 1)) == 500


def test_unknown_actors_by_the_thousand_are_bounded() -> None:
    node = replica(max_actors=10)
    flood = tuple(Delta(Actor(f"x{i}"), 0, (("b", Row(1, 0, 1)),)) for i in range(5000))
    receive(node, Push("n2", 1, flood))
    assert node.state.actors == 10
    assert node.stats.actors_dropped == 4990
    assert add(node, 1, "mine")[0] == Answer("c", Written(1, (), ME, 1))


# Many adds at once are taken a short way, which must come to the same as one by one.


@example([[("a", MAX_COUNT), ("a", 1)]], [True], 99)
@example([[("a", MAX_COUNT - 2 * SMALL)], *[[("a", SMALL - 1)] * 2] * 2], [True, False, False], 99)
@given(RUNS, st.lists(st.booleans(), min_size=6, max_size=6), ROWS)
def test_a_write_of_many_adds_is_what_plain_sums_within_the_bounds_are(
    runs: list[list[Increment]], commits: list[bool], max_rows: int
) -> None:
    """Near every bound and far from it, whether the commits before are done or under way."""
    node = Replica(Config(name="n1", max_rows=max_rows), Random(1), 0)
    taken: list[Increment] = []
    expected = list[list[int | None]]()
    same: dict[Increment, Increment] = {}
    """An add that comes again is the same object."""
    effects = list[Effect]()
    for number, (run, is_done) in enumerate(zip(runs, commits, strict=False)):
        expected.append([])
        for name, delta in run:
            value = value_after(taken, (name, delta), max_rows)
            expected[-1].append(value)
            taken += [(name, delta)] if value is not None and delta else []
        effects += submit(node, number, *(same.setdefault(each, each) for each in run))
        if is_done and is_committing(node):
            effects += drain(node)
    effects += settle(node)
    answered = {each.in_reply_to: each for each in replies(effects) if isinstance(each, Written)}
    assert [list(map(known, answered[number].values)) for number in range(len(expected))] == expected
    plus, minus = sums(taken)
    assert {name: (row.p, row.n) for _, name, row in node.state} == {
        name: (plus[name], minus[name]) for name, _ in taken
    }


def value_after(taken: list[Increment], add: Increment, max_rows: int) -> int | None:
    """What an add comes to after those taken, None if a bound keeps it out."""
    name, delta = add
    plus, minus = sums([*taken, add])
    value = plus[name] - minus[name]
    rows = {each for each, _ in taken} | ({name} if delta else set())
    fits = max(plus[name], minus[name], abs(value)) <= MAX_COUNT and len(rows) <= max_rows
    return value if fits else None


def sums(adds: list[Increment]) -> tuple[Counter[str], Counter[str]]:
    """By counter, what was added and what was subtracted."""
    plus, minus = Counter[str](), Counter[str]()
    for name, delta in adds:
        (plus if delta > 0 else minus)[name] += abs(delta)
    return plus, minus


def outcome(runs: list[list[Increment]], commits: list[bool], max_rows: int, theirs: int) -> list[object]:
    """All that such writes come to, at a node that holds peers' rows too, and whose former life may show up."""
    node = Replica(Config(name="n1", peers=("n2",), max_rows=max_rows), Random(1), 0, Recovered(ME))
    receive(node, Push("n2", 1, (Delta(Actor("x"), 0, (("a", Row(theirs, 0, 1)), ("d", Row(0, theirs, 2)))),)))
    seen: list[object] = []
    for number, (run, is_done) in enumerate(zip(runs, commits, strict=False)):
        node.submit("c", number, run)
        seen += map(shown, drain(node))
        if number == 3:
            seen += map(shown, step(node, Push("n2", 1, (Delta(ME, 0, (("a", Row(5, 5, 50)),)),))))
        if is_done and is_committing(node):
            seen += map(shown, drain(node))
    seen += map(shown, settle(node))
    return [*seen, list(node.state), node.state.digest(), node.stats, dict(node.state.totals), node.state.counted]


def shown(effect: Effect) -> object:
    """An effect that can be compared: errors can't."""
    if isinstance(effect, Answer) and isinstance(effect.reply, Written):
        reply = effect.reply
        values = [(each.code, each.text) if isinstance(each, RequestError) else each for each in reply.values]
        return effect.to, reply.in_reply_to, values, reply.actor, reply.version
    return effect


@given(RUNS, st.lists(st.booleans(), min_size=6, max_size=6), ROWS, st.sampled_from([0, 7, 2**62, MAX_COUNT]))
def test_the_short_way_of_many_adds_comes_to_what_every_check_of_each_does(
    runs: list[list[Increment]], commits: list[bool], max_rows: int, theirs: int
) -> None:
    same: dict[Increment, Increment] = {}
    runs = [[same.setdefault(each, each) for each in run] for run in runs]
    short = outcome(runs, commits, max_rows, theirs)
    with patch.object(Admission, "unchecked_below", return_value=0):
        assert outcome(runs, commits, max_rows, theirs) == short


def receive_rows(node: Replica, name: str, *rows: Row) -> None:
    """A peer sends rows of so many actors."""
    receive(node, Push("n2", 1, tuple(Delta(Actor(f"x{i}"), 0, ((name, row),)) for i, row in enumerate(rows))))


@pytest.mark.parametrize("where", ["waits", "is being committed", "is durable", "is a peer's", "is the sum of peers'"])
def test_a_large_counter_costs_others_no_check(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node, most = replica(), MAX_COUNT - 10
    match where:
        case "is a peer's":
            receive_rows(node, "large", Row(most, 0, 1))
        case "is the sum of peers'":
            receive_rows(node, "large", *[Row(most // 10, 0, 1)] * 10, Row(most % 10, 0, 1))
        case _:
            submit(node, 1, ("large", most))
    if where != "waits":
        drain(node) if where == "is being committed" else settle(node)
    checked, add = list[str](), Writes.add

    def watched(writes: Writes, counter: str, delta: int) -> None:
        checked.append(counter)
        add(writes, counter, delta)

    monkeypatch.setattr(Writes, "add", watched)
    submit(node, 2, *[("a", 1), ("b", 2)] * 500, ("large", 1), ("large", 1), ("large", 10))
    assert checked in (["large"] * 2, ["large"] * 3)  # the third is refused, some of the time before it is checked
    assert [*map(known, values_of(settle(node), 2))][-4:] == [1000, most + 1, most + 2, None]


def test_a_counter_that_is_no_longer_large_is_checked_once() -> None:
    node = replica()
    receive_rows(node, "a", Row(LARGE, 0, 1), Row(0, LARGE, 1))
    assert node.state.special == {"a": 0}
    submit(node, 1, ("a", 1))
    assert not node.state.special
