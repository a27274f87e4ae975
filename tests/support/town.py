"""Replicas that come, go and move, on a network that loses, doubles and reorders their datagrams."""

from collections.abc import Iterable
from random import Random
from typing import Any

from gossip_counter.cluster.sim.disk import Contents
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Answer, Client, Commit, Send
from gossip_counter.node.core.gossip.messages import Gossip, Members, SynAck
from gossip_counter.node.core.messages import Add, Leave, LeaveOk, Remove, RemoveOk, Reply, Written
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import Presence
from tests.support.replica import MS, drain, is_committing, through_datagrams

BEGAN_MS = 1_700_000_000_000


class Town:
    """By name, nodes that run and journals that stay. A node is at one address at a time, which its record has."""

    def __init__(self, seed: int = 1, loss: float = 0.0) -> None:
        self.nodes: dict[str, Replica] = {}
        self.journals: dict[str, Contents] = {}
        self.addresses: dict[str, str] = {}
        self.replies: list[tuple[str, Reply]] = []
        self.acknowledged: dict[str, int] = {}
        """By node, what it acknowledged of the counter x."""
        self.now_ns = 0
        self.loss = loss
        self.lost_kinds: tuple[type[Gossip], ...] = ()
        """None of these arrives."""
        self.rng = Random(seed)
        self.heard: dict[tuple[str, str], str] = {}
        """By node and peer, where that one last sent a SYN from."""
        self.listed: dict[str, dict[str, str]] = {}
        self.skew_ms = 0
        """By how much clocks of those that start are off."""
        self._under_way: list[tuple[str, str, Gossip]] = []

    def start(
        self, name: str, address: str = "", peers: Iterable[str] = (), seeds: Iterable[str] = (), **settings: Any
    ) -> Replica:
        """Begin a node's life, at its last address if none is given; `seeds` are addresses."""
        address = address or self.addresses.get(name, name)
        self.addresses[name] = address
        self.listed[name] = {peer: self.addresses.get(peer, peer) for peer in peers}
        config = Config(name=name, peers=tuple(self.listed[name]), **settings)
        recovered = self.journals.setdefault(name, Contents()).recovered()
        presence = Presence((address,), "1.0", tuple((seed,) for seed in seeds))
        rng = Random(self.rng.getrandbits(32))
        node = self.nodes[name] = Replica(config, rng, self.now_ns, recovered, None, presence)
        self._set_clock(node)
        node.begin(self.now_ns)
        return node

    def stop(self, name: str) -> None:
        del self.nodes[name]

    def lose_journal(self, name: str) -> None:
        del self.journals[name]

    def _set_clock(self, node: Replica) -> None:
        node.set_clock(self.now_ns, BEGAN_MS + self.skew_ms + self.now_ns // MS)

    def run(self, seconds: float) -> None:
        for number in range(int(seconds * 100)):
            self.now_ns += 10 * MS
            for at, (name, node) in enumerate(list(self.nodes.items())):
                if number % 10 == at % 10:
                    self._set_clock(node)
                    node.tick(self.now_ns)
                self.advance(name)
            under_way, self._under_way = self._under_way, []
            self.rng.shuffle(under_way)
            for each in under_way:
                self._carry(*each)

    def advance(self, name: str) -> None:
        node = self.nodes[name]
        while True:
            effects = drain(node, self.now_ns)
            for effect in effects:
                match effect:
                    case Commit():
                        self.journals[name].write(effect)
                    case Send():
                        self._send(name, node, effect)
                    case Answer():
                        self._replied(name, effect.reply)
                    case _:
                        pass
            if not is_committing(node) and not effects:
                return

    def _send(self, name: str, node: Replica, send: Send) -> None:
        for part in through_datagrams(send.message, node.config):
            for to in send.to:
                if place := self._place(name, to, part):
                    self._under_way.append((self.addresses[name], place, part))

    def _place(self, name: str, to: Client, message: Gossip) -> str | None:
        """Where this node sends it: answers to where the SYN came from, else to where the record has its owner."""
        if isinstance(to, tuple):
            return str(to[0])
        if isinstance(message, SynAck | Members) and (source := self.heard.get((name, str(to)))):
            return source
        record = self.nodes[name].roster.records.get(str(to))
        return record.addresses[0] if record and record.addresses else self.listed[name].get(str(to))

    def _replied(self, name: str, reply: Reply) -> None:
        self.replies.append((name, reply))
        if isinstance(reply, Written):
            self.acknowledged[name] = self.acknowledged.get(name, 0) + 1

    def _carry(self, source: str, to: str, message: Gossip) -> None:
        if isinstance(message, self.lost_kinds) or self.rng.random() < self.loss:
            return
        if self.loss and self.rng.random() < 0.2:
            self._under_way.append((source, to, message))  # and later once more
        for name, node in list(self.nodes.items()):
            if self.addresses[name] == to:
                self.heard[name, message.sender] = source
                node.step(message, (source,), self.now_ns)
                self.advance(name)

    # What people do.

    def add(self, name: str) -> None:
        """Add 1 to the counter x."""
        self.nodes[name].step(Add(1, 1, "x"), "c", self.now_ns)
        self.advance(name)

    def leave(self, name: str, seconds: float = 12) -> Reply:
        """Let a node leave; the reply. It is stopped if it has left."""
        return self._ask(name, Leave(1), seconds)

    def remove(self, name: str, at: str) -> Reply:
        return self._ask(at, Remove(1, name), 1)

    def _ask(self, name: str, request: Leave | Remove, seconds: float) -> Reply:
        self.replies.clear()
        self.nodes[name].step(request, "c", self.now_ns)
        self.advance(name)
        for _ in range(int(seconds * 10)):
            found = [reply for at, reply in self.replies if at == name and not isinstance(reply, Written)]
            if found:
                if isinstance(found[0], LeaveOk):
                    assert self.nodes[name].has_left
                    self.stop(name)
                return found[0]
            self.run(0.1)
        raise AssertionError(f"{name} did not reply to {request}")

    def lists(self) -> dict[str, tuple[str, ...]]:
        """By node, the members that it knows, itself included."""
        return {name: tuple(sorted({name, *node.roster.others})) for name, node in self.nodes.items()}

    def agrees(self) -> bool:
        """Whether all that run have one list, which is just they, and one state."""
        names = tuple(sorted(self.nodes))
        hashes = {(node.roster.hash, node.state.fingerprint) for node in self.nodes.values()}
        return len(hashes) == 1 and all(each == names for each in self.lists().values())

    def until_agreed(self, seconds: float = 20) -> None:
        for _ in range(int(seconds * 10)):
            if self.agrees():
                return
            self.run(0.1)
        raise AssertionError(f"no agreement: {self.lists()}")


def is_ok(reply: Reply) -> bool:
    return isinstance(reply, LeaveOk | RemoveOk)


THREE = ("n1", "n2", "n3")


def three(seed: int = 1, loss: float = 0.0) -> Town:
    """A cluster of three that were listed for each other, and have settled on an id."""
    town = Town(seed, loss)
    for name in THREE:
        town.start(name, peers=[each for each in THREE if each != name])
    town.run(2)
    town.until_agreed()
    return town


def without_n3() -> Town:
    """The same, of which n3 is gone for good, and was removed."""
    town = three()
    town.stop("n3")
    town.run(4)
    assert town.remove("n3", at="n1") == RemoveOk(1)
    town.until_agreed()
    return town
