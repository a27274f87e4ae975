"""Claim: what a transaction may take is bounded, and a command for which there is no room or time changes nothing."""

import pytest

from gossip_counter.node.endpoints.redis.transaction import MAX_COMMANDS, MAX_QUEUED_BYTES, MAX_STEPS
from tests.support.redis import INCR_X, Bench, Client, asks, command


@pytest.fixture
def bench() -> Bench:
    return Bench(quick=True)


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.connect()


def test_a_transaction_that_is_too_large_is_not_executed(bench: Bench, client: Client) -> None:
    for data in (INCR_X * (MAX_COMMANDS + 1), command("ECHO", "x" * 1_000_000) * (MAX_QUEUED_BYTES // 1_000_000 + 1)):
        client.sends(b"MULTI\r\n")
        client.sends(data + b"GET x\r\nEXEC\r\n")
        bench.settle(MAX_COMMANDS)
        reply = client.take()
        assert reply.count(b"-ERR a transaction takes at most 10000 commands and 4 MB") == 1
        assert reply.endswith(b"+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n")
    assert bench.replica.value("x") is None
    assert client.buffered == 0


def test_clients_that_queue_too_much_together_are_cut_off() -> None:
    bench = Bench(quick=True, max_stuck_bytes=1_000_000)
    clients = bench.clients(20)
    for client in clients:
        client.sends(b"MULTI\r\n" + command("ECHO", "x" * 100_000))
        bench.settle(40)
    left = [client for client in clients if not client.is_closed]
    assert 5 < len(left) < 10
    assert bench.buffered < 1_000_000
    for client in left:
        client.disconnects()
    assert bench.buffered == 0


def test_what_takes_many_steps_is_refused_in_a_transaction_and_the_rest_executed(bench: Bench, client: Client) -> None:
    client.sends(b"MULTI\r\n" + command("INFO") * (MAX_STEPS + 1) + INCR_X + b"EXEC\r\n")
    bench.settle(300)
    replies = client.take()
    assert replies.count(b"a:1") == MAX_STEPS
    assert replies.count(b"'info' was not executed in it") == 1
    assert replies.endswith(b":1\r\n")
    client.sends(b"MULTI\r\n" + command("KEYS", "x" * 1024) * (MAX_STEPS // 2 + 1) + INCR_X + b"EXEC\r\n")
    bench.settle(300)
    assert client.take().endswith(b"'keys' was not executed in it\r\n:2\r\n")


def test_reads_of_as_many_keys_as_can_be_queued_are_executed_in_a_transaction(bench: Bench, client: Client) -> None:
    client.sends(b"MULTI\r\n" + INCR_X + command("EXISTS", "x") * 1000)
    client.sends(command("MGET", *["x"] * 40_000))
    client.sends(b"EXEC\r\n")
    bench.settle(300)
    assert client.take().endswith(b"*1002\r\n" + b":1\r\n" * 1001 + b"*40000\r\n" + b"$1\r\n1\r\n" * 40_000)


@pytest.mark.parametrize("alone", [False, True])
def test_ten_thousand_counters_are_set_and_deleted_one_by_one(bench: Bench, client: Client, alone: bool) -> None:
    sets = [command("SET", f"k{number}", "1") for number in range(MAX_COMMANDS)]
    deletes = [command(("DEL", "UNLINK")[number % 2], f"k{number}") for number in range(MAX_COMMANDS)]
    for commands, reply in (sets, b"+OK\r\n"), (deletes, b":1\r\n"):
        client.sends(b"".join(commands) if alone else b"MULTI\r\n" + b"".join(commands) + b"EXEC\r\n")
        bench.settle(200)
        assert client.take().endswith(reply * MAX_COMMANDS)
    assert client.asks("DBSIZE") == b":0\r\n"


@pytest.mark.parametrize(
    ("before", "refused"),
    [(3, "DEL k1 k2 x k3"), (3, "MSET k1 7 k2 7 k3 7 k4 7"), (6, "SET k1 7"), (6, "EXPIRE k1 0"), (2, "FLUSHALL")],
)
def test_a_command_for_which_a_transaction_has_no_time_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, before: int, refused: str
) -> None:
    bench = Bench(quick=True, node={"allows_flush": True})
    client = bench.connect()
    asks(client, "MSET k1 1 k2 2 k3 3 k4 4")
    bench.settle()
    client.take()
    monkeypatch.setattr("gossip_counter.node.endpoints.redis.transaction.MAX_CHANGED", 6)
    client.sends(b"MULTI\r\n" + command("SET", "k5", "5") * before + command(*refused.split()) + b"EXEC\r\n")
    bench.settle()
    name = refused.split(maxsplit=1)[0].lower().encode()
    error = b"-ERR this transaction keeps others waiting for too long: '%s' was not executed in it\r\n" % name
    assert client.take().endswith(b"*%d\r\n" % (before + 1) + b"+OK\r\n" * before + error)
    values = b"".join(b"$1\r\n%d\r\n" % each for each in range(1, 6))
    assert asks(client, "MGET k1 k2 k3 k4 k5") == b"*5\r\n" + values
