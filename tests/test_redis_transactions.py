"""Claim: a transaction is executed as one, as Redis does; it shows and answers nothing that is not durable."""

from typing import Any

import pytest
import redis

from gossip_counter.node.core.counts import Row
from gossip_counter.node.endpoints.redis.commands import COMMANDS
from gossip_counter.node.endpoints.redis.commands_transactions import MAX_WATCHED
from tests.support.real_redis import RealRedis
from tests.support.redis import INCR_X, Bench, Client, asks, command, served
from tests.support.replica import X, pushed

SAME_AS_REDIS = [
    "MULTI / EXEC", "MULTI / DISCARD", "EXEC", "DISCARD", "UNWATCH", "MULTI x", "WATCH", "DISCARD x", "EXEC x",
    "MULTI / INCR a / INCRBY a 5 / GET a / EXEC / GET a", "MULTI / INCR a / DISCARD / GET a / EXEC",
    "MULTI / incr a / get a / exec",
    "MULTI / MULTI / INCR a / EXEC / GET a", "MULTI / INCR a / MULTI / EXEC", "MULTI / WATCH a / INCR a / EXEC",
    "MULTI / INCR / INCR a / EXEC / GET a", "MULTI / NOSUCH / INCR a / EXEC", "MULTI / NOSUCH / DISCARD / GET a",
    "MULTI / CONFIG / EXEC", "MULTI / OBJECT ENCODING / EXEC", "MULTI / EXEC x / INCR a / EXEC",
    "MULTI / DISCARD x / EXEC", "MULTI / MULTI x / EXEC",
    "MULTI / INCRBY a x / INCR a / EXEC / GET a", "MULTI / INCRBY a 9223372036854775807 / INCR a / EXEC / GET a",
    "MULTI / GET none / MGET a none / EXISTS a none / TYPE a / TTL none / STRLEN a / DEL none / EXEC",
    "INCR a / MULTI / MGET a none a / DECRBY a 7 / EXISTS a / MGET a none / EXEC",
    "MULTI / PING / PING x / ECHO y / SELECT 0 / SELECT 99 / CLIENT GETNAME / EXEC",
    "MULTI / CLIENT SETNAME me / EXEC / CLIENT GETNAME", "MULTI / EXISTS a / INCR a / EXISTS a / EXEC",
    "MULTI / RESET / EXEC", "MULTI / INCR a / RESET / GET a", "MULTI / INCR a / QUIT", "MULTI / PING a b / EXEC",
    "MULTI / UNWATCH / EXEC", "MULTI / HELLO 4 / AUTH x / EXEC", "MULTI / SELECT x / TTL a / EXPIRE none 5 / EXEC",
    "WATCH a / MULTI / INCR a / EXEC", "WATCH a / 2 INCR a / MULTI / INCR a / EXEC / MULTI / INCR a / EXEC",
    "WATCH a / INCR a / MULTI / GET a / EXEC / GET a", "WATCH a b / 2 INCR b / MULTI / GET a / EXEC",
    "WATCH a / WATCH b / 2 INCR a / MULTI / EXEC", "WATCH a / 2 INCR a / UNWATCH / MULTI / GET a / EXEC",
    "WATCH a / 2 INCR a / MULTI / DISCARD / MULTI / GET a / EXEC", "WATCH a / 2 INCR a / RESET / MULTI / GET a / EXEC",
    "WATCH a / 2 INCR a / 2 DECR a / MULTI / GET a / EXEC", "WATCH a / 2 INCR b / 2 GET a / MULTI / GET a / EXEC",
    "WATCH a / MULTI / 2 INCR a / INCR a / EXEC / GET a", "WATCH a / MULTI / UNWATCH / 2 INCR a / EXEC",
    "WATCH a / 2 INCR a / MULTI / NOSUCH / EXEC", "2 WATCH a / INCR a / 2 MULTI / 2 EXEC / 2 MULTI / 2 EXEC",
    "WATCH a / 2 WATCH a / MULTI / INCR a / 2 MULTI / 2 INCR a / EXEC / 2 EXEC / GET a",
    "WATCH a / 2 INCR a / WATCH a / MULTI / EXEC", "2 MULTI / MULTI / 2 INCR a / INCR a / EXEC / GET a / 2 EXEC",
    "WATCH a / 2 MULTI / 2 INCR a / 2 EXEC / MULTI / EXEC",
    "MULTI / COMMAND COUNT x / OBJECT FOO / EXEC", "MULTI / WAIT 0 0 / EXEC", "MULTI / CONFIG GET timeout / EXEC",
]  # fmt: skip
"""Conversations; what follows a 2 is sent by another client."""


