"""What simulated clients do: adds, runs of adds and reads, at random nodes."""

from gossip_counter.cluster.sim.node import Environment, Node
from gossip_counter.cluster.sim.oracle import Known, PromiseBroken
from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.counts import NOTHING
from gossip_counter.node.core.messages import AddOk, ErrorReply, ReadOk, Reply

ONLY = "only "
"""How the names of counters begin that a single add is made to."""

DELTAS = (1, 1, 1, 2, 5, -1, -3)
RUN_DELTAS = (1, 1, 2, -1)
TOKENS_KEPT = 0.2
"""The share of tokens that a client carries to another node."""


class Workload:
    """Clients of all nodes. Each notes with the oracle what it asks for and what it is replied."""

    def __init__(self, environment: Environment, nodes: dict[str, Node]) -> None:
        self._environment = environment
        self._rng = environment.rng
        self._scenario = environment.scenario
        self._oracle = environment.oracle
        self._nodes = nodes
        self._only = 0
        self._runs: dict[int, list[int]] = {}
        """By the number of a run of adds, the requests that it is made of."""
        self._tokens: list[tuple[str, Known]] = []
        """Tokens, and what was acknowledged by then at the node that issued each."""

    def add(self) -> None:
        """A client adds to a counter, over UDP."""
        node, counter = self._anyone(), self._counter()
        if self._scenario.copies > 1 and self._rng.random() < 0.5:
            self._only += 1
            counter = f"{ONLY}{self._only}"  # so that its copies can be counted
        delta = self._rng.choice(DELTAS)
        if not node.is_up:
            return
        msg_id = self._oracle.ask_add(node.name, node.life, counter, delta)
        body = {"type": "add", "msg_id": msg_id, "delta": delta, "counter": counter, "copies": self._scenario.copies}
        node.receive(wire.pack_body(body), "client")

    def add_run(self) -> None:
        """A client makes several adds at once, as Redis clients do."""
        node = self._anyone()
        if not node.is_up or node.paused:
            return
        counters = [self._counter() for _ in range(self._rng.randrange(1, 5))]
        adds = [(counter, self._rng.choice(RUN_DELTAS)) for counter in counters]
        asked = [self._oracle.ask_add(node.name, node.life, *add) for add in adds]
        self._runs[asked[0]] = asked
        node.add_run(asked[0], adds)

    def read(self) -> None:
        """A client reads a counter, perhaps with a token from another node."""
        node, counter = self._anyone(), self._counter()
        if not node.is_up:
            return
        given, known = self._rng.choice(self._tokens) if self._tokens and self._rng.random() < 0.5 else (None, None)
        msg_id = self._oracle.ask_read(node.name, node.life, counter, known)
        body = {"type": "read", "msg_id": msg_id, "counter": counter}
        node.receive(wire.pack_body(body | {"token": given} if given else body), "client")

    def replied(self, node: Node, msg_id: int, reply: Reply | None) -> None:
        """A node replied to a request, or with None to a run of adds. Raises `PromiseBroken`."""
        asked = self._runs.pop(msg_id, [msg_id])
        match reply:
            case None:
                for each in asked:
                    self._oracle.acknowledged(each)
            case AddOk(_, token):
                self._check_copies(*self._oracle.acknowledged(msg_id))
                self._keep(node, token)
            case ReadOk(_, value, token):
                self._oracle.replied(msg_id, value)
                self._keep(node, token)
            case ErrorReply(_, code, text):
                for each in asked:
                    self._oracle.failed(each, code, text, disk_failed=node.disk_failed)

    def forget_tokens(self) -> None:
        """The versions that they name are written anew."""
        self._tokens.clear()

    def _anyone(self) -> Node:
        return self._rng.choice(list(self._nodes.values()))

    def _counter(self) -> str:
        return f"c{self._rng.randrange(self._scenario.counters)}"

    def _check_copies(self, counter: str, delta: int) -> None:
        if not counter.startswith(ONLY):
            return
        wanted = max(delta, 0), max(-delta, 0)
        # A member may have lost its disk after it gave its word, which is still on its way or waits to be read.
        disks = [(name, node.disk) for name, node in self._nodes.items()] + self._environment.losses.lost_disks
        holders = len({
            name for name, disk in disks if any(rows.get(counter, NOTHING)[:2] == wanted for rows in disk.rows.values())
        })  # fmt: skip
        if holders < self._scenario.copies:
            raise PromiseBroken(f"{counter} is durable at {holders} nodes, not at {self._scenario.copies}")

    def _keep(self, node: Node, token: str | None) -> None:
        if token and self._rng.random() < TOKENS_KEPT:
            self._tokens.append((token, self._oracle.acknowledged_at(node.name)))
