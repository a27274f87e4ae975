"""Claim: INCREX adds within bounds and sets expiries as Redis 8.8 and Valkey 9.2 say, in batches as other adds.

The Redis that other commands are compared with does not have it.
"""

from random import Random
from time import time

import pytest

from gossip_counter.node.core.counts import EndingRow
from tests.support.redis import Bench, asks, command
from tests.support.replica import X, pushed


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ("INCREX a", b"*2 :1 :1"),
        ("INCREX a BYINT 5 / INCREX a BYINT -7", b"*2 :-2 :-7"),
        ("INCREX a byint 5 ubound 5", b"*2 :5 :5"),
        ("INCREX a BYINT 6 UBOUND 5", b"*2 :0 :0"),
        ("INCREX a BYINT 6 UBOUND 5 / EXISTS a", b":0"),
        ("INCREX a BYINT 6 UBOUND 5 SATURATE", b"*2 :5 :5"),
        ("INCREX a BYINT -6 LBOUND -5 SATURATE", b"*2 :-5 :-5"),
        ("INCREX a BYINT -6 LBOUND -5", b"*2 :0 :0"),
        ("SET a 5 / INCREX a UBOUND 5 SATURATE EX 100", b"*2 :5 :0"),
        ("SET a 5 / INCREX a UBOUND 5 SATURATE EX 100 / TTL a", b":100"),
        ("SET a 5 / INCREX a UBOUND 5 EX 100 / TTL a", b":-1"),
        ("SET a 9 / INCREX a BYINT -1 UBOUND 5", b"*2 :9 :0"),
        ("SET a 9 / INCREX a BYINT -1 UBOUND 5 SATURATE", b"*2 :5 :-4"),
        ("SET a 9 / INCREX a BYINT -4 UBOUND 5", b"*2 :5 :-4"),
        ("INCREX a BYINT 0 / EXISTS a", b":1"),
        ("INCREX a UBOUND 0 SATURATE EX 100 / GET a", b"$1 0"),
        ("INCREX a UBOUND 0 SATURATE EX 100 / TTL a", b":100"),
        ("INCREX a EX 100 / TTL a", b":100"),
        ("INCREX a PX 100000 / INCREX a / TTL a", b":100"),
        ("INCREX a EXAT 99999999999 / EXPIRETIME a", b":99999999999"),
        ("INCREX a PXAT 99999999999999 / INCREX a PXAT 99999999999999 / PEXPIRETIME a", b":99999999999999"),
        ("INCREX a EX 100 / INCREX a EX 200 / TTL a", b":200"),
        ("INCREX a EX 100 ENX / INCREX a EX 200 ENX / TTL a", b":100"),
        ("INCREX a EX 100 ENX / INCREX a EX 200 ENX", b"*2 :2 :1"),
        ("INCR a / INCREX a EX 200 ENX / TTL a", b":200"),
        ("INCREX a EX 100 / INCREX a PERSIST / TTL a", b":-1"),
        ("INCREX a PERSIST", b"*2 :1 :1"),
        ("INCREX a EXAT 5", b"*2 :1 :1"),
        ("INCREX a EXAT 5 / EXISTS a", b":0"),
        ("INCREX a BYINT 9223372036854775807 / INCREX a", b"*2 :9223372036854775807 :0"),
        ("INCREX a BYINT 9223372036854775807 / INCREX a SATURATE", b"*2 :9223372036854775807 :0"),
        ("INCREX a BYINT 9223372036854775800 / INCREX a BYINT 9 SATURATE", b"*2 :9223372036854775807 :7"),
        ("INCREX a BYINT -9223372036854775808", b"*2 :0 :0"),
        ("INCREX a LBOUND -9223372036854775808 UBOUND 9223372036854775807", b"*2 :1 :1"),
        ("INCREX a NX", b"*2 :1 :1"),
        ("INCREX a NX / INCREX a NX", b"_"),
        ("INCREX a XX", b"_"),
        ("INCR a / INCREX a XX EX 5", b"*2 :2 :1"),
        ("INCREX a EX 5 / INCREX a NX", b"_"),
        ("INCREX a NX XX", b"-ERR syntax error"),
        ("INCREX a BYFLOAT 1.5", b"-ERR BYFLOAT is not possible here"),
        ("INCREX a BYFLOAT 1.5 BYINT 1", b"-ERR syntax error"),
        ("INCREX a BYINT 1.5", b"-ERR value is not an integer or out of range"),
        ("INCREX a UBOUND x", b"-ERR value is not an integer or out of range"),
        ("INCREX a LBOUND 9223372036854775808", b"-ERR value is not an integer or out of range"),
        ("INCREX a LBOUND 5 UBOUND 4", b"-ERR LBOUND can't be greater than UBOUND"),
        ("INCREX a UBOUND -9223372036854775808", b"*2 :0 :0"),
        ("INCREX a LBOUND 5 UBOUND 5 BYINT 5", b"*2 :5 :5"),
        ("INCREX a BYINT", b"-ERR syntax error"),
        ("INCREX a FOO", b"-ERR syntax error"),
        ("INCREX a 5", b"-ERR syntax error"),
        ("INCREX a KEEPTTL", b"-ERR syntax error"),
        ("INCREX a EX", b"-ERR syntax error"),
        ("INCREX a EX 5 PX 5", b"-ERR syntax error"),
        ("INCREX a EX 5 PERSIST", b"-ERR syntax error"),
        ("INCREX a PERSIST ENX", b"-ERR syntax error"),
        ("INCREX a ENX", b"-ERR ENX flag requires an expiration"),
        ("INCREX a EX 5" + 22 * " ENX", b"*2 :1 :1"),
        ("INCREX a EX 5" + 23 * " ENX", b"-ERR too many words: 'increx' takes at most 24 after the key"),
        ("INCREX a EX 0", b"-ERR invalid expire time in 'increx' command"),
        ("INCREX a PX -5", b"-ERR invalid expire time in 'increx' command"),
        ("INCREX a EX 9223372036854775807", b"-ERR invalid expire time in 'increx' command"),
        ("INCREX a PX 9223372036854775807", b"-ERR invalid expire time in 'increx' command"),
        ("INCREX a EX x", b"-ERR value is not an integer or out of range"),
        ("INCREX", b"-ERR wrong number of arguments for 'increx' command"),
        ("MULTI / INCREX a UBOUND 1 EX 100 / INCREX a UBOUND 1 EX 100 / TTL a / EXEC", b"*3 *2 :1 :1 *2 :1 :0 :100"),
        ("MULTI / INCREX a XX / INCREX a EX 0 / EXEC", b"*2 _ -ERR invalid expire time in 'increx' command"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("times", [1, 2], ids=["", "known by its bytes"])
def test_increx(lines: str, reply: bytes, times: int) -> None:
    bench = Bench(quick=True, unix_ms=int(time() * 1000))
    for _ in range(times):
        client = bench.connect()
        asks(client, "HELLO 3")
        asks(client, "DEL a")
        for line in lines.split(" / "):
            found = asks(client, line)
            bench.settle(3)
            found += client.take()
    assert found.replace(b"\r\n", b" ").startswith(reply), found
    assert bench.errors == []


def test_increx_in_a_script() -> None:
    pytest.importorskip("lupa")
    client = Bench(quick=True, unix_ms=int(time() * 1000)).connect()
    script = (
        "local seen = redis.call('INCREX', KEYS[1], 'UBOUND', '2', 'EX', '100')"
        " return {seen[1], seen[2], redis.call('TTL', KEYS[1]), redis.call('SET', 'b', '5', 'NX')}"
    )
    assert client.asks("EVAL", script, "1", "a") == b"*4\r\n:1\r\n:1\r\n:100\r\n+OK\r\n"
    assert client.asks("EVAL", script, "1", "a") == b"*4\r\n:2\r\n:1\r\n:100\r\n$-1\r\n"
    assert client.asks("EVAL", script, "1", "a") == b"*4\r\n:2\r\n:0\r\n:100\r\n$-1\r\n"


def test_many_increx_in_a_pipeline_share_commits_and_keep_their_bounds() -> None:
    bench = Bench(unix_ms=int(time() * 1000))
    one, other = bench.clients(2)
    increx = command("INCREX", "a", "UBOUND", "30", "EX", "100", "ENX")
    for _ in range(4):
        one.sends(increx * 5)
        other.sends(increx * 5)
        bench.settle(3)
    replies = (one.take() + other.take()).replace(b"\r\n:", b" ").split(b"\r\n")[:-1]
    assert sorted(int(each.split()[1]) for each in replies if each.endswith(b" 1")) == list(range(1, 31))
    assert replies.count(b"*2 30 0") == 10
    assert asks(one, "GET a") == b"$2\r\n30\r\n"
    assert asks(one, "TTL a") == b":100\r\n"
    assert bench.commits < 10


@pytest.mark.parametrize("seed", range(20))
def test_what_is_counted_fast_is_what_all_rows_come_to(seed: int) -> None:
    """At a node with peers, whatever they delete, expire and count."""
    rng = Random(seed)
    bench = Bench(peers=("n2",), unix_ms=10**12)
    client, state = bench.connect(), bench.replica.state
    version = 0
    lines = ("INCREX a EX 5 ENX", "INCREX a BYINT 3 UBOUND 20", "INCREX a BYINT -2 LBOUND 0 SATURATE", "INCR a",
             "DEL a", "EXPIRE a 100", "PERSIST a", "SET a 4", "SET a 5 EX 3", "INCREX a EX 7",
             "MULTI\r\nINCR a\r\nDEL a\r\nEXEC")  # fmt: skip
    for _ in range(150):
        line = rng.choice(lines[: 3 + seed % 9])
        client.sends(line.encode() + b"\r\n")
        if rng.random() < 0.2:
            version += 1
            bench.replica.step(pushed(X, version - 1, ("a", EndingRow(version, 0, version, 0))), "n2", 0)
        if rng.random() < 0.6:
            bench.settle(rng.randrange(4))
        if rng.random() < 0.2:
            bench.passes(rng.randrange(4000))
            bench.replica.tick(bench.now_ns)
        assert state.totals.get("a") == state.lives("a").value
    bench.settle()
    bench.advance()
    client.take()
    value = state.lives("a").value
    expected = [b"$-1"] if value is None else [b"$%d" % len(str(value)), b"%d" % value]
    assert asks(client, "MGET a").split(b"\r\n")[1:-1] == expected
    assert bench.errors == []


@pytest.mark.parametrize(("line", "reply"), [("INCREX a UBOUND 100 EX 8 ENX", b"*2 :12 :1"), ("INCR a", b":12")])
def test_a_window_that_goes_on_is_added_to_without_a_look_at_all_rows(
    line: str, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(quick=True, peers=("n2",))
    client = bench.connect()
    bench.replica.step(pushed(X, 0, ("a", EndingRow(5, 0, 1, 1000, 9000, 1000))), "n2", 0)
    client.sends(command("INCREX", "a", "UBOUND", "100", "EX", "8", "ENX"))
    bench.settle(3)
    monkeypatch.setattr("gossip_counter.node.core.lives.Lives.__init__", lambda *_: pytest.fail("all rows"))
    for _ in range(3):
        client.sends(command(*line.split()) * 2)
        bench.settle(3)
    assert client.take().split()[-len(reply.split()) :] == reply.split()
    assert bench.replica.value("a") == 12