@pytest.fixture
def bench() -> Bench:
    return Bench(quick=True, node={"settings": {"timeout": "0"}})


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.connect()


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_are_those_of_redis(real: RealRedis, protocol: int) -> None:
    differ = {}
    for conversation in SAME_AS_REDIS:
        bench = Bench(quick=True, node={"settings": {"timeout": "0"}})
        real.reply("FLUSHALL")
        ours, theirs = bench.clients(2), [real.connect(), real.connect()]
        everybody: list[Any] = [*ours, *theirs]
        for each in everybody:
            each.asks("HELLO", str(protocol))
        for line in conversation.split(" / "):
            who = line.startswith("2 ")
            words = line.removeprefix("2 ").split()
            ours[who].sends(command(*words))
            bench.settle(5)
            if (mine := ours[who].take()) != (right := theirs[who].asks(*words)):
                differ[conversation, line] = mine, right
        for connection in theirs:
            connection.close()
        assert bench.errors == []
    assert differ == {}


# Durability.


def test_a_transaction_is_one_commit_and_is_answered_when_it_is_durable() -> None:
    bench = Bench()
    client, other = bench.clients(2)
    client.sends(b"MULTI\r\nINCR x\r\nINCRBY y 5\r\nGET x\r\nEXEC\r\nPING\r\n")
    bench.round(3)
    assert client.take() == b"+OK\r\n" + b"+QUEUED\r\n" * 3
    assert asks(other, "GET x") == b"$-1\r\n"
    bench.persist()
    bench.round()
    assert client.take() == b"*3\r\n:1\r\n:5\r\n$1\r\n1\r\n+PONG\r\n"
    assert asks(other, "GET x") == b"$1\r\n1\r\n"
    assert bench.commits == 1


def test_what_came_before_is_seen_and_what_comes_after_sees_it() -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X * 2 + b"MULTI\r\nINCR x\r\nEXEC\r\n" + INCR_X + b"GET x\r\n")
    bench.settle()
    assert client.take() == b":1\r\n:2\r\n+OK\r\n+QUEUED\r\n*1\r\n:3\r\n:4\r\n$1\r\n4\r\n"


def test_known_adds_are_queued_as_any_command() -> None:
    """They are recognised by their bytes, and taken without a look at the session, where no transaction is open."""
    bench = Bench(quick=True)
    client, _ = bench.clients(2)
    client.sends(INCR_X)
    bench.settle(3)
    client.sends(INCR_X)
    bench.settle(3)
    assert client.take() == b":1\r\n:2\r\n"
    for data in (b"MULTI\r\n", INCR_X, INCR_X * 3, command("DISCARD"), INCR_X):
        client.sends(data)
        bench.settle(3)
    assert client.take() == b"+OK\r\n" + b"+QUEUED\r\n" * 4 + b"+OK\r\n:3\r\n"


def test_if_the_disk_fails_nothing_counts_and_the_reply_is_one_error() -> None:
    bench = Bench()
    client = bench.connect().sends(b"MULTI\r\nINCR x\r\nINCRBY x y\r\nEXEC\r\nWAIT 0 0\r\nGET x\r\n")
    bench.round()
    bench.persist("the disk is full")
    bench.round(3)
    replies = client.take().split(b"\r\n")
    assert replies[3] == b"-ERR not counted, because it can't be made durable: the disk is full"
    assert replies[4:] == [b":0", b"$-1", b""]
    client.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    bench.settle()
    assert client.take().endswith(b"*1\r\n:1\r\n")


def test_a_transaction_that_only_reads_waits_for_what_it_saw_and_for_nothing_else() -> None:
    bench = Bench()
    writer, reader, other = bench.clients(3)
    reads = b"MULTI\r\nGET x\r\nEXEC\r\n"
    writer.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")  # its commit is under way
    for data, client in ((reads, reader), (b"MULTI\r\nGET y\r\nEXEC\r\n", other)):
        client.sends(data)
        client.take()
    assert other.sends(b"PING\r\n").take() == b"+PONG\r\n"
    assert reader.sends(b"PING\r\n").take() == b""
    bench.persist()
    bench.round()
    assert reader.take() == b"*1\r\n$1\r\n1\r\n+PONG\r\n"
    assert bench.commits == 1
    writer.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    other.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")  # gathers
    reader.sends(reads)
    bench.persist()
    assert reader.take() == b"+OK\r\n+QUEUED\r\n"
    bench.persist()
    assert reader.take() == b"*1\r\n$1\r\n3\r\n"


