"""The UDP endpoint: one bound socket, datagrams to messages and back.

The socket is read by a plain reader callback in bursts: one datagram per round of the event loop, as asyncio's own
datagram transport reads, costs several times as much at full load. What one burst brings can share a commit. While more
arrives than there is time for, senders take turns; what is no use is not even decoded (`arrivals`, `senders`).
"""

import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain, count, islice
from random import Random
from time import monotonic_ns, thread_time_ns
from typing import TYPE_CHECKING, Any

from gossip_counter.node.codec import datagrams, requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Client, Send
from gossip_counter.node.core.errors import BadDatagramError, RequestError
from gossip_counter.node.core.gossip.messages import (
    Carrier,
    Gossip,
    Join,
    Members,
    Pulled,
    Replicate,
    Syn,
    boot_answered,
    is_answer,
)
from gossip_counter.node.core.messages import Add, Delete, Reply, Request
from gossip_counter.node.core.paths import NARROW_BYTES
from gossip_counter.node.core.recent_writes import RecentWrites, key_of
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.endpoints.addresses import Address, Sockaddr, is_loopback, plain, shown
from gossip_counter.node.endpoints.arrivals import Arrival, Arrivals
from gossip_counter.node.endpoints.asked_address import answers_from_asked_address
from gossip_counter.node.endpoints.envelopes import Envelopes
from gossip_counter.node.endpoints.faults import Faults
from gossip_counter.node.endpoints.peer_addresses import PeerAddresses
from gossip_counter.node.endpoints.proofs import FREE_BYTES, Proofs, free_bytes, is_of_a_proof
from gossip_counter.node.endpoints.routes import Routes
from gossip_counter.node.endpoints.senders import Senders
from gossip_counter.node.endpoints.shared_replies import SharedReplies
from gossip_counter.node.endpoints.socket_errors import why_not_sent
from gossip_counter.node.endpoints.traffic import Traffic
from gossip_counter.node.security.keyring import Keyring

if TYPE_CHECKING:
    from gossip_counter.node.security.sealing import Sealing

UdpClient = tuple[Sockaddr, bytes, bytes]
"""Who sent a datagram: its address, the address of ours that it asked if several are served, and, if the datagram is a
write, what that is recognised by.
"""

Step = Callable[[Request | Gossip, Client], None]
Refuse = Callable[[Client, RequestError], None]

BURST = 128
"""Datagrams read at once. Where there are so many, more are read before any is handled, so that senders take turns."""

READ_NS = 5_000_000
"""For so long they are read then, at the most. What nobody reads the kernel drops, whoever sent it."""

HANDLE_NS = 10_000_000
"""So much CPU time is spent on datagrams before the loop looks at its timers and other clients again.

Time that passes while other processes run does not count: on a busy machine a node would handle one or two datagrams a
round, fall behind with gossip, and answer digests that are long out of date with rows that were sent before.
"""

WRITES = (Add, Delete)
"""Requests that must not be carried out twice."""


