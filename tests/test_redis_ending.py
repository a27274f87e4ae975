"""Claim: counters end as keys of Redis do: commands that expire, delete and set them reply as Redis does."""

from contextlib import closing
from random import Random
from time import time
from typing import Any

import pytest
import redis

from gossip_counter.node.core.counts import NOTHING_TAKEN, EndingRow, Row
from gossip_counter.node.core.writes import Writes
from gossip_counter.node.endpoints.redis.commands_expiry import MAX_DELETED
from tests.support.conversations import random_conversation
from tests.support.real_redis import RealRedis
from tests.support.redis import Bench, Client, asks, command, served
from tests.support.replica import X, pushed

SAME_AS_REDIS = [
    # How long.
    "INCR a / EXPIRE a 100 / TTL a / INCR a / TTL a / PERSIST a / TTL a / PERSIST a",
    "EXPIRE a 100 / TTL a / PTTL a / EXPIRETIME a / PEXPIRETIME a / PERSIST a / INCR a / PTTL a / PEXPIRETIME a",
    "INCR a / PEXPIRE a 99600 / TTL a", "INCR a / PEXPIRE a 99400 / TTL a",
    "INCR a / EXPIREAT a 99999999999 / EXPIRETIME a / PEXPIRETIME a / EXPIREAT a 5 / GET a / EXPIRETIME a",
    "INCR a / PEXPIREAT a 99999999999999 / EXPIRETIME a / PEXPIRETIME a / PEXPIREAT a 5 / EXISTS a",
    "INCR a / PEXPIREAT a 99999999999500 / EXPIRETIME a", "INCR a / PEXPIREAT a 99999999999499 / EXPIRETIME a",
    "INCR a / EXPIRE a 100 NX / EXPIRE a 200 NX / TTL a / EXPIRE a 300 XX / TTL a / PERSIST a / EXPIRE a 5 XX / TTL a",
    "INCR a / EXPIRE a 100 GT / TTL a / EXPIRE a 100 LT / EXPIRE a 200 LT / EXPIRE a 50 GT / TTL a / EXPIRE a 200 GT",
    "INCR a / EXPIRE a 100 XX LT / EXPIRE a 100 / EXPIRE a 50 XX LT / TTL a / EXPIRE a 70 XX GT / TTL a",
    "INCR a / EXPIREAT a 99999999999 / EXPIREAT a 99999999999 GT / EXPIREAT a 99999999999 LT",
    "INCR a / EXPIRE a 0 / GET a / INCR a", "INCR a / EXPIRE a -5 / EXISTS a / DBSIZE / INCR a / TTL a",
    "INCR a / PEXPIRE a 0 / GET a", "INCR a / EXPIREAT a 0 / GET a", "INCR a / EXPIRE a -5 GT / GET a / TTL a",
    "INCR a / EXPIRE a 100 / EXPIRE a -5 LT / GET a", "INCR a / EXPIRE a -5 LT / GET a",
    "INCR a / EXPIRE a x / EXPIRE a 1.5 / EXPIRE a / EXPIRE / EXPIRE a 5 FOO / EXPIRE a x NX XX / EXPIRE a 5 NX GT",
    "INCR a / EXPIRE a 5 NX NX / TTL a / EXPIRE a 5 GT LT / EXPIRE a 5 nx / EXPIRE a 50 gt xx",
    "INCR a / EXPIRE a 9223372036854775807 / EXPIRE a 9223372036854775 / PEXPIRE a 9223372036854775807 / TTL a",
    "INCR a / EXPIREAT a 9223372036854775 / PEXPIREAT a 9223372036854775807 / PEXPIRETIME a / TTL a / EXPIRETIME a",
    "INCR a / EXPIRE a -9223372036854775808 / EXPIRE a -9223372036854775 / GET a / INCR a",
    "INCR a / EXPIRE a 9223372036854775808 / PEXPIREAT a -1 / GET a", "EXPIRE a 9223372036854775807", "EXPIRE a 5 FOO",
    "INCR a / PERSIST a / PERSIST / PERSIST a b / TTL / TTL a b / EXPIRETIME none / PEXPIRETIME none / PTTL none",
    # Deleting.
    "INCR a / INCR b / DEL a none b a / GET a / DBSIZE / INCR a / KEYS * / UNLINK a / UNLINK a / EXISTS a b / DEL",
    "INCR a / EXPIRE a 100 / DEL a / INCR a / TTL a", "INCRBY a 5 / DECRBY a 9 / DEL a / DECR a / GET a / TYPE a",
    "INCR a / DECR a / EXISTS a / DEL a / EXISTS a / INCR a / DECR a / GET a",
    "GETDEL a / INCR a / GETDEL a / GETDEL a",
    "GETDEL / GETDEL a b", "INCR a / DEL a / MGET a b / STRLEN a / OBJECT ENCODING a / TYPE a / SCAN 0 / RANDOMKEY",
    "INCR a / FLUSHALL / DBSIZE / INCR a / FLUSHDB ASYNC / GET a / FLUSHALL SYNC / FLUSHALL NOW / FLUSHDB ASYNC SYNC",
    "INCR '' / DEL '' / EXISTS '' / SET '' 5 / UNLINK '' / GET '' / MULTI / SET '' 5 / DEL '' / INCR '' / EXEC",
    "INCR a / GETDEL '' / INCR '' / GETDEL '' / KEYS *",
    # Setting.
    "SET a 5 / GET a / INCR a / SET a -7 / GET a / DECR a / SET a 0 / EXISTS a / GET a / INCR a / DEL a / SET a 0",
    "SET a 5 EX 100 / TTL a / SET a 6 / TTL a / SET a 7 PX 100000 / TTL a / SET a 8 KEEPTTL / TTL a / GET a",
    "SET a 5 EXAT 99999999999 / EXPIRETIME a / SET a 5 PXAT 99999999999999 / PEXPIRETIME a / SET a 1 EXAT 5 / GET a",
    "SET a 1 PXAT 5 / GET a / SET a 1 KEEPTTL / TTL a / SET a 1 ex 5 KeepTTL",
    "SET a 5 PXAT 5 / EXISTS a / INCR a / TTL a",
    "SET a 5 NX / SET a 6 NX / GET a / SET a 7 XX / GET a / SET b 7 XX / GET b / SET b 8 NX EX 100 / TTL b",
    "SET a 5 GET / SET a 6 GET / SET a 7 NX GET / GET a / SET b 7 XX GET / GET b / SET b 1 NX GET / GET b",
    "SET a 5 GET EX 100 / TTL a / SET a 6 XX GET KEEPTTL / TTL a", "SET a 5 NX XX / SET a 5 XX NX / GET a",
    "SET a 5 EX / SET a 5 EX x / SET a 5 EX 0 / SET a 5 EX -1 / SET a 5 PX 0 / SET a 5 EXAT 0 / SET a 5 PXAT -3",
    "SET a 5 EX 9223372036854775807 / SET a 5 PX 9223372036854775807 / SET a 5 EX 9223372036854775 / GET a",
    "SET a 5 EX 5 PX 5 / SET a 5 EX 5 KEEPTTL / SET a 5 KEEPTTL EX 5 / SET a 5 FOO / SET a 5 PERSIST / SET a / SET",
    "SET a 5 EX 5 EX 100 / TTL a / SET a 5 EXAT 99999999999 PXAT 5 / SET a 5 KEEPTTL KEEPTTL NX NX GET GET",
    "SET a 9223372036854775807 / INCR a / GET a / SET a -9223372036854775807 / DECRBY a 2 / GET a / SET a 3 / INCR a",
    "SETNX a 5 / SETNX a 6 / GET a / SETNX a / SETNX a 1 2 / SETNX b 0 / SETNX b 1 / GET b",
    "SETEX a 100 5 / GET a / TTL a / SETEX a 0 5 / SETEX a -1 5 / SETEX a x 5 / SETEX a 9223372036854775807 5",
    "PSETEX a 100000 5 / GET a / TTL a / PSETEX a 0 5 / PSETEX a x 5 / PSETEX a 9223372036854775807 5 / PSETEX a 1 2 3",
    "GETSET a 5 / GETSET a 6 / GET a / EXPIRE a 100 / GETSET a 7 / TTL a / GETSET a",
    "SETEX a 100 1 / SETNX a 1 / TTL a",
    "GETEX a / SET a 5 / GETEX a / GETEX a EX 100 / TTL a / GETEX a / TTL a / GETEX a PERSIST / TTL a",
    "SET a 5 / GETEX a PX 100000 / TTL a / GETEX a EXAT 99999999999 / EXPIRETIME a / GETEX a PXAT 5 / GET a / GETEX a",
    "SET a 5 / GETEX a EX 0 / GETEX a EX x / GETEX a EX / GETEX a FOO / GETEX a EX 5 PERSIST / GETEX a EX 5 PX 5",
    "SET a 5 / GETEX a PERSIST EX 5 / GETEX a KEEPTTL / GETEX a NX / GETEX a EX 9223372036854775807 / GETEX / TTL a",
    "GETEX a EX 0 / GETEX a EX x / GETEX a FOO / GETEX none EX 5",
    "MSET a 1 b 2 / MGET a b / MSET a 3 / MSET a / MSET a 1 b / MSET / MSET a 1 a 2 / GET a / SETEX a 100 1 / MSET a 1",
    "MSETNX a 1 b 2 / MSETNX b 3 c 4 / MGET a b c / MSETNX c 1 c 2 / GET c / MSETNX c / MSETNX c 1 d",
    "MSET a 0 b -1 / MGET a b",
    # In transactions, and watched.
    "MULTI / INCR a / EXPIRE a 100 / TTL a / GET a / DEL a / GET a / TTL a / INCR a / TTL a / EXEC / GET a / TTL a",
    "MULTI / SET a 5 EX 100 / INCR a / TTL a / SET a 7 KEEPTTL / TTL a / GETDEL a / SETNX a 1 / EXEC / GET a / TTL a",
    "INCR a / MULTI / DEL a / INCR a / INCR a / EXISTS a / GETSET a 9 / EXEC / GET a / DBSIZE",
    "MULTI / EXPIRE a x / SET a 5 EX 0 / INCR a / SETEX a 0 1 / SET a 5 FOO / EXEC / GET a", "MULTI / MSET a / EXEC",
    "INCR a / EXPIRE a 100 / MULTI / PERSIST a / TTL a / EXPIRE a 200 GT / EXPIRE a 200 / DEL a b / UNLINK a / EXEC",
    "INCR a / WATCH a / 2 DEL a / MULTI / INCR a / EXEC / GET a", "INCR a / WATCH a / 2 EXPIRE a 5 / MULTI / EXEC",
    "INCR a / EXPIRE a 5 / WATCH a / 2 PERSIST a / MULTI / EXEC", "SET a 5 / WATCH a / 2 SET a 5 / MULTI / EXEC",
    "INCR a / EXPIRE a 5 / WATCH a / 2 INCR a / MULTI / EXEC",
    "SET a 1 / WATCH a / 2 TTL a / 2 SET a 5 NX / MULTI / EXEC",
    "WATCH a / 2 DEL a / 2 EXPIRE a 5 / 2 PERSIST a / MULTI / EXEC", "WATCH a / 2 SETEX a 100 1 / MULTI / EXEC",
    "COMMAND GETKEYS SET a 5 / COMMAND GETKEYS MSET a 5 b 6 / COMMAND GETKEYS EXPIRE a 5 / COMMAND GETKEYS FLUSHALL",
    "INCR a / EXPIRE a 100 / INCRBY a 5 / DECRBY a 3 / GET a / TTL a / SCAN 0 / KEYS * / DBSIZE / EXISTS a a",
]  # fmt: skip
"""Conversations; what follows a 2 is sent by another client, and '' is the empty name."""

