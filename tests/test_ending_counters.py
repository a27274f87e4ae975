"""Claim: counters that expire or are deleted end at every node, once, and nothing that was deleted comes back.

The schedules are those of the model (`test_lives_model`), run with replicas, datagrams and losses.
"""

from pathlib import Path
from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import (
    EndingRow,
    Row,
    Seen,
    Taken,
    as_ending,
    as_row,
)
from gossip_counter.node.core.gossip.messages import Delta, Push
from gossip_counter.node.core.holdings import Floors, Stored
from gossip_counter.node.core.replica import Replica
from tests.support import planted_ends as faults
from tests.support.ending_replicas import RealCluster, RealNode, at, incr, nodes
from tests.support.journals import look, opened
from tests.support.lives_cluster import BrokenPromiseError
from tests.support.lives_model import MODES
from tests.support.lives_rules import FORGET, GRACE
from tests.support.planted_faults import Plant
from tests.support.replica import ME, X, commits, drain, persisted, receive, replica, settle, submit, tick

SEEDS = 6


@pytest.mark.parametrize("mode", MODES)
def test_replicas_keep_the_promises_of_the_model(mode: str) -> None:
    for seed in range(SEEDS):
        try:
            MODES[mode](RealCluster(seed, 0 if mode == "mixed" else 200))
        except BrokenPromiseError as error:
            pytest.fail(f"seed {seed}: {error.args}")


PLANTS: list[tuple[Plant, str, int]] = [
    (faults.a_floor_counts_beyond_what_is_complete, "lost", 9),
    (faults.deleted_rows_are_taken_again, "replayed", 0),
    (faults.deleted_rows_stay, "dead", 1),
    (faults.deletes_are_not_noted, "behind", 18),
    (faults.forgotten_rows_are_not_refused, "absent", 9),
    (faults.lineages_are_not_born, "delete", 0),
    (faults.lives_are_not_joined, "persist", 6),
    (faults.lives_are_not_named, "again", 1),
    (faults.lives_of_the_future_are_joined, "ahead", 38),
    (faults.unnamed_rows_stay, "absent", 9),
    (faults.unnamed_rows_of_our_own_stay, "absent", 10),
    (faults.rows_of_lives_that_go_on_are_dropped, "prolonged", 1),
    (faults.unlike_clocks_tell_what_is_forgotten, "ahead", 3),
    (faults.only_our_own_clock_counts, "behind", 117),
    (faults.later_deadlines_are_not_remembered, "brought forward", 0),
    (faults.lives_go_in_parts, "brought forward", 51),
    (faults.rows_stay_for_those_that_would_go_with_them, "brought forward", 0),
]


@pytest.mark.parametrize(("plant", "mode", "seed"), PLANTS, ids=[plant.__name__ for plant, *_ in PLANTS])
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant, mode: str, seed: int) -> None:
    MODES[mode](RealCluster(seed))
    plant(monkeypatch)
    with pytest.raises(BrokenPromiseError):
        MODES[mode](RealCluster(seed))


def test_a_planted_fault_of_two_deletes_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.a_deleter_keeps_its_totals(monkeypatch)
    faults.rows_stay_for_those_that_would_go_with_them(monkeypatch)
    with pytest.raises(AssertionError):
        test_two_nodes_that_delete_at_once_keep_nothing_of_it_for_ever()


def test_two_nodes_that_delete_at_once_keep_nothing_of_it_for_ever() -> None:
    cluster, (one, other) = nodes(2)
    one.add("a")
    other.add("a")
    cluster.settle()
    assert one.delete("a")
    assert other.delete("a")
    cluster.settle()
    assert [node.exists("a") for node in (one, other)] == [False, False]
    cluster.pass_time(FORGET + 2 * GRACE)
    cluster.settle()
    assert [node.replica.state.row_count for node in (one, other)] == [0, 0]
    assert [list(node.replica.state.special) for node in (one, other)] == [[], []]


def test_what_a_delete_did_not_know_of_still_ends() -> None:
    cluster, (one, other) = nodes(2)
    one.add("a", 1, 30_000)
    cluster.settle()
    other.add("a")
    one.delete("a")
    cluster.settle()
    assert [node.value("a") for node in (one, other)] == [1, 1]
    cluster.pass_time(30_000)
    assert [node.exists("a") for node in (one, other)] == [False, False]


def test_an_add_counts_everywhere_though_all_that_its_node_ever_saw_end_was_forgotten_as_it_arrived() -> None:
    cluster, (one, other) = nodes(2)
    one.skew, other.skew = -5_000, 5_000
    cluster.pass_time(0)
    one.add("a", 1, 30_000)
    cluster.pass_time(25_000 + GRACE)
    cluster.settle()
    assert [node.replica.state.row_count for node in (one, other)] == [1, 0]
    other.add("a", 5)
    cluster.settle()
    assert [node.value("a") for node in (one, other)] == [5, 5]


