"""Claim: what a node drops because it is full is counted, shown and logged, and makes no two lives one actor."""

import asyncio
import signal
from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.gossip.messages import SynAck
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.increases import Increase
from gossip_counter.node.core.messages import Add, Written
from gossip_counter.node.core.places import NO_PLACE, RESERVED
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.addresses import bind
from gossip_counter.node.endpoints.udp import UdpEndpoint
from gossip_counter.node.runtime.node import Node
from gossip_counter.node.runtime.signals import ending
from tests.support.replica import (
    ME,
    X,
    add,
    exchange,
    pushed,
    receive,
    refusal,
    replica,
    replies,
    settle,
    step,
    submit,
    two,
)


def test_a_row_of_our_own_that_there_is_no_room_for_begins_a_new_epoch_and_is_counted() -> None:
    """Else two lives would write as one actor, each its own write number 3."""
    stored = Stored(ME, 2, 2, {"a": (1, 0, 1), "b": (1, 0, 2)})
    node = replica(stored=(stored,), max_rows=2)
    step(node, pushed(ME, 2, ("c", Row(7, 0, 3))))
    assert node.actor != ME
    stats = node.status(0).stats
    assert (stats.new_epochs, stats.rows_dropped) == (1, 1)
    assert node.state.row_count == 2
    error = refusal(step(node, Add(1, 5, "a")))
    assert error.text.endswith("max_rows (2) rows: start it with a larger --max-rows")


def test_rows_of_a_former_life_beyond_the_bound_are_dropped_and_counted() -> None:
    node = replica(max_rows=2)
    receive(node, pushed(Actor("n1.former"), 0, *((name, Row(1, 0, i)) for i, name in enumerate("abc", 1))))
    assert (node.state.row_count, node.stats.rows_dropped) == (2, 1)


def full_pair() -> tuple[Replica, Replica]:
    """Two members, the second of which has a place for one actor, which is taken."""
    first, _ = two()
    second = replica(actor="n2.actor", name="n2", peers=("n1",), max_actors=1)
    receive(second, pushed(X, 0, ("x", Row(1, 0, 1)), sender="n1"))
    return first, second


def test_members_find_a_place_though_others_have_taken_all() -> None:
    first, second = full_pair()
    receive(second, pushed(Actor("y"), 0, ("y", Row(1, 0, 1)), sender="n1"))
    add(first, 5, "a")
    exchange(first, second)
    assert (second.state.value("a"), second.state.value("y"), second.stats.actors_dropped) == (5, 0, 1)


def test_adds_are_refused_that_nobody_would_ever_store_until_there_is_a_place() -> None:
    first, second = full_pair()
    for i in range(RESERVED):
        receive(second, pushed(Actor(f"n1.former{i}"), 0, ("a", Row(1, 0, 1)), sender="n1"))
    add(first, 5, "a")  # nothing is known of others yet
    exchange(first, second)
    assert second.stats.actors_dropped == 0, "rows were asked for that there is no place for"
    for write in (Add(1, 1, "a"), Add(2, 1, "new"), Add(3, 1, "b", terms=Increase(1, lasts_ms=1000))):
        error = refusal(step(first, write))
        assert (error.code, error.text.endswith("--max-actors")) == (11, True)
    submit(first, 4, ("a", 1))
    (reply,) = replies(settle(first))
    assert isinstance(reply, Written)
    assert [value.code for value in reply.values if isinstance(value, RequestError)] == [11]
    assert first.state.value("a") == 5 + RESERVED

    second = replica(actor="n2.actor", name="n2", peers=("n1",))
    for _ in range(2):
        exchange(first, second)
        exchange(second, first)
    add(first, 1, "a")
    assert first.state.value("a") == 6 + RESERVED


def test_a_node_that_one_peer_has_no_place_for_counts_if_another_has() -> None:
    node = replica(actor="n1.actor", peers=("n2", "n3"))
    other = replica(actor="n3.actor", name="n3", peers=("n1", "n2"))
    add(node, 5, "a")
    step(node, SynAck("n2", 1, (), {Actor("n1.actor"): NO_PLACE}, node._identity.boot))
    assert refusal(step(node, Add(1, 1, "a"))).code == 11
    exchange(other, node)
    exchange(other, node)
    add(node, 1, "a")
    assert node.state.value("a") == 6


def test_a_signal_does_no_harm_to_a_node_that_could_not_begin() -> None:
    async def made() -> Node:
        with bind(("127.0.0.1", 0)) as bound:
            config = Config(name="n1")
            return Node(
                config, lambda made, log: UdpEndpoint(bound, {}, config, Random(7), made.stats, log.note), Random(7)
            )

    node = asyncio.run(made())  # its loop is closed
    with ending(lambda _: None):
        node._interrupted(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_what_is_dropped_for_lack_of_room_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(name="n1", peers=("n2",), max_rows=1, max_actors=1, gossip_interval_ms=1)

    async def log() -> list[str]:
        with bind(("127.0.0.1", 0)) as bound:
            node = Node(
                config, lambda made, log: UdpEndpoint(bound, {}, config, Random(7), made.stats, log.note), Random(7)
            )
            running = asyncio.create_task(node.run())
            node.replica.step(pushed(X, 0, ("a", Row(1, 0, 1)), ("b", Row(1, 0, 2))), "n2", 0)
            node.replica.step(pushed(Actor("y"), 0, ("a", Row(1, 0, 1))), "n2", 0)
            while len(caplog.records) < 2:  # noqa: ASYNC110 nothing else shows that a line was logged
                await asyncio.sleep(0.001)
            node.stop()
            await running
        return caplog.messages

    with ending(lambda _: None):  # the handlers of the node go with it
        rows, actors = asyncio.run(log())
    assert rows.startswith("rows_dropped (1 so far): ") and rows.endswith("start this node with a larger --max-rows")
    assert actors.startswith("actors_dropped (1 so far): ") and actors.endswith("larger --max-actors")
