"""Claim: Redis commands are answered as Redis answers them, and what can't merge is refused with a reason."""

from typing import Any

import pytest

from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.endpoints.redis.commands import ADD_COMMANDS, COMMANDS
from gossip_counter.node.endpoints.redis.context import ADDS
from gossip_counter.node.endpoints.redis.info import sections
from tests.support.redis import Bench, Client, asks, command
from tests.support.replica import MS, add, push_of, pushed, receive, replica


@pytest.fixture
def bench() -> Bench:
    return Bench(quick=True)


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.connect()


def test_adds_and_reads(client: Client) -> None:
    for line, reply in (
        ("INCR likes", b":1"), ("INCRBY likes 5", b":6"), ("DECRBY likes 2", b":4"), ("decr stock", b":-1"),
        ("GET likes", b"$1\r\n4"), ("GET nobody", b"$-1"), ("MGET likes nobody", b"*2\r\n$1\r\n4\r\n$-1"),
        ("EXISTS likes nobody stock", b":2"), ("TOUCH likes nobody", b":1"), ("TYPE likes", b"+string"),
        ("TYPE nobody", b"+none"), ("TTL likes", b":-1"), ("PTTL nobody", b":-2"), ("STRLEN stock", b":2"),
        ("STRLEN nobody", b":0"), ("DBSIZE", b":2"), ("KEYS *", b"*2\r\n$5\r\nlikes\r\n$5\r\nstock"),
        ("KEYS l?k[a-f]s", b"*1\r\n$5\r\nlikes"), ("INCRBY likes 0", b":4"), ("INCRBY zero 0", b":0"),
        ("EXISTS zero", b":0"),
    ):  # fmt: skip
        assert asks(client, line) == reply + b"\r\n", line


def test_the_connection_and_the_server(client: Client) -> None:
    for line, reply in (
        ("PING", b"+PONG"), ("PING x", b"$1\r\nx"), ("ECHO x", b"$1\r\nx"), ("SELECT 0", b"+OK"),
        ("CLIENT ID", b":1"), ("CLIENT GETNAME", b"$-1"), ("CLIENT SETNAME me", b"+OK"),
        ("CLIENT GETNAME", b"$2\r\nme"), ("CLIENT SETINFO LIB-NAME mine", b"+OK"), ("CLIENT NO-EVICT on", b"+OK"),
        ("CONFIG GET data*", b"*2\r\n$9\r\ndatabases\r\n$1\r\n1"), ("TIME", b"*2\r\n$1\r\n1\r\n$1\r\n2"),
        ("ROLE", b"*3\r\n$6\r\nmaster\r\n:0\r\n*0"), ("INFO server", b"$15\r\n# Server\r\na:1\r\n"),
        ("COMMAND COUNT", b":%d" % len(COMMANDS)),
    ):  # fmt: skip
        assert asks(client, line) == reply + b"\r\n", line
    facts = asks(client, "CLIENT INFO")
    assert b"id=1 addr=127.0.0.1:1 " in facts
    assert b" name=me " in facts
    assert b" cmd=client|info user=default redir=-1 resp=2 lib-name=mine " in facts
    assert b"SETNAME: Give this" in asks(client, "CLIENT HELP")


