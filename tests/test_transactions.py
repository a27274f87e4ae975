"""Claim: what is carried out at once is seen at once by what follows it, and waits for the commit that it needs."""

from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.messages import Written
from gossip_counter.node.core.watches import Watch, Watches
from tests.support.replica import X, drain, pushed, replica, replies


def test_adds_are_seen_at_once_by_those_that_follow_and_answered_when_durable() -> None:
    node = replica()
    first = node.transaction()
    assert first.value("x") is None
    assert [first.add("x", 5), first.add("x", -2), first.value("x"), first.add("y", 0)] == [5, 3, 3, 0]
    assert first.value("y") is None
    assert first.has_added
    assert first.wait("c", 1)
    assert node.value("x") is None
    effects = drain(node)
    assert replies(effects) == []
    node.persisted()
    (reply,) = replies(drain(node))
    assert isinstance(reply, Written)
    assert (reply.in_reply_to, reply.values, reply.actor, reply.version) == (1, (0,), node.actor, 1)
    assert node.value("x") == 3


def test_what_needs_no_commit_is_not_kept_waiting() -> None:
    node = replica()
    node.submit("c", 1, [("x", 1)])
    reader = node.transaction()
    assert reader.value("y") is None
    refused = reader.add("z", 2**63)
    assert isinstance(refused, RequestError)
    assert not reader.is_changing("y")
    assert reader.is_changing("x")
    assert not reader.wait("d", 1)
    assert reader.value("x") == 1
    assert reader.wait("d", 1)


def test_a_failed_commit_refuses_each_transaction_that_saw_it() -> None:
    node = replica()
    node.submit("c", 1, [("x", 1)])
    drain(node)  # its commit is under way
    reader, writer, other = node.transaction(), node.transaction(), node.transaction()
    assert reader.value("x") == 1
    assert reader.wait("r", 1)
    assert writer.add("x", 1) == 2
    assert writer.wait("w", 1)
    assert other.value("y") is None
    assert not other.wait("o", 1)
    node.persisted("no space")
    failed = [reply for reply in replies(drain(node)) if isinstance(reply, Written)]
    assert len(failed) == 3
    assert all(isinstance(value, RequestError) for reply in failed for value in reply.values)
    assert node.transaction().value("x") is None


def test_what_an_abandoned_transaction_added_is_committed_all_the_same() -> None:
    node = replica()
    node.transaction().add("x", 1)
    drain(node)
    node.persisted()
    drain(node)
    assert node.value("x") == 1


def test_a_watch_sees_every_change_of_its_counters_and_no_other() -> None:
    node = replica()
    watches, watch, other = node.state.watches, Watch(), Watch()
    watches.add(watch, "x")
    watches.add(other, "x")
    watches.add(other, "y")
    node.step(pushed(X, 0, ("y", Row(1, 0, 1))), "n2", 0)
    assert (watch.changed, other.changed) == (False, True)
    node.step(pushed(X, 1, ("x", Row(1, 1, 2))), "n2", 0)  # which leaves the value as it was
    assert watch.changed
    assert not watches


def test_a_watch_that_is_removed_leaves_the_others() -> None:
    watches, watch, other = Watches(), Watch(), Watch()
    for each in (watch, other):
        watches.add(each, "x")
    watches.remove(watch)
    watches.note({"x": 1})
    assert (watch.changed, other.changed) == (False, True)
    watches.remove(other)
    assert not watches
