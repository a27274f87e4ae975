"""A network of replicas on a virtual clock: slow, and as lossy as a test wants it."""

from collections import deque
from collections.abc import Callable

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.gossip.messages import Gossip, Pull
from gossip_counter.node.core.replica import Replica
from tests.support.replica import MS, Effect, Wake, rows_in, sends, settle

MOST_STEPS = 100_000


class Wire:
    """Nodes between which each datagram takes 1 ms, but for those that are lost. Timers run; ticks are made by hand."""

    def __init__(self, *nodes: Replica) -> None:
        self.nodes = {node.config.name: node for node in nodes}
        self.now_ns = 0
        self.arrived: list[tuple[str, Gossip]] = []
        """Messages, and to whom each came."""
        self.is_lost: Callable[[Gossip], bool] = lambda _: False
        self.mtu = 65_507
        self.is_checked = True
        self.copies = 1
        self._under_way = deque[tuple[str, bytes]]()
        self._wake_ns: dict[str, int] = {}

    def tick(self, name: str) -> None:
        """Let a node begin a round, and all come of it that does."""
        self.nodes[name].tick(self.now_ns)
        self._send(name)
        for _ in range(MOST_STEPS):
            if self._under_way:
                self._carry(*self._under_way.popleft())
            elif not self._wake():
                return
        raise AssertionError("it never ends")

    def run(self, until_ns: int, before_tick: Callable[[str], None]) -> None:
        """Let all nodes tick every 100 ms, in turn."""
        ticks_ns = {name: self.now_ns + 50 * MS * number for number, name in enumerate(self.nodes)}
        while self.now_ns < until_ns:
            name = min(ticks_ns, key=ticks_ns.__getitem__)
            if self.now_ns >= ticks_ns[name]:
                ticks_ns[name] += 100 * MS
                before_tick(name)
                self.nodes[name].tick(self.now_ns)
                self._send(name)
            elif self._under_way:
                self._carry(*self._under_way.popleft())
            elif min(self._wake_ns.values(), default=until_ns) < ticks_ns[name]:
                self._wake()
            else:
                self.now_ns = ticks_ns[name]

    def _send(self, name: str) -> None:
        node = self.nodes[name]
        effects: list[Effect] = settle(node, self.now_ns)
        for effect in effects:
            if isinstance(effect, Wake):
                self._wake_ns[name] = effect.at_ns
        for send in sends(effects):
            packed = datagrams.pack_gossip(send.message, node.config.cluster, *send.bounds(node.config))
            to = [str(each) for each in send.to if each in self.nodes]
            self._under_way += [(each, one) for each in to for datagram in packed for one in [datagram] * self.copies]

    def _carry(self, to: str, datagram: bytes) -> None:
        self.now_ns += MS
        message = datagrams.unpack(datagram, "counter")
        assert isinstance(message, Gossip)
        if len(datagram) <= self.mtu and not self.is_lost(message):
            self.arrived.append((to, message))
            self.nodes[to].step(message, message.sender, self.now_ns)
            self._send(to)
            if self.is_checked:
                check_claims(self.nodes[to])

    def _wake(self) -> bool:
        if not self._wake_ns:
            return False
        name, due_ns = min(self._wake_ns.items(), key=lambda each: each[1])
        del self._wake_ns[name]
        self.now_ns = max(self.now_ns, due_ns)
        self.nodes[name].wake(self.now_ns)
        self._send(name)
        return True

    @property
    def pulls(self) -> list[Pull]:
        """Those that arrived."""
        return [message for _, message in self.arrived if isinstance(message, Pull)]

    def rows_brought(self, name: str) -> int:
        """How many rows came to a node, those it had already among them."""
        return sum(len(rows_in(message)) for to, message in self.arrived if to == name)


def check_claims(node: Replica) -> None:
    """No version is above the rows that are held: an actor of these tests writes a row for each version."""
    versions = sum(entry.version for entry in node.state.digest().values())
    assert versions <= node.state.row_count
