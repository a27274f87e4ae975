"""Claim: Redis clients share a node fairly: each has its turn, adds share commits, what they may hold is bounded."""

from itertools import pairwise
from typing import Any

import pytest

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.messages import Written
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS
from gossip_counter.node.endpoints.redis.parser import WORD_OVERHEAD_BYTES, Limits, Parser
from tests.support.redis import INCR_X, Bench, Client, FakeCore, command

GET_X = command("GET", "x")
PING = command("PING")


def is_read(clients: list[Client]) -> list[bool]:
    return [client.is_read for client in clients]


# Batches.


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
    bench.round(2)  # nobody else adds in the second
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


# Turns.


def test_a_client_that_asks_for_much_lets_others_have_their_turn() -> None:
    """With one client alone, its adds are durable at once, so that nothing else would hold it up."""

    def lengths(quantum_ns: int) -> tuple[bytes, list[int]]:
        bench = Bench(quick=True, quantum_ns=quantum_ns)
        client = bench.connect().sends((INCR_X + GET_X) * 9)
        found = [len(client.received)]
        for _ in range(30):
            bench.round()
            found.append(len(client.received))
        assert client.is_read
        return client.received, found

    at_once, _ = lengths(10**12)
    in_turns, found = lengths(0)
    assert at_once == in_turns == b"".join(b":%d\r\n$1\r\n%d\r\n" % (i, i) for i in range(1, 10))
    assert len(set(found)) > 5


def test_a_quantum_ends_in_time_though_each_chunk_holds_one_command_only() -> None:
    bench = Bench(quantum_ns=0, chunk_bytes=20)
    client = bench.connect().sends(PING * 100)
    done = [0]
    for _ in range(100):
        done.append(client.received.count(b"PONG"))
        bench.round()
    assert client.received == b"+PONG\r\n" * 100
    assert max(now - before for before, now in pairwise(done)) == 1


def test_a_client_that_sends_much_at_once_has_its_turn_as_often_as_others() -> None:
    bench = Bench(quick=True, quantum_bytes=1000, chunk_bytes=300, batch_adds=50, quantum_ns=10**12)
    greedy, modest, *_ = bench.clients(12)
    quantum = 1000 // len(INCR_X) + 1

    def taken() -> int:
        return bench.scheduler.batcher.in_flight + greedy.received.count(b":")

    for data in (INCR_X * 1000, INCR_X * 1000, INCR_X * 1000 + INCR_X[:9]):  # not known yet, known, and cut
        greedy.take(), modest.take()
        greedy.sends(data)
        assert not greedy.is_read
        commits, found = bench.commits, [taken()]
        while greedy.received.count(b":") < 1000:
            modest.sends(PING)
            bench.round()
            found.append(taken())
        assert max(now - before for before, now in pairwise(found)) <= quantum
        assert modest.received.count(b"+PONG") > 1000 // (quantum + 1)
        assert bench.commits - commits >= 1000 // (50 + quantum)
        bench.round()
        assert greedy.is_read
    greedy.sends(INCR_X[9:])
    assert bench.buffered == 0


def test_a_client_that_reads_now_and_then_has_no_more_turns_than_others() -> None:
    bench = Bench(quantum_ns=10**12, quantum_bytes=600)
    client = bench.connect().sends(b"PING\r\n" * 40_000)
    for _ in range(10):
        client.session.block_output()
        client.session.unblock_output()
    bench.round()
    before = client.buffered
    bench.round()
    assert before - client.buffered <= 600


def test_a_client_that_does_not_read_its_replies_is_neither_read_nor_executed() -> None:
    bench = Bench()
    client = bench.connect()
    client.session.block_output()
    client.sends(PING)
    bench.round(3)
    assert (client.received, client.is_read) == (b"", False)
    client.session.unblock_output()
    bench.round()
    assert (client.received, client.is_read) == (b"+PONG\r\n", True)