DIFFER = {
    "SET a abc": "a counter is an integer",
    "SET a 007": "a counter is an integer",
    "SET a -9223372036854775808": "of p and n, each is below 2**63",
    "GETSET a 1.5": "a counter is an integer",
    "MSET a 1 b x": "a counter is an integer",
    "SETEX a 5 x": "a counter is an integer",
    "APPEND a 1": "a counter is no text",
    "RENAME a b": "rows stand under a counter's name at all nodes",
}
"""Commands that are refused here, and why."""

RANDOM_CONVERSATIONS = 40


@pytest.fixture
def bench() -> Bench:
    return Bench(quick=True, unix_ms=int(time() * 1000))


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.connect()


def now_bench() -> Bench:
    return Bench(quick=True, node={"allows_flush": True}, unix_ms=int(time() * 1000))


def differences(real: RealRedis, conversation: str, protocol: int) -> dict[str, tuple[bytes, bytes]]:
    """By command, our reply and that of Redis, where they differ."""
    bench, differ = now_bench(), {}
    real.reply("FLUSHALL")
    ours, theirs = bench.clients(2), [real.connect(), real.connect()]
    everybody: list[Any] = [*ours, *theirs]
    for each in everybody:
        each.asks("HELLO", str(protocol))
    for line in conversation.split(" / "):
        who = line.startswith("2 ")
        words = [word.strip("'") for word in line.removeprefix("2 ").split()]
        ours[who].sends(command(*words))
        bench.settle(5)
        if (mine := ours[who].take()) != (right := theirs[who].asks(*words)):
            differ[line] = mine, right
    for connection in theirs:
        connection.close()
    assert bench.errors == []
    return differ


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("conversation", SAME_AS_REDIS)
def test_replies_are_those_of_redis(real: RealRedis, conversation: str, protocol: int) -> None:
    # Twice, since the clock of Redis goes on while the machine is busy: a difference that it makes does not come again.
    assert not differences(real, conversation, protocol) or differences(real, conversation, protocol) == {}


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_to_random_commands_are_those_of_redis(real: RealRedis, protocol: int) -> None:
    for seed in range(RANDOM_CONVERSATIONS):
        bench, sent = now_bench(), []
        real.reply("FLUSHALL")
        ours = bench.connect()
        with closing(real.connect()) as theirs:
            for words in (["HELLO", str(protocol)], *random_conversation(Random(seed))):
                sent.append(" ".join(words))
                ours.sends(command(*words))
                bench.settle(5)
                mine, right = ours.take(), theirs.asks(*words)
                assert mine == right or words[0] == "HELLO", f"seed {seed}: {' / '.join(sent)}"
        assert bench.errors == []