class UdpEndpoint:
    """Reads and writes the datagrams of one node. `note(kind, text, *args)` counts and logs what goes wrong.

    A peer is sent nothing until `peers` has its address. With `faults`, anyone may make the network worse. With
    `sealing`, what is not sealed for this process is dropped before anything of it is parsed.
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
        sealing: "Sealing | None" = None,
    ) -> None:
        self.traffic = Traffic(stats)
        self.peers = PeerAddresses(peers)
        self.socket = bound
        self._asked_address = answers_from_asked_address(bound)
        self._routes = Routes(self.peers)
        self.reached_at = ""
        """The address at which a member of our cluster last reached us, as it sees it, if it sent that."""
        self._cluster_number: int | None = None
        """The id of our cluster, as we last sent it. Whoever sends another is no peer, and moves none."""
        self._recent = RecentWrites()
        self._arrivals = Arrivals()
        self._senders = Senders()
        is_trusted = self.peers.are_listed_at if sealing is None else lambda _: True
        self._proofs = Proofs(secrets.token_bytes(), is_trusted, self.peers.are_at)
        self._boot = 0
        """This process's boot id, once it has sent it: whoever sends it back answers this process."""
        self._config = config
        self._rng = rng
        self._stats = stats
        self._note = note
        self._faults = faults
        self._envelopes = Envelopes(sealing, note, self.traffic.note)
        self._reply_ids = count()
        self._shared_replies = SharedReplies(self._send)

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return host, port

    @property
    def fileno(self) -> int:
        """To be watched by the event loop: while it is readable, `receive` has something to do."""
        return self.socket.fileno()

    def use_keys(self, ring: Keyring) -> None:
        """Seal and open with these keys from now on."""
        self._envelopes.use(ring)

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        self.peers.forget(peer)
        self._routes.forget(peer)

    def at(self, now_ns: int) -> None:
        """It is that time now: bounds of what is read and sent in a time begin anew. To be called in each tick, too."""
        self._senders.at(now_ns)
        self._proofs.at(now_ns)

    # Receiving.

    def receive(
        self,
        now_ns: int,
        step: Step,
        refuse: Refuse,
        unexpected: Callable[[Exception], None],
    ) -> bool:
        """Read a burst. Each message goes to `step`, each malformed request to `refuse`; whatever one of these raises
        goes to `unexpected`, and the next datagram is read. `now_ns` is monotonic time.

        Returns whether there was no time for some of them: then it is to be called again, though nothing new arrives.
        """
        began_ns, waiting = monotonic_ns(), self._arrivals
        self.at(now_ns)
        arrived = self._read()
        if waiting or len(arrived) == BURST:
            self._wait(arrived)
            while len(arrived) == BURST and monotonic_ns() < began_ns + READ_NS:
                arrived = self._read()
                self._wait(arrived)
            arrived = []
        began_ns, until_ns = monotonic_ns(), thread_time_ns() + HANDLE_NS
        for handled, arrival in enumerate(chain(arrived, iter(waiting.take, None)), 1):
            self._handle(arrival, now_ns, step, refuse, unexpected)
            # The second clock takes a call of the system, and is never ahead of the first.
            if monotonic_ns() >= began_ns + HANDLE_NS and thread_time_ns() >= until_ns:
                self._wait(arrived[handled:])
                break
        return len(waiting) > 0

    def _read(self) -> list[Arrival]:
        """A burst, without datagrams of those that are not read in this period."""
        arrived, asked, senders = list[Arrival](), b"", self._senders
        for _ in range(BURST):
            try:
                if self._asked_address:
                    datagram, source, asked = self._asked_address.receive(datagrams.MAX_DATAGRAM_BYTES)
                else:
                    datagram, source = self.socket.recvfrom(datagrams.MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self._note("receive_errors", "receiving: %s", error)
                break
            if senders.has_shed and senders.is_shed(source):
                self.traffic.dropped("worthless_dropped", datagram)
            else:
                arrived.append((datagram, source, asked))
        return arrived

    def _wait(self, arrived: list[Arrival]) -> None:
        """Let these wait for their turn."""
        for arrival in arrived:
            if not self._arrivals.put(arrival, self.peers.are_at(arrival[1])):
                self.traffic.dropped("overload_dropped", arrival[0])

    def _handle(
        self, arrival: Arrival, now_ns: int, step: Step, refuse: Refuse, unexpected: Callable[[Exception], None]
    ) -> None:
        datagram, source, asked = arrival
        if self._senders.has_shed and self._senders.is_shed(source):
            self.traffic.dropped("worthless_dropped", datagram)
            return
        try:
            self._receive(datagram, (source, asked, b""), now_ns, step, refuse)
        except Exception as error:  # noqa: BLE001 the receive loop outlives every datagram
            unexpected(error)

    def _receive(self, datagram: bytes, client: UdpClient, now_ns: int, step: Step, refuse: Refuse) -> None:
        if is_of_a_proof(datagram) and not self._envelopes.are_sealed:
            self._receive_proof(datagram, client)
            return
        content = self._envelopes.opened(datagram, client[0], client[1], self._send_as_is)
        if content is None:
            self.traffic.came("sealed", datagram)
            if not (self._envelopes.proves(client[0]) or self.peers.are_at(client[0])):
                self._senders.was_worthless(client[0])
        elif self._envelopes.proves(client[0]):
            for number, message in enumerate(datagrams.split(content)):
                self._receive_content(message, None if number else datagram, client, now_ns, step, refuse)
        else:
            self._receive_content(content, datagram, client, now_ns, step, refuse)

    def _receive_proof(self, datagram: bytes, client: UdpClient) -> None:
        source, asked, _ = client
        self.traffic.came("proof", datagram)
        if answer := self._proofs.receive(datagram, source):
            self._send_as_is(answer, source, asked, "proof")
        if not self.peers.are_at(source):
            self._senders.was_worthless(source)

    def _receive_content(
        self, content: bytes, datagram: bytes | None, client: UdpClient, now_ns: int, step: Step, refuse: Refuse
    ) -> None:
        """Take a message; None if its datagram is counted already, with another message in it."""
        try:
            message = self._unpack(content, datagram)
            is_admitted = self._proofs.came(client[0], len(content))
            if not isinstance(message, dict):
                if not (self._faults and message.sender in self._faults.cut):
                    self._heard_from(message, client)
                    # Which of our addresses was asked makes it no other process.
                    step(message, (client[0], b"", b""))
            elif not is_admitted:
                self._stats.answers_withheld += 1
            elif not self._took_fault(message, client):
                request = requests.parse(message)
                if isinstance(request, WRITES):
                    self._write(request, content, client, now_ns, step)
                else:
                    step(request, client)
        except datagrams.OtherClusterError as error:
            self._senders.was_worthless(client[0])
            self._note("foreign_gossip", "%s from %s", error, shown(client[0]))
        except BadDatagramError as error:
            self._senders.was_worthless(client[0])
            self._note("bad_input", "%s from %s", error, shown(client[0]))
        except RequestError as error:
            if error.msg_id is None:
                self._senders.was_worthless(client[0])
                self._note("bad_input", "%s from %s", error, shown(client[0]))
            else:
                refuse(client, error)

    def _heard_from(self, message: Gossip, client: UdpClient) -> None:
        source, asked, _ = client
        answered = boot_answered(message)
        if answered and answered == self._boot:
            if self._proofs.is_proven(source):
                self.peers.answered(message.sender, source)
            elif message.sender in self.peers:
                self._ask_for_proof(source, asked)
        if not self.peers.are_at(source):
            self._senders.was_worthless(source)
        is_ours = message.cluster_id is not None and message.cluster_id.number == self._cluster_number
        is_proven = self._envelopes.proves(source)
        is_trusted = is_ours and (is_proven or is_loopback(source[0]))
        self.peers.heard_from(message.sender, source, is_answer(message), is_ours, is_trusted)
        if isinstance(message, Members) and is_ours and message.sender in self.peers:
            self.reached_at = message.sent_to
        # One that has not our cluster's id can only get it there: at its address, or elsewhere if that is silent.
        is_found = source == self.peers.current(message.sender) or (is_proven and message.sender in self.peers.silent)
        self._routes.heard(message.sender, source, asked, (is_trusted or is_found) and isinstance(message, Syn))

    def _write(self, write: Add | Delete, datagram: bytes, client: UdpClient, now_ns: int, step: Step) -> None:
        """Take a write, unless it has come before: then the reply that it got is sent again, once there is one."""
        source, asked, _ = client
        key = key_of(datagram, source, asked)
        client = (source, asked, key)
        reply = self._recent.arrived(key, now_ns)
        if reply is None:
            step(write, client)
            return
        self._stats.repeated_adds += 1
        if reply:
            self._send(reply, source, asked)

    def _unpack(self, content: bytes, datagram: bytes | None) -> dict[Any, Any] | Gossip:
        kind = "unreadable"
        try:
            message = datagrams.unpack(content, self._config.cluster)
            kind = "request" if isinstance(message, dict) else type(message).__name__.lower()
            return message
        finally:
            self.traffic.came(kind, datagram)

    def _took_fault(self, body: requests.Body, client: UdpClient) -> bool:
        if not self._faults or body.get("type") != "fault":
            return False
        reply = {"type": "fault_ok", "in_reply_to": self._faults.set(body), "msg_id": next(self._reply_ids)}
        self._send(datagrams.pack_reply(reply), *client[:2])
        return True

    # Sending.

    def reply(self, to: UdpClient, reply: Reply) -> None:
        """Send a reply, with the next number of this endpoint."""
        source, asked, write = to
        datagram = datagrams.pack_reply(requests.reply_body(reply, next(self._reply_ids)))
        if write:
            self._recent.replied(write, datagram)
        if self._envelopes.proves(source):
            self._shared_replies.put(datagram, source, asked)
        else:
            self._send(datagram, source, asked)

    def send_replies(self) -> None:
        """Send the replies that wait for others: there are no more now."""
        self._shared_replies.send_all()

    def gossip(self, send: Send) -> None:
        """Send gossip, in as many datagrams as it takes."""
        message = send.message
        self._cluster_number = message.cluster_id.number if message.cluster_id else None
        packed = self._packed(message, send)
        if isinstance(message, Replicate):
            # A burst may overrun the receiver's buffer; in random order, it is not always the same rows that are lost.
            packed = list(packed)
            self._rng.shuffle(packed)
        kind = type(message).__name__.lower()
        carries_rows = isinstance(message, Carrier) and bool(message.deltas)
        for peer in send.to:
            if isinstance(message, Syn | Replicate | Join) and isinstance(peer, str):
                self.peers.round_begins(peer)
                self._boot = message.boot if isinstance(message, Syn) else self._boot
            address, asked = self._routes.to(peer, message)
            if address is None:
                continue
            if isinstance(message, Members):
                packed = self._packed(replace(message, sent_to=plain(address)), send)
            free = free_bytes(message, isinstance(peer, str))
            # One greeting is enough.
            for datagram in islice(packed, None if self._envelopes.knows(address) else 1):
                if self._faults and isinstance(peer, str) and self._faults.stop(peer):
                    continue
                if not self._send(datagram, address, asked, kind, free):
                    self._ask_for_proof(address, asked)
                    break
                self._stats.row_bytes_out += carries_rows * len(datagram)

    def _packed(self, message: Gossip, send: Send) -> Iterable[bytes]:
        """The datagrams of a message; those of a long answer are made while they are sent."""
        budget, most = send.bounds(self._config)
        if isinstance(message, Members) and message.boot:
            budget = min(budget, NARROW_BYTES)  # as the Join that it answers
        pack = datagrams.stream_gossip if isinstance(message, Pulled) else datagrams.pack_gossip
        return pack(message, self._config.cluster, budget - self._envelopes.overhead, most)

    def _ask_for_proof(self, address: Sockaddr, asked: bytes) -> None:
        """Ask who is at an address that is not proven to receive there."""
        question = self._proofs.question(address)
        if self._proofs.may_send(address, len(question), FREE_BYTES):
            self._send_as_is(question, address, asked, "proof")

    def _send(self, content: bytes, to: Sockaddr, asked: bytes, kind: str = "reply", free: int = FREE_BYTES) -> bool:
        """Send, unless so much has gone to an unproven address already: `free` bytes beyond what came from there."""
        if not self._proofs.may_send(to, len(content), free):
            self._stats.answers_withheld += 1
            return False
        self._send_as_is(self._envelopes.sealed(content, to), to, asked, kind)
        return True

    def _send_as_is(self, datagram: bytes, to: Sockaddr, asked: bytes, kind: str = "challenge") -> None:
        try:
            if asked and self._asked_address:
                self._asked_address.send(datagram, to, asked)
            else:
                self.socket.sendto(datagram, to)
        except OSError as error:
            self._note("send_errors", "sending %d bytes to %s: %s", len(datagram), shown(to), why_not_sent(error))
            return
        self.traffic.left(kind, datagram)
