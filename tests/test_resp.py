"""The Redis door of one real process, with redis-py and with bytes that no client would send."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, cast

import psutil
import pytest
import redis
import redis.asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.messages import Confirmed
from gossip_counter.node.core.replica import Copied, Effect, Replica, RunOk
from gossip_counter.node.endpoints.redis import commands
from gossip_counter.node.endpoints.redis import server as resp
from gossip_counter.node.endpoints.redis.adds import Known, as_add
from gossip_counter.node.endpoints.redis.wire import WORD_BYTES, Limits, Parser, packed
from gossip_counter.node.runtime.node import Address
from tests.support.processes import node_process, udp_node
from tests.support.waiting import LIMIT_S, until
from tests.test_redis_wire import in_resp


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Address]:
    port = free_ports(1)[0]
    with udp_node(f"--resp=127.0.0.1:{port}", data=tmp_path) as (process, _):
        assert process.stderr
        assert "serves Redis clients" in process.stderr.readline()
        yield "127.0.0.1", port


def client(door: Address, **options: Any) -> "redis.Redis":
    return redis.Redis(*door, socket_timeout=LIMIT_S, **options)


def said(door: Address, sent: bytes, most: int = 65_536) -> bytes:
    """What the door answers until it is silent for a moment, or closes."""
    with socket.create_connection(door, timeout=LIMIT_S) as raw:
        raw.sendall(sent)
        told = raw.recv(most)
        raw.settimeout(0.2)
        try:
            while more := raw.recv(most):
                told += more
        except TimeoutError:
            pass
        return told


@pytest.mark.parametrize("protocol", [2, 3])
def test_counting_with_redis_py(door: Address, protocol: int) -> None:
    with client(door, protocol=protocol, decode_responses=True) as counter:
        assert counter.incr("likes") == 1
        assert counter.incr("likes", 5) == 6
        assert counter.decr("likes", 2) == 4
        assert counter.decr("stock") == -1
        assert counter.get("likes") == "4"
        assert counter.get("nobody") is None
        assert counter.mget("likes", "nobody", "stock") == ["4", None, "-1"]
        assert counter.exists("likes", "nobody", "stock") == 2
        assert (counter.type("likes"), counter.type("nobody")) == ("string", "none")
        assert (counter.strlen("stock"), counter.strlen("nobody")) == (2, 0)
        assert counter.dbsize() == 2
        assert sorted(counter.keys("*")) == ["likes", "stock"]
        assert counter.keys("l?k[a-f]s") == ["likes"]
        assert counter.ping()
        assert counter.echo("x") == "x"
        assert counter.client_setname("me")
        assert counter.client_getname() == "me"
        assert counter.client_setinfo("LIB-NAME", "mine")
        with pytest.raises(redis.ResponseError, match="Unrecognized option 'foo'"):
            counter.client_setinfo("foo", "bar")
        with pytest.raises(redis.ResponseError, match="lib-ver cannot contain spaces"):
            counter.client_setinfo("LIB-VER", "1 2")
        assert counter.client_info()["lib-name"] == "mine"
        assert counter.config_get("databases") == {"databases": "1"}
        assert counter.info("gossip")["members"] == 1
        assert len(counter.time()) == 2
        assert counter.command_count() > 20


def test_a_pipeline_is_answered_in_order_and_sees_its_own_writes(door: Address) -> None:
    with client(door) as counter:
        pipeline = counter.pipeline(transaction=False)
        for _ in range(100):
            pipeline.incr("x")
        pipeline.get("x")
        pipeline.incrby("y", 7).get("y").set("y", 5).incr("x").mget("x", "y")
        told = pipeline.execute(raise_on_error=False)
    assert told[:100] == list(range(1, 101))
    assert told[100:103] == [b"100", 7, b"7"]
    assert isinstance(told[103], redis.ResponseError)
    assert told[104:] == [101, [b"101", b"7"]]


def test_many_clients_at_once_are_each_told_another_value(door: Address) -> None:
    async def count() -> list[int]:
        async with redis.asyncio.Redis(host=door[0], port=door[1]) as counter:
            return await asyncio.gather(*(counter.incr("x") for _ in range(50)))

    assert sorted(asyncio.run(count())) == list(range(1, 51))


def test_scan_tells_each_counter_once(door: Address) -> None:
    with client(door, decode_responses=True) as counter:
        names = [f"counter:{i}" for i in range(57)]
        for name in names:
            counter.incr(name)
        assert sorted(counter.scan_iter(count=7)) == sorted(names)
        assert list(counter.scan_iter(match="counter:5")) == ["counter:5"]
        for wrong in (("x",), ("-1",), ("0", "COUNT"), ("0", "COUNT", "0"), ("0", "FOO", "1")):
            with pytest.raises(redis.ResponseError):
                counter.execute_command("SCAN", *wrong)


def test_what_redis_clients_were_answered_survives_kill_9(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    for already in (0, 10):
        with udp_node(f"--resp=127.0.0.1:{port}", data=tmp_path) as (process, _):
            with client(("127.0.0.1", port), retry=None) as counter:
                until(lambda counter=counter: answers(counter))  # type: ignore[misc]
                assert int(counter.get("x") or 0) == already
                for _ in range(10):
                    counter.incr("x")
            process.kill()
            process.wait(LIMIT_S)


def answers(counter: "redis.Redis") -> bool:
    try:
        return bool(counter.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["SET", "x", "5"], "SET is not possible here: a counter has no value to set"),
        (["DEL", "x"], "DEL is not possible here"),
        (["EXPIRE", "x", "5"], "EXPIRE is not possible here"),
        (["INCRBYFLOAT", "x", "0.5"], "whole numbers"),
        (["NONSENSE", "a", "b"], "unknown command 'NONSENSE', with args beginning with: 'a' 'b'"),
        (["INCR"], "wrong number of arguments for 'incr' command"),
        (["INCR", "x", "1"], "wrong number of arguments for 'incr' command"),
        (["GET"], "wrong number of arguments for 'get' command"),
        (["INCRBY", "x", "1.5"], "value is not an integer or out of range"),
        (["INCRBY", "x", " 1"], "value is not an integer or out of range"),
        (["INCRBY", "x", "+1"], "value is not an integer or out of range"),
        (["INCRBY", "x", ""], "value is not an integer or out of range"),
        (["INCRBY", "x", "9223372036854775808"], "value is not an integer or out of range"),
        (["INCR", b"\xff\xfe"], "UTF-8"),
        (["INCR", "x" * 256], "255"),
        (["SELECT", "1"], "DB index is out of range"),
        (["HELLO", "4"], "unsupported protocol version"),
        (["CONFIG", "SET", "save", "1"], "unknown subcommand 'SET'. Try CONFIG HELP."),
        (["CLIENT", "SETNAME"], r"wrong number of arguments for 'client\|setname' command"),
        (["WAIT", "1", "x"], "timeout is not an integer or out of range"),
        (["KEYS", "x" * 1025], "at most 1024 bytes"),
        (["POST", "/"], "no HTTP"),
    ],
    ids=repr,
)
def test_errors_are_those_of_redis_where_it_has_one(door: Address, command: list[Any], error: str) -> None:
    with client(door) as counter:
        with pytest.raises(redis.ResponseError, match=error.replace("+", "\\+")):
            counter.execute_command(*command)
        assert counter.get("x") is None
        assert counter.ping()


def test_a_sum_beyond_64_bits_is_refused_and_those_before_it_count(door: Address) -> None:
    with client(door) as counter:
        pipeline = counter.pipeline(transaction=False)
        pipeline.incrby("x", 2**63 - 2).incr("x").incr("x").incr("y").decr("x")
        told = pipeline.execute(raise_on_error=False)
        assert told[:2] == [2**63 - 2, 2**63 - 1]
        assert "overflow" in str(told[2])
        assert told[3:] == [1, 2**63 - 2]


def test_inline_commands(door: Address) -> None:
    assert said(door, b"PING\r\nINCR x\r\nGET x\n\r\nINCRBY x 5\r\n*1\r\n$4\r\nPING\r\n") == (
        b"+PONG\r\n:1\r\n$1\r\n1\r\n:6\r\n+PONG\r\n"
    )


@pytest.mark.parametrize(
    "sent",
    [
        b"*1000000000\r\n",
        b"*2\r\n$4\r\nINCR\r\n$536870912\r\n",
        b"*1\r\n*1000000000\r\n",
        b"*1\r\n:5\r\n",
        b"*1\r\n+INCR\r\n",
        b"*1\r\n*1\r\n$1\r\nx\r\n",
        b"*x\r\n",
        b"x" * 100_000,
        b"*2\r\n$4\r\nECHO\r\n$900000\r\n" + b"x" * 2_000_000,
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_what_is_no_command_is_refused_and_harms_nobody_else(door: Address, sent: bytes) -> None:
    with client(door) as other:
        other.incr("x")
        try:
            told = said(door, sent)
        except ConnectionError:
            told = b"-"
        assert told.startswith((b"-", b"$"))
        assert other.get("x") == b"1"


def test_a_huge_length_cut_over_two_reads_is_refused(door: Address) -> None:
    with socket.create_connection(door, timeout=LIMIT_S) as raw:
        raw.sendall(b"*10000")
        with client(door) as other:
            assert other.ping()  # so that it was read
        raw.sendall(b"00000\r\n")
        assert raw.recv(1000).startswith(b"-ERR Protocol error")


def test_a_name_that_looks_like_a_length_is_a_name_wherever_it_is_cut(door: Address) -> None:
    with socket.create_connection(door, timeout=LIMIT_S) as raw:
        raw.sendall(b"*2\r\n$4\r\nINCR\r\n$10\r\nx*1234567")
        with client(door) as other:
            assert other.ping()  # so that it was read
        raw.sendall(b"8\r\n")
        assert raw.recv(1000) == b":1\r\n"


class Transport(asyncio.Transport):
    """A socket that notes what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.closed = False
        self.is_read = True

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


