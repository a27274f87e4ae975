"""Claim: what tools ask a Redis for is answered, with what is true here, and in the words of Redis."""

import re
import socket

import pytest

from gossip_counter.node.core.names import NameIndex
from gossip_counter.node.endpoints.redis.commands import COMMANDS
from tests.support.real_redis import RealRedis
from tests.support.redis import INCR_X, Bench, Client, asks, command, served
from tests.support.waiting import LIMIT_S

SAME_AS_REDIS = (
    "OBJECT ENCODING x", "OBJECT ENCODING none", "OBJECT REFCOUNT none", "OBJECT FREQ x", "OBJECT FREQ none",
    "OBJECT IDLETIME none", "OBJECT", "OBJECT ENCODING", "OBJECT FOO", "MEMORY USAGE none",
    "MEMORY USAGE x SAMPLES", "MEMORY USAGE x SAMPLES -1", "MEMORY USAGE x FOO 5", "MEMORY USAGE x SAMPLES y",
    "EXPIRETIME x", "EXPIRETIME none", "PEXPIRETIME x", "PEXPIRETIME none", "TTL x", "PTTL none", "RANDOMKEY",
    "CLIENT LIST TYPE foo", "CLIENT LIST TYPE pubsub", "CLIENT LIST ID", "CLIENT LIST ID x", "CLIENT LIST FOO BAR",
    "CLIENT LIST ID 999", "CLIENT KILL 1.1.1.1:1", "CLIENT KILL ID 999", "CLIENT KILL ID x", "CLIENT KILL ID 0",
    "CLIENT KILL ADDR 1.1.1.1:1 SKIPME no", "CLIENT KILL SKIPME maybe", "CLIENT KILL TYPE foo",
    "CLIENT KILL TYPE pubsub", "CLIENT KILL USER nobody", "CLIENT KILL FOO BAR", "CLIENT KILL ID 1 FOO",
    "CLIENT NO-EVICT maybe", "CLIENT NO-EVICT on", "CLIENT NO-EVICT OFF", "CONFIG GET timeout", "CONFIG GET nosuch",
    "CONFIG GET maxmemory", "CONFIG GET maxmemory-p*", "CONFIG GET save", "CONFIG GET t?meout time*",
    "CONFIG GET", "CONFIG RESETSTAT", "SLOWLOG GET", "SLOWLOG GET 5", "SLOWLOG GET -2", "SLOWLOG GET x", "SLOWLOG LEN",
    "SLOWLOG RESET", "LATENCY LATEST", "LATENCY HISTORY x", "LATENCY RESET", "LATENCY RESET a b", "LATENCY FOO",
    "ACL WHOAMI", "ACL LIST", "ACL USERS", "ACL CAT foo", "ACL FOO", "MODULE LIST", "COMMAND GETKEYS GET x",
    "COMMAND GETKEYS MGET a b c", "COMMAND GETKEYS DEL a b", "COMMAND GETKEYS INCRBY a 5", "COMMAND GETKEYS PING x",
    "COMMAND GETKEYS NOSUCH x", "COMMAND GETKEYS INCRBY a", "COMMAND GETKEYS GET",
    "COMMAND LIST FILTERBY ACLCAT nosuch",
    "COMMAND LIST FILTERBY MODULE nosuch", "COMMAND LIST FILTERBY FOO BAR", "COMMAND LIST FILTERBY",
    "COMMAND LIST FILTERBY PATTERN decr", "COMMAND LIST A B C", "COMMAND INFO nosuch", "EXEC", "DISCARD",
    "EVALSHA abc 0", "EVALSHA abc", "DEL none", "UNLINK none none", "DEL", "EXPIRE none 10", "EXPIRE none y",
    "EXPIRE none 10 FOO", "EXPIRE none 10 NX XX", "EXPIRE none 10 GT LT", "PEXPIRE none 10 NX", "EXPIREAT none 10",
    "PEXPIREAT none 5", "PERSIST none", "PERSIST", "INFO nosuch", "CONFIG FOO", "INCR x", "GET x", "GET none",
    "INCRBY x y", "MGET x none", "EXISTS x x none", "TYPE x", "TYPE none", "STRLEN x", "KEYS *", "KEYS z*", "DBSIZE",
    "SCAN 0 MATCH x COUNT 100", "ECHO x", "PING", "PING x", "SELECT 0", "CLIENT SETNAME me", "CLIENT GETNAME",
    "CLUSTER INFO", "ROLE", "WAIT 0 0", "RESET",
)  # fmt: skip
"""Commands whose replies do not differ, after `INCR x`."""


@pytest.fixture(scope="module")
def real(real: RealRedis) -> RealRedis:
    real.reply("INCR x")
    return real


@pytest.fixture
def bench() -> Bench:
    return Bench(
        quick=True, node={"settings": {"timeout": "0", "maxmemory": "0", "maxmemory-policy": "noeviction", "save": ""}}
    )


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.connect()


