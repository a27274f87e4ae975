"""A client of a node's UDP endpoint, for programs of your own, the commands and the benchmarks.

    async with await Client.connect(("127.0.0.1", 7101)) as counter:
        await counter.add(5)
        print(await counter.read())

An `add` that gets no reply raises `OutcomeUnknownError`: it may be counted or not. The client never sends it again by
itself, because a node can't tell a retry from a new add. The same goes for a `delete`.
"""

import asyncio
import socket
from collections.abc import Callable, Container, Sequence
from itertools import islice
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.errors import TIMEOUT, BadDatagramError
from gossip_counter.node.core.messages import DEFAULT_COUNTER
from gossip_counter.node.endpoints.addresses import Address, resolve

if TYPE_CHECKING:
    from gossip_counter.cluster.seals import ClientSeal, Keys

__all__ = [
    "Client",
    "ClientError",
    "NoAnswerError",
    "NotSentError",
    "OutcomeUnknownError",
    "Reading",
    "RequestRefusedError",
    "Status",
]

Status = dict[str, Any]
"""The fields of a `gossip_status_ok` reply by name."""

_SUMS = ("local_value", "increments", "decrements", "counted")
"""Fields of a status that are sums over nodes. One beyond 64 bits arrives as a string of its digits."""

BURST = 64
"""Datagrams read before other tasks run again."""


class ClientError(Exception):
    """A request was not done as asked. The subclasses say what is known of its outcome."""


