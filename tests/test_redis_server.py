"""Claim: real Redis clients count over TCP and TLS, and a connection does what its session needs."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from gossip_counter.node.endpoints.redis.server import Address, Connection
from tests.support.redis import INCR_X, Bench, command, served
from tests.support.tls import certificate
from tests.support.waiting import LIMIT_S

PASSWORD = b"s3cret pass"


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with served() as found:
        yield found


def client(address: Address, **options: Any) -> "redis.Redis":
    never = Retry(NoBackoff(), 0)  # what is refused once would be refused again
    return redis.Redis(*address, socket_timeout=LIMIT_S, retry=never, **options)


def connected(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=LIMIT_S)


def received(raw: socket.socket) -> bytes:
    """All that arrives until the end of the connection."""
    data = b""
    while more := raw.recv(65_536):
        data += more
    return data


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_counts_and_understands_every_reply(address: Address, protocol: int) -> None:
    with client(address, protocol=protocol, decode_responses=True) as counter:
        likes, stock = f"likes{protocol}", f"stock{protocol}"
        assert counter.incr(likes) == 1
        assert counter.incr(likes, 5) == 6
        assert counter.decr(stock) == -1
        assert counter.get(likes) == "6"
        assert counter.get("nobody") is None
        assert counter.mget(likes, "nobody", stock) == ["6", None, "-1"]
        assert counter.type(likes) == "string"
        assert sorted(counter.scan_iter(match=f"*{protocol}")) == [likes, stock]
        assert counter.client_setname("me")
        assert counter.client_getname() == "me"
        assert counter.client_info()["name"] == "me"
        assert counter.config_get("databases") == {"databases": "1"}
        assert len(counter.time()) == 2
        assert counter.wait(0, 0) == 0
        described = counter.command()
        assert counter.command_count() == len(described)
        assert described["incr"]["arity"] == 2
        with pytest.raises(redis.ResponseError, match="SET of 'many' is not possible here"):
            counter.set(likes, "many")
        assert counter.pipeline().incr(likes, 0).get(likes).execute() == [6, "6"]
        pipeline = counter.pipeline(transaction=False).incr(likes).get(likes).incrby(stock, 7)
        assert pipeline.execute() == [7, "7", 6]


def test_info_has_what_tools_look_for(address: Address) -> None:
    with client(address) as counter:
        info = counter.info()
        wanted = {"used_memory", "blocked_clients", "uptime_in_seconds", "process_id", "cluster_enabled", "maxclients"}
        assert wanted <= set(info)
        assert info["tcp_port"] == address[1]
        assert info["used_memory"] > 10_000_000
        assert info["connected_clients"] >= 1
        assert info["total_commands_processed"] > 0
        assert info["total_connections_received"] > 0
        assert counter.info("gossip") == counter.info("gossip") | {"name": "n1", "members": 1, "peers_synced": 0}


def test_many_clients_at_once_each_get_another_value(address: Address) -> None:
    async def count() -> list[int]:
        async with redis.asyncio.Redis(host=address[0], port=address[1]) as counter:
            return await asyncio.gather(*(counter.incr("many") for _ in range(50)))

    assert sorted(asyncio.run(count())) == list(range(1, 51))


def test_what_was_sent_before_a_half_close_is_answered(address: Address) -> None:
    with connected(address) as raw:
        raw.sendall(command("INCRBY", "half", "2") + command("GET", "half") + b"*2\r\n$4\r\nINC")
        raw.shutdown(socket.SHUT_WR)
        assert received(raw) == b":2\r\n$1\r\n2\r\n"


def test_quit_closes_the_connection(address: Address) -> None:
    with connected(address) as raw:
        raw.sendall(b"QUIT\r\nPING\r\n")
        assert received(raw) == b"+OK\r\n"


def test_a_client_that_never_reads_is_not_read_for_ever(address: Address) -> None:
    echo = command("ECHO", b"x" * 1000)
    with connected(address) as deaf, client(address) as other:
        deaf.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 50_000_000:
                sent += deaf.send(echo)
        assert other.ping()
        deaf.settimeout(LIMIT_S)
        wanted = len(b"$1000\r\n" + b"x" * 1000 + b"\r\n") * (sent // len(echo))
        while wanted > 0:  # once it reads, everything is answered
            wanted -= len(deaf.recv(2**20))


def test_the_password_opens_and_nothing_else_does() -> None:
    with served(PASSWORD) as address:
        for protocol in (2, 3):
            with client(address, password=PASSWORD.decode(), username="default", protocol=protocol) as friend:
                assert friend.incr(f"x{protocol}") == 1
            for wrong in ({}, {"password": "x"}, {"password": PASSWORD.decode(), "username": "root"}):
                with client(address, protocol=protocol, **wrong) as nobody, pytest.raises(redis.AuthenticationError):
                    nobody.incr("x")


def test_over_tls_and_not_without(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    with served(tls=context) as address:
        with client(address, ssl=True, ssl_ca_certs=str(cert)) as friend:
            assert friend.incr("x") == 1
            pipeline = friend.pipeline(transaction=False)
            for _ in range(1000):
                pipeline.incr("x")
            assert pipeline.execute() == list(range(2, 1002))
        with client(address) as plain, pytest.raises(redis.ConnectionError):
            plain.incr("x")
        with client(address, ssl=True) as nobody, pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
            nobody.incr("x")  # nobody vouches for that certificate
        with client(address, ssl=True, ssl_ca_certs=str(cert)) as friend:
            assert friend.get("x") == b"1001"


# What a connection does with its transport.


class Transport(asyncio.Transport):
    """A socket that notes what becomes of it."""

    def __init__(self, **extra: object) -> None:
        super().__init__(extra)
        self.calls: list[str] = []
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


def made(bench: Bench, **extra: object) -> tuple[Connection, Transport]:
    connection, transport = Connection(bench.scheduler), Transport(**extra)
    connection.connection_made(transport)
    return connection, transport


def test_a_connection_is_read_as_its_session_wants() -> None:
    bench = Bench()
    connection, transport = made(bench)
    connection.data_received(INCR_X + command("GET", "x"))
    assert transport.calls[-1] == "pause"
    bench.settle(3)
    assert (transport.calls[-1], transport.written) == ("resume", b":1\r\n$1\r\n1\r\n")
    connection.pause_writing()
    assert transport.calls[-1] == "pause"
    connection.resume_writing()
    bench.round()
    assert transport.calls[-1] == "resume"
    connection.data_received(b"QUIT\r\n")
    assert transport.calls[-1] in ("close", "resume")
    assert transport.is_closing()


def test_a_connection_that_fails_is_aborted() -> None:
    bench = Bench(node={"names": None})  # so that DBSIZE raises
    connection, transport = made(bench)
    connection.data_received(b"DBSIZE\r\n")
    assert transport.calls[-1] == "abort"
    assert [type(error) for error in bench.errors] == [TypeError]


def test_a_connection_that_is_one_too_many_is_told_so_and_closed() -> None:
    bench = Bench(max_clients=1)
    made(bench)
    connection, transport = made(bench)
    assert (transport.written, transport.calls) == (b"-ERR max number of clients reached\r\n", ["close"])
    connection.connection_lost(None)
    assert len(bench.scheduler.sessions) == 1


def test_a_connection_that_is_lost_is_no_client_any_more() -> None:
    bench = Bench()
    connection, transport = made(bench)
    connection.data_received(INCR_X)
    connection.connection_lost(None)
    bench.settle(3)
    assert transport.written == b""
    assert not bench.scheduler.sessions


@pytest.mark.parametrize(("extra", "stays_open"), [({}, True), ({"ssl_object": object()}, False)])
def test_only_tcp_connections_can_be_half_closed(extra: dict[str, object], stays_open: bool) -> None:
    bench = Bench()
    connection, transport = made(bench, **extra)
    connection.data_received(INCR_X)
    assert connection.eof_received() is stays_open
    assert transport.is_closing() is not stays_open
    bench.settle(3)
    assert transport.written == (b":1\r\n" if stays_open else b"")
    assert transport.is_closing()


def test_a_connection_made_while_nobody_is_read_is_not_read_either() -> None:
    async def live() -> list[str]:
        bench = Bench()
        bench.scheduler.is_paused = True
        _, transport = made(bench)
        await asyncio.sleep(0)  # asyncio begins to read after connection_made
        return transport.calls

    assert asyncio.run(live()) == ["pause"]