def test_replies_are_those_of_redis(bench: Bench, real: RealRedis) -> None:
    """Both count along: what one command changes, the next one sees."""
    bench.connect().sends(INCR_X).disconnects()
    differ = {}
    for line in SAME_AS_REDIS:
        client = bench.connect()
        ours, theirs = asks(client, line), real.reply(line)
        client.disconnects()
        if ours != theirs:
            differ[line] = ours, theirs
    assert differ == {}


# What has no counterpart to compare with.


def test_a_random_key_is_one_that_is_there(bench: Bench) -> None:
    names = NameIndex()
    names.add([f"n{i}" for i in range(50)])
    for i in range(20, 50):
        names.remove(f"n{i}")
    client = Bench(quick=True, node={"names": names}).connect()
    found = {asks(client, "RANDOMKEY") for _ in range(300)}
    assert found <= {b"$%d\r\nn%d\r\n" % (len(f"n{i}"), i) for i in range(20)}
    assert len(found) > 10
    assert asks(bench.connect(), "RANDOMKEY") == b"$-1\r\n"


def test_memory_usage_grows_with_the_name(client: Client) -> None:
    asks(client, "INCR x")
    asks(client, "INCR xxxxx")
    one, five = (int(asks(client, f"MEMORY USAGE {name} SAMPLES 5")[1:]) for name in ("x", "xxxxx"))
    assert five - one == 4
    assert 100 < one < 1000


# CLIENT.


def lines(reply: bytes) -> list[dict[str, str]]:
    """The lines of CLIENT LIST as facts by name."""
    rows = reply.split(b"\r\n", 1)[1].decode().splitlines()
    return [dict(fact.split("=", 1) for fact in row.split(" ")) for row in rows if row]


def test_client_list_shows_who_is_connected_and_for_how_long(bench: Bench) -> None:
    first = bench.connect()
    bench.scheduler.second_passed()
    second = bench.connect()
    bench.scheduler.second_passed()
    asks(first, "CLIENT SETNAME me")
    second.sends(b"*2\r\n$4\r\nECHO\r\n")
    found = lines(asks(first, "CLIENT LIST"))
    assert [(each["id"], each["age"], each["idle"], each["name"], each["cmd"]) for each in found] == [
        ("1", "2", "0", "me", "client|list"), ("2", "1", "0", "", "NULL"),
    ]  # fmt: skip
    assert int(found[1]["omem"]) > 0
    bench.scheduler.second_passed()
    assert [each["idle"] for each in lines(asks(first, "CLIENT LIST"))] == ["0", "1"]
    assert [each["id"] for each in lines(asks(first, "CLIENT LIST ID 2 7"))] == ["2"]
    assert len(lines(asks(first, "CLIENT LIST TYPE normal"))) == 2
    asks(first, "HELLO 3")
    assert asks(first, "CLIENT LIST TYPE master") == b"=4\r\ntxt:\r\n"
    assert [each["resp"] for each in lines(asks(first, "CLIENT INFO"))] == ["3"]


@pytest.mark.parametrize(
    ("words", "reply", "gone"),
    [
        ("127.0.0.1:1", b"+OK", {1, 2, 3}),
        ("ID 2", b":1", {2}),
        ("ID 1", b":0", set()),
        ("ID 1 SKIPME no", b":1", {1}),
        ("ADDR 127.0.0.1:1", b":2", {2, 3}),
        ("ADDR 127.0.0.1:1 ID 3", b":1", {3}),
        ("LADDR 127.0.0.1:2", b":0", set()),
        ("TYPE normal", b":2", {2, 3}),
        ("TYPE master SKIPME no", b":0", set()),
        ("USER default", b":2", {2, 3}),
        ("SKIPME no", b":3", {1, 2, 3}),
    ],
)
def test_client_kill_ends_those_that_pass_all_filters(bench: Bench, words: str, reply: bytes, gone: set[int]) -> None:
    """Its own connection after the reply."""
    clients = bench.clients(3)
    clients[1].sends(INCR_X)
    assert asks(clients[0], f"CLIENT KILL {words}") == reply + b"\r\n"
    bench.round(3)
    assert {i for i, each in enumerate(clients, 1) if each.is_closed or each.is_aborted} == gone
    assert clients[0].is_aborted is False
    assert bench.replica.value("x") == 1


def test_many_clients_are_listed_and_ended_some_at_a_time() -> None:
    bench = Bench(quick=True, quantum_ns=0)
    first, *others = bench.clients(500)
    first.sends(command("CLIENT", "LIST"))
    rounds = 0
    while not first.received.endswith(b"\n\r\n"):
        bench.round()
        rounds += 1
    assert rounds > 500 // 64
    assert len(lines(first.take())) == 500
    first.sends(command("CLIENT", "KILL", "TYPE", "normal"))
    bench.round()
    assert 0 < sum(each.is_aborted for each in others) <= 128
    bench.round(20)
    assert first.received == b":499\r\n"
    assert all(each.is_aborted for each in others)


# Statistics.


