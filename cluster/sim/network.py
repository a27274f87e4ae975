"""The virtual network: datagrams are lost, delayed, duplicated and reordered, and nodes are cut off from each other.

Somebody on the path may change, cut and misdirect them, send them in another's name, and once more at any time later.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import NamedTuple

from gossip_counter.cluster.sim.clock import MS, Clock
from gossip_counter.node.core.effects import Client

SLOWNESS = 20
"""How many times longer a datagram takes from and to a slow node."""

LATE_MS = 2000
"""Milliseconds that a late datagram may take on top of the delay."""


class Address(NamedTuple):
    """Where a datagram came from."""

    node: str
    port: int = 0


def node_at(address: str) -> str:
    """The name of the node at an address: NAME, or NAME@NUMBER once it has moved."""
    return address.partition("@")[0]


MAX_CAPTURED = 2000
"""Datagrams that whoever is on the path has for later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How datagrams fare between any two nodes. Shares are from 0 to 1, times in milliseconds."""

    delay_ms: float = 0.2
    """Each datagram takes from half of this to one and a half."""
    loss: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    """The share that comes up to two seconds later."""
    tampered: float = 0.0
    """The share beside which another one comes, made of it or of an earlier one by whoever is on the path."""


@dataclass(slots=True)
class Traffic:
    """Gossip sent by all nodes together."""

    datagrams: int = 0
    total_bytes: int = 0
    row_bytes: int = 0
    """Bytes of datagrams that carry rows."""
    largest: int = 0
    """Bytes of the largest datagram."""

    def add(self, datagrams: list[bytes], peers: int, carries_rows: bool) -> None:
        """Each of these datagrams was sent to that many peers."""
        size = sum(map(len, datagrams)) * peers
        self.datagrams += len(datagrams) * peers
        self.total_bytes += size
        self.row_bytes += size if carries_rows else 0
        self.largest = max(self.largest, *map(len, datagrams))


class Network:
    """Carries datagrams between nodes, which are named; `deliver` gets receiver, datagram and where it came from."""

    def __init__(
        self, clock: Clock, rng: Random, conditions: Conditions, deliver: Callable[[str, bytes, Address], None]
    ) -> None:
        self.conditions = conditions
        self.traffic = Traffic()
        self.cut: set[tuple[str, str]] = set()
        """Pairs of sender and receiver between which nothing passes."""
        self.slow: set[str] = set()
        """Nodes whose datagrams take longer, in both directions."""
        self.moved: dict[str, str] = {}
        """By a member's name, the node that its peers take for it now."""
        self._clock = clock
        self._rng = rng
        self._deliver = deliver
        self._captured = deque[tuple[str, str, bytes]](maxlen=MAX_CAPTURED)
        """Sender, receiver and datagram."""

    def address_of(self, peer: Client) -> Address:
        """Where gossip for this one goes: a member by its name, or a node by its `Address`."""
        return peer if isinstance(peer, Address) else Address(self.moved.get(str(peer), str(peer)))

    def send_all(self, source: str, peers: tuple[Client, ...], datagrams: list[bytes], carries_rows: bool) -> None:
        """Send gossip to each of these."""
        self.traffic.add(datagrams, len(peers), carries_rows)
        for peer in peers:
            to = self.address_of(peer).node
            for datagram in datagrams:
                self.send(source, to, datagram)

    def send(self, source: str, to: str, datagram: bytes) -> None:
        """Deliver the datagram some time later, perhaps twice, perhaps never."""
        conditions = self.conditions
        if conditions.tampered:
            self._captured.append((source, to, datagram))
            if self._rng.random() < conditions.tampered:
                self._tamper(source, to, datagram)
        if (node_at(source), node_at(to)) in self.cut or self._rng.random() < conditions.loss:
            return
        for _ in range(1 + (self._rng.random() < conditions.duplicates)):
            due_ns = self._clock.now_ns + int(self._delay_ms(source, to) * MS)
            self._clock.at(due_ns, partial(self._deliver, to, datagram, Address(source)))

    def _tamper(self, source: str, to: str, datagram: bytes) -> None:
        """Let another one arrive, some time later."""
        rng = self._rng
        earlier_source, earlier_to, earlier = rng.choice(self._captured)
        at, cut = rng.randrange(len(datagram)), rng.randrange(len(datagram) + 1)
        flipped = datagram[:at] + bytes([datagram[at] ^ 1 << rng.randrange(8)]) + datagram[at + 1 :]
        source, to, datagram = rng.choice(
            [
                (source, to, flipped),
                (source, to, datagram[:cut]),
                (source, to, datagram + earlier),
                (earlier_source, to, datagram),
                (source, earlier_to, datagram),
                (earlier_source, earlier_to, earlier),
            ]
        )
        due_ns = self._clock.now_ns + int(rng.uniform(0, LATE_MS) * MS)
        self._clock.at(due_ns, partial(self._deliver, to, datagram, Address(source)))

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.moved.clear()
        self.conditions = Conditions()
        self.cut.clear()
        self.slow.clear()

    def _delay_ms(self, source: str, to: str) -> float:
        slowness = SLOWNESS if {node_at(source), node_at(to)} & self.slow else 1
        delay_ms = self.conditions.delay_ms * self._rng.uniform(0.5, 1.5) * slowness
        if self._rng.random() < self.conditions.late:
            delay_ms += self._rng.uniform(0, LATE_MS)
        return delay_ms