def carry_out(effects: list[Effect]) -> None:
    """What a world would do, for the doors."""
    for effect in effects:
        if isinstance(effect, RunOk):
            cast(resp.Door, effect.to).saved(effect.run, effect.actor, effect.version)
        elif isinstance(effect, Copied):
            cast(resp.Connection, effect.to).copied(effect.members)


def unforeseen(error: Exception) -> None:
    pytest.fail(repr(error))


def opened(
    quick: bool = False, password: bytes | None = None, peers: tuple[str, ...] = ()
) -> tuple[Replica, resp.Door]:
    """A node and its door; if `quick`, what a turn brings is durable at its end."""
    replica = Replica(Config(name="n1", peers=peers), Random(1), 0)

    def turn(act: Callable[[], None]) -> None:
        act()
        if quick:
            commit_all(replica)

    return replica, resp.Door(replica, turn, carry_out, unforeseen, password)


def connected(door: resp.Door) -> tuple[resp.Connection, Transport]:
    connection, transport = door._connect(), Transport()
    connection.connection_made(transport)
    return connection, transport


def commit_all(replica: Replica) -> None:
    while replica.flush():
        carry_out(replica.durable())
        replica.committed(0)


def test_what_goes_wrong_for_one_client_leaves_the_answers_of_others() -> None:
    """Their adds share a commit, and what the first one asked for after it throws."""

    async def live() -> None:
        replica = Replica(Config(name="n1"), Random(1), 0)
        met: list[Exception] = []
        door = resp.Door(replica, lambda act: act(), lambda _: None, met.append)
        made = [connected(door) for _ in range(2)]
        made[0][0].data_received(b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n*1\r\n$6\r\nDBSIZE\r\n")
        made[1][0].data_received(b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n")
        door.view = None  # type: ignore[assignment]  # so that DBSIZE throws
        assert replica.flush()
        carry_out(replica.durable())
        replica.committed(0)
        await asyncio.sleep(0)
        assert [(transport.written, transport.aborted) for _, transport in made] == [
            (b":1\r\n", True),
            (b":2\r\n", False),
        ]
        assert len(met) == 1

    asyncio.run(live())


def test_what_comes_between_an_answer_and_the_commands_after_it_waits_its_turn() -> None:
    """TLS hands on what it has read, though it is not being read any more."""

    async def live() -> None:
        replica, door = opened()
        connection, transport = connected(door)
        connection.data_received(b"INCR x\r\nGET x\r\n")
        replica.flush()
        for _ in range(2):
            carry_out(replica.durable())
            connection.data_received(b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n")
            replica.committed(0)
            await asyncio.sleep(0)
            replica.flush()
        assert transport.written == b":1\r\n$1\r\n1\r\n:2\r\n"

    asyncio.run(live())


def test_a_connection_that_asks_for_much_lets_others_have_their_turn() -> None:
    """With one client alone, its adds are durable at once, so that nothing else would hold it up."""

    async def live(turn_ns: int) -> tuple[bytes, list[int]]:
        _, door = opened(quick=True)
        connection, transport = connected(door)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resp, "TURN_NS", turn_ns)
            connection.data_received(b"INCR x\r\nGET x\r\n" * 9)
            lengths = [len(transport.written)]
            for _ in range(30):
                await asyncio.sleep(0)
                lengths.append(len(transport.written))
        assert transport.is_read
        return transport.written, lengths

    at_once, _ = asyncio.run(live(10**12))
    in_turns, lengths = asyncio.run(live(0))
    assert at_once == in_turns == b"".join(b":%d\r\n$1\r\n%d\r\n" % (i, i) for i in range(1, 10))
    assert len(set(lengths)) > 5


def test_answers_keep_their_order_though_a_later_run_is_refused_first() -> None:
    """As it is where the first one is swallowed by a former life's row, and counted again in the commit after."""

    async def live() -> None:
        replica, door = opened()
        connection, transport = connected(door)
        connection.data_received(b"INCR a\r\n")
        replica.flush()
        connection.data_received(b"INCR b\r\n")
        door.refused(2, RequestError(TEMPORARILY_UNAVAILABLE, "ill"))
        assert transport.written == b""
        door.saved(1, replica.actor, 1)
        assert transport.written == b":1\r\n-ERR ill\r\n"

    asyncio.run(live())


def held(door: resp.Door) -> int:
    return door._queued + door._stuck


def test_what_a_lost_client_held_is_held_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it was not yet its turn when it was lost."""
    monkeypatch.setattr(resp, "TURN_NS", 0)

    async def live() -> None:
        _, door = opened()
        connection, _ = connected(door)
        connection.data_received(b"PING\r\n" * 9 + b"*2\r\n$4\r\nECHO\r\n$700\r\n" + b"x" * 500)
        assert held(door) > 500
        connection.connection_lost(None)
        for _ in range(20):
            await asyncio.sleep(0)
        assert held(door) == 0

    asyncio.run(live())


def test_adds_are_taken_again_after_a_run_that_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "MAX_ADDS", 2)

    async def live() -> None:
        replica = Replica(Config(name="n1"), Random(1), 0)
        door = resp.Door(replica, lambda act: act(), carry_out, lambda _: None)
        (first, firsts), (second, seconds) = connected(door), connected(door)
        with monkeypatch.context() as patch:
            patch.setattr(replica, "add_run", lambda *_: 1 // 0)
            first.data_received(b"INCR x\r\n" * 3)
            second.data_received(b"INCR x\r\n")
            assert (door.is_full, seconds.is_read) == (True, False)
            door._take_run()
        assert (door.is_full, firsts.aborted) == (False, True)
        await asyncio.sleep(0)
        door._take_run()
        assert replica.flush()
        carry_out(replica.durable())
        assert seconds.written == b":1\r\n"

    asyncio.run(live())


def test_adds_of_all_clients_that_wait_for_the_disk_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next ones wait with their clients; who asks for something else has its answer."""
    monkeypatch.setattr(resp, "MAX_ADDS", 10)
    say = in_resp([b"INCR", b"x"])

    async def live() -> None:
        replica, door = opened()
        made = [connected(door) for _ in range(4)]
        for connection, _ in made:
            connection.data_received(b"PING\r\n")
        for connection, _ in made[:3]:
            connection.data_received(say * 9)
        made[3][0].data_received(b"PING\r\n")
        assert [transport.is_read for _, transport in made] == [True, True, False, True]
        assert door._under_way == 18
        for _ in range(5):
            door._take_run()
            commit_all(replica)
            await asyncio.sleep(0)
        told = [transport.written.count(b"\n") for _, transport in made]
        assert told == [10, 10, 10, 2]
        assert [transport.is_read for _, transport in made] == [True] * 4
        assert door._under_way == held(door) == 0

    asyncio.run(live())


def test_what_all_clients_hold_is_bounded_and_who_brings_too_much_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "MAX_STUCK_BYTES", 1000)

    async def live() -> None:
        _, door = opened()
        (first, firsts), (second, seconds), (third, thirds) = [connected(door) for _ in range(3)]
        first.data_received(b"*2\r\n$4\r\nECHO\r\n$700\r\n" + b"x" * 500)
        second.data_received(b"*2\r\n$4\r\nECHO\r\n$700\r\n" + b"x" * 500)
        assert (firsts.is_closing(), seconds.closed, seconds.aborted) == (False, True, False)
        assert seconds.written.startswith(b"-ERR clients hold too much")
        second.connection_lost(None)
        third.data_received(b"ECHO " + b"x" * 300)
        third.data_received(b"\r\n")
        assert (thirds.aborted, thirds.written) == (False, b"$300\r\n" + b"x" * 300 + b"\r\n")
        first.data_received(b"x" * 200 + b"\r\n")
        assert firsts.written.endswith(b"x\r\n")
        assert held(door) == 0

    asyncio.run(live())


def test_who_only_waits_for_the_disk_is_never_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much all of them said together: they are not read before there is room, and then the others first."""
    monkeypatch.setattr(resp, "MAX_QUEUED_BYTES", 1000)
    monkeypatch.setattr(resp, "PIECE", 30)
    monkeypatch.setattr(resp, "MAX_STUCK_BYTES", 100)

    async def live() -> None:
        replica, door = opened()
        made = [connected(door) for _ in range(4)]
        for connection, _ in made[:3]:
            connection.data_received(b"INCR x\r\nGET x\r\n" * 20)
        assert [(transport.is_read, transport.aborted) for _, transport in made] == [(False, False)] * 4
        assert list(door.connections) == [connection for connection, _ in (made[3], *made[:3])]
        for _ in range(200):
            commit_all(replica)
            await asyncio.sleep(0)
        assert [transport.written.count(b"\n") for _, transport in made] == [60, 60, 60, 0]
        assert [(transport.is_read, transport.aborted) for _, transport in made] == [(True, False)] * 4
        assert held(door) == 0

    asyncio.run(live())


def test_what_a_client_said_that_reads_no_replies_is_bounded_with_all_that_is_stuck() -> None:
    async def live() -> None:
        _, door = opened()
        connection, transport = connected(door)
        connection.data_received(b"INCR x\r\nGET x\r\n")
        assert (door._queued > 0, door._stuck) == (True, 0)
        connection.pause_writing()
        await asyncio.sleep(0)
        assert (door._queued, door._stuck > 0) == (0, True)
        connection.resume_writing()
        await asyncio.sleep(0)
        assert (door._queued > 0, door._stuck) == (True, 0)
        assert not transport.aborted

    asyncio.run(live())


def test_a_client_that_says_much_at_once_has_its_turn_as_often_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "SHARE", 1000)
    monkeypatch.setattr(resp, "PIECE", 300)
    monkeypatch.setattr(resp, "RUN_ADDS", 50)
    say = in_resp([b"INCR", b"x"])

    async def live() -> None:
        replica, door = opened(quick=True)
        (greedy, greedys), (modest, modests), *_ = [connected(door) for _ in range(12)]
        share = 1000 // len(say) + 1
        for said in (say * 1000, say * 1000, say * 1000 + say[:9]):  # not known yet, known, and cut
            greedy.data_received(said)
            assert [greedys.is_read] == [False]
            commits = replica.stats.commits
            taken = [door._under_way + greedys.written.count(b":")]
            while greedys.written.count(b":") < 1000:
                modest.data_received(b"PING\r\n")
                await asyncio.sleep(0)
                taken.append(door._under_way + greedys.written.count(b":"))
            assert max(now - before for before, now in pairwise(taken)) <= share
            assert modests.written.count(b"+PONG") > 1000 // (share + 1)
            assert replica.stats.commits - commits >= 1000 // (50 + share)
            await asyncio.sleep(0)
            assert [greedys.is_read] == [True]
            greedys.written = modests.written = b""
        greedy.data_received(say[9:])
        assert greedy._parser.held == 0

    asyncio.run(live())


def test_a_turn_ends_in_time_though_each_piece_holds_one_command_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "TURN_NS", 0)
    monkeypatch.setattr(resp, "PIECE", 20)

    async def live() -> None:
        _, door = opened()
        connection, transport = connected(door)
        told = [0]
        connection.data_received(in_resp([b"PING"]) * 100)
        for _ in range(100):
            told.append(transport.written.count(b"PONG"))
            await asyncio.sleep(0)
        assert transport.written == b"+PONG\r\n" * 100
        assert max(now - before for before, now in pairwise(told)) == 1

    asyncio.run(live())


def test_a_word_is_not_searched_for_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    word = b"\r\n*" * 100_000
    looks: list[int] = []
    feed = Parser.feed

    def watched(parser: Parser, data: bytes, limits: Limits) -> list[Any]:
        looks.append(len(data))
        return feed(parser, data, limits)

    monkeypatch.setattr(Parser, "feed", watched)

    async def live() -> bytes:
        _, door = opened()
        connection, transport = connected(door)
        connection.data_received(in_resp([b"ECHO", word]) + in_resp([b"INCR", b"x"]) * 2)
        for _ in range(len(word) // resp.SHARE + 1):
            await asyncio.sleep(0)
        return transport.written

    assert asyncio.run(live()) == b"$300000\r\n%s\r\n" % word
    assert len(looks) < len(word) / resp.PIECE + 9


def test_what_is_done_with_is_not_held_any_more() -> None:
    """However long a client goes on, with something to wait for at the end of each turn."""

    async def live() -> None:
        replica, door = opened()
        connection, transport = connected(door)
        connection.data_received(b"INCR x\nGET x\n" * 10_000)
        while connection._unread or connection._later:
            assert held(door) <= len(connection._unread) + 9 * resp.PIECE * WORD_BYTES // 6
            commit_all(replica)
            await asyncio.sleep(0)
        commit_all(replica)
        await asyncio.sleep(0)
        assert transport.written.endswith(b":10000\r\n$5\r\n10000\r\n")
        assert held(door) == 0

    asyncio.run(live())


def test_what_was_half_a_command_is_still_held_when_it_is_whole_and_has_to_wait() -> None:
    async def live() -> None:
        _, door = opened()
        connection, _ = connected(door)
        said = in_resp([b"INCR", b"x"]) + in_resp([b"ECHO", b"x" * 100_000])
        for at in range(0, len(said), 1000):
            connection.data_received(said[at : at + 1000])
            await asyncio.sleep(0)
        assert held(door) > 100_000

    asyncio.run(live())


def test_a_stream_of_known_adds_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    say = in_resp([b"INCR", b"x"])

    async def live() -> None:
        replica, door = opened()
        connection, transport = connected(door)
        connection.data_received(say)
        monkeypatch.setattr(Parser, "feed", lambda *_: 1 // 0)
        connection.data_received(say * 9_999)
        for _ in range(20):
            door._take_run()
            commit_all(replica)
            await asyncio.sleep(0)
        assert transport.written.endswith(b":10000\r\n")

    asyncio.run(live())


def test_a_run_waits_for_the_adds_of_all_others_however_many_pieces_one_says() -> None:
    say = in_resp([b"INCR", b"x"])

    async def live() -> None:
        replica, door = opened()
        (greedy, _), (modest, _) = connected(door), connected(door)
        for connection in (greedy, modest):
            connection.data_received(say)
        assert replica.flush()
        carry_out(replica.durable())
        replica.committed(0)
        greedy.data_received(say * 6000)
        assert not replica.flush()
        modest.data_received(say)
        assert replica.flush()

    asyncio.run(live())


def test_a_client_that_reads_now_and_then_has_no_more_turns_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "TURN_NS", 10**12)
    monkeypatch.setattr(resp, "SHARE", 600)

    async def live() -> int:
        _, door = opened()
        connection, _ = connected(door)
        connection.data_received(b"PING\r\n" * 40_000)
        for _ in range(10):
            connection.pause_writing()
            connection.resume_writing()
        await asyncio.sleep(0)
        before = len(connection._unread)
        await asyncio.sleep(0)
        return before - len(connection._unread)

    assert asyncio.run(live()) <= resp.SHARE


def test_nothing_overtakes_what_waits_for_its_turn() -> None:
    """A lone client's add is durable at once, which asks for a turn."""

    async def live() -> None:
        _, door = opened(quick=True)
        connection, transport = connected(door)
        add = in_resp([b"INCR", b"x"])
        for read in (add[:5], add[5:], in_resp([b"GET", b"x"]), add):
            connection.data_received(read)
        assert [transport.is_read] == [False]
        await asyncio.sleep(0)
        assert [transport.is_read] == [True]
        assert transport.written == b":1\r\n$1\r\n1\r\n:2\r\n"

    asyncio.run(live())


def test_who_comes_while_nobody_is_read_waits_as_well() -> None:
    async def live() -> None:
        _, door = opened()
        before, before_s = connected(door)
        before.data_received(b"PING\r\n")
        door._hold_up()
        _, after_s = connected(door)
        await asyncio.sleep(0)
        _, last_s = connected(door)
        assert [before_s.is_read, after_s.is_read] == [False, False]
        door._read_on()
        await asyncio.sleep(0)
        assert [before_s.is_read, after_s.is_read, last_s.is_read] == [True, True, True]

    asyncio.run(live())


def test_who_hung_up_is_told_nothing_more() -> None:
    async def live() -> None:
        replica, door = opened()
        connection, transport = connected(door)
        connection.data_received(b"INCR x\r\nGET x\r\nPING\r\n")
        transport.close()
        commit_all(replica)
        await asyncio.sleep(0)
        assert transport.written == b""
        assert held(door) == 0

    asyncio.run(live())


def test_a_client_that_streams_has_some_shares_on_their_way_to_a_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "SHARE", 100)
    say = in_resp([b"INCR", b"x"])

    async def live() -> None:
        replica, door = opened()
        connection, transport = connected(door)
        connection.data_received(say * 1000)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert connection._runs == resp.MAX_RUNS
        for _ in range(1000):
            commit_all(replica)
            await asyncio.sleep(0)
            assert connection._runs <= resp.MAX_RUNS
        assert transport.written.endswith(b":1000\r\n")
        assert transport.is_read

    asyncio.run(live())