def test_a_transaction_that_saw_what_the_disk_refuses_is_refused() -> None:
    bench = Bench()
    writer, reader = bench.clients(2)
    writer.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    reader.sends(b"MULTI\r\nGET x\r\nEXEC\r\n")
    bench.persist("no space")
    assert reader.take().endswith(b"-ERR not counted, because it can't be made durable: no space\r\n")
    assert asks(reader, "PING") == b"+PONG\r\n"


def test_a_node_without_room_refuses_single_adds_of_a_transaction() -> None:
    bench = Bench(quick=True, config={"max_rows": 2})
    client = bench.connect().sends(b"MULTI\r\nINCR a\r\nINCR b\r\nINCR c\r\nINCR a\r\nEXEC\r\n")
    assert client.take().split(b"\r\n")[5:] == [
        b"*4", b":1", b":1", b"-ERR this node stores max_rows (2) rows: start it with a larger --max-rows", b":2", b"",
    ]  # fmt: skip


def test_wait_counts_the_copies_of_a_transaction() -> None:
    bench = Bench(quick=True, peers=("n2",))
    client = bench.connect()
    assert asks(client, "WAIT 1 0") == b":1\r\n"
    client.sends(b"MULTI\r\nGET x\r\nEXEC\r\n")
    client.take()
    assert client.session.client.written is None
    client.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    assert client.session.client.written == (bench.replica.actor, 1)


# Watching.


def test_a_watch_sees_what_gossip_brings(bench: Bench, client: Client) -> None:
    bench = Bench(quick=True, peers=("n2",))
    client = bench.connect()
    for counter, reply in (("x", b"*-1\r\n"), ("y", b"*1\r\n:1\r\n")):
        asks(client, "WATCH x")
        bench.replica.step(pushed(X, 0, (counter, Row(5, 0, 1))), "n2", 0)
        client.sends(b"MULTI\r\nINCR z\r\nEXEC\r\n")
        assert client.take().endswith(reply)


def test_a_change_that_is_not_yet_durable_is_one() -> None:
    """The client that watches has not seen it."""
    bench = Bench()
    writer, client = bench.clients(2)
    asks(client, "WATCH x")
    writer.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    client.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    assert client.take() == b"+OK\r\n+QUEUED\r\n*-1\r\n"


def test_nothing_is_watched_for_clients_that_are_gone_or_need_it_no_more(bench: Bench) -> None:
    watches = bench.replica.state.watches
    endings = ("UNWATCH", "RESET", "MULTI / DISCARD", "MULTI / EXEC", "MULTI / NOSUCH / EXEC", "QUIT")
    for ending in endings:
        client = bench.connect()
        asks(client, "WATCH x y")
        assert watches
        for line in ending.split(" / "):
            asks(client, line)
        assert not watches, ending
    client = bench.connect()
    asks(client, "WATCH x y")
    asks(client, "WATCH x")
    client.sends(INCR_X)
    bench.settle(3)
    other = bench.connect()
    asks(other, "WATCH x")
    client.disconnects()
    assert watches
    other.session.abort()
    assert not watches


def test_what_a_client_watches_and_queues_is_bounded_and_counted(bench: Bench, client: Client) -> None:
    assert client.asks("WATCH", *[f"c{i}" for i in range(MAX_WATCHED)]) == b"+OK\r\n"
    assert asks(client, "WATCH c1") == b"+OK\r\n"
    assert asks(client, "WATCH more").startswith(b"-ERR a connection can watch at most 1000 keys")
    assert client.buffered > 300_000
    asks(client, "UNWATCH")
    assert client.buffered == 0
    asks(client, "MULTI")
    client.sends(command("ECHO", "x" * 100_000) * 3)
    bench.settle()
    assert client.buffered > 300_000
    asks(client, "DISCARD")
    assert client.buffered == 0


# How it ends.


