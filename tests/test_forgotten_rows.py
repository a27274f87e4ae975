"""Claim: a row that is forgotten while the next one is being stored takes no acknowledged add with it, and nothing of
it stays.
"""

import pytest

from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.core.counts import Actor, AnyRow, Ended, EndingRow, Row, Seen, Taken
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.gossip.messages import Delta, Push
from gossip_counter.node.core.holdings import NO_FLOORS, Floors, Stored
from gossip_counter.node.core.messages import Written
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.state import State
from gossip_counter.node.storage.contents import Contents
from tests.support.ending_replicas import at, incr
from tests.support.lives_rules import FORGET, GRACE
from tests.support.replica import ME, Effect, X, drain, is_committing, receive, replica, replies, settle, submit

NOW = 10 * FORGET
STORED = (Stored(ME, 1, 1, {"a": Row(5, 0, 1)}),)


def at_now(*stored: Stored) -> Replica:
    node = replica(stored=stored)
    at(node, NOW)
    return node


def journaled(effects: list[Effect]) -> dict[str, int]:
    """What the counters come to in the journal after these commits."""
    contents, values = Contents(), dict[str, int]()
    for commit in (Commit(ME, STORED), *(each for each in effects if isinstance(each, Commit))):
        contents.add(commit)
    for rows in contents.rows.values():
        for counter, row in rows.items():
            values[counter] = values.get(counter, 0) + row[0] - row[1]
    return values


def all_persisted(node: Replica) -> list[Effect]:
    effects = drain(node)
    while is_committing(node):
        effects += drain(node)
    return effects


# Forgotten while the next row is being stored.


@pytest.mark.parametrize("row", [Row(5, 0, 1), EndingRow(7, 0, 1, taken=Taken(2))])
def test_what_has_ended_does_not_come_back_with_an_add_that_was_on_its_way_to_the_disk(row: AnyRow) -> None:
    node = at_now(Stored(ME, 1, 1, {"a": row}))
    effects = submit(node, 1, ("a", 1))
    # A peer ended the counter more than a minute ago, and that arrives only now.
    late = EndingRow(1, 0, 1, 0, NOW - GRACE - 2, NOW - GRACE - 9)
    node.step(Push("n2", 0, (Delta(X, 0, (("a", late),)),)), "n2", 0)
    effects += drain(node)
    assert node.value("a") is None
    assert journaled(effects + all_persisted(node)) == {"a": 1}
    assert node.value("a") == 1
    recomputed.check(node.state)


@pytest.mark.parametrize("floors", [NO_FLOORS, Floors(6, 0)])
def test_an_add_counts_though_another_life_wrote_and_forgot_rows_of_its_version_meanwhile(floors: Floors) -> None:
    node = at_now(*STORED)
    effects = submit(node, 1, ("a", 2), ("new", 3))
    node.step(Push("n2", 0, (Delta(ME, 1, (("a", Row(6, 0, 7)),), 0, 0, floors, NOW),)), "n2", 0)
    effects += all_persisted(node)
    assert journaled(effects) == {"a": 8, "new": 3}
    assert [each.values for each in replies(effects) if isinstance(each, Written)] == [[7, 3]]
    assert node.actor != ME
    assert (node.value("a"), node.value("new")) == (8, 3)
    recomputed.check(node.state)


def test_a_window_of_which_another_life_forgot_the_version_meanwhile_keeps_its_end() -> None:
    node = at_now(*STORED)
    transaction = node.transaction()
    transaction.add("new", 3)
    transaction.expire("new", NOW + 60_000)
    transaction.wait("c", 1)
    drain(node)
    node.step(Push("n2", 0, (Delta(ME, 1, (("a", Row(6, 0, 7)),), 0, 0, Floors(6, 0), NOW),)), "n2", 0)
    settle(node)
    assert node.value("new") == 3
    at(node, NOW + 60_000)
    assert node.value("new") is None


# Nothing stays of it.


def test_a_row_that_is_written_anew_as_soon_as_the_old_one_is_forgotten_is_in_the_hashes() -> None:
    node = at_now()
    incr(node, ends_ms=NOW + 1000)
    settle(node)
    at(node, NOW + 2000)
    receive(node, Push("n2", 0, (Delta(X, 0, (("a", EndingRow(1, 0, 1, NOW + 2000)),)),)))
    assert ME in node.state.digest()
    at(node, NOW + 40_000)  # a slot later, the row that is over is in no hash
    assert node.state.digest()[ME].hash == 0
    at(node, NOW + 1000 + GRACE)
    incr(node)
    settle(node)
    assert node.state.digest()[ME].hash
    recomputed.check(node.state)


def test_a_counter_that_goes_on_in_two_lives_without_an_end_expires_no_more() -> None:
    state, actors = State(), (X, Actor("y"))
    state.advance(NOW)
    for actor in actors:
        state.merge(actor, 0, [("a", EndingRow(1, 0, 1, NOW, NOW + 10 * FORGET, NOW))])
    assert state.ends.expiring == 1
    state.advance(NOW + FORGET)
    for number, actor in enumerate(actors):  # it was deleted meanwhile, and both counted at once
        state.merge(actor, 1, [("a", EndingRow(1, 0, 3, NOW + FORGET + number, 0, 0, 3))])
    assert state.value("a") == 2
    assert state.ends.expiring == 0


def test_a_detached_row_that_counts_more_once_it_is_contiguous_is_news() -> None:
    state = State()
    state.advance(NOW)
    state.merge(X, 0, [("a", EndingRow(2, 0, 1, NOW))])
    state.merge(X, 2, [("a", EndingRow(1, 0, 3, NOW + 1, 0, 0, 3))])  # after a gap
    state.merge(X, 3, [("a", EndingRow(1, 0, 4, NOW))])  # of another process that writes as X, where it never ended
    assert state.value("a") == 1
    news = state.merge(X, 1, [("b", Row(1, 0, 2))], 0, 4)
    assert [counter for counter, _ in news] == ["a", "b"]
    assert state.value("a") == 2


def test_a_row_that_a_delete_took_as_a_whole_is_none_to_add_to() -> None:
    state, other = State(), Actor("y")
    state.owner = ME
    state.advance(NOW)
    marker = Taken(seen=(Seen(ME, 1, 5, 0),), forget_at=NOW + FORGET)
    state.merge(X, 0, [("a", EndingRow(3, 0, 1, 0, NOW + 50_000, NOW - 100))])
    state.merge(other, 0, [("a", EndingRow(1, 0, 1, NOW, NOW + 70_000, NOW, 1, marker))])
    ours = EndingRow(
        5, 0, 1, NOW, NOW + 70_000, NOW, 1, Taken(forget_at=NOW + 65_000, before=Ended(0, NOW - 1, NOW - 1))
    )
    state.merge(ME, 0, [("a", ours)])
    assert state.lives("a").is_covered(ME, ours)
    assert not state.ends.goes_on("a", ours)
