"""The virtual network: datagrams are lost, delayed, duplicated and reordered, and nodes are cut off from each other."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How datagrams fare between any two nodes. Shares are from 0 to 1, times in milliseconds."""

    delay_ms: float = 0.2
    """Each datagram takes from half of this to one and a half."""
    loss: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    """The share that comes up to two seconds later."""


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

    def send_all(self, source: str, peers: tuple[Client, ...], datagrams: list[bytes], carries_rows: bool) -> None:
        """Send gossip to each of these: members by name, or nodes as `Address`."""
        self.traffic.add(datagrams, len(peers), carries_rows)
        for peer in peers:
            to = peer.node if isinstance(peer, Address) else self.moved.get(str(peer), str(peer))
            for datagram in datagrams:
                self.send(source, to, datagram)

    def send(self, source: str, to: str, datagram: bytes) -> None:
        """Deliver the datagram some time later, perhaps twice, perhaps never."""
        conditions = self.conditions
        if (source, to) in self.cut or self._rng.random() < conditions.loss:
            return
        for _ in range(1 + (self._rng.random() < conditions.duplicates)):
            due_ns = self._clock.now_ns + int(self._delay_ms(source, to) * MS)
            self._clock.at(due_ns, partial(self._deliver, to, datagram, Address(source)))

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.moved.clear()
        self.conditions = Conditions()
        self.cut.clear()
        self.slow.clear()

    def _delay_ms(self, source: str, to: str) -> float:
        slowness = SLOWNESS if {source, to} & self.slow else 1
        delay_ms = self.conditions.delay_ms * self._rng.uniform(0.5, 1.5) * slowness
        if self._rng.random() < self.conditions.late:
            delay_ms += self._rng.uniform(0, LATE_MS)
        return delay_ms