@pytest.mark.parametrize("line", DIFFER)
def test_what_a_counter_can_not_be_is_refused_with_a_sentence(bench: Bench, client: Client, line: str) -> None:
    reply = asks(client, line)
    assert reply.startswith(b"-ERR ")
    assert b"is not possible here: " in reply
    assert asks(client, "DBSIZE") == b":0\r\n"
    assert bench.errors == []


# What time brings.


def test_a_counter_is_gone_at_its_deadline_and_nothing_lists_it(bench: Bench, client: Client) -> None:
    for line in ("INCR a", "EXPIRE a 100", "INCR b", "SET c 5 PX 100000"):
        asks(client, line)
    bench.passes(99_999)
    assert asks(client, "MGET a b c") == b"*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n5\r\n"
    assert asks(client, "PTTL a") == b":1\r\n"
    assert bench.replica.status(0).expiring == 2
    bench.passes(1)
    for line, reply in (
        ("GET a", b"$-1"), ("MGET a b c", b"*3\r\n$-1\r\n$1\r\n1\r\n$-1"), ("EXISTS a b c", b":1"),
        ("TYPE a", b"+none"),        ("DBSIZE", b":1"), ("KEYS *", b"*1\r\n$1\r\nb"), ("TTL a", b":-2"),
        ("SCAN 0", b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb"),
        ("RANDOMKEY", b"$1\r\nb"), ("OBJECT ENCODING a", b"$-1"), ("STRLEN c", b":0"), ("DEL a c", b":0"),
        ("EXPIRE a 5", b":0"), ("PERSIST a", b":0"), ("GETDEL a", b"$-1"), ("SET a 1 XX", b"$-1"), ("INCR a", b":1"),
        ("TTL a", b":-1"), ("INCR c", b":1"),
    ):  # fmt: skip
        assert asks(client, line) == reply + b"\r\n", line
    assert bench.replica.status(0).expiring == 0


def test_a_watch_sees_that_a_counter_expired(bench: Bench, client: Client) -> None:
    for line in ("SET a 1 EX 100", "WATCH a"):
        asks(client, line)
    bench.passes(100_000)
    client.sends(b"MULTI\r\nINCR a\r\nEXEC\r\n")
    assert client.take().endswith(b"*-1\r\n")


def test_a_window_of_a_pipeline_is_one_commit_and_is_counted_once() -> None:
    bench = Bench()
    client = bench.connect().sends(b"MULTI\r\nINCR a\r\nEXPIRE a 100\r\nEXEC\r\n" + command("INCREX", "b", "EX", "5"))
    bench.settle()
    assert client.take().endswith(b"*2\r\n:1\r\n:1\r\n*2\r\n:1\r\n:1\r\n")
    assert bench.commits == 2
    assert [(row.p, row.version, *row[3:]) for _, _, row in bench.replica.state] == [
        (1, 1, 1000, 101_000, 1000, 0, NOTHING_TAKEN),
        (1, 2, 1000, 6000, 1000, 0, NOTHING_TAKEN),
    ]


def test_if_the_disk_fails_a_counter_does_not_end() -> None:
    bench = Bench()
    client = bench.connect()
    client.sends(command("SET", "a", "5"))
    bench.persist()
    for words in (("EXPIRE", "a", "100"), ("DEL", "a"), ("SET", "a", "7"), ("INCREX", "a", "EX", "5")):
        client.take()
        client.sends(command(*words))
        bench.round(10)
        bench.persist("the disk is full")
        assert client.take().startswith(b"-ERR not counted, because it can't be made durable: the disk is full")
        assert asks(client, "TTL a") == b":-1\r\n"
    assert asks(client, "GET a") == b"$1\r\n5\r\n"


def test_set_leaves_what_this_node_did_not_know(bench: Bench) -> None:
    bench = Bench(quick=True, peers=("n2",))
    client = bench.connect()
    bench.replica.step(pushed(X, 0, ("a", Row(5, 0, 1))), "n2", 0)
    assert asks(client, "GETSET a 100") == b"$1\r\n5\r\n"
    bench.replica.step(pushed(X, 1, ("a", Row(8, 0, 2))), "n2", 0)
    assert asks(client, "GET a") == b"$3\r\n103\r\n"


# What is refused.


def test_flushall_needs_an_option_and_deletes_what_waits_too() -> None:
    bench = Bench(quick=True)
    client = bench.connect()
    asks(client, "INCR a")
    for name in ("FLUSHALL", "FLUSHDB"):
        refused = b"-ERR %s is not allowed here: start the node with --allow-flush\r\n" % name.encode()
        assert asks(client, name) == refused
    bench = Bench(node={"allows_flush": True})
    client = bench.connect().sends(b"MULTI\r\nINCR a\r\nINCR b\r\nFLUSHALL\r\nINCR b\r\nEXEC\r\n")
    bench.settle()
    assert client.take().endswith(b"*4\r\n:1\r\n:1\r\n+OK\r\n:1\r\n")
    assert asks(client, "KEYS *") == b"*1\r\n$1\r\nb\r\n"


def test_full_state_gossip_can_not_end_counters() -> None:
    bench = Bench(quick=True, config={"gossip": "full"})
    client = bench.connect()
    assert asks(client, "SET a 5") == b"+OK\r\n"
    for line in ("EXPIRE a 5", "DEL a", "SET a 6", "GETDEL a", "INCREX a EX 5", "INCREX b EX 5 ENX"):
        assert asks(client, line).startswith(b"-ERR full-state gossip can't end counters"), line
    assert asks(client, "INCREX a UBOUND 6") == b"*2\r\n:6\r\n:1\r\n"
    assert asks(client, "MGET a b") == b"*2\r\n$1\r\n6\r\n$-1\r\n"


def test_a_command_that_would_take_too_long_is_refused(bench: Bench, client: Client) -> None:
    many = [str(number) for number in range(MAX_DELETED + 1)]
    assert client.asks("DEL", *many).startswith(b"-ERR DEL takes at most 5000 keys here")
    client.sends(command("MSET", *many, *many))
    bench.settle(50)
    assert client.take().startswith(b"-ERR MSET takes at most 5000 keys here")


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_understands_every_reply(protocol: int) -> None:
    with served() as (host, port), redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True) as node:
        assert node.set("a", 5, ex=100, get=True) is None
        assert node.set("a", 6, keepttl=True)
        assert node.ttl("a") == 100
        assert (node.getex("a", persist=True), node.ttl("a")) == ("6", -1)
        assert node.expire("a", 100, nx=True)
        assert (node.getdel("a"), node.get("a"), node.delete("a")) == ("6", None, 0)
        assert node.execute_command("INCREX", "b", "BYINT", 2, "EX", 60) == [2, 2]
        assert node.pipeline().incr("c").expire("c", 60).execute() == [1, True]
        assert node.mset({"d": 1, "e": 2})
        assert node.unlink("b", "c", "d", "f") == 3


