"""How a replica is asked what is to be done: until there is nothing, after each input, and once its time has come."""

import pytest

from gossip_counter.node.core.effects import Ready
from gossip_counter.node.core.gossip.messages import Syn
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.messages import Add, Read
from gossip_counter.node.core.tokens import Part, Token
from tests.support.replica import (
    MS,
    WINDOW_NS,
    X,
    add,
    bare,
    commits,
    drain,
    members,
    persisted,
    receive,
    replica,
    step,
    tick,
    wakes,
)

LATE = Token((Part(7, 1, 1),))
"""A token that nothing satisfies."""


def test_a_replica_that_nobody_said_anything_to_has_nothing_to_do() -> None:
    node = replica()
    assert node.ready(0) is None
    assert node.ready(10**18) is None


def test_what_was_fetched_is_not_given_again() -> None:
    node = replica()
    node.step(Syn("n2", 1, {X: DigestEntry(1, 1, 1)}), "?", 0)
    assert drain(node)
    assert node.ready(0) is None


def test_replies_come_without_the_commit_that_waits() -> None:
    """Who asked need not wait until the next commit is made up."""
    node = replica()
    node.step(Add(1, 5), "c", 0)
    node.step(Read(2), "c", 0)
    first, second = node.ready(0), node.ready(0)
    assert first
    assert second
    assert (len(first.replies), first.sends, first.commit) == (1, [], None)
    assert (second.replies, second.sends) == ([], [])
    assert second.commit


def test_gossip_and_the_next_commit_come_together() -> None:
    node = replica()
    node.step(Add(1, 5), "c", 0)
    node.tick(0)
    ready = node.ready(0)
    assert ready
    assert ready.replies == []
    assert ready.sends
    assert ready.commit


def test_at_most_one_commit_is_under_way() -> None:
    node = replica()
    assert len(commits(step(node, Add(1, 5)))) == 1
    for i in range(5):
        assert not commits(step(node, Add(2 + i, 5)))
        assert not commits(tick(node, i * 100 * MS))
    assert len(commits(persisted(node, now_ns=10**9))) == 1


@pytest.mark.parametrize("error", [None, "ill"])
def test_an_end_without_a_commit_is_our_own_misuse(error: str | None) -> None:
    with pytest.raises(RuntimeError):
        replica().persisted(error)


def test_a_commit_ends_once() -> None:
    node = replica()
    step(node, Add(1, 5))
    node.persisted()
    for error in (None, "ill"):
        with pytest.raises(RuntimeError):
            node.persisted(error)


# Time.


def test_a_time_is_given_only_when_it_is_before_the_one_given_last() -> None:
    node = replica(wait_ms=100)
    add(node, 1)  # pushed at once, so that the next waits
    node.step(Read(1, token=LATE), "c", 0)
    assert node.ready(0) == Ready([], [], None, 100 * MS)
    node.step(Read(2, token=LATE), "c", 5)
    assert node.ready(5) is None  # the one before stands
    assert [each.at_ns for each in wakes(add(node, 1, now_ns=7))] == [WINDOW_NS]
    assert wakes(drain(node, WINDOW_NS))[0].at_ns == 100 * MS
    (first, *_) = drain(node, 100 * MS)
    assert len(wakes([first])) == 0


def test_nothing_happens_before_its_time_however_often_it_is_asked() -> None:
    node = replica(wait_ms=100)
    step(node, Read(1, token=LATE))
    for now in range(0, 100 * MS, MS):
        assert node.ready(now) is None
    assert len(drain(node, 100 * MS)) == 1


def test_after_the_last_thing_that_was_due_no_time_is_given() -> None:
    node = replica(wait_ms=100)
    step(node, Read(1, token=LATE))
    (refused,) = bare(drain(node, 100 * MS))
    assert not wakes([refused])
    assert node.ready(10**12) is None


def test_timers_do_not_multiply() -> None:
    """A time takes the place of the one before, so there is never more than one to come."""
    node = members(5)["n1"]
    due: int | None = None
    woken = 0
    for now in range(0, 2 * 10**9, 500_000):
        effects = []
        if due is not None and now >= due:
            due = None
            woken += 1
            effects += drain(node, now)
        if now % 2_000_000 == 0:
            effects += add(node, 1, now_ns=now)
        if now % 100_000_000 == 0:
            effects += tick(node, now)
        for wake in wakes(effects):
            assert due is None or wake.at_ns < due
            due = wake.at_ns
    assert woken < 1300  # a thousand pushes, and retries


def test_a_silent_cluster_costs_only_its_ticks() -> None:
    node = members(5)["n1"]
    calls = 0
    for now in range(0, 10**9, 10 * MS):
        if now % (100 * MS) == 0:
            node.tick(now)
        while node.ready(now):
            calls += 1
    assert calls <= 10 * (1 + 2 * 2 + 2)


def test_inputs_between_persisted_and_the_end_of_its_effects_find_all_in_order() -> None:
    node = replica()
    node.submit("c", 1, [("", 1)])
    drain(node)
    node.persisted()
    node.submit("c", 2, [("", 1)])
    node.step(Read(3), "c", 0)
    ready = node.ready(0)
    assert ready
    assert [each.reply.in_reply_to for each in ready.replies] == [1, 3]
    assert len(commits(drain(node))) == 1
    receive(node, Syn("n2", 1, {}))
    assert node.state.value("") == 2