class RequestRefusedError(ClientError):
    """The node replied with an error. Nothing has changed.

    `code` is one of Maelstrom's (`node.core.errors`), `text` is what is wrong.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"refused with error {code}: {text}")
        self.code = code
        self.text = text


class NotSentError(ClientError):
    """The request was not sent: the system refused, or a sealed node did not answer a greeting. Nothing has changed."""


class NoAnswerError(ClientError):
    """No reply came in time. The request changes nothing, so it can be sent again."""


class OutcomeUnknownError(ClientError):
    """No reply to an `add` or a `delete` came in time. It may be done or not, now or later.

    A second add could count it twice, a second delete take away what was added after the first.
    """


class Reading(NamedTuple):
    """A counter at one node."""

    value: int
    deadline_ms: int | None
    """When it ends, in Unix milliseconds; None: never."""


class _Pending(NamedTuple):
    """A request without a reply yet. `error` makes what is raised if none comes."""

    reply_type: str
    reply: asyncio.Future[Status]
    deadline: float
    error: Callable[[str], ClientError]


class Client:
    """One socket connected to one node. Any number of requests may be pending at once."""

    def __init__(
        self, connected: socket.socket, address: Address, timeout_s: float, seal: "ClientSeal | None" = None
    ) -> None:
        self.address = address
        self.token: str | None = None
        """The causal token of the last reply to an add, a delete or a read; None if the node gave none."""
        self._socket = connected
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        # Not from 0: a late reply to an earlier client on this port must not match a request of this one.
        self._last_id = Random().getrandbits(48)
        self._pending: dict[int, _Pending] = {}
        """By message id, in the order of their deadlines: all requests wait equally long."""
        self._seal = seal
        self._unsent: dict[int, bytes] = {}
        """By message id, requests that wait for others to be sealed with, or for the node's answer to a greeting."""
        self._is_sending = False
        """Whether they are sent once this client's other tasks had their turn."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(connected.fileno(), self._drain)

    @classmethod
    async def connect(cls, address: Address, timeout_s: float = 2.0, keys: "Keys | None" = None) -> Self:
        """A client of the node at `address`, whether it is up or not. `timeout_s` limits the wait for each reply.

        With `keys` (`seals.Keys.read`) requests are sealed; the nodes must have the same keys.
        An add with copies waits at the node for up to its `wait_ms`, so the timeout should be longer than that.

        Raises `node.core.errors.ConfigError` if the address can't be resolved, `NotSentError` if it can't be sent to.
        """
        family, sockaddr = resolve(address)
        connected = socket.socket(family, socket.SOCK_DGRAM)
        connected.setblocking(False)
        try:
            connected.connect(sockaddr)
        except OSError as error:
            connected.close()
            raise NotSentError(f"{address[0]}:{address[1]}: {error.strerror}") from None
        return cls(connected, address, timeout_s, _seal(keys) if keys else None)

    async def add(
        self,
        delta: int,
        counter: str = DEFAULT_COUNTER,
        copies: int = 1,
        *,
        expire_ms: int | None = None,
        expire_if_new: bool = False,
        lower: int | None = None,
        upper: int | None = None,
    ) -> str | None:
        """Add `delta` (negative: decrement). Returns when `copies` members, this node included, store it durably.

        With `expire_ms` the counter ends so many milliseconds from now; with `expire_if_new` only if it has no deadline
        yet. `lower` and `upper` bound the value after the add, as far as the node knows it.

        The result is a causal token: a `read` with it at any node sees this add. None if the node gives no tokens.
        Raises `RequestRefusedError` (code 22 if the value would leave its bounds) or `NotSentError` if it was not
        counted, `OutcomeUnknownError` if that is unknown.
        """
        terms = {"expire_ms": expire_ms, "lower": lower, "upper": upper}
        terms |= {"copies": copies if copies != 1 else None, "expire_if_new": expire_if_new or None}
        given = {name: each for name, each in terms.items() if each is not None}
        reply = await self.request(_named({"type": "add", "delta": delta}, counter) | given, OutcomeUnknownError)
        self.token = reply.get("token")
        return self.token

    async def delete(self, counter: str = DEFAULT_COUNTER) -> bool:
        """Take away all that the node stores of a counter, once that is durable; whether there was such a counter.

        What the node has not received yet stays. Raises as `add` does.
        """
        reply = await self.request(_named({"type": "delete"}, counter), OutcomeUnknownError)
        self.token = reply.get("token")
        return bool(reply["existed"])

    async def read(self, counter: str = DEFAULT_COUNTER, token: str | None = None) -> int:
        """The node's value of a counter. With a `token`, the node waits until it stores all that the token covers.

        Raises `RequestRefusedError` (code 11 if it does not in time), `NotSentError`, `NoAnswerError`.
        """
        return (await self.look(counter, token)).value

    async def look(self, counter: str = DEFAULT_COUNTER, token: str | None = None) -> Reading:
        """As `read`, with the time at which the counter ends."""
        body = _named({"type": "read"}, counter)
        reply = await self.request(body if token is None else body | {"token": token}, NoAnswerError)
        self.token = reply.get("token")
        return Reading(int(reply["value"]), reply.get("deadline"))

    async def fault(self, loss: float, cut: Sequence[str]) -> None:
        """Make the node drop this share of its gossip, 0 to 1, and all gossip from and to these peers.

        The node must run with `--faults`. Raises `RequestRefusedError`, `NotSentError` or `NoAnswerError`.
        """
        await self.request({"type": "fault", "loss": loss, "cut": list(cut)}, NoAnswerError)

    async def gossip_status(self, counter: str = DEFAULT_COUNTER) -> Status:
        """The node's status, with its value of `counter`.

        Raises `RequestRefusedError`, `NotSentError` or `NoAnswerError`.
        """
        status = await self.request(_named({"type": "gossip_status"}, counter), NoAnswerError)
        return status | {name: int(status[name]) for name in _SUMS if name in status}

    async def members(self) -> list[Status]:
        """The members as this node knows them, those that left or were removed included."""
        listed, after, more = list[Status](), "", True
        while more:
            page = await self.request({"type": "members", "after": after})
            listed += page["listed"]
            more, after = page["more"], listed[-1]["name"]
        return listed

    async def leave(self) -> list[str]:
        """Let the node leave its cluster. It may take 20 s. Raises `RequestRefusedError` if it stays a member.

        Names members that did not confirm that they store all that it did, 30 at most; at least one has confirmed.
        """
        return list((await self.request({"type": "leave"})).get("unconfirmed", ()))

    async def remove(self, name: str) -> None:
        """Remove another member, which is gone for good. Raises `RequestRefusedError`."""
        await self.request({"type": "remove", "name": name})

    def close(self) -> None:
        """Close the socket. Pending requests fail as if their time was up."""
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

    async def request(self, body: dict[str, Any], error: Callable[[str], ClientError] = NoAnswerError) -> Status:
        """Send a request of any type and return the body of its reply. `error` makes what is raised if none comes.

        Raises `RequestRefusedError`, `NotSentError`, or what `error` makes.
        """
        self._last_id += 1
        msg_id = self._last_id
        try:
            datagram = wire.pack_body(body | {"msg_id": msg_id})
        except OverflowError:
            raise NotSentError("a number of more than 64 bits can't be sent") from None
        except UnicodeEncodeError:
            raise NotSentError("text with a lone surrogate, which is no UTF-8, can't be sent") from None
        self._send_request(msg_id, datagram)
        reply: asyncio.Future[Status] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._pending[msg_id] = _Pending(f"{body['type']}_ok", reply, deadline, error)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        try:
            return await reply
        finally:
            self._pending.pop(msg_id, None)
            self._unsent.pop(msg_id, None)

    def _send_request(self, msg_id: int, datagram: bytes) -> None:
        """Send a request. To be sealed it waits for those of other tasks: sealing costs as much as all else."""
        if self._seal is None:
            self._send(datagram)
            return
        self._unsent[msg_id] = datagram
        if not self._is_sending:
            self._is_sending = True
            self._loop.call_soon(self._seal_waiting)

    def _seal_waiting(self) -> None:
        """Send what waits, or, if the node is not known, a greeting: all waits for the answer to that."""
        self._is_sending = False
        while self._unsent and self._seal:
            first = wire.sharing(self._unsent.values())
            ids = list(islice(self._unsent, len(first)))
            sealed = self._seal.sealed(wire.joined(first), self._loop.time())
            if not sealed:
                self._send_for(list(self._unsent), self._seal.greeting())
                return
            self._send_for(ids, sealed)
            for each in ids:
                del self._unsent[each]

    def _send_for(self, ids: list[int], datagram: bytes) -> None:
        try:
            self._send(datagram)
        except NotSentError as error:
            for each in ids:
                if not self._pending[each].reply.done():
                    self._pending[each].reply.set_exception(error)

    def _send(self, datagram: bytes) -> None:
        try:
            try:
                self._socket.send(datagram)
            except ConnectionRefusedError as error:
                # The error is about an earlier datagram. This one was not sent.
                self._fail_all(self._refused(error), but=self._unsent)
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
        if self._seal:
            content = self._seal.opened(datagram, self._loop.time())
            if content is None:
                return
            self._seal_waiting()
            for reply in wire.split(content):
                self._take(reply)
        else:
            self._take(datagram)

    def _take(self, reply: bytes) -> None:
        try:
            body = wire.unpack(reply, "")
        except BadDatagramError:
            return  # not a reply; ours may still come
        if not isinstance(body, dict):
            return
        msg_id = body.get("in_reply_to")
        pending = self._pending.get(msg_id) if type(msg_id) is int else None
        if pending is None or pending.reply.done():
            return
        if body.get("type") == "error":
            code, text = body.get("code", 0), body.get("text", "")
            is_unknown = code == TIMEOUT and pending.error is OutcomeUnknownError
            pending.reply.set_exception(OutcomeUnknownError(text) if is_unknown else RequestRefusedError(code, text))
        elif body.get("type") == pending.reply_type:
            pending.reply.set_result(body)

    def _expire(self) -> None:
        """Fail requests that are overdue, and set the timer for the next one."""
        self._timer = None
        now = self._loop.time()
        for msg_id, pending in list(self._pending.items()):
            if pending.deadline > now:
                self._timer = self._loop.call_at(pending.deadline, self._expire)
                return
            keys = "; has its cluster the same keys and the same name?" if msg_id in self._unsent else ""
            self._fail(msg_id, f"{self._where} did not answer in {self._timeout_s:g} s{keys}")

    def _fail_all(self, why: str, but: Container[int] = ()) -> None:
        for msg_id in self._pending:
            if msg_id not in but:
                self._fail(msg_id, why)

    def _fail(self, msg_id: int, why: str) -> None:
        pending = self._pending[msg_id]
        if pending.reply.done():
            return
        if msg_id in self._unsent:
            pending.reply.set_exception(NotSentError(why))
            return
        if pending.error is OutcomeUnknownError:
            request = pending.reply_type.removesuffix("_ok")
            done = "counted" if request == "add" else "done"
            why += f"; the outcome of the {request} is unknown: it may or may not be {done}"
        pending.reply.set_exception(pending.error(why))

    def _refused(self, error: OSError) -> str:
        return f"nobody listens at {self._where} ({error.strerror})"

    @property
    def _where(self) -> str:
        return "{}:{}".format(*self.address)


def _seal(keys: "Keys") -> "ClientSeal":
    # Half the start-up of a command, for those who have keys.
    from gossip_counter.cluster.seals import ClientSeal  # noqa: PLC0415

    return ClientSeal(keys)


def _named(body: dict[str, Any], counter: str) -> dict[str, Any]:
    """The default counter's name is left out, as in the seed protocol."""
    return body if counter == DEFAULT_COUNTER else body | {"counter": counter}
