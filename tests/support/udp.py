"""The UDP endpoint of a replica on a real socket, driven by hand: the test is the clock and the disk."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import msgpack

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.addresses import Address, Sockaddr, bind
from gossip_counter.node.endpoints.udp import UdpEndpoint
from gossip_counter.node.security.sealing import Sealing
from tests.support.replica import CLUSTER_ID


class UdpNode:
    """Node n1 of cluster c. What it notes is in `noted`."""

    def __init__(self, bound: socket.socket, peers: dict[str, Address], seal: Sealing | None = None) -> None:
        config = Config(name="n1", cluster="c", peers=tuple(peers))
        self.noted: list[str] = []
        self.replica = Replica(config, Random(1), 0, Recovered(None, cluster_id=CLUSTER_ID))
        self.udp = UdpEndpoint(bound, peers, config, Random(1), self.replica.stats, self._note, None, seal)
        self.port = self.udp.address[1]

    def _note(self, kind: str, text: str, *args: object) -> None:
        setattr(self.replica.stats, kind, getattr(self.replica.stats, kind) + 1)
        self.noted.append(f"{kind}: {text % args}")

    def receive(self, now_ns: int = 0) -> None:
        """Read what has arrived, and do all that follows from it but commits."""
        step = lambda message, client: self.replica.step(message, client, now_ns)  # noqa: E731
        while self.udp.receive(now_ns, step, *self._refuse):
            pass
        self.advance(now_ns)

    @property
    def _refuse(self) -> tuple[Any, Any]:
        return self.replica.refuse, self._unexpected

    def _unexpected(self, error: Exception) -> None:
        raise error

    def persisted(self, error: str | None = None, now_ns: int = 0) -> None:
        """The commit that is under way has succeeded, or failed."""
        self.replica.persisted(error)
        self.advance(now_ns)

    def advance(self, now_ns: int = 0) -> None:
        """Send what is to be sent."""
        while ready := self.replica.ready(now_ns):
            for answer in ready.replies:
                self.udp.reply(answer.to, answer.reply)  # type: ignore[arg-type]
            self.udp.send_replies()
            for send in ready.sends:
                self.udp.gossip(send)


@contextmanager
def udp_endpoint(host: str = "127.0.0.1", seal: Sealing | None = None, **peers: Address) -> Iterator[UdpNode]:
    """A node bound to a free port of `host`; with `seal`, its datagrams are sealed."""
    with bind((host, 0)) as bound:
        yield UdpNode(bound, peers, seal)


@contextmanager
def asking(address: Sockaddr) -> Iterator[socket.socket]:
    """A client's socket that gets datagrams from this address only."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.connect(address)
        client.setblocking(False)
        yield client


def send(client: socket.socket, msg_id: int = 1, **body: Any) -> None:
    """Send an add, unless `body` has another type."""
    client.send(msgpack.packb({"type": "add", "delta": 5, "msg_id": msg_id} | body))


def received(client: socket.socket) -> list[bytes]:
    """Every datagram that has come."""
    datagrams = []
    while True:
        try:
            datagrams.append(client.recv(65_536))
        except BlockingIOError:
            return datagrams