def test_hello_chooses_the_protocol_and_reset_undoes_it(client: Client) -> None:
    assert b"$6\r\nserver\r\n$14\r\ngossip-counter\r\n" in asks(client, "HELLO")
    assert asks(client, "HELLO 3 SETNAME me").startswith(b"%7\r\n")
    assert asks(client, "GET x") == b"_\r\n"
    assert asks(client, "INFO server") == b"=19\r\ntxt:# Server\r\na:1\r\n\r\n"
    assert asks(client, "RESET") == b"+RESET\r\n"
    assert asks(client, "GET x") == b"$-1\r\n"
    assert asks(client, "CLIENT GETNAME") == b"$-1\r\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("SET x abc", "ERR SET of 'abc' is not possible here: a counter is an integer of 64 bits"),
        ("EXPIRE x y", "ERR value is not an integer or out of range"),
        ("EXPIRE x 5 FOO", "ERR Unsupported option FOO"),
        ("EXPIRE x 5 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE x 5 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("EXEC", "ERR EXEC without MULTI"),
        ("DISCARD", "ERR DISCARD without MULTI"),
        ("EVALSHA abc 0", "NOSCRIPT No matching script. Please use EVAL."),
        ("FCALL f 0", "FCALL is not possible here: there are no functions; use EVAL"),
        ("INCRBYFLOAT x 0.5", "whole numbers"),
        ("LPUSH x 1", "LPUSH is not possible here: a key is a counter, and there are no lists, hashes, sets"),
        ("zadd x 1 a", "ZADD is not possible here: a key is a counter"),
        ("NONSENSE a b", "ERR unknown command 'NONSENSE', with args beginning with: 'a' 'b'"),
        ("INCR", "ERR wrong number of arguments for 'incr' command"),
        ("INCR x 1", "ERR wrong number of arguments for 'incr' command"),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("PING a b", "ERR wrong number of arguments for 'ping' command"),
        ("INCRBY x 1.5", "ERR value is not an integer or out of range"),
        (["INCRBY", "x", " 1"], "ERR value is not an integer or out of range"),
        ("INCRBY x +1", "ERR value is not an integer or out of range"),
        ("INCRBY x 01", "ERR value is not an integer or out of range"),
        (["INCRBY", "x", ""], "ERR value is not an integer or out of range"),
        ("INCRBY x 9223372036854775808", "ERR value is not an integer or out of range"),
        ("DECRBY x 9223372036854775808", "ERR value is not an integer or out of range"),
        ("DECRBY x -9223372036854775808", "ERR decrement would overflow"),
        (["INCR", b"\xff\xfe"], "a key must be UTF-8"),
        (["INCR", "x" * 256], "a key must be at most 255 bytes, not 256"),
        (["INCRBY", "x" * 256, "y"], "a key must be at most 255 bytes, not 256"),
        (["GET", b"\xff\xfe"], "a key must be UTF-8"),
        (["GET", "x" * 256], "a key must be at most 255 bytes, not 256"),
        (["INFO", *["x"] * 1000], "ERR too many words: 'info' takes at most 1000 here"),
        ("SELECT 1", "ERR DB index is out of range"),
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer"),
        ("HELLO 3 FOO", "ERR Syntax error in HELLO option 'FOO'"),
        ("AUTH x", "ERR AUTH <password> called without any password configured"),
        ("CONFIG SET save 1", "ERR unknown subcommand 'SET'. Try CONFIG HELP."),
        ("CLIENT SETNAME", "ERR wrong number of arguments for 'client|setname' command"),
        (["CLIENT", "SETNAME", "a b"], "ERR Client names cannot contain spaces"),
        ("CLIENT SETINFO foo bar", "ERR Unrecognized option 'foo'"),
        (["CLIENT", "SETINFO", "lib-ver", "1 2"], "ERR lib-ver cannot contain spaces"),
        ("WAIT x 1", "ERR value is not an integer or out of range"),
        ("WAIT 1 x", "ERR timeout is not an integer or out of range"),
        ("WAIT 1 -1", "ERR timeout is negative"),
        ("WAIT 1", "ERR wrong number of arguments for 'wait' command"),
        (["KEYS", "x" * 1025], "a pattern must be at most 1024 bytes, not 1025"),
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN -1", "ERR invalid cursor"),
        ("SCAN 0 COUNT", "ERR syntax error"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer"),
        ("SCAN 0 FOO 1", "ERR syntax error"),
        ("CLUSTER INFO", "ERR This instance has cluster support disabled"),
    ],
    ids=repr,
)
def test_errors_are_those_of_redis_where_it_has_one(client: Client, words: str | list[Any], error: str) -> None:
    sent = words.split() if isinstance(words, str) else words
    reply = client.asks(*sent)
    assert reply.startswith(b"-")
    assert reply.count(b"\n") == 1
    assert error in reply.decode()
    assert asks(client, "EXISTS x") == b":0\r\n"