@pytest.mark.parametrize("auth", [b"*2\r\n$4\r\nAUTH\r\n$6\r\n%s\r\n", b"AUTH %s\r\n", b"AUTH %s\n"])
def test_who_told_the_password_is_no_stranger_in_the_command_after_it(auth: bytes) -> None:
    many = in_resp([b"MGET"] + [b"x"] * 2000)

    async def live(password: bytes, at: int) -> tuple[bytes, bool]:
        _, door = opened(password=b"secret")
        connection, transport = connected(door)
        said = auth % password + many + b"*1\r\n$4\r\nPING\r\n"
        connection.data_received(said[:at])
        connection.data_received(said[at:])
        for _ in range(9):
            await asyncio.sleep(0)
        return transport.written, transport.closed

    for at in range(len(auth % b"secret") + 2):
        assert asyncio.run(live(b"secret", at)) == (b"+OK\r\n*2000\r\n" + b"$-1\r\n" * 2000 + b"+PONG\r\n", False)
    told, is_closed = asyncio.run(live(b"guess!", 0))
    assert told.startswith(b"-WRONGPASS")
    assert told.endswith(b"unauthenticated multibulk length\r\n")
    assert is_closed


def test_an_answer_to_wait_asks_for_nothing_while_effects_are_carried_out() -> None:
    """A Wake that the next WAIT asks for must not be followed by one that was asked for before it."""

    async def live() -> None:
        replica = Replica(Config(name="n1", peers=("n2",)), Random(1), 0)
        carried: list[Effect] = []
        door = resp.Door(replica, lambda act: act(), carried.extend, print)
        connection, transport = connected(door)
        connection._written = replica.actor, 1
        connection.data_received(b"WAIT 1 50\r\nWAIT 1 60\r\n")
        assert transport.is_read  # or nobody would notice if it went away
        before = len(carried)
        connection.copied(0)
        assert len(carried) == before
        assert not connection.waits
        await asyncio.sleep(0)
        assert connection.waits

    asyncio.run(live())