def test_what_is_added_after_a_delete_does_not_end() -> None:
    cluster, (one, other) = nodes(2)
    one.add("a", 1, 30_000)
    cluster.settle()
    one.delete("a")
    cluster.pass_time(10)
    one.add("a", 5)
    cluster.settle()
    cluster.pass_time(FORGET)
    assert [node.value("a") for node in (one, other)] == [5, 5]


def value_after_a_delete_of_a_row_with_a_marker() -> list[int]:
    """The values a day later, of what was added after the delete, at nodes that knew of it."""
    cluster, (one, other) = nodes(2)
    one.add("a")
    one.delete("a")
    one.add("a", 1, 30_000)
    cluster.settle()
    other.delete("a")
    other.add("a", 5)
    cluster.settle()
    cluster.pass_time(FORGET)
    return [node.value("a") for node in (one, other)]


def test_what_is_added_after_a_delete_does_not_end_though_what_was_deleted_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert value_after_a_delete_of_a_row_with_a_marker() == [5, 5]
    faults.deleted_rows_still_set_a_deadline(monkeypatch)
    assert value_after_a_delete_of_a_row_with_a_marker() == [0, 0]


def values_after_the_earlier_of_two_ends(earlier_first: bool) -> list[list[int]]:
    """What is there just after it, and once most rows are forgotten, where a row has to remember a delete."""
    cluster, (one, other) = nodes(2)
    one.add("a")
    cluster.settle()
    other.delete("a")
    other.add("a", 5)
    cluster.settle()
    if earlier_first:
        one.expire("a", 5_000)
        other.expire("a", 600_000)
        one.expire("a", 5_000)
    else:
        other.expire("a", 600_000)
        cluster.settle()
        one.expire("a", 5_000)
    cluster.settle()
    values = []
    for later in (5_000, GRACE + 1_000):
        cluster.pass_time(later)
        cluster.settle()
        values.append([node.value("a") for node in (one, other)])
    return values


def test_what_ended_stays_over_once_who_ended_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values_after_the_earlier_of_two_ends(earlier_first=False) == [[0, 0], [0, 0]]
    assert values_after_the_earlier_of_two_ends(earlier_first=True) == [[0, 0], [0, 0]]
    faults.lives_go_in_parts(monkeypatch)
    assert values_after_the_earlier_of_two_ends(earlier_first=True) == [[0, 0], [5, 5]]


def values_with_a_node_that_was_away(adds_at_it: bool) -> list[int]:
    """What is there once it is back: meanwhile a counter ended earlier than it knows."""
    cluster, (one, other, away) = nodes(3)
    (away if adds_at_it else one).add("a", 5, FORGET)
    cluster.settle()
    cluster.away = away  # type: ignore[assignment]
    one.expire("a", 5_000)
    cluster.settle()
    cluster.pass_time(5_000 + 2 * GRACE)
    cluster.settle()
    cluster.away = None
    cluster.settle()
    return [node.value("a") for node in (one, other, away)]


def test_a_node_that_was_away_does_not_bring_back_what_ended_earlier_than_it_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert values_with_a_node_that_was_away(adds_at_it=True) == [0, 0, 0]
    assert values_with_a_node_that_was_away(adds_at_it=False) == [0, 0, 0]
    faults.earlier_deadlines_are_not_remembered(monkeypatch)
    assert values_with_a_node_that_was_away(adds_at_it=False) == [5, 5, 5]
    faults.later_deadlines_are_not_remembered(monkeypatch)
    assert values_with_a_node_that_was_away(adds_at_it=True) == [5, 5, 5]


def test_what_is_set_does_not_end_though_others_count_meanwhile() -> None:
    cluster, (one, other) = nodes(2)
    one.add("a", 1, 30_000)
    cluster.settle()
    other.add("a")
    one.delete("a", then=7)
    cluster.settle()
    cluster.pass_time(FORGET)
    assert [node.value("a") for node in (one, other)] == [8, 8]


def test_what_ended_stays_over_though_who_ended_it_counts_again() -> None:
    cluster, (one, other) = nodes(2)
    one.add("a")
    other.add("a")
    cluster.settle()
    one.expire("a", 1000)
    cluster.settle()
    cluster.pass_time(1000)
    one.add("a", 1, 30_000, if_none=True)
    cluster.settle()
    assert [node.value("a") for node in (one, other)] == [1, 1]
    cluster.pass_time(GRACE)
    cluster.settle()
    assert [node.exists("a") for node in (one, other)] == [False, False]
    cluster.pass_time(GRACE)
    assert [node.replica.state.row_count for node in (one, other)] == [0, 0]


def test_a_row_says_when_the_life_before_it_ended_until_that_is_forgotten() -> None:
    cluster, (one,) = nodes(1)
    one.add("a", 1, 1000)
    first = one.replica.state.row(one.replica.actor, "a")
    cluster.pass_time(1000)
    one.add("a", 1, 10 * GRACE)
    assert before_of(one) == first[3:6]
    cluster.pass_time(GRACE - 1)
    one.add("a")
    assert before_of(one) == first[3:6]
    cluster.pass_time(1)
    one.add("a")
    assert (before_of(one), one.value("a")) == (None, 3)


