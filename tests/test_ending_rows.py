"""Claim: rows of counters that end stay within bounds, are sent once, and merge without loss."""

from dataclasses import replace
from itertools import permutations
from typing import NoReturn

import pytest

from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.core import ends
from gossip_counter.node.core.counts import (
    MAX_MARKER_BYTES,
    Actor,
    Ended,
    EndingRow,
    HeldRow,
    Row,
    Seen,
    Taken,
    marker_bytes,
    merged,
)
from gossip_counter.node.core.gossip.messages import Delta, Push
from gossip_counter.node.core.holdings import Floors, Statement
from gossip_counter.node.core.lives import Lives
from gossip_counter.node.core.state import State
from tests.support import planted_ends as faults
from tests.support.ending_replicas import RealCluster, at, incr, nodes
from tests.support.lives_cluster import BrokenPromiseError
from tests.support.lives_rules import FORGET, GRACE
from tests.support.replica import ME, X, persisted, receive, replica, settle, submit

# Bounds.


def many_rows(count: int) -> Lives:
    return Lives({Actor(f"{i:0250}"): Row(1, 0, 1) for i in range(count)}, FORGET)


def test_a_delete_that_one_row_can_not_name_is_refused() -> None:
    most = MAX_MARKER_BYTES // (250 + 32)
    assert len(many_rows(most).deleted(ME, True, 0).taken.seen) == most
    with pytest.raises(ValueError, match="can't name so many"):
        many_rows(most + 1).deleted(ME, True, 0)


def test_of_markers_that_others_forgot_as_much_goes_on_as_a_row_has_room_for() -> None:
    seen = {actor: Seen(actor, 0, 1, 0) for actor in many_rows(1000).rows}
    marker = Lives({ME: Row(1, 0, 1)}, FORGET).adopted(ME, True, seen).taken.seen
    assert MAX_MARKER_BYTES - 300 < marker_bytes(marker) <= MAX_MARKER_BYTES


def test_a_full_node_can_delete_and_takes_deletes_of_others() -> None:
    cluster, (one, other) = nodes(2)
    for node in (one, other):
        node.replica._writes._admission._config = replace(node.replica.config, max_rows=2)
    one.add("a")
    one.add("b")
    cluster.settle()
    assert [node.replica.state.row_count for node in (one, other)] == [2, 2]
    assert other.delete("a")
    cluster.settle()
    assert [node.exists("a") for node in (one, other)] == [False, False]
    assert [node.replica.state.row_count for node in (one, other)] == [2, 2]


def test_a_row_that_is_stored_again_is_sent_once() -> None:
    state, row = State(), EndingRow(1, 0, 1, FORGET, FORGET + 1000, FORGET)
    state.advance(FORGET)
    state.merge(X, 0, [("a", row)])
    assert state.digest()[X].hash
    state.advance(FORGET + 1000 + GRACE)
    assert state.row_count == 0
    assert state.digest()[X].hash == 0
    state.advance(FORGET)
    state.merge(X, 0, [("a", row)])
    assert state.newer(X, 0, 9) == (("a", row),)


def value_once_who_ended_it_was_forgotten_elsewhere() -> int:
    """The value where one row ends the counter soon, and another, whose writer did not know that, much later."""
    state, now_ms = State(), FORGET
    state.advance(now_ms)
    state.merge(X, 0, [("a", EndingRow(5, 0, 1, now_ms, now_ms + 600_000, now_ms))])
    state.merge(ME, 0, [("a", EndingRow(1, 0, 1, now_ms, now_ms + 5_000, now_ms + 1))])
    state.advance(now_ms + 5_000)
    state.merge(ME, 0, [], 1, 1, Floors(1, 0), Statement(0, set()))
    return state.value("a")


def test_a_row_that_ended_another_stays_though_its_sender_has_forgotten_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert value_once_who_ended_it_was_forgotten_elsewhere() == 0
    faults.rows_that_end_others_are_dropped(monkeypatch)
    assert value_once_who_ended_it_was_forgotten_elsewhere() == 5


def agree_though_one_holds_what_others_forgot() -> RealCluster:
    """A clock that is ahead, and a delete, make a life begin in the future; its deadline is then set before that.

    One is away, and knows of the former deadline only. So what is over for it is another life for the others.
    """
    cluster, (n1, n2, n3) = nodes(3)
    n2.skew = 8000
    cluster.pass_time(0)
    n2.add("a", 1, 4000)
    cluster.settle()
    n1.delete("a")
    n2.add("a")
    cluster.settle()
    cluster.away = n3  # type: ignore[assignment]
    n2.skew = 0
    cluster.pass_time(0)
    n2.expire("a", 1000)
    cluster.settle()
    cluster.pass_time(4 * GRACE)
    cluster.settle()
    assert [node.replica.state.row_count for node in (n1, n2, n3)] == [1, 1, 2]
    cluster.away = None
    cluster.settle()
    return cluster


