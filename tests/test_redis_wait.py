"""Claim: WAIT counts the members that hold a client's writes durably, in time, and never more than are known to."""

from typing import Any

import pytest

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.gossip.messages import Confirmed
from gossip_counter.node.core.messages import CopiesOk, Written
from gossip_counter.node.endpoints.redis.session import SCATTERED
from tests.support.redis import INCR_X, Bench, Client, FakeCore

# Answers of a replica.


def waits(client: Client, line: str) -> bytes:
    assert client.asks("INCR", "x") == b":1\r\n"
    return client.asks(*line.split())


def test_wait_is_answered_once_so_many_members_hold_what_was_written() -> None:
    bench = Bench(quick=True, peers=("n2", "n3"))
    client = bench.connect()
    assert client.asks("WAIT", "2", "1") == b":2\r\n"  # nothing was written, and everybody holds that
    assert waits(client, "WAIT 1 0") == b""
    assert bench.scheduler.waiting_clients == 1
    bench.replica.step(Confirmed("n2", 0, bench.replica.actor, 1), "n2", 0)
    bench.advance()
    assert (client.take(), bench.scheduler.waiting_clients) == (b":1\r\n", 0)
    assert client.asks("WAIT", "1", "0") == b":1\r\n"


def test_wait_ends_at_its_deadline_and_promises_no_more_than_is_known() -> None:
    bench = Bench(quick=True, peers=("n2",))
    client = bench.connect()
    assert waits(client, "WAIT 1 50") == b""
    bench.now_ns = 49_000_000
    bench.advance()
    assert client.take() == b""
    bench.now_ns = 51_000_000
    bench.advance()
    assert client.take() == b":0\r\n"


def test_full_state_gossip_counts_no_copies() -> None:
    client = Bench(quick=True, node={"counts_copies": False}).connect()
    assert client.asks("WAIT", "0", "0").startswith(b"-ERR WAIT needs delta gossip")


# A session and what it asks of the replica.


def waiting(
    core: FakeCore, data: bytes = b"WAIT 1 50\r\n", actors: tuple[str | None, ...] = ("n1.a",), **bounds: Any
) -> tuple[Bench, Client]:
    """A client whose adds were written by these actors, each one as its version says, and which then sends WAIT."""
    bench = Bench(core=core, **bounds)
    client = bench.connect()
    for version, actor in enumerate(actors, 1):
        client.sends(INCR_X)
        batcher, portions, _ = core.batches[-1]
        batcher.deliver(Written(portions, [version], Actor(actor) if actor else None, version))
        bench.round()
    client.sends(data)
    client.take()
    return bench, client


def asked(core: FakeCore) -> list[tuple[str, int, int]]:
    return [(each.actor, each.version, each.members) for _, each in core.asked]


def test_wait_asks_about_all_that_the_client_wrote() -> None:
    core = FakeCore()
    waiting(core, actors=("n1.a", "n1.a"))
    assert asked(core) == [("n1.a", 2, 1)]


@pytest.mark.parametrize("actors", [("n1.a", "n1.b"), (None,), ("n1.a", None, "n1.a")])
def test_wait_vouches_for_nothing_that_more_than_one_actor_wrote(actors: tuple[str | None, ...]) -> None:
    core = FakeCore()
    waiting(core, actors=actors)
    assert asked(core) == [(*SCATTERED, 1)]


def test_what_comes_after_a_wait_is_executed_after_it() -> None:
    core = FakeCore()
    bench, client = waiting(core, b"WAIT 1 0\r\nPING\r\nWAIT 2 0\r\nPING\r\n")
    assert client.is_read  # or nobody would notice if it went away
    assert bench.scheduler.waiting_clients == 1
    client.sends(b"ECHO a\r\n")
    assert client.received == b""
    client.session.deliver(CopiesOk(0, 3))
    assert asked(core) == [("n1.a", 1, 1)]  # the next is not asked while replies are being delivered
    bench.round()
    assert client.take() == b":3\r\n+PONG\r\n"
    assert asked(core) == [("n1.a", 1, 1), ("n1.a", 1, 2)]
    client.session.deliver(CopiesOk(0, 4))
    bench.round()
    assert client.take() == b":4\r\n+PONG\r\n$1\r\na\r\n"


def test_a_client_that_sends_much_behind_a_wait_is_not_read_any_more() -> None:
    bench, client = waiting(FakeCore())
    size = bench.bounds.max_behind_wait_bytes + 1
    client.sends(b"x" * size)
    bench.round()
    assert not client.is_read
    assert bench.scheduler.buffered == (0, size)  # only the replica or the client itself can move it on


def test_a_wait_is_answered_with_what_is_known_when_the_input_ends() -> None:
    """The client may be gone, and then nobody would ever know."""
    core = FakeCore()
    bench, client = waiting(core)
    client.ends_input()
    assert asked(core)[-1] == ("n1.a", 1, 0)
    assert core.forgotten[-1] is client.session  # what it asked before
    assert not client.is_closed
    client.session.deliver(CopiesOk(0, 0))
    bench.round()
    assert (client.received, client.is_closed) == (b":0\r\n", True)


def test_an_answer_to_a_wait_that_is_over_is_dropped() -> None:
    core = FakeCore()
    _, client = waiting(core)
    core.forgotten.clear()
    client.disconnects()
    assert core.forgotten == [client.session]
    client.session.deliver(CopiesOk(0, 0))
    assert client.received == b""


def test_a_client_that_is_disconnected_while_it_waits_gets_no_error_in_place_of_the_answer() -> None:
    bench, client = waiting(FakeCore(), max_stuck_bytes=100)
    client.sends(b"x" * 200)
    bench.round()
    assert (client.received, client.is_closed) == (b"", True)