def test_what_follows_a_multi_is_not_done_by_itself(door: Address) -> None:
    with client(door) as counter:
        with pytest.raises(redis.ResponseError, match="without MULTI"):
            counter.pipeline().incr("x").incrby("y", 5).execute()
        assert counter.exists("x", "y") == 0
        assert counter.pipeline(transaction=False).incr("x").get("x").execute() == [1, b"1"]
    told = said(door, b"MULTI\r\nINCR x\r\nGET x\r\nWAIT 0 0\r\nEXEC\r\nINCR x\r\nMULTI\r\nDISCARD\r\nINCR x\r\n")
    assert [line.split()[0] for line in told.splitlines()] == [
        b"-ERR", b"-ERR", b"-ERR", b"-ERR", b"-EXECABORT", b":2", b"-ERR", b"+OK", b":3"
    ]  # fmt: skip


def test_a_browser_that_was_led_here_counts_nothing(door: Address) -> None:
    told = said(door, b"POST / HTTP/1.1\r\nHost: a\r\n\r\nINCR x\r\n")
    assert told == b"-ERR this is no HTTP server\r\n"
    with client(door) as counter:
        assert counter.exists("x") == 0


def test_commands_are_described_as_tools_expect(door: Address) -> None:
    for protocol in (2, 3):
        with client(door, protocol=protocol, decode_responses=True) as counter:
            told = counter.command()
            assert told["incr"]["arity"] == 2
            assert counter.command_count() == len(told)
            info = counter.info()
            wanted = {"used_memory", "blocked_clients", "uptime_in_seconds", "process_id", "cluster_enabled"}
            assert wanted <= set(info)
            assert info["tcp_port"] == door[1]
            assert info["used_memory"] > 10_000_000
    assert said(door, b"COMMAND DOCS incr wait nonsense\r\n").count(b"summary") == 2


