"""Members that come and go in a simulated run: nodes join, leave, move, or die for good and are removed."""

from itertools import count
from typing import Any

from gossip_counter.cluster.sim.clock import MS
from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.network import Address
from gossip_counter.cluster.sim.node import Node
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.cluster.sim.workload import Workload
from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.membership import UP_NS

LEAST, MOST = 3, 7
"""Nodes: fewer do not leave or die, and more do not join."""

FIRST_ID = 10**9
"""Ids of requests, beyond those of the oracle."""


class Members:
    """What changes who belongs to the cluster. The books of a node that leaves stay: nothing of it may be missing."""

    def __init__(self, environment: Environment, nodes: dict[str, Node], workload: Workload) -> None:
        self._environment = environment
        self._rng = environment.rng
        self._nodes = nodes
        self._workload = workload
        self._numbers = count(environment.scenario.nodes + 1)
        self._ids = count(FIRST_ID)
        self._busy = set[str]()
        """Nodes that are leaving or moving."""
        self.gone = list[Node]()
        self._to_remove = list[str]()

    def restart_who_found_nobody(self) -> None:
        """Whom a node was to ask may be gone: people name another."""
        for node in self._nodes.values():
            if node.replica.is_joining:
                node.crash()
                self._environment.oracle.crashed(node.name, node.life)
                node.start()

    @property
    def are_settled(self) -> bool:
        """Whether all nodes have one list, which is just they, and nobody is about to leave or to be removed."""
        replicas = [node.replica for node in self._nodes.values()]
        names = sorted(self._nodes)
        lists = [sorted([each.config.name, *each.roster.others]) for each in replicas]
        is_one = len({each.roster.hash for each in replicas}) == 1
        return is_one and all(each == names for each in lists) and not (self._to_remove or self._busy)

    def seeds(self) -> tuple[Address, ...]:
        """Whom a node asks to be taken in: people name those that are there."""
        return tuple(Address(node.address) for node in self._nodes.values() if node.process)

    def change(self) -> None:
        """One of these."""
        free = [node for node in self._nodes.values() if node.name not in self._busy and node.process]
        if not free:
            return
        node, act = self._rng.choice(free), self._rng.choice((self._join, self._leave, self._die, self._move))
        if act == self._join:
            if len(self._nodes) < MOST:
                self._join(node)
        elif act == self._move or len(free) > LEAST:
            act(node)

    def _join(self, _: Node) -> None:
        name = f"n{next(self._numbers)}"
        self._nodes[name] = made = Node(name, (), self._environment, self._workload.replied, seeds=self.seeds)
        made.start()

    def _leave(self, node: Node) -> None:
        self._busy.add(node.name)
        life = node.life

        def left(_: Node, body: Any) -> None:
            if body["type"] == "leave_ok":
                self._later(lambda: self._end(node), 1)
                self._remove_soon(node.name)  # if who saw it leave was gone before it could spread
            else:
                self._busy.discard(node.name)

        def crashed() -> None:
            if node.life != life or node.process is None:
                self._busy.discard(node.name)
            elif node.name in self._busy:
                self._later(crashed, 500)

        self._ask(node, {"type": "leave"}, left)
        self._later(crashed, 500)

    def _end(self, node: Node) -> None:
        """A node is gone."""
        self._busy.discard(node.name)
        node.crash()
        self._environment.oracle.crashed(node.name, node.life)
        if self._nodes.pop(node.name, None):
            self.gone.append(node)

    def _die(self, node: Node) -> None:
        """For good, with its disk; it is removed as soon as the others notice."""
        losses = self._environment.losses
        losses.crashed(node.name)
        losses.lost(node.name, node.disk.contents, node.disk.wrote_as)
        self._end(node)
        others = self._nodes.values()
        losses.count_orphans([each.replica.state.row if each.process else each.disk.contents.row for each in others])
        self._remove_soon(node.name)

    def _remove_soon(self, name: str) -> None:
        self._to_remove.append(name)
        self._later(lambda: self._remove(name), UP_NS / MS)

    def _remove(self, name: str) -> None:
        """Ask somebody who lists it, again and again until nobody does: who was asked may be gone as well."""
        running = [each for each in self._nodes.values() if each.process]
        listing = [each for each in running if name in each.replica.roster.others]
        if not listing and len(running) == len(self._nodes):
            self._to_remove.remove(name)
            return
        self._later(lambda: self._remove(name), 1000)
        if listing:
            self._ask(self._rng.choice(listing), {"type": "remove", "name": name}, lambda *_: None)

    def _move(self, node: Node) -> None:
        node.crash()
        self._environment.oracle.crashed(node.name, node.life)
        node.move()
        self._later(node.start, self._rng.uniform(20, 1500))

    def _ask(self, node: Node, body: dict[str, Any], done: Any) -> None:
        msg_id = next(self._ids)
        self._workload.asked[msg_id] = done
        node.receive(datagrams.pack_body(body | {"msg_id": msg_id}), "client")

    def _later(self, act: Any, ms: float) -> None:
        clock = self._environment.clock
        clock.at(clock.now_ns + int(ms * MS), act)

    def check(self) -> None:
        """Nobody was removed that is there. Raises `PromiseBroken`."""
        if any(node.replica.roster.own.is_removed for node in self._nodes.values()):
            raise PromiseBroken("a node that runs was removed")