def before_of(node: RealNode) -> object:
    return as_ending(node.replica.state.row(node.replica.actor, "a")).taken.before


def test_what_others_forgot_is_durable_though_nothing_of_it_was_here() -> None:
    node = replica()
    at(node, FORGET)
    row = ("b", Row(1, 0, 5))
    receive(node, Push("n2", 0, (Delta(X, 0, (row,)),)))
    tick(node)
    persisted(node)
    receive(node, Push("n2", 0, (Delta(X, 0, (row,), floors=Floors(3), clock_ms=FORGET, is_whole=True),)))
    (commit,) = commits(tick(node))
    assert commit.stored == (Stored(X, 5, 5, {}, Floors(3)),)


# Writes that wait for the disk while the clock goes on.


def ended_window() -> Replica:
    """A node that stores a window which is over, and waits for the disk with a row of the next."""
    node = replica()
    at(node, FORGET)
    incr(node, ends_ms=FORGET + 1000)
    drain(node)
    persisted(node)
    at(node, FORGET + 1000)
    return node


def test_adds_of_one_commit_all_count_though_a_window_is_forgotten_between_them() -> None:
    node = ended_window()
    assert incr(node) == 1
    node.set_clock(0, FORGET + 1000 + GRACE)
    assert incr(node) == 2
    drain(node)
    persisted(node)
    assert node.value("a") == 2


def test_an_add_is_answered_with_all_that_waits_though_a_window_is_forgotten_meanwhile() -> None:
    node = ended_window()
    assert incr(node) == 1
    assert commits(drain(node))
    at(node, FORGET + 1000 + GRACE)
    assert incr(node) == 2
    drain(node)
    persisted(node)
    drain(node)
    persisted(node)
    assert node.value("a") == 2


def test_adds_of_one_commit_all_count_though_a_delete_arrives_between_them() -> None:
    node = replica()
    at(node, FORGET)
    incr(node)
    drain(node)
    persisted(node)
    first = node.state.row(ME, "a")
    submit(node, 1, ("other", 1))  # its commit is under way
    submit(node, 2, ("a", 8))
    taken = Taken(seen=(Seen(ME, 0, first.p, first.n),), forget_at=2 * FORGET)
    node.step(Push("n2", 0, (Delta(X, 0, (("a", EndingRow(version=1, born=1, taken=taken)),)),)), "n2", 0)
    assert node.value("a") is None
    transaction = node.transaction()
    assert transaction.add("a", 16) == 24
    transaction.wait("c", 3)
    persisted(node)
    drain(node)
    persisted(node)
    assert node.value("a") == 24


def test_a_failing_disk_leaves_nothing_of_a_counter_that_ends() -> None:
    node = replica()
    at(node, FORGET)
    incr(node, ends_ms=FORGET + 1000)
    drain(node)
    persisted(node, "no space")
    assert not node.state.special
    assert node.value("a") is None


def test_an_add_under_way_is_over_if_it_turns_out_that_its_life_is() -> None:
    node = replica()
    at(node, FORGET)
    incr(node)
    drain(node)
    persisted(node)
    incr(node)
    drain(node)
    node.step(Push("n2", 0, (Delta(X, 0, (("a", EndingRow(1, 0, 1, 0, FORGET - 1000, 500)),)),)), "n2", 0)
    persisted(node)
    assert node.value("a") is None


def test_a_delete_takes_what_waits_with_it_though_a_new_epoch_begins() -> None:
    node = replica()
    at(node, FORGET)
    incr(node)
    transaction = node.transaction()
    transaction.delete("a")
    transaction.wait("c", 2)
    node._epochs.begin()
    drain(node)
    persisted(node)
    assert node.actor != ME
    assert node.value("a") is None


def test_the_journal_shows_no_counter_that_its_node_deleted(tmp_path: Path) -> None:
    replica = Replica(Config(name="n1"), Random(1), 0)
    with opened(tmp_path) as journal:
        for ends in (False, True):
            transaction = replica.transaction()
            transaction.add("likes", 5)
            transaction.add("views", 7)
            if ends:
                transaction.delete("likes")
            transaction.wait("c", 1)
            while ready := replica.ready(0):
                if ready.commit:
                    journal.commit(ready.commit)
                    replica.persisted()
        assert look(tmp_path, "SELECT * FROM counts") == [("views", 14)]


def test_an_echo_of_what_was_deleted_is_not_counted_again() -> None:
    node = replica()  # which goes on as the actor of an earlier life
    at(node, FORGET)
    incr(node)
    (commit,) = commits(drain(node))
    persisted(node)
    transaction = node.transaction()
    transaction.delete("a")
    transaction.wait("c", 2)
    drain(node)
    persisted(node)
    at(node, 2 * FORGET + 2 * GRACE)
    assert node.state.row(ME, "a") == Row()
    (stored,) = commit.stored
    receive(node, Push("n2", 0, (Delta(ME, None, tuple((name, as_row(row)) for name, row in stored.rows.items())),)))
    settle(node)
    assert (node.actor, node.value("a")) == (ME, None)