def stats(client: Client) -> dict[str, int]:
    """Calls by command."""
    return {
        name: int(calls)
        for name, calls in re.findall(r"cmdstat_(.+):calls=(\d+)", asks(client, "INFO commandstats").decode())
    }


def test_calls_are_counted_by_command_however_adds_arrive(bench: Bench, client: Client) -> None:
    other = bench.connect()  # so that known adds of the first are taken directly
    mixed = command("INCR", "x") + command("incrby", "x", "1") + command("DECR", "y") + command("decrby", "y", "2")
    for data in (INCR_X, INCR_X, INCR_X * 5, INCR_X * 5, mixed, mixed, mixed * 3, command("INCRBY", "x", "9") * 2):
        client.sends(data)
        bench.round(9)
    asks(client, "GET x"), asks(client, "get x"), asks(client, "GET"), asks(client, "NOSUCH")
    asks(client, "INCR " + "x" * 300)
    assert stats(other) == {"incr": 18, "incrby": 7, "decr": 5, "decrby": 5, "get": 2, "info": 1}
    assert bench.scheduler.calls.total() == 38
    assert asks(client, "CONFIG RESETSTAT") == b"+OK\r\n"
    assert stats(other) == {"info": 1}


def test_commands_per_second_are_those_of_the_last_second(bench: Bench, client: Client) -> None:
    client.sends(INCR_X * 50)
    bench.scheduler.second_passed()
    assert bench.scheduler.commands_per_second == 50
    asks(client, "PING")
    bench.scheduler.second_passed()
    assert bench.scheduler.commands_per_second == 1
    asks(client, "CONFIG RESETSTAT")
    asks(client, "PING")
    bench.scheduler.second_passed()
    assert bench.scheduler.commands_per_second == 1
    assert bench.scheduler.connections_received == 0


def test_info_shows_calls_only_to_those_who_ask(client: Client) -> None:
    assert b"Commandstats" not in asks(client, "INFO")
    assert b"Commandstats" not in asks(client, "INFO default")
    for words in ("all", "everything", "commandstats", "default commandstats"):
        assert b"# Commandstats\r\ncmdstat_info:calls=" in asks(client, f"INFO {words}"), words
    assert asks(client, "INFO server") == b"$15\r\n# Server\r\na:1\r\n\r\n"


def test_a_server_has_the_facts_that_tools_look_for() -> None:
    with served() as (host, port), socket.create_connection((host, port), timeout=LIMIT_S) as raw:
        raw.sendall(b"INFO\r\nCONFIG GET p* bind app*\r\nCLIENT INFO\r\nQUIT\r\n")
        found = b"".join(iter(lambda: raw.recv(65_536), b"")).decode()
    assert re.search(r"\r\nrun_id:[0-9a-f]{40}\r\n", found)
    assert re.search(r"\r\nused_memory_human:[0-9.]+M\r\n", found)
    assert "\r\ninstantaneous_ops_per_sec:0\r\n" in found
    assert "\r\nproto-max-bulk-len\r\n$7\r\n1048576\r\n" in found
    assert "\r\nbind\r\n$9\r\n127.0.0.1\r\n" in found
    assert "\r\nappendfsync\r\n$6\r\nalways\r\n" in found
    assert f" laddr={host}:{port} " in found


# The table.


def test_categories_list_the_commands_that_are_in_them(client: Client) -> None:
    listed = asks(client, "ACL CAT").split(b"\r\n")[2:-1:2]
    assert {b"read", b"write", b"string", b"keyspace", b"connection", b"fast", b"slow"} <= {*listed}
    for each in listed:
        commands = client.asks("ACL", "CAT", each)
        assert commands.startswith(b"*")
        assert client.asks("COMMAND", "LIST", "FILTERBY", "ACLCAT", each) == commands
    assert b"incrby" in asks(client, "ACL CAT write")
    assert b"incrby" not in asks(client, "ACL CAT read")


def test_a_category_of_redis_has_the_same_commands_here_as_far_as_there_are_any(
    client: Client, real: RealRedis
) -> None:
    def listed(reply: bytes) -> set[bytes]:
        return set(reply.split(b"\r\n")[2:-1:2])

    names = {name.lower() for name in COMMANDS}
    new = {b"increx"}  # in Redis 8.8, and in none that is tested with
    for category in ("string", "keyspace", "read", "write", "fast", "connection"):
        ours, theirs = listed(asks(client, f"ACL CAT {category}")), listed(real.reply(f"ACL CAT {category}"))
        assert ours - {b"object", b"client"} - new == theirs & names, category  # of which Redis lists the subcommands


def test_the_password_is_listed_as_its_hash_only() -> None:
    client = Bench(quick=True, password=b"secret").connect()
    asks(client, "AUTH secret")
    reply = asks(client, "ACL LIST")
    assert re.search(rb"user default on #[0-9a-f]{64} ~\* &\* \+@all", reply)
    assert b"secret" not in asks(client, "CONFIG GET *")
