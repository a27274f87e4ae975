"""Claim: Redis clients share a node fairly, and what they may have buffered and in flight is bounded."""

from itertools import pairwise

import pytest

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.messages import Written
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS
from gossip_counter.node.endpoints.redis.parser import WORD_OVERHEAD_BYTES
from tests.support.redis import INCR_X, Bench, Client, FakeCore, command, parsed_bytes

GET_X = command("GET", "x")
PING = command("PING")


def is_read(clients: list[Client]) -> list[bool]:
    return [client.is_read for client in clients]


# Quanta.


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
    client.sends(INCR_X + PING)
    bench.settle(3)
    assert (client.received, client.is_read) == (b"", False)
    client.session.unblock_output()
    bench.settle(3)
    assert (client.received, client.is_read) == (b":1\r\n+PONG\r\n", True)


def test_a_client_whose_adds_are_durable_at_once_goes_on_in_the_next_round() -> None:
    bench = Bench(quick=True, chunk_bytes=len(INCR_X), quantum_ns=10**12)
    client = bench.connect().sends(INCR_X * 3)
    found = [client.received.count(b":")]
    for _ in range(3):
        bench.round()
        found.append(client.received.count(b":"))
    assert found[0] == 1
    assert found[-1] == 3


def test_no_more_than_a_chunk_is_parsed_before_it_can_be_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words take several times the memory of their bytes."""
    fed = parsed_bytes(monkeypatch)
    bench = Bench()
    bench.connect().sends(INCR_X + PING * 10_000)
    bench.round(5)
    assert sum(fed) <= bench.bounds.chunk_bytes


def test_bytes_that_arrive_before_its_turn_give_a_client_no_turn() -> None:
    """TLS passes on what it has read, though it is not being read any more."""
    bench = Bench(quantum_ns=0)
    client = bench.connect().sends(PING * 5)
    for _ in range(3):
        client.sends(PING)
    assert client.received == b"+PONG\r\n"
    bench.round()
    assert client.received == b"+PONG\r\n" * 2


def test_commands_that_were_parsed_wait_too_while_a_client_does_not_read() -> None:
    bench = Bench(quantum_ns=0)
    client = bench.connect().sends(PING * 5)
    client.session.block_output()
    bench.round(3)
    assert client.take() == b"+PONG\r\n"
    client.session.unblock_output()
    bench.round(5)
    assert client.received == b"+PONG\r\n" * 4


def test_a_word_is_not_searched_for_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    word = b"\r\n*" * 100_000
    fed = parsed_bytes(monkeypatch)
    bench = Bench(quantum_ns=10**12)
    client = bench.connect().sends(command("ECHO", word) + INCR_X * 2)
    bench.round(len(word) // bench.bounds.quantum_bytes + 1)
    assert client.received == b"$300000\r\n%s\r\n" % word
    assert len(fed) < len(word) / bench.bounds.chunk_bytes + 9


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


def test_a_client_that_asked_for_something_else_adds_nothing_while_too_many_adds_are_in_flight() -> None:
    bench = Bench(max_adds=2)
    first, second = bench.clients(2)
    first.sends(INCR_X * 3)
    second.sends(PING).sends(INCR_X)
    bench.round(2)
    assert bench.scheduler.batcher.in_flight == 3
    bench.settle(5)
    assert second.received == b"+PONG\r\n:4\r\n"


def test_adds_are_taken_again_once_half_of_those_in_flight_are_answered() -> None:
    core = FakeCore()
    bench = Bench(core=core, max_adds=10, batch_adds=6)
    for client in bench.clients(3)[:2]:
        client.sends(INCR_X * 6)
    found = [bench.scheduler.batcher.is_full]
    for batcher, portions, adds in core.batches:
        batcher.deliver(Written(portions, [1] * len(adds), Actor("n1.a"), 1))
        found.append(bench.scheduler.batcher.is_full)
    assert found == [True, True, False]


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
    for _ in range(200):
        bench.settle(1)
        has_room = bench.scheduler.buffered.queued <= bench.bounds.max_queued_bytes
        assert has_room or not any(is_read([*clients, late]))
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
    assert bench.buffered == sum(client.session.buffered()) == 0
    assert not client.is_closed  # its transport is not touched any more


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
    second.disconnects()
    assert is_read([first, third]) == [False] * 2
    bench.scheduler.close()
    assert first.is_closed
    assert third.is_closed