def test_an_error_repeats_no_more_than_a_little_of_what_was_sent(client: Client) -> None:
    reply = client.asks("N" * 1000, *(["a" * 100] * 100))
    assert 128 < len(reply) < 600


def test_a_sum_beyond_64_bits_is_refused_and_adds_around_it_count(client: Client) -> None:
    lines = ("INCRBY x 9223372036854775806", "INCR x", "INCR x", "INCR y", "DECR x")
    client.sends(b"".join(command(*line.split()) for line in lines))
    assert client.received == (
        b":9223372036854775806\r\n:9223372036854775807\r\n-ERR increment or decrement would overflow\r\n:1\r\n"
        b":9223372036854775806\r\n"
    )


def test_a_sum_over_nodes_beyond_64_bits_is_read_as_it_is_and_not_added_to() -> None:
    bench, most = Bench(quick=True, peers=("n2",)), 2**63 - 1
    client = bench.connect()
    for name in ("n2.x", "n3.x"):
        receive(bench.replica, pushed(Actor(name), 0, ("x", Row(most, 0, 1))))
    assert client.asks("GET", "x") == b"$20\r\n18446744073709551614\r\n"
    assert client.asks("INCR", "x").startswith(b"-ERR increment or decrement would overflow")


def test_info_tells_an_unheard_peer_from_one_that_is_behind() -> None:
    node = replica(peers=("n2", "n3", "n4"))
    receive(node, push_of(node, "n3"), now_ns=2 * MS)
    receive(node, push_of(node, "n4"), now_ns=4 * MS)
    add(node, 1, now_ns=4 * MS)
    receive(node, push_of(node, "n4"), now_ns=5 * MS)
    gossip = sections(node.status(9 * MS), {})["Gossip"]
    assert (gossip["peers_synced"], gossip["peers_unheard"]) == (1, 1)
    assert [gossip[f"members_{state}"] for state in ("up", "suspect", "down", "left")] == [3, 1, 0, 0]
    assert [gossip[f"peer{i}"] for i in range(3)] == [
        "name=n2,state=unheard,ms_behind=9,ms_silent=9,member=suspect",
        "name=n3,state=behind,versions_behind=0,ms_behind=7,ms_silent=7,member=up",
        "name=n4,state=level,versions_behind=0,ms_behind=0,ms_silent=4,member=up",
    ]


def test_scan_lists_each_counter_once(bench: Bench, client: Client) -> None:
    names = [f"counter:{i}".encode() for i in range(57)]
    client.sends(b"".join(command("INCR", name) for name in names))
    bench.round()
    client.take()
    cursor, found = b"0", []
    while True:
        _, _, cursor, _, *rest = client.asks("SCAN", cursor, "COUNT", "7").split(b"\r\n")
        found += rest[1:-1:2]
        if cursor == b"0":
            break
    assert found == names
    assert asks(client, "SCAN 0 MATCH counter:5 COUNT 100") == b"*2\r\n$1\r\n0\r\n*1\r\n$9\r\ncounter:5\r\n"
    assert asks(client, "SCAN 0 TYPE list COUNT 100") == b"*2\r\n$1\r\n0\r\n*0\r\n"


def test_commands_that_are_typed(bench: Bench, client: Client) -> None:
    client.sends(b"PING\r\nINCR x\r\nGET x\n\r\nINCRBY x 5\r\n*1\r\n$4\r\nPING\r\n")
    bench.round(3)
    assert client.received == b"+PONG\r\n:1\r\n$1\r\n1\r\n:6\r\n+PONG\r\n"