@pytest.mark.parametrize("end", ["disconnects", "ends_input"])
def test_a_transaction_of_a_client_that_is_gone_is_discarded(bench: Bench, client: Client, end: str) -> None:
    client.sends(b"MULTI\r\n" + INCR_X)
    getattr(client, end)()
    bench.settle(3)
    client.disconnects()
    assert bench.replica.value("x") is None
    assert bench.buffered == 0


def test_a_client_that_leaves_during_the_commit_was_counted() -> None:
    bench = Bench()
    client, other = bench.clients(2)
    client.sends(b"MULTI\r\n" + INCR_X + b"EXEC\r\n")
    client.disconnects()
    other.sends(b"MULTI\r\n" + INCR_X + b"EXEC\r\nQUIT\r\n")
    bench.settle(3)
    assert other.take().endswith(b"*1\r\n:2\r\n+OK\r\n")
    assert other.is_closed
    assert bench.errors == []


def test_what_was_sent_before_the_end_of_input_is_answered() -> None:
    bench = Bench()
    client = bench.connect().sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    client.ends_input()
    bench.settle(3)
    assert client.take().endswith(b"*1\r\n:1\r\n")
    assert client.is_closed


def test_a_node_that_ends_answers_transactions_that_it_has_executed() -> None:
    bench = Bench()
    client, other = bench.clients(2)
    client.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    other.sends(b"MULTI\r\nINCR x\r\nEXEC\r\n")
    bench.scheduler.begin_close()
    bench.persist()
    bench.persist()
    bench.scheduler.close()
    assert client.take().endswith(b"*1\r\n:1\r\n")
    assert other.take().endswith(b"*1\r\n:2\r\n")


def test_an_unexpected_error_ends_the_connection_and_what_was_added_is_committed() -> None:
    def fails() -> dict[str, dict[str, object]]:
        raise RuntimeError("planted")

    bench = Bench(quick=True, node={"info": fails})
    client, other = bench.clients(2)
    client.sends(b"MULTI\r\nINCR x\r\nINFO\r\nEXEC\r\n")
    assert client.is_aborted
    assert [type(each) for each in bench.errors] == [RuntimeError]
    bench.advance()
    assert asks(other, "GET x") == b"$1\r\n1\r\n"


def test_client_list_shows_how_many_commands_are_queued(client: Client, bench: Bench) -> None:
    other = bench.connect()
    assert asks(other, "CLIENT LIST").count(b" multi=-1 ") == 2
    asks(client, "MULTI")
    asks(client, "PING")
    assert b" multi=1 " in asks(other, "CLIENT LIST")


def test_calls_are_counted_when_they_are_executed(client: Client) -> None:
    for line in ("MULTI", "INCR x", "INCR x", "GET x", "EXEC", "MULTI", "INCR x", "DISCARD"):
        asks(client, line)
    counted = asks(client, "INFO commandstats").decode()
    assert all(f"cmdstat_{each}\r\n" in counted for each in ("multi:calls=2", "incr:calls=2", "discard:calls=1"))


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {b"QUIT", b"RESET", b"EXEC", b"DISCARD", b"MULTI", b"WATCH"}))
def test_every_command_can_be_queued_and_executed(client: Client, name: bytes) -> None:
    asks(client, "MULTI")
    words: list[bytes | str] = [name, *["1"] * (abs(COMMANDS[name].arity) - 1)]
    queued = client.asks(*words)
    assert queued == b"+QUEUED\r\n" or b"unknown subcommand" in queued
    assert client.asks("EXEC")[:3] in (b"*1\r", b"-EX")


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_pipelines_and_watches(protocol: int) -> None:
    with served() as (host, port), redis.Redis(host=host, port=port, protocol=protocol) as counter:
        assert counter.pipeline().incr("x").incrby("x", 4).get("x").execute() == [1, 5, b"5"]
        with counter.pipeline() as pipeline:
            pipeline.watch("x")
            seen = int(pipeline.get("x") or 0)
            pipeline.multi()
            pipeline.incrby("x", seen)
            assert pipeline.execute() == [10]
            pipeline.watch("x")
            counter.incr("x")
            pipeline.multi()
            pipeline.incr("x")
            with pytest.raises(redis.WatchError):
                pipeline.execute()
        with pytest.raises(redis.ResponseError, match="not an integer"):
            counter.pipeline().incr("x").execute_command("INCRBY", "x", "y").execute()
        assert counter.transaction(lambda pipe: pipe.multi() or pipe.incr("x"), "x") == [13]