def test_a_word_is_not_searched_for_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    word = b"\r\n*" * 100_000
    looks: list[int] = []
    feed = Parser.feed

    def watched(parser: Parser, data: bytes, limits: Limits) -> list[Any]:
        looks.append(len(data))
        return feed(parser, data, limits)

    monkeypatch.setattr(Parser, "feed", watched)
    bench = Bench(quantum_ns=10**12)
    client = bench.connect().sends(command("ECHO", word) + INCR_X * 2)
    bench.round(len(word) // bench.bounds.quantum_bytes + 1)
    assert client.received == b"$300000\r\n%s\r\n" % word
    assert len(looks) < len(word) / bench.bounds.chunk_bytes + 9


# Bounds.


def test_clients_are_bounded() -> None:
    bench = Bench(max_clients=2)
    first, _, third = bench.clients(3)
    assert (third.received, third.is_closed) == (b"-ERR max number of clients reached\r\n", True)
    third.disconnects()
    assert first.asks("PING") == b"+PONG\r\n"
    first.disconnects()
    assert bench.connect().asks("PING") == b"+PONG\r\n"


def test_adds_in_flight_are_bounded_and_other_commands_are_answered() -> None:
    """The next adds wait with their clients."""
    bench = Bench(max_adds=10)
    clients = bench.clients(4)
    for client in clients:
        client.sends(PING)
    for client in clients[:3]:
        client.sends(INCR_X * 9)
    clients[3].sends(PING)
    assert is_read(clients) == [True, True, False, True]
    assert bench.scheduler.batcher.in_flight == 18
    bench.settle(20)
    assert [client.received.count(b"\n") for client in clients] == [10, 10, 10, 2]
    assert is_read(clients) == [True] * 4
    assert bench.scheduler.batcher.in_flight == bench.buffered == 0


def test_a_client_that_brings_more_than_may_be_stuck_is_disconnected() -> None:
    bench = Bench(max_stuck_bytes=1000)
    first, second, third = bench.clients(3)
    half = command("ECHO", b"x" * 700)[:520]
    first.sends(half)
    second.sends(half)
    assert (first.is_closed, second.is_closed, second.is_aborted) == (False, True, False)
    assert second.received.startswith(b"-ERR too much of what clients sent is incomplete")
    second.disconnects()
    third.sends(b"ECHO " + b"x" * 300)
    third.sends(b"\r\n")
    assert (third.is_closed, third.received) == (False, b"$300\r\n" + b"x" * 300 + b"\r\n")
    first.sends(command("ECHO", b"x" * 700)[520:])
    assert first.received.endswith(b"x\r\n")
    assert bench.buffered == 0


def test_a_client_that_is_owed_replies_gets_no_error_in_their_place() -> None:
    bench = Bench(max_stuck_bytes=100)
    client, deaf = bench.clients(2)
    client.sends(INCR_X + command("ECHO", b"x" * 700)[:520])
    assert (client.received, client.is_closed) == (b"", True)
    deaf.session.block_output()
    deaf.sends(PING * 100)
    bench.round()
    assert (deaf.received, deaf.is_aborted) == (b"", True)


def test_clients_that_only_wait_for_the_disk_are_never_disconnected() -> None:
    """However much they sent together: they are not read before there is room, and then the others first."""
    bench = Bench(max_queued_bytes=1000, chunk_bytes=30, max_stuck_bytes=100, quantum_ns=10**12)
    clients = bench.clients(4)
    for client in clients[:3]:
        client.sends(b"INCR x\r\nGET x\r\n" * 20)
    assert is_read(clients) == [False] * 4
    assert list(bench.scheduler.sessions) == [client.session for client in (clients[3], *clients[:3])]
    late = bench.connect()
    assert not late.is_read
    bench.settle(200)
    assert [client.received.count(b"\n") for client in clients] == [60, 60, 60, 0]
    assert is_read([*clients, late]) == [True] * 5
    assert bench.buffered == 0


def test_what_a_client_sent_that_reads_no_replies_is_stuck() -> None:
    bench = Bench()
    client = bench.connect().sends(b"INCR x\r\nGET x\r\n")
    queued = bench.scheduler.buffered.queued
    assert queued > 0
    assert bench.scheduler.buffered == (queued, 0)
    client.session.block_output()
    bench.round()
    assert bench.scheduler.buffered == (0, queued)
    client.session.unblock_output()
    bench.round()
    assert bench.scheduler.buffered == (queued, 0)


def test_what_a_lost_client_sent_is_kept_no_more() -> None:
    """Also if it was not yet its turn when it was lost."""
    bench = Bench(quantum_ns=0)
    client = bench.connect().sends(b"PING\r\n" * 9 + command("ECHO", b"x" * 700)[:520])
    assert bench.buffered > 500
    client.disconnects()
    bench.round(20)
    assert bench.buffered == 0


def test_what_was_executed_is_not_counted_any_more() -> None:
    """However long a client goes on, with something to wait for at the end of each turn."""
    bench = Bench()
    data = b"INCR x\nGET x\n" * 2500
    client = bench.connect().sends(data)
    parsed = 9 * DEFAULT_BOUNDS.chunk_bytes * WORD_OVERHEAD_BYTES // 6
    while client.buffered:
        executed = client.received.count(b"\n") // 3 * len(b"INCR x\nGET x\n")
        assert client.buffered <= len(data) - executed + parsed
        bench.settle(1)
    bench.settle(3)
    assert client.received.endswith(b":2500\r\n$4\r\n2500\r\n")
    assert bench.buffered == 0


def test_a_command_that_is_whole_and_has_to_wait_is_counted_like_the_half_it_was() -> None:
    bench = Bench()
    client = bench.connect()
    data = INCR_X + command("ECHO", b"x" * 100_000)
    for at in range(0, len(data), 1000):
        client.sends(data[at : at + 1000])
        bench.round()
    assert bench.buffered > 100_000


# The end.


def test_at_the_end_adds_that_were_taken_are_answered_and_nothing_else_is_executed() -> None:
    bench = Bench()
    first, second, third = bench.clients(3)
    first.sends(INCR_X)
    second.sends(INCR_X + GET_X)
    bench.scheduler.begin_close()
    third.sends(INCR_X)
    assert is_read([first, second, third]) == [False] * 3
    bench.settle(3)
    assert [client.received for client in (first, second, third)] == [b":1\r\n", b":2\r\n", b""]
    bench.scheduler.close()
    assert all(client.is_closed for client in (first, second, third))
