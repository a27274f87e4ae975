"""Claim: the client reports what is known of a request without a reply, and never sends an add twice."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gossip_counter.cluster import key_rings
from gossip_counter.cluster.client import Client, NoAnswerError, NotSentError, OutcomeUnknownError, Reading
from gossip_counter.cluster.ports import free_ports
from gossip_counter.cluster.seals import Keys

NONSENSE: tuple[Any, ...] = ({"in_reply_to": None}, {"in_reply_to": [1]}, {"in_reply_to": {}}, [1], 5)


def with_server(test: Callable[[Client, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Run `test` with a client and the socket it is connected to, which replies only as the test does."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            async with await Client.connect(server.getsockname(), timeout_s=0.2) as client:
                await test(client, server)

    asyncio.run(main())


def received(server: socket.socket) -> list[dict[str, Any]]:
    bodies = []
    while True:
        try:
            bodies.append(msgpack.unpackb(server.recv(65_536)))
        except BlockingIOError:
            return bodies


def test_an_add_without_a_reply_has_an_unknown_outcome_and_is_sent_once() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        with pytest.raises(OutcomeUnknownError, match="unknown"):
            await client.add(5)
        assert [each["delta"] for each in received(server)] == [5]

    with_server(test)


def test_a_delete_without_a_reply_has_an_unknown_outcome_and_is_sent_once() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        with pytest.raises(
            OutcomeUnknownError, match="the outcome of the delete is unknown: it may or may not be done"
        ):
            await client.delete("likes")
        assert [(each["type"], each["counter"]) for each in received(server)] == [("delete", "likes")]

    with_server(test)


async def replied(request: Coroutine[Any, Any, Any], server: socket.socket, **reply: Any) -> tuple[dict[str, Any], Any]:
    """What is sent of a request, and what it comes to with this reply."""
    asking = asyncio.create_task(request)
    datagram, source = await asyncio.get_running_loop().sock_recvfrom(server, 65_536)
    sent = msgpack.unpackb(datagram)
    reply |= {"type": f"{sent['type']}_ok", "in_reply_to": sent.pop("msg_id")}
    server.sendto(msgpack.packb(reply), source)
    return sent, await asking


def test_what_is_sent_of_counters_that_end() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        terms = {"expire_ms": 1500, "expire_if_new": True, "lower": 0, "upper": 9}
        sent, token = await replied(client.add(1, "a", 2, **terms), server, token="t")  # type: ignore[arg-type]
        assert sent == {"type": "add", "delta": 1, "counter": "a", "copies": 2} | terms
        assert token == client.token == "t"
        assert (await replied(client.add(1), server))[0] == {"type": "add", "delta": 1}
        sent, existed = await replied(client.delete("a"), server, existed=True, token="d")
        assert (sent, existed, client.token) == ({"type": "delete", "counter": "a"}, True, "d")
        assert (await replied(client.delete(), server, existed=False))[1] is False
        assert (await replied(client.look("a"), server, value=5, deadline=99))[1] == Reading(5, 99)
        assert (await replied(client.look("a"), server, value=str(2**70)))[1] == Reading(2**70, None)

    with_server(test)


def test_clients_begin_with_ids_of_their_own() -> None:
    """Else an add of a client that is started again on the same port would pass for one that it sent before."""

    async def first_id() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            async with await Client.connect(server.getsockname(), timeout_s=0.01) as client:
                with pytest.raises(OutcomeUnknownError):
                    await client.add(1)
            return int(received(server)[0]["msg_id"])

    assert len({asyncio.run(first_id()) for _ in range(3)}) == 3


def test_a_read_without_a_reply_can_be_asked_again() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        with pytest.raises(NoAnswerError):
            await client.read()
        with pytest.raises(NoAnswerError):
            await client.gossip_status()

    with_server(test)


def test_late_foreign_and_nonsense_replies_are_ignored() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(client.read())
        datagram, source = await loop.sock_recvfrom(server, 65_536)
        asked = msgpack.unpackb(datagram)["msg_id"]
        for reply in (*NONSENSE, {"in_reply_to": asked - 1, "value": 1}, {"type": "add_ok", "in_reply_to": asked}):
            server.sendto(msgpack.packb(reply), source)
        server.sendto(b"\xc1", source)
        for value in (7, 8):
            server.sendto(msgpack.packb({"type": "read_ok", "in_reply_to": asked, "value": value}), source)
        assert await reading == 7

    with_server(test)


def test_an_address_that_nothing_can_be_sent_to() -> None:
    with pytest.raises(NotSentError, match="255"):
        asyncio.run(Client.connect(("255.255.255.255", 7000)))


def test_requests_time_out_one_by_one() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        results = await asyncio.gather(*(client.add(i) for i in range(50)), return_exceptions=True)
        assert all(isinstance(each, OutcomeUnknownError) for each in results)
        with pytest.raises(NoAnswerError):
            await client.read()

    with_server(test)


def test_closing_fails_pending_requests() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        adding = asyncio.create_task(client.add(1))
        await asyncio.get_running_loop().sock_recv(server, 65_536)
        client.close()
        with pytest.raises(OutcomeUnknownError, match="closed"):
            await adding

    with_server(test)


def test_what_msgpack_cannot_encode_is_not_sent() -> None:
    async def test(client: Client, server: socket.socket) -> None:
        for delta, counter in ((2**70, ""), (1, "\ud800")):
            with pytest.raises(NotSentError):
                await client.add(delta, counter)
        assert received(server) == []

    with_server(test)


def test_nobody_listening_is_noticed_at_once() -> None:
    async def main() -> None:
        async with await Client.connect(("127.0.0.1", free_ports(1)[0]), timeout_s=30) as client:
            with pytest.raises(OutcomeUnknownError, match="nobody listens"):
                await client.add(1)
            with pytest.raises(NoAnswerError, match="nobody listens"):
                await client.read()

    asyncio.run(main())


def test_requests_at_once_to_a_sealed_node_share_one_greeting(tmp_path: Path) -> None:
    key_rings.new(tmp_path / "keys")

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            keys = Keys.read(tmp_path / "keys", "likes")
            async with await Client.connect(server.getsockname(), 0.2, keys) as client:
                adds = asyncio.gather(*(client.add(1) for _ in range(100)), return_exceptions=True)
                for _ in range(3):  # turns of the loop: requests are sent, then sealed together
                    await asyncio.sleep(0)
                assert server.recv(65_536)
                with pytest.raises(BlockingIOError):
                    server.recv(65_536)
                assert {type(outcome) for outcome in await adds} == {NotSentError}
                with pytest.raises(NotSentError):  # the greeting may be lost
                    await client.add(1)
                assert server.recv(65_536)

    asyncio.run(main())


class Seal:
    """Seals nothing."""

    def sealed(self, datagram: bytes, _: float) -> bytes:
        return datagram

    def opened(self, datagram: bytes, _: float) -> bytes:
        return datagram


class RefusedOnce:
    """A socket whose first send reports an error of an earlier datagram."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self._is_first = True

    def send(self, datagram: bytes) -> int:
        if self._is_first:
            self._is_first = False
            raise ConnectionRefusedError(111, "Connection refused")
        return self._real.send(datagram)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("seal", [None, Seal()])
def test_an_error_of_an_earlier_datagram_does_not_fail_those_that_are_sent_then(seal: Any) -> None:
    """Nobody may add again what was sent."""

    async def test(client: Client, server: socket.socket) -> None:
        client._socket = RefusedOnce(client._socket)  # type: ignore[assignment]
        client._seal = seal
        adds = [client.add(1, f"{number:0250}") for number in range(3)]
        done = await asyncio.gather(*adds, return_exceptions=True)
        assert len(received(server)) == 3
        assert not any(isinstance(each, NotSentError) for each in done[1:])
        assert all(isinstance(each, OutcomeUnknownError) for each in done[-1:])

    with_server(test)
