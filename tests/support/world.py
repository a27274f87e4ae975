"""Replicas of several clusters on one network, each with a list of addresses of its own, right or wrong."""

from random import Random
from typing import Any

from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.gossip.messages import Gossip
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Add
from gossip_counter.node.core.replica import Replica
from tests.support.replica import MS, sends, settle, through_datagrams

NAMES = ("n1", "n2", "n3")


class World:
    """Replicas at addresses, each with a list of addresses of its own. Datagrams are lost, doubled and reordered."""

    def __init__(self, seed: int = 1, loss: float = 0.2) -> None:
        self.nodes: dict[str, Replica] = {}
        self.lists: dict[str, dict[str, str]] = {}
        self.journals: dict[str, ClusterId | None] = {}
        self.cut: set[tuple[str, str]] = set()
        self.now_ns = 0
        self._loss = loss
        self._rng = Random(seed)
        self._under_way: list[tuple[str, str, Gossip]] = []

    def start(self, address: str, name: str, listed: dict[str, str], **settings: Any) -> Replica:
        """Begin a node's life, with the id that the journal of that address has."""
        config = Config(name=name, peers=tuple(each for each in listed if each != name), **settings)
        recovered = Recovered(None, cluster_id=self.journals.get(address))
        made = Replica(config, Random(self._rng.getrandbits(32)), self.now_ns, recovered)
        self.nodes[address], self.lists[address] = made, listed
        made.begin(self.now_ns)
        return made

    def cluster(self, prefix: str, wrong: str = "", **settings: Any) -> list[Replica]:
        """A cluster of three at addresses such as a1; the list of its n1 has `wrong` for n3."""
        listed = {name: prefix + name[1] for name in NAMES}
        lists = {name: listed | ({"n3": wrong} if wrong and name == "n1" else {}) for name in NAMES}
        return [self.start(listed[name], name, lists[name], **settings) for name in NAMES]

    def run(self, rounds: int) -> None:
        for number in range(10 * rounds):
            self.now_ns += 10 * MS
            for at, (address, node) in enumerate(list(self.nodes.items())):
                if number % 10 == at % 10:
                    node.tick(self.now_ns)
                self._advance(address)
            under_way, self._under_way = self._under_way, []
            self._rng.shuffle(under_way)
            for source, to, message in under_way:
                self._carry(source, to, message)

    def _advance(self, address: str) -> None:
        node = self.nodes[address]
        for send in sends(settle(node, self.now_ns)):
            for part in through_datagrams(send.message, node.config):
                for to in send.to:
                    self._under_way.append((address, self._place(address, to), part))
        shown = node.cluster_id
        self.journals[address] = shown if shown.is_settled else self.journals.get(address)

    def _place(self, address: str, to: Client) -> str:
        return to[0] if isinstance(to, tuple) else self.lists[address][str(to)]

    def _carry(self, source: str, to: str, message: Gossip) -> None:
        if self._rng.random() < self._loss or (source, to) in self.cut or to not in self.nodes:
            return
        if self._rng.random() < 0.2:
            self._under_way.append((source, to, message))  # and later once more
        self.nodes[to].step(message, (source,), self.now_ns)
        self._advance(to)

    def values(self, prefix: str) -> list[int]:
        return [self.nodes[prefix + name[1]].state.value("x") for name in NAMES if prefix + name[1] in self.nodes]

    def add(self, address: str, delta: int) -> None:
        self.nodes[address].step(Add(1, delta, "x"), "c", self.now_ns)
        self._advance(address)

    def ids(self, prefix: str) -> set[ClusterId]:
        return {node.cluster_id for address, node in self.nodes.items() if address.startswith(prefix)}