def test_adds_after_the_end_of_a_life_count_once_whatever_they_share(bench: Bench) -> None:
    bench = Bench(peers=("n2",))
    client = bench.connect().sends(b"MULTI\r\nINCR a\r\nEXPIRE a 5\r\nEXEC\r\n")
    bench.settle()
    bench.passes(5000)
    client.take()
    client.sends(b"MULTI\r\nINCR a\r\nINCR a\r\nEXEC\r\nMULTI\r\nINCR a\r\nGET a\r\nEXEC\r\n")
    bench.replica.step(pushed(X, 0, ("a", EndingRow(5, 0, 1, 6000))), "n2", 0)
    bench.settle()
    assert client.take().replace(b"\r\n", b" ").endswith(b"*2 :1 :2 +OK +QUEUED +QUEUED *2 :8 $1 8 ")
    assert asks(client, "GET a") == b"$1\r\n8\r\n"


def test_counters_that_end_are_rows_as_any_other() -> None:
    bench = Bench(config={"max_rows": 3})
    client = bench.connect().sends(b"".join(command("INCREX", name, "EX", "5") for name in "abcdca"))
    client.sends(b"MULTI\r\nINCR e\r\nSETEX f 5 1\r\nINCR a\r\nEXEC\r\n")
    bench.settle()
    full = b"-ERR this node stores max_rows (3) rows: start it with a larger --max-rows"
    replies = client.take().replace(b"*2\r\n:1\r\n:1", b"new").replace(b"*2\r\n:2\r\n:1", b"old").split(b"\r\n")
    assert replies[:6] == [b"new", b"new", b"new", full, b"old", b"old"]
    assert replies[-4:] == [full, full, b":3", b""]
    assert bench.replica.state.row_count == 3