def test_wait_vouches_for_nothing_that_more_than_one_actor_wrote() -> None:
    async def live() -> None:
        replica, door = opened(peers=("n2",))
        (one, ones), (two, twos) = made = [connected(door) for _ in range(2)]

        async def add(connection: resp.Connection) -> None:
            connection.data_received(b"INCR x\r\n")
            for _ in range(resp.MOST_ROUNDS + 1):
                await asyncio.sleep(0)
            commit_all(replica)

        await add(one)
        replica._begin_epoch()
        await add(one)
        await add(two)
        replica.handle(Confirmed("n2", 0, replica.actor, 2), "n2", 0)
        for connection, _ in made:
            connection.data_received(b"WAIT 0 0\r\n")
        assert (ones.written, twos.written) == (b":1\r\n:2\r\n:0\r\n", b":3\r\n:1\r\n")

    asyncio.run(live())


WORDS = st.sampled_from([b"", b"x", b"\r\n*", b"a\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb", b"x" * 300])
Said = list[tuple[bytes, ...]]
SAID = st.lists(
    st.one_of(
        st.tuples(st.just(b"INCR"), st.sampled_from([b"a", b"b", b"\r\n*"])),
        st.tuples(st.just(b"INCRBY"), st.sampled_from([b"a", b"b"]), st.sampled_from([b"0", b"-3", b"7", b"x"])),
        st.tuples(st.just(b"GET"), st.sampled_from([b"a", b"b", b"\r\n*"])),
        st.tuples(st.just(b"ECHO"), WORDS),
        st.tuples(st.just(b"PING")),
    ),
    max_size=25,
)
ROUND, DURABLE, DEAF, HEARS = -1, -2, -3, -4
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 40) | st.sampled_from([ROUND, DURABLE, DEAF, HEARS, 400])), max_size=40
)
"""Which client, and how much of what it said is read; or a round of the loop, the end of a commit, or whether the
client reads its replies.
"""


