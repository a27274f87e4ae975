"""News that is sent at once: to whom, how much of it, and what a lost push comes to."""

from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.gossip.messages import Delta, Push
from gossip_counter.node.core.gossip.push import FANOUT, MAX_TO_PASS_ON, SMALL_CLUSTER
from tests.support.replica import (
    WINDOW_NS,
    Wake,
    X,
    add,
    deliver,
    drain,
    exchange,
    fill,
    members,
    messages,
    pushed,
    receive,
    rows_in,
    sends,
    step,
    ticked,
    two,
    wakes,
)

N1 = Actor("n1.actor")


def test_a_write_is_pushed_at_once_to_all_peers_of_a_small_cluster() -> None:
    nodes = members(SMALL_CLUSTER)
    first = nodes["n1"]
    (send,) = sends(add(first, 5))
    assert set(send.to) == set(nodes) - {"n1"}
    assert rows_in(send.message) == [("", Row(5, 0, 1))]
    for peer in map(str, send.to):
        assert step(nodes[peer], send.message) == []  # nobody need pass it on
        assert nodes[peer].state.value("") == 5
    assert drain(first, 2 * WINDOW_NS) == []


def test_writes_within_a_window_after_a_push_share_the_next_and_one_row() -> None:
    first, _ = two()
    add(first, 5)
    assert wakes(add(first, 5)) == [Wake(WINDOW_NS)]
    assert not sends(add(first, 5, now_ns=WINDOW_NS - 1))
    (push,) = messages(drain(first, WINDOW_NS))
    assert rows_in(push) == [("", Row(15, 0, 3))]


def test_a_timer_that_ends_early_is_no_reason_to_wait_longer() -> None:
    first, _ = two()
    add(first, 5)
    add(first, 5)
    first.wake(WINDOW_NS)
    assert len(sends(drain(first, WINDOW_NS // 2))) == 1


def test_in_a_large_cluster_news_goes_to_a_few_who_pass_it_on_but_never_back() -> None:
    nodes = members(30)
    first, second, now = nodes["n1"], nodes["n2"], 0
    receivers = set[str]()
    for _ in range(40):
        now += WINDOW_NS
        (send,) = sends(add(first, 5, now_ns=now))
        assert len(send.to) == FANOUT
        (passed,) = sends(step(second, send.message, now_ns=now))
        assert len(passed.to) == FANOUT
        assert rows_in(passed.message) == rows_in(send.message)
        receivers |= set(map(str, passed.to))
        assert step(second, pushed(N1, 0, *rows_in(send.message), sender="n3"), now_ns=now) == []  # no news again
    assert receivers == set(nodes) - {"n1", "n2"}


def test_only_news_is_passed_on() -> None:
    node = members(30)["n1"]
    old, new = ("a", Row(1, 0, 1)), ("b", Row(1, 0, 2))
    receive(node, pushed(X, 0, old))
    drain(node, WINDOW_NS)
    receive(node, pushed(X, 0, old, new, sender="n3"))
    (push,) = messages(drain(node, 2 * WINDOW_NS))
    assert rows_in(push) == [new]
    assert isinstance(push, Push)
    assert push.deltas[0].since is None  # part of a delta claims nothing


def test_push_alone_brings_everyone_together_where_nothing_is_lost() -> None:
    nodes = members(5, gossip_fanout=0)
    for node in nodes.values():
        assert ticked(node) == []
        for send in sends(add(node, 1)):
            for peer in send.to:
                deliver(nodes, send.message, peer)
    assert {node.state.fingerprint for node in nodes.values()} == {nodes["n1"].state.fingerprint}
    assert nodes["n3"].state.value("") == 5


def test_many_writes_are_pushed_in_several_windows() -> None:
    first, second = two()
    pushes, effects = 0, fill(first, 2000)
    while effects:
        pushes += len(messages(effects))
        for message in messages(effects):
            receive(second, message)
        effects = [each for due in wakes(effects) for each in drain(first, due.at_ns)]
    assert 1 < pushes < 10
    assert second.state.digest() == first.state.digest()


def test_a_lost_push_leaves_a_gap_that_the_next_exchange_fills() -> None:
    first, second = two()
    assert sends(add(first, 1, "a"))  # lost
    (push,) = messages(add(first, 1, "b", now_ns=WINDOW_NS))
    receive(second, push)
    assert (second.state.value("a"), second.state.value("b")) == (0, 1)
    assert second.state.version(N1) == 0
    exchange(second, first)
    assert second.state.digest() == first.state.digest()


def test_a_new_epoch_pushes_all_that_the_new_actor_wrote() -> None:
    first, _ = two()
    add(first, 1, "a")
    drain(first, WINDOW_NS)
    receive(first, pushed(N1, 0, ("a", Row(50, 0, 50))))
    add(first, 1, "b")
    (push,) = messages(drain(first, 2 * WINDOW_NS))
    assert isinstance(push, Push)
    assert push.deltas == (Delta(first.actor, 0, (("a", Row(1, 0, 1)), ("b", Row(1, 0, 2)))),)


def test_a_push_of_thousands_of_deltas_is_passed_on_in_part() -> None:
    node = members(30)["n1"]
    flood = tuple(Delta(Actor(f"x{i}"), 0, (("a", Row(1, 0, 1)),)) for i in range(3000))
    (push,) = messages(step(node, Push("n2", 1, flood)))
    assert len(rows_in(push)) == MAX_TO_PASS_ON


def test_without_push_a_write_waits_for_the_next_tick() -> None:
    first, _ = two(push=False)
    assert not wakes(add(first, 5))
    assert drain(first, 10**9) == []