@pytest.mark.parametrize("password", [None, b"guess"])
@pytest.mark.parametrize(
    "head", [b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"PUT / HTTP/1.1\r\nhost: a\r\n"]
)
def test_a_browser_that_was_led_here_adds_nothing(password: bytes | None, head: bytes) -> None:
    """Nor does it try passwords."""
    bench = Bench(quick=True, password=password)
    client = bench.connect()
    client.sends(head + b"\r\nAUTH guess\r\nINCR x\r\n")
    bench.round(3)
    assert client.received.endswith(b"-ERR this is not an HTTP server\r\n")
    assert client.is_closed
    assert bench.replica.value("x") is None


def test_without_the_password_nothing_is_executed() -> None:
    bench = Bench(quick=True, password=b"secret")
    client = bench.connect()
    for name in [
        *(name.decode() for name in COMMANDS.keys() - {b"AUTH", b"HELLO", b"QUIT", b"RESET"}),
        "SET",
        "NOSUCH",
    ]:
        assert asks(client, f"{name} x 1") == b"-NOAUTH Authentication required.\r\n", name
    assert asks(client, "HELLO 3").startswith(b"-NOAUTH HELLO must be called")
    for wrong in ("AUTH guess!", "AUTH root secret", "HELLO 3 AUTH default guess!", "HELLO 3 AUTH root secret"):
        assert asks(client, wrong).startswith(b"-WRONGPASS")
    assert asks(client, "INCR x").startswith(b"-NOAUTH")
    assert asks(client, "AUTH default secret") == b"+OK\r\n"
    assert asks(client, "INCR x") == b":1\r\n"
    assert asks(client, "RESET") == b"+RESET\r\n"
    assert asks(client, "INCR x").startswith(b"-NOAUTH")
    assert asks(client, "HELLO 3 AUTH default secret SETNAME me").startswith(b"%7")
    assert asks(client, "INCR x") == b":2\r\n"


# The command table.


def described(client: Client) -> dict[bytes, list[bytes]]:
    """By name, the lines of COMMAND's reply about a command."""
    entries = asks(client, "COMMAND").split(b"*10\r\n")[1:]
    return {lines[1]: lines for lines in (entry.split(b"\r\n") for entry in entries)}


def test_every_command_is_described_with_its_arity_flags_and_keys(client: Client) -> None:
    found = described(client)
    assert found.keys() == {name.lower() for name in COMMANDS}
    assert found[b"incr"][2:10] == [b":2", b"*3", b"+write", b"+denyoom", b"+fast", b":1", b":1", b":1"]
    assert found[b"incr"][10:14] == [b"*3", b"+@write", b"+@string", b"+@fast"]
    assert found[b"mget"][2:9] == [b":-2", b"*2", b"+readonly", b"+fast", b":1", b":-1", b":1"]
    assert found[b"wait"][2:7] == [b":3", b"*0", b":0", b":0", b":0"]
    assert asks(client, "COMMAND INFO nonsense") == b"*1\r\n$-1\r\n"
    assert asks(client, "COMMAND DOCS incr wait nonsense").count(b"summary") == 2
    assert asks(client, "COMMAND LIST").count(b"$") == len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_executed_with_as_many_words_as_it_says(client: Client, name: bytes) -> None:
    arity = COMMANDS[name].arity
    reply = client.asks(name, *["1"] * (abs(arity) - 1))
    assert reply
    assert b"wrong number" not in reply
    assert b"unknown command" not in reply
    if arity > 0:
        assert b"wrong number" in client.asks(name, *["1"] * arity)


def test_commands_that_add_are_those_with_the_flag() -> None:
    assert [*ADD_COMMANDS] == [b"INCR", b"DECR", b"INCRBY", b"DECRBY", b"INCREX"]
    assert {each.flags for each in ADD_COMMANDS.values()} == {ADDS}