def test_a_row_that_stays_long_after_its_end_is_dropped_if_others_forgot_it(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [node.replica.state for node in agree_though_one_holds_what_others_forgot().real]
    assert [state.row_count for state in states] == [1, 1, 1]
    assert len({state.fingerprint for state in states}) == 1
    monkeypatch.setattr(ends, "UNHASHED_MS", FORGET)
    with pytest.raises(BrokenPromiseError, match="never quiet"):
        agree_though_one_holds_what_others_forgot()


class Rows(dict[str, HeldRow]):
    """Rows that must be looked up one by one: what is forgotten of many must not cost a look at all."""

    def keys(self) -> NoReturn:
        raise AssertionError("all rows are looked at")


def test_to_forget_a_row_costs_no_look_at_all_others() -> None:
    state = State()
    state.advance(FORGET)
    ending = [(f"{i}", EndingRow(1, 0, i, FORGET, FORGET + 1000 * i, FORGET)) for i in range(1, 10)]
    state.merge(X, 0, ending)
    assert state.fingerprint
    log = state._log_of(X)
    log._contiguous = Rows(log._contiguous)
    state.advance(FORGET + 5000 + GRACE)
    assert (state.row_count, len(log.unhashed)) == (4, 4)
    state.advance(FORGET + 9000 + GRACE)
    assert (state.row_count, state.fingerprint, log.unhashed) == (0, 0, set())


def test_a_row_is_in_no_hash_while_it_is_about_to_be_forgotten_and_in_them_again_if_it_stays() -> None:
    state = State()
    state.advance(FORGET)
    marker = Taken(seen=(Seen(ME, 0, 1, 0),), forget_at=2 * FORGET)
    state.merge(X, 0, [("a", EndingRow(1, 0, 1, FORGET, FORGET + 1000, FORGET, 0, marker))])
    fingerprint, changes_ms = state.fingerprint, [FORGET]
    while (due_ms := state.ends.due_ms) is not None and due_ms < FORGET + 10 * GRACE:
        was = state.fingerprint
        state.advance(due_ms)
        recomputed.check(state)
        changes_ms += [due_ms] if state.fingerprint != was else []
    assert changes_ms == [FORGET, FORGET + 20_000, FORGET + 20_000 + 2 * GRACE]
    assert state.fingerprint == fingerprint


def looks_at_rows(actors: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a row is looked at, to find out that of so many none goes, since each needs the one before it."""
    rows = dict[Actor, EndingRow]()
    for i in range(actors):
        life, forget_at = FORGET + 1000 * i, FORGET if i else 2 * FORGET
        taken = Taken(0, 0, (Seen(Actor(f"{i - 1}"), 1, 1, 0),), forget_at)
        rows[Actor(f"{i}")] = EndingRow(2, 0, 1, life, life + 1000, life, 1, taken)
    lives, count = Lives(rows, FORGET + 1000 * actors + GRACE), 0
    takes = Lives._takes

    def counting(self: Lives, seen: Seen, row: EndingRow | None) -> bool:
        nonlocal count
        count += 1
        return takes(self, seen, row)

    monkeypatch.setattr(Lives, "_takes", counting)
    assert lives.forgotten() == set()
    monkeypatch.setattr(Lives, "_takes", takes)
    return count


def test_to_forget_rows_costs_no_more_than_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks_at_rows(200, monkeypatch) <= 2 * looks_at_rows(100, monkeypatch) + 2


# Two processes that write as one actor.


def test_of_one_lineage_the_greater_totals_count_whichever_copy_is_newer() -> None:
    older, newer = EndingRow(9, 1, 5, 7, 0, 0, 3), EndingRow(4, 2, 6, 7, 99, 8, 3)
    assert merged(older, newer) == merged(newer, older) == EndingRow(9, 2, 6, 7, 99, 8, 3)
    assert merged(Row(9, 0, 5), EndingRow(4, 0, 6, 7, 99, 8)) == EndingRow(9, 0, 6, 7, 99, 8)


def test_rows_that_are_as_new_merge_in_any_order() -> None:
    """Nobody honest writes two of one version."""
    row = EndingRow(1, 0, 5, 10, 20, 10)
    others = [row, *(row._replace(taken=row.taken._replace(before=Ended(life, 9, 3))) for life in (1, 2))]
    for one, other in permutations(others, 2):
        assert merged(one, other) == merged(other, one)
        assert merged(merged(one, other), one) == merged(one, other)


def test_of_two_lineages_the_newer_row_counts_alone() -> None:
    older, newer = EndingRow(9, 1, 5, 7, 0, 0, 3), EndingRow(4, 0, 6, 7, 0, 0, 6)
    assert merged(older, newer) == merged(newer, older) == newer


def test_a_counter_that_never_ends_has_plain_rows_where_others_end() -> None:
    node = replica()
    at(node, FORGET)
    receive(node, Push("n2", 0, (Delta(X, 0, (("likes", Row(5, 0, 1)),)),)))
    incr(node, ends_ms=2 * FORGET)
    settle(node)
    submit(node, 1, ("likes", 1))
    persisted(node)
    assert node.state.ends.are_seen
    assert type(node.state.row(ME, "likes")) is Row


def test_another_life_is_noticed_by_a_row_that_is_older_than_what_we_forgot() -> None:
    node = replica()
    at(node, FORGET)
    for _ in range(3):  # of the same actor, which a copy of this node goes on as
        incr(node)
        settle(node)
    transaction = node.transaction()
    transaction.add("deleted", 1)
    transaction.wait("c", 1)
    settle(node)
    transaction = node.transaction()
    transaction.delete("deleted")
    transaction.wait("c", 2)
    settle(node)
    at(node, 2 * FORGET + 2 * GRACE)
    assert node.state.forgotten_upto(ME).forgotten > 3
    receive(node, Push("n2", 0, (Delta(ME, None, (("a", Row(9, 0, 3)),)),)))
    settle(node)
    assert node.actor != ME
    assert node.value("a") == 12


def test_a_digest_follows_the_clock() -> None:
    node, start = replica(), FORGET
    at(node, start)
    incr(node, ends_ms=start + 5_000)
    settle(node)
    hashes = set()
    for now_ms in range(start, start + 5_000 + 2 * GRACE, 5_000):
        at(node, now_ms)
        assert node.state.digest() == {ME: node.state.entry(ME)}
        hashes.add(node.state.digest()[ME].hash)
    assert len(hashes) == 2