@pytest.mark.parametrize("name", ["MSET", "MSETNX"])
def test_several_counters_are_set_or_none_if_there_is_no_room(name: str) -> None:
    bench = Bench(config={"max_rows": 3})
    client = bench.connect()
    for line in ("SET a 1", f"{name} b 2 c 3 d 4", "MGET a b c d", f"{name} b 2 c 3", "MGET b c"):
        client.sends(command(*line.split()))
        bench.settle(5)
    full = b"-ERR this node stores max_rows (3) rows: start it with a larger --max-rows"
    none, done = b"$-1", b"+OK" if name == "MSET" else b":1"
    assert client.take().split() == [
        b"+OK", *full.split(), b"*4", b"$1", b"1", none, none, none, done, b"*2", b"$1", b"2", b"$1", b"3",
    ]  # fmt: skip


def test_a_counter_that_begins_again_when_its_former_rows_are_forgotten_is_not_lost() -> None:
    bench = Bench()
    client = bench.connect().sends(b"MULTI\r\nINCR a\r\nEXPIRE a 5\r\nEXEC\r\n")
    bench.settle()
    bench.passes(64_999)
    client.take()
    client.sends(b"MULTI\r\nINCR a\r\nEXEC\r\n")  # its commit is under way
    bench.passes(1)
    assert not bench.replica.state.ends.rows("a")
    client.sends(b"MULTI\r\nINCR a\r\nEXEC\r\n")
    bench.settle()
    assert client.take().endswith(b"*1\r\n:2\r\n")
    assert asks(client, "GET a") == b"$1\r\n2\r\n"


def test_nothing_is_kept_of_counters_whose_commits_failed() -> None:
    bench = Bench()
    client = bench.connect()
    for _ in range(5):
        client.sends(b"MULTI\r\nINCREX a EX 5\r\nSETEX b 5 1\r\nEXEC\r\n")
        bench.persist("the disk is full")
    assert not bench.replica.state.special


@pytest.mark.parametrize("options", ["EX 5", "BYINT -3 PX 1 NX", "BYINT 7 UBOUND 5 SATURATE EXAT 2000000000 ENX"])
def test_a_window_that_begins_is_the_same_row_as_in_several_steps(
    options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for is_quick in (True, False):
        bench = Bench()
        if not is_quick:
            monkeypatch.setattr(Writes, "_begin_window", lambda *_: None)
        client = bench.connect().sends(command("INCREX", "a", *options.split()))
        bench.settle()
        rows.append((client.take(), bench.replica.state.row(bench.replica.actor, "a"), bench.replica.state.totals))
    assert rows[0] == rows[1]
