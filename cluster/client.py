"""A client of a node's UDP door, for the launcher, the benchmarks and programs of your own.

    async with await Client.connect(("127.0.0.1", 7101)) as counter:
        await counter.add(5)
        print(await counter.read())

An `add` whose answer does not come raises `OutcomeUnknownError`: it may or may not be counted. It is never sent again
behind your back, since this door can't tell a retry from a new add.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.errors import TIMEOUT, BadDatagramError
from gossip_counter.node.core.messages import DEFAULT_COUNTER
from gossip_counter.node.runtime import node as udp
from gossip_counter.node.runtime.node import Address

Status = dict[str, Any]
"""The fields of `gossip_status_ok`."""

BURST = 64


class ClientError(Exception):
    """Anything that keeps a request from being done as asked; its subclasses say what is known."""


class RequestRefusedError(ClientError):
    """The node answered with an error. Nothing has changed. `code` is one of Maelstrom's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"refused with error {code}: {text}")
        self.code = code


class NotSentError(ClientError):
    """The system did not take the request. Nothing has changed."""


class NoAnswerError(ClientError):
    """No answer came in time. The request would have changed nothing: it can be asked again."""


class OutcomeUnknownError(ClientError):
    """No answer to an `add` came in time. It may be counted or not, now or later: adding again could count it twice."""


class _Waiting(NamedTuple):
    reply_type: str
    answer: asyncio.Future[Status]
    deadline: float
    failed: Callable[[str], ClientError]


