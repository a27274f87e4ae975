"""The UDP endpoint: one bound socket, datagrams to messages and back.

The socket is read by a plain reader callback in bursts: one datagram per round of the event loop, as asyncio's own
datagram transport reads, costs several times as much at full load. What one burst brings can share a commit.
"""

import contextlib
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import count
from random import Random
from typing import cast

from gossip_counter.node.codec import datagrams, requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Client, Send
from gossip_counter.node.core.errors import BadDatagramError, ConfigError, RequestError
from gossip_counter.node.core.messages import Carrier, Gossip, Replicate, Reply, Request
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.endpoints.faults import Faults
from gossip_counter.node.endpoints.listening import why_not

Address = tuple[str, int]
"""Host and port."""

Traffic = dict[tuple[str, str], list[int]]
"""By direction (in, out) and kind of message: datagrams and bytes."""

BURST = 128
"""Datagrams read before the loop looks at its timers again."""

RECEIVE_BUFFER_BYTES = 4 * 2**20
"""Asked of the kernel, which may grant less: room for a burst while a tick is under way."""


class UdpEndpoint:
    """Reads and writes the datagrams of one node. `note(kind, text, *args)` counts and logs what goes wrong.

    With `faults`, anyone may make the network worse.
    """

    def __init__(
        self,
        bound: socket.socket,
        peers: Mapping[str, Address],
        config: Config,
        rng: Random,
        stats: Stats,
        note: Callable[..., None],
        faults: Faults | None = None,
    ) -> None:
        self.traffic: Traffic = defaultdict(lambda: [0, 0])
        self._socket = bound
        self._peers = peers
        self._config = config
        self._rng = rng
        self._stats = stats
        self._note = note
        self._faults = faults
        self._reply_ids = count()

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def fileno(self) -> int:
        """To be watched by the event loop: while it is readable, `receive` has something to do."""
        return self._socket.fileno()

    # Receiving.

    def receive(
        self,
        step: Callable[[Request | Gossip, Client], None],
        refuse: Callable[[Client, RequestError], None],
        unexpected: Callable[[Exception], None],
    ) -> None:
        """Read a burst. Each message goes to `step`, each malformed request to `refuse`; whatever one of these raises
        goes to `unexpected`, and the next datagram is read.
        """
        for _ in range(BURST):
            try:
                datagram, source = self._socket.recvfrom(datagrams.MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._note("receive_errors", "receiving: %s", error)
                return
            try:
                self._receive(datagram, source, step, refuse)
            except Exception as error:  # noqa: BLE001 the receive loop outlives every datagram
                unexpected(error)

    def _receive(
        self,
        datagram: bytes,
        source: Address,
        step: Callable[[Request | Gossip, Client], None],
        refuse: Callable[[Client, RequestError], None],
    ) -> None:
        try:
            message = self._unpack(datagram)
            if not isinstance(message, Mapping):
                if not (self._faults and message.sender in self._faults.cut):
                    step(message, source)
            elif not self._took_fault(message, source):
                step(requests.parse(message), source)
        except datagrams.OtherClusterError as error:
            self._note("foreign_gossip", "%s from %s:%d", error, *source[:2])
        except BadDatagramError as error:
            self._note("bad_input", "%s from %s:%d", error, *source[:2])
        except RequestError as error:
            if error.msg_id is None:
                self._note("bad_input", "%s from %s:%d", error, *source[:2])
            else:
                refuse(source, error)

    def _unpack(self, datagram: bytes) -> requests.Body | Gossip:
        kind = "unreadable"
        try:
            message = datagrams.unpack(datagram, self._config.cluster)
            kind = "request" if isinstance(message, Mapping) else type(message).__name__.lower()
            return message
        finally:
            self._stats.datagrams_in += 1
            self._stats.bytes_in += len(datagram)
            self._count("in", kind, datagram)

    def _took_fault(self, body: requests.Body, source: Address) -> bool:
        if not self._faults or body.get("type") != "fault":
            return False
        reply = {"type": "fault_ok", "in_reply_to": self._faults.set(body), "msg_id": next(self._reply_ids)}
        self._send(datagrams.pack_reply(reply), source)
        return True

    # Sending.

    def reply(self, to: Address, reply: Reply) -> None:
        """Send a reply, with the next number of this endpoint."""
        self._send(datagrams.pack_reply(requests.reply_body(reply, next(self._reply_ids))), to)

    def gossip(self, send: Send) -> None:
        """Send gossip, in as many datagrams as it takes."""
        config, message = self._config, send.message
        packed = datagrams.pack_gossip(message, config.cluster, config.datagram_bytes, config.exchange_datagrams)
        if isinstance(message, Replicate):
            # A burst may overrun the receiver's buffer; in random order, it is not always the same rows that are lost.
            self._rng.shuffle(packed)
        kind = type(message).__name__.lower()
        carries_rows = isinstance(message, Carrier) and bool(message.deltas)
        for peer in send.to:
            address = self._peers[peer] if isinstance(peer, str) else cast(Address, peer)
            for datagram in packed:
                if self._faults and isinstance(peer, str) and self._faults.stop(peer):
                    continue
                self._send(datagram, address, kind)
                self._stats.row_bytes_out += carries_rows * len(datagram)

    def _send(self, datagram: bytes, to: Address, kind: str = "reply") -> None:
        try:
            self._socket.sendto(datagram, to)
        except OSError as error:
            self._note("send_errors", "sending to %s: %s", to, error)
            return
        self._count("out", kind, datagram)
        self._stats.datagrams_out += 1
        self._stats.bytes_out += len(datagram)

    def _count(self, direction: str, kind: str, datagram: bytes) -> None:
        counts = self.traffic[direction, kind]
        counts[0] += 1
        counts[1] += len(datagram)


def bind(address: Address) -> socket.socket:
    """A socket bound to `address`, which nobody else may share. Raises `ConfigError` that says why not."""
    family, *_, sockaddr = resolve(address)
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.bind(sockaddr)
    except OSError as error:
        bound.close()
        raise ConfigError(f"can't bind {address[0]}:{address[1]}: {why_not(error)}") from None
    bound.setblocking(False)
    with contextlib.suppress(OSError):  # a wish, not a need
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return bound


def resolve(address: Address, family: int = 0) -> tuple[int, int, int, str, Address]:
    """What the system makes of a host and a port, as `getaddrinfo` gives it. Raises `ConfigError`."""
    try:
        found = socket.getaddrinfo(*address, family=family, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"can't find the address {address[0]}:{address[1]}: {why_not(error)}") from None
    return cast(tuple[int, int, int, str, Address], found[0])