def answered_alone(said: Said) -> bytes:
    """What these commands are answered, each done before the next is said."""
    values: dict[bytes, int] = {}
    told: list[Any] = []
    for verb, *words in said:
        match verb:
            case b"GET":
                told.append(b"%d" % values[words[0]] if words[0] in values else None)
            case b"ECHO":
                told.append(words[0])
            case b"PING":
                told.append("PONG")
            case _ if words[1:] == [b"x"]:
                told.append(commands.NOT_AN_INTEGER)
            case _:
                delta = int(words[1]) if words[1:] else 1
                told.append(values.get(words[0], 0) + delta)
                if delta:
                    values[words[0]] = told[-1]
    return b"".join(packed(each, 2) for each in told)


def of_its_own(said: Said, client: int) -> Said:
    """The same about counters that nobody else names."""
    return [(verb, words[0] + b"%d" % client, *words[1:]) if words and verb != b"ECHO" else (verb, *words)
            for verb, *words in said]  # fmt: skip


def in_bytes(said: Said, typed: set[int]) -> bytes:
    """As a client sends them, some as one types."""
    return b"".join(
        b" ".join(words) + b"\n" if i in typed and all(map(bytes.isalnum, words)) else in_resp(list(words))
        for i, words in enumerate(said)
    )


@settings(max_examples=300)
@example(([(b"INCR", b"a"), (b"ECHO", b"")], []), {1}, [], 1, 1, 1, False)
@given(
    st.tuples(SAID, SAID), st.sets(st.integers(0, 24)), STEPS, st.integers(1, 60), st.integers(1, 3),
    st.sampled_from([1, 30, 300, 10**6]), st.booleans(),
)  # fmt: skip
def test_whatever_is_said_however_it_comes_is_answered_as_if_said_alone(
    said: tuple[Said, Said],
    typed: set[int],
    steps: list[tuple[int, int]],
    piece: int,
    runs: int,
    most: int,
    quick: bool,
) -> None:
    """Cut anywhere, over any rounds and commits, by clients that read or not, with bounds that are always reached."""

    async def live() -> None:
        replica, door = opened(quick)
        made = [connected(door) for _ in said]
        left = [in_bytes(of_its_own(each, client), typed) for client, each in enumerate(said)]
        end = [(0, 50), (1, 50), (0, HEARS), (1, HEARS), (0, ROUND), (0, DURABLE)] * (60 + len(left[0]) + len(left[1]))
        committing = False
        for client, step in [*steps, *end]:
            connection, transport = made[client]
            if step >= 0 and left[client] and transport.is_read:
                read, left[client] = left[client][:step], left[client][step:]
                connection.data_received(read)
            elif step == ROUND:
                await asyncio.sleep(0)
                committing = committing or bool(replica.flush())
            elif step == DURABLE and committing:
                carry_out(replica.durable())
                replica.committed(0)
                committing = False
            elif step in (DEAF, HEARS) and connection._may_write is (step == DEAF):
                (connection.pause_writing if step == DEAF else connection.resume_writing)()
        assert (held(door), door._under_way, door.is_full) == (0, 0, False)
        assert [transport.is_read for _, transport in made] == [True, True]
        assert [transport.written for _, transport in made] == list(map(answered_alone, said))

    small = {"SHARE": 2 * piece, "PIECE": piece, "MAX_RUNS": runs, "RUN_ADDS": 3, "MAX_ADDS": 4, "TURN_NS": 0}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**small, "MAX_QUEUED_BYTES": most}.items():
            patch.setattr(resp, name, value)
        asyncio.run(live())


