"""Claim: adds of all Redis clients share commits, and each client gets its own results."""

import pytest

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.messages import Written
from gossip_counter.node.endpoints.redis.parser import Parser
from tests.support.redis import INCR_X, Bench, FakeCore, command, parsed_bytes


def test_adds_of_all_clients_share_a_commit_and_each_gets_its_own_value() -> None:
    bench = Bench()
    clients = bench.clients(50)
    for client in clients:
        client.sends(INCR_X)
    assert bench.commits == 1
    bench.persist()
    assert [client.received for client in clients] == [b":%d\r\n" % i for i in range(1, 51)]


def test_a_batch_gathers_while_adds_arrive_and_for_no_more_than_some_rounds() -> None:
    bench = Bench(gather_rounds=3)
    first, second, third, *_ = bench.clients(9)
    first.sends(INCR_X)
    bench.round()
    assert bench.commits == 0
    second.sends(INCR_X)
    bench.round()
    third.sends(INCR_X)
    assert bench.commits == 0
    bench.round()
    assert bench.commits == 1
    bench.persist()
    first.sends(INCR_X)
    bench.round()
    assert bench.commits == 1
    bench.round()  # in which nobody else added
    assert bench.commits == 2


def test_a_batch_waits_for_nobody_once_all_clients_have_added() -> None:
    """However many chunks one of them sent."""
    bench = Bench()
    greedy, modest = bench.clients(2)
    for client in (greedy, modest):
        client.sends(INCR_X)
    bench.persist()
    bench.round()
    greedy.sends(INCR_X * 6000)
    assert bench.commits == 1
    modest.sends(INCR_X)
    assert bench.commits == 2


def test_a_batch_that_is_large_waits_for_nobody() -> None:
    core = FakeCore()
    bench = Bench(core=core, batch_adds=10)
    first, _ = bench.clients(2)
    first.sends(INCR_X * 9)
    assert core.batches == []
    first.sends(INCR_X)
    assert [len(adds) for _, _, adds in core.batches] == [10]


def test_the_results_of_a_batch_go_to_those_whose_adds_they_are() -> None:
    core = FakeCore()
    first, second = Bench(core=core).clients(2)
    first.sends(INCR_X * 2)
    second.sends(command("INCRBY", "y", "5"))
    (client, portions, adds), *_ = core.batches
    assert adds == [("x", 1), ("x", 1), ("y", 5)]
    client.deliver(Written(portions, [7, 8, 55], Actor("n1.a"), 3))
    assert (first.received, second.received) == (b":7\r\n:8\r\n", b":55\r\n")


def test_a_batch_that_the_replica_fails_to_take_ends_its_clients_and_no_others() -> None:
    core = FakeCore()
    bench = Bench(core=core, max_adds=2)
    first, second = bench.clients(2)
    core.fails = True
    first.sends(INCR_X * 3)
    second.sends(INCR_X)
    assert not second.is_read  # there are too many adds in flight
    bench.round(3)
    assert [str(error) for error in bench.errors] == ["planted"]
    assert (first.is_aborted, second.is_aborted) == (True, False)
    core.fails = False
    bench.round(3)
    (client, portions, _), *_ = core.batches
    client.deliver(Written(portions, [1], Actor("n1.a"), 1))
    assert second.received == b":1\r\n"


def test_a_stream_of_known_adds_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X)
    bench.settle(2)
    monkeypatch.setattr(Parser, "feed", lambda *_: 1 // 0)
    client.sends(INCR_X * 9_999)
    bench.settle(20)
    assert client.received.endswith(b":10000\r\n")


def test_a_stream_of_known_adds_is_taken_in_large_chunks() -> None:
    bench = Bench(quick=True)
    client = bench.connect().sends(INCR_X)
    bench.round()
    data = INCR_X * 3000
    client.sends(data)
    bench.round(20)
    assert client.received.endswith(b":3001\r\n")
    assert bench.commits <= len(data) // bench.bounds.quantum_bytes + 3


def test_known_adds_behind_the_rest_of_a_command_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = parsed_bytes(monkeypatch)
    bench = Bench(quick=True)
    client = bench.connect().sends(INCR_X)
    echo = command("ECHO", b"x" * 100)
    client.sends(echo[:50])
    bench.round()
    client.sends(echo[50:] + INCR_X * 9)
    bench.settle(3)
    assert client.received.endswith(b":10\r\n")
    assert sum(fed) == len(INCR_X + echo)


def test_a_stream_of_adds_has_some_chunks_on_their_way_to_a_slow_disk() -> None:
    bench = Bench(quantum_bytes=100)
    client = bench.connect().sends(INCR_X * 1000)
    bench.round(1000)
    assert client.session.in_flight == bench.bounds.max_chunks
    for _ in range(1000):
        bench.settle(1)
        assert client.session.in_flight <= bench.bounds.max_chunks
    assert client.received.endswith(b":1000\r\n")
    assert client.is_read


def test_the_next_chunk_is_taken_as_soon_as_one_is_answered() -> None:
    core = FakeCore()
    bench = Bench(core=core, max_chunks=2, chunk_bytes=len(INCR_X), quantum_ns=10**12)
    bench.connect().sends(INCR_X * 4)
    bench.round(5)
    assert len(core.batches) == 2
    client, portions, _ = core.batches[0]
    client.deliver(Written(portions, [1], Actor("n1.a"), 1))
    bench.round()
    assert len(core.batches) == 3


def test_a_client_of_small_adds_is_not_read_while_too_many_are_in_flight() -> None:
    bench = Bench(max_chunks=3)
    client, _ = bench.clients(2)
    client.sends(INCR_X)
    bench.settle(2)
    for _ in range(2):
        client.sends(INCR_X)
        assert client.is_read
    client.sends(INCR_X)
    assert not client.is_read
    bench.settle(2)
    assert client.is_read