class Client:
    """One socket connected to one node; any number of requests may be under way at once."""

    def __init__(self, connected: socket.socket, address: Address, timeout_s: float) -> None:
        self.address = address
        self.token: str | None = None
        """What the last answer to an add or a read stands for."""
        self._socket = connected
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        # Not from 0: a late answer to a former client on this port must not be taken for one to us.
        self._last_id = Random().getrandbits(48)
        self._waiting: dict[int, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(connected.fileno(), self._drain)

    @classmethod
    async def connect(cls, address: Address, timeout_s: float = 2.0) -> Self:
        """A client of the node at `address`, whether it is up or not; `timeout_s` bounds the wait for each answer.

        A node keeps an add that wants copies waiting for up to its `wait_ms`, so the timeout should be longer.

        Raises `node.errors.ConfigError` if the address can't be found, `NotSentError` if nothing can be sent there.
        """
        family, *_, sockaddr = udp.resolve(address)
        connected = socket.socket(family, socket.SOCK_DGRAM)
        connected.setblocking(False)
        try:
            connected.connect(sockaddr)
        except OSError as error:
            connected.close()
            raise NotSentError(f"{address[0]}:{address[1]}: {error.strerror}") from None
        return cls(connected, address, timeout_s)

    async def add(self, delta: int, counter: str = DEFAULT_COUNTER, copies: int = 1) -> str | None:
        """Add `delta` (negative: decrement), and return when `copies` members hold it durably.

        The result is a token for all that the node held then: `read` at another node takes it. Raises
        `RequestRefusedError` or `NotSentError` if it was not counted, `OutcomeUnknownError` if nobody can tell.
        """
        body = _named({"type": "add", "delta": delta}, counter)
        reply = await self._ask(body | {"copies": copies} if copies != 1 else body, OutcomeUnknownError)
        self.token = reply.get("token")
        return self.token

    async def read(self, counter: str = DEFAULT_COUNTER, token: str | None = None) -> int:
        """The node's value of a counter, with `token` once it holds all that the token stands for.

        Raises `RequestRefusedError` (code 11 if the node has not caught up in time), `NotSentError`, `NoAnswerError`.
        """
        body = _named({"type": "read"}, counter)
        reply = await self._ask(body if token is None else body | {"token": token}, NoAnswerError)
        self.token = reply.get("token")
        return int(reply["value"])

    async def fault(self, loss: float, cut: Sequence[str]) -> None:
        """Make the node's network worse: lose this share of its gossip, 0 to 1, and cut it off from these peers.

        Only a node started with `--faults` does. Raises `RequestRefusedError`, `NotSentError` or `NoAnswerError`.
        """
        await self._ask({"type": "fault", "loss": loss, "cut": list(cut)}, NoAnswerError)

    async def gossip_status(self, counter: str = DEFAULT_COUNTER) -> Status:
        """How far gossip has come. Raises `RequestRefusedError`, `NotSentError` or `NoAnswerError`."""
        return await self._ask(_named({"type": "gossip_status"}, counter), NoAnswerError)

    def close(self) -> None:
        """Let the socket go; requests under way fail as if their time was up."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        if self._timer:
            self._timer.cancel()
        self._fail_all("the client was closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _ask(self, body: dict[str, Any], failed: Callable[[str], ClientError]) -> Status:
        self._last_id += 1
        msg_id = body["msg_id"] = self._last_id
        try:
            datagram = wire.pack_body(body)
        except (OverflowError, UnicodeEncodeError) as error:
            raise NotSentError(f"can't be put into msgpack: {error}") from None
        self._send(datagram)
        answer: asyncio.Future[Status] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._waiting[msg_id] = _Waiting(f"{body['type']}_ok", answer, deadline, failed)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        try:
            return await answer
        finally:
            self._waiting.pop(msg_id, None)

    def _send(self, datagram: bytes) -> None:
        try:
            try:
                self._socket.send(datagram)
            except ConnectionRefusedError as error:
                # It tells of an earlier datagram; this one was not sent yet.
                self._fail_all(self._refused(error))
                self._socket.send(datagram)
        except OSError as error:
            raise NotSentError(f"{self._where}: {error.strerror}") from None

    def _drain(self) -> None:
        for _ in range(BURST):
            try:
                datagram = self._socket.recv(wire.MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail_all(self._refused(error))
                return
            self._receive(datagram)

    def _receive(self, datagram: bytes) -> None:
        try:
            body = wire.unpack(datagram, "")
        except BadDatagramError:
            return  # not an answer; ours may still come
        if not isinstance(body, dict):
            return
        asked = body.get("in_reply_to")
        waiting = self._waiting.get(asked) if type(asked) is int else None
        if waiting is None or waiting.answer.done():
            return
        if body.get("type") == "error":
            code, text = body.get("code", 0), body.get("text", "")
            unknown = code == TIMEOUT and waiting.failed is OutcomeUnknownError
            waiting.answer.set_exception(OutcomeUnknownError(text) if unknown else RequestRefusedError(code, text))
        elif body.get("type") == waiting.reply_type:
            waiting.answer.set_result(body)

    def _expire(self) -> None:
        """Fail what is overdue. All requests wait equally long, so they stand in the order of their deadlines."""
        self._timer = None
        now = self._loop.time()
        for waiting in list(self._waiting.values()):
            if waiting.deadline > now:
                self._timer = self._loop.call_at(waiting.deadline, self._expire)
                return
            _fail(waiting, f"{self._where} did not answer in {self._timeout_s:g} s")

    def _fail_all(self, why: str) -> None:
        for waiting in self._waiting.values():
            _fail(waiting, why)

    def _refused(self, error: OSError) -> str:
        return f"nobody listens at {self._where} ({error.strerror})"

    @property
    def _where(self) -> str:
        return "{}:{}".format(*self.address)


def _fail(waiting: _Waiting, why: str) -> None:
    if waiting.answer.done():
        return
    if waiting.failed is OutcomeUnknownError:
        why += "; the outcome of the add is unknown: it may or may not be counted"
    waiting.answer.set_exception(waiting.failed(why))


def _named(body: dict[str, Any], counter: str) -> dict[str, Any]:
    if counter != DEFAULT_COUNTER:
        body["counter"] = counter
    return body