NAMES = st.binary(max_size=12) | st.sampled_from(
    [b"a", b"\r\n*", b"a\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb", b"$1\r\n", b"\r\n"]
)
ADDS = st.lists(st.tuples(st.sampled_from([b"INCR", b"decr", b"INCRBY"]), NAMES), min_size=1, max_size=6)


@given(st.lists(ADDS, min_size=1, max_size=8))
def test_adds_that_are_known_again_are_what_the_parser_takes_them_for(reads: list[list[tuple[bytes, bytes]]]) -> None:
    """Whatever bytes names hold, such as those of another command."""

    adds = Known()
    for read in reads * 2:
        commands_said = [[verb, name, b"7"] if verb == b"INCRBY" else [verb, name] for verb, name in read]
        data = b"".join(map(in_resp, commands_said))
        parsed = [as_add(words) for words in Parser().feed(data)]
        known = adds.find(data)
        assert known is None or known == parsed
        for words, add in zip(commands_said, parsed, strict=True):
            if add:
                adds.note(words, add)
        cut_apart = any(b"\r\n*" in b"\r\n" + name for _, name in read)
        assert None in parsed or cut_apart or adds.find(data) == parsed
        assert adds.alone.get(data, parsed) == parsed


def test_half_a_command_and_then_silence_or_the_end(door: Address) -> None:
    with socket.create_connection(door, timeout=LIMIT_S) as half:
        half.sendall(b"*2\r\n$4\r\nINC")
        with client(door) as other:
            assert other.incr("x") == 1
        half.sendall(b"R\r\n$1\r\nx\r\n")
        assert half.recv(1000) == b":2\r\n"
        half.sendall(b"*2\r\n$4\r\nINC")
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1000) == b""


