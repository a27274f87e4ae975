"""What simulated clients do over UDP: adds and reads, at random nodes."""

from collections.abc import Callable
from typing import Any

from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.node import Node
from gossip_counter.cluster.sim.oracle import Known, PromiseBroken
from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.counts import ZERO
from gossip_counter.node.core.leaving import REFUSAL, REMOVED

ONLY = "only "
"""How the names of counters begin that a single add is made to, so that its copies can be counted."""

DELTAS = (1, 1, 1, 2, 5, -1, -3)

TOKENS_KEPT = 0.2
"""The share of tokens that a client carries to another node."""


class Counters:
    """Names of counters, and how many nodes store what was added to one."""

    def __init__(self, environment: Environment, nodes: dict[str, Node]) -> None:
        self._environment = environment
        self._nodes = nodes
        self._only = 0

    def any(self) -> str:
        """One that all clients use."""
        return f"c{self._environment.rng.randrange(self._environment.scenario.counters)}"

    def only(self) -> str:
        """One that nobody else uses."""
        self._only += 1
        return f"{ONLY}{self._only}"

    def check_copies(self, counter: str, delta: int, copies: int) -> None:
        """Whether so many nodes store durably what was added to a counter of one add. Raises `PromiseBroken`."""
        if not counter.startswith(ONLY):
            return
        wanted = max(delta, 0), max(-delta, 0)
        # A member may have lost its disk after it gave its word, which is still on its way or waits to be read.
        disks = [(name, node.disk.contents) for name, node in self._nodes.items()]
        disks += self._environment.losses.lost_disks
        holders = len({
            name for name, disk in disks if any(rows.get(counter, ZERO)[:2] == wanted for rows in disk.rows.values())
        })  # fmt: skip
        if holders < copies:
            raise PromiseBroken(f"{counter} is durable at {holders} nodes, not at {copies}")


class Workload:
    """Clients of all nodes. Each notes with the oracle what it asks for and what the reply is."""

    def __init__(self, environment: Environment, nodes: dict[str, Node], counters: Counters) -> None:
        self._rng = environment.rng
        self._copies = environment.scenario.copies
        self._oracle = environment.oracle
        self._cluster = environment.scenario.config.cluster
        self._nodes = nodes
        self._counters = counters
        self.asked: dict[int, Callable[[Node, Any], None]] = {}
        """By `msg_id`, requests about members, and who wants the replies."""
        self._tokens: list[tuple[str, Known]] = []
        """Tokens, and what was acknowledged by then at the node that issued each."""

    def add(self) -> None:
        """A client adds to a counter."""
        node, counter = self._anyone(), self._counters.any()
        if self._copies > 1 and self._rng.random() < 0.5:
            counter = self._counters.only()
        delta = self._rng.choice(DELTAS)
        if node.process is None:
            return
        msg_id = self._oracle.ask_add(node.name, node.life, counter, delta)
        body = {"type": "add", "msg_id": msg_id, "delta": delta, "counter": counter, "copies": self._copies}
        node.receive(datagrams.pack_body(body), "client")

    def read(self) -> None:
        """A client reads a counter, perhaps with a token from another node."""
        node, counter = self._anyone(), self._counters.any()
        if node.process is None:
            return
        given, known = self._rng.choice(self._tokens) if self._tokens and self._rng.random() < 0.5 else (None, None)
        msg_id = self._oracle.ask_read(node.name, node.life, counter, known)
        body = {"type": "read", "msg_id": msg_id, "counter": counter}
        node.receive(datagrams.pack_body(body | {"token": given} if given else body), "client")

    def replied(self, node: Node, datagram: bytes) -> None:
        """A node replied to a request. Raises `PromiseBroken`."""
        body: Any = datagrams.unpack(datagram, self._cluster)
        msg_id = body["in_reply_to"]
        if msg_id in self.asked:
            self.asked.pop(msg_id)(node, body)
            return
        match body["type"]:
            case "add_ok":
                self._counters.check_copies(*self._oracle.acknowledged(msg_id), self._copies)
            case "read_ok":
                self._oracle.replied(msg_id, body["value"])
            case _:
                may_refuse = node.disk.has_failed or body["text"] in (REFUSAL, REMOVED)
                self._oracle.failed(msg_id, body["code"], body["text"], disk_failed=may_refuse)
        if (token := body.get("token")) and self._rng.random() < TOKENS_KEPT:
            self._tokens.append((token, self._oracle.acknowledged_at(node.name)))

    def forget_tokens(self) -> None:
        """The versions that they name are written anew."""
        self._tokens.clear()

    def _anyone(self) -> Node:
        return self._rng.choice(list(self._nodes.values()))
