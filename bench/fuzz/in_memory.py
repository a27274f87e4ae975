"""A node without a socket: the real UDP endpoint and replica, whose datagrams are put in and taken out by hand."""

import socket
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import cast

from gossip_counter.bench.fuzz.samples import CLUSTER, CLUSTER_ID, NOW_MS
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Reply
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import Presence
from gossip_counter.node.endpoints.addresses import Sockaddr
from gossip_counter.node.endpoints.udp import UdpClient, UdpEndpoint
from gossip_counter.node.security.sealing import Sealing
from gossip_counter.node.storage import entries

PEERS: dict[str, Sockaddr] = {"n2": ("192.0.2.2", 7002), "n3": ("192.0.2.3", 7003)}
HERE: Sockaddr = ("192.0.2.1", 7001)
MS = 1_000_000
MOST_READIES = 10_000


class MemorySocket:
    """What the endpoint needs of a bound socket."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.arrived = deque[tuple[bytes, Sockaddr]]()
        self.sent: list[tuple[bytes, Sockaddr]] = []

    def recvfrom(self, most: int) -> tuple[bytes, Sockaddr]:
        """As a socket that does not block."""
        if not self.arrived:
            raise BlockingIOError
        datagram, source = self.arrived.popleft()
        return datagram[:most], source

    def sendto(self, datagram: bytes, to: Sockaddr) -> int:
        """As a socket."""
        self.sent.append((datagram, to))
        return len(datagram)

    def getsockname(self) -> Sockaddr:
        """As a socket."""
        return HERE


class InMemory:
    """Node n1 of three. An error that it does not expect is raised."""

    def __init__(self, sealing: Sealing | None = None) -> None:
        config = Config(name="n1", cluster=CLUSTER, peers=tuple(PEERS))
        recovered, presence = Recovered(None, cluster_id=CLUSTER_ID), Presence(("192.0.2.1:7001",), "1.0")
        self.replica = Replica(config, Random(1), 0, recovered, None, presence)
        self.stats = self.replica.stats
        self.socket = MemorySocket()
        bound = cast(socket.socket, self.socket)
        self.udp = UdpEndpoint(bound, {}, config, Random(1), self.stats, self._note, None, sealing)
        for name, address in PEERS.items():
            self.udp.peers.found(name, [address])
        self.replies: list[Reply] = []
        """To clients that are not addresses."""
        self.now_ns = 0
        self.pass_time(0)
        self.replica.begin(0)
        self.advance()

    def receive(self, datagram: bytes, source: Sockaddr) -> None:
        """A datagram arrives, and all that follows from it is done."""
        self.socket.arrived.append((datagram, source))
        now_ns, step = self.now_ns, self.replica.step
        self.udp.receive(
            now_ns, lambda message, client: step(message, client, now_ns), self.replica.refuse, _raised
        )  # fmt: skip
        self.advance()

    def pass_time(self, ns: int) -> None:
        """So much time passes."""
        self.now_ns += ns
        self.replica.set_clock(self.now_ns, NOW_MS + self.now_ns // MS)

    def tick(self) -> None:
        """A round of gossip begins."""
        self.replica.tick(self.now_ns)
        self.advance()

    def advance(self) -> None:
        """Carry out all that is to be done. Commits succeed at once, and are what their entries hold."""
        for _ in range(MOST_READIES):
            ready = self.replica.ready(self.now_ns)
            if ready is None:
                return
            for answer in ready.replies:
                if isinstance(answer.to, tuple):
                    self.udp.reply(cast(UdpClient, answer.to), answer.reply)
                else:
                    self.replies.append(answer.reply)
            self.udp.send_replies()
            for send in ready.sends:
                self.udp.gossip(send)
            if ready.commit:
                _check_entry(ready.commit)
                self.replica.persisted()
        check(False, "there is always something to be done")

    def sent(self) -> Iterable[tuple[bytes, Sockaddr]]:
        """What was sent since this was called before."""
        sent, self.socket.sent = self.socket.sent, []
        return sent

    def _note(self, kind: str, text: str, *args: object) -> None:
        setattr(self.stats, kind, getattr(self.stats, kind) + 1)
        text % args  # what is logged can be formatted


def _raised(error: Exception) -> None:
    raise error


def _check_entry(commit: Commit) -> None:
    """A commit is the same when a journal gives it back."""
    entry = entries.encode(commit)
    check(entries.decode(entry) == commit, "another commit is read than was written:", entry)