def test_a_client_that_never_reads_is_not_read_for_ever(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with udp_node(f"--resp=127.0.0.1:{port}", data=tmp_path) as (process, _):
        address = ("127.0.0.1", port)
        with client(address) as other:
            until(lambda: answers(other))
            with socket.create_connection(address) as deaf:
                deaf.setblocking(False)
                sent = 0
                try:
                    while sent < 50_000_000:
                        sent += deaf.send(b"*2\r\n$4\r\nECHO\r\n$1000\r\n" + b"x" * 1000 + b"\r\n")
                except BlockingIOError:
                    pass
                assert sent < 50_000_000
                assert other.incr("x") == 1
                assert psutil.Process(process.pid).memory_info().rss < 100_000_000


def test_it_serves_loopback_only() -> None:
    with node_process("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", "--resp=0.0.0.0:7000") as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 2
        assert "--resp-password-file" in stderr


def test_a_busy_port_is_told_in_one_line(door: Address) -> None:
    arguments = ("--name=n2", "--bind=127.0.0.1:0", "--ephemeral", "--resp={}:{}".format(*door))
    with node_process(*arguments) as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 2
        assert "can't serve Redis clients" in stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (b"*", b"", True), (b"", b"", True), (b"", b"x", False), (b"?", b"", False), (b"h?llo", b"hello", True),
        (b"h[ae]llo", b"hallo", True), (b"h[^e]llo", b"hello", False), (b"h[a-c]llo", b"hbllo", True),
        (b"a\\*b", b"a*b", True), (b"a\\*b", b"axb", False), (b"*a*b", b"xaxxb", True), (b"*a*b", b"xaxxbc", False),
        (b"[", b"x", False), (b"[abc", b"a", True), (b"x*", b"x", True),
    ],
)  # fmt: skip
def test_patterns(pattern: bytes, name: bytes, matches: bool) -> None:
    assert bool(commands.matching(pattern)(name)) is matches


GLOBS = st.lists(st.sampled_from([b"a", b"b", b"*", b"?", b"[ab]", b"[^a]", b"[a-b]", b"[]", b"[^]"]), max_size=7)


@given(GLOBS, st.text("abc\n", max_size=7).map(str.encode))
def test_a_pattern_takes_just_what_its_parts_do(parts: list[bytes], name: bytes) -> None:
    def takes(part: bytes, byte: bytes) -> bool:
        sets = {b"?": b"abc\n", b"[ab]": b"ab", b"[a-b]": b"ab", b"[^a]": b"bc\n", b"[]": b"", b"[^]": b"abc\n"}
        return byte in sets.get(part, part)

    def like(parts: list[bytes], name: bytes) -> bool:
        if not parts:
            return not name
        first, *rest = parts
        if first == b"*":
            return any(like(rest, name[at:]) for at in range(len(name) + 1))
        return bool(name) and takes(first, name[:1]) and like(rest, name[1:])

    assert bool(commands.matching(b"".join(parts))(name)) is like(parts, name)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_no_pattern_fails(pattern: bytes, name: bytes) -> None:
    commands.matching(pattern)(name)
    literal = b"".join(b"\\" + bytes([byte]) for byte in name)
    assert commands.matching(b"*" * 20 + literal)(name)
