"""A Redis client in memory: bytes go to the real scheduler and session, and the bytes of replies are read again."""

from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from gossip_counter.bench.fuzz.samples import CLUSTER_ID, NOW_MS
from gossip_counter.bench.fuzz.wrong import WrongError, check
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS
from gossip_counter.node.endpoints.redis.context import Clients, Node, RedisClient
from gossip_counter.node.endpoints.redis.ports import Runtime
from gossip_counter.node.endpoints.redis.scheduler import Scheduler
from gossip_counter.node.endpoints.redis.scripts import Scripts

MS = 1_000_000
ROUNDS = 20
"""Rounds of the event loop that a client waits for its replies."""

SCRIPTS = Scripts(20_000, 2048)
"""One for all inputs: Lua takes long to start. What is kept of scripts is bounded."""


class RedisNode:
    """A node that serves Redis clients. An error that it does not expect is raised."""

    def __init__(self) -> None:
        self.replica = Replica(Config(name="n1", peers=("n2",)), Random(1), 0, Recovered(None, cluster_id=CLUSTER_ID))
        self.now_ns = 0
        self._soon = deque[tuple[Callable[..., object], tuple[Any, ...]]]()
        self.set_clock()
        runtime = Runtime(
            lambda act, *given: self._soon.append((act, given)), self._clock, self.advance, _raised, self.set_clock
        )  # fmt: skip
        self.scheduler = Scheduler(self.replica, self._node, runtime, 10, DEFAULT_BOUNDS)

    def _node(self, clients: Clients) -> Node:
        replica = self.replica
        return Node(
            version="1", value=replica.value, names=replica.state.names, peers=lambda: 1, counts_copies=True,
            clients=clients, transaction=replica.transaction, watches=replica.state.watches, scripts=SCRIPTS,
            random_below=Random(1).randrange, info=lambda: {"Server": {"a": 1}}, settings={"databases": "1"},
            time_us=lambda: NOW_MS * 1000 + self.now_ns // 1000, allows_flush=True,
        )  # fmt: skip

    def set_clock(self) -> None:
        """Let the replica know what time it is."""
        self.replica.set_clock(self.now_ns, NOW_MS + self.now_ns // MS)

    def _clock(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def pass_time(self, ms: int) -> None:
        """So much time passes."""
        self.now_ns += ms * MS
        self.set_clock()
        self.advance()

    def settle(self) -> None:
        """What was put off happens."""
        for _ in range(ROUNDS):
            if not self._soon:
                return
            acts, self._soon = self._soon, deque()
            for act, given in acts:
                act(*given)

    def advance(self) -> None:
        """Carry out what the replica has ready; commits succeed at once."""
        while ready := self.replica.ready(self.now_ns):
            for answer in ready.replies:
                if isinstance(answer.to, RedisClient):
                    answer.to.deliver(answer.reply)
            if ready.commit:
                self.replica.persisted()


class Connection:
    """What a session needs of a connection."""

    unsent = 0

    def __init__(self, node: RedisNode) -> None:
        self.received = bytearray()
        self._node = node
        self.session = node.scheduler.connect("127.0.0.1:1", self)

    def send(self, data: bytes) -> None:
        """As the session calls it."""
        self.received += data

    def update(self) -> None:
        """As the session calls it."""

    def schedule(self) -> None:
        """As the session calls it."""
        self._node.scheduler.schedule(self.session)

    def arrives(self, data: bytes) -> bool:
        """Bytes of the client arrive; False if they are not read."""
        self._node.settle()
        if not (self.session.is_open and self.session.wants_input):
            return False
        self._node.scheduler.receive(self.session, data)
        self._node.settle()
        return True

    def take(self) -> list[object]:
        """The replies that came. Raises `WrongError` for what is no reply."""
        replies = list(read_replies(bytes(self.received)))
        self.received.clear()
        return replies


def _raised(error: BaseException) -> None:
    raise error


def read_replies(data: bytes) -> Iterator[object]:
    """The replies that these bytes are: of protocol 2 or 3, complete. Raises `WrongError`."""
    at = 0
    while at < len(data):
        reply, at = _reply(data, at)
        yield reply


def _reply(data: bytes, at: int) -> tuple[object, int]:
    end = data.find(b"\r\n", at)
    check(end >= 0, "a reply does not end:", data[at : at + 40])
    kind, line, at = data[at : at + 1], data[at + 1 : end], end + 2
    check(b"\n" not in line and b"\r" not in line, "a line of a reply has a newline in it:", line)
    match kind:
        case b"+" | b"-":
            return line, at
        case b":" | b"(":
            return int(line), at
        case b",":
            return float(line), at
        case b"#" | b"_":
            return line == b"t", at
        case b"$" | b"=" | b"!":
            return _text(data, at, int(line))
        case b"*" | b"~" | b">" | b"%":
            return _several(data, at, int(line) * (2 if kind == b"%" else 1))
    raise WrongError("no reply begins with", kind)


def _text(data: bytes, at: int, size: int) -> tuple[object, int]:
    if size < 0:
        return None, at
    check(data[at + size : at + size + 2] == b"\r\n", "a text is not of the length before it:", data[at : at + 40])
    return data[at : at + size], at + size + 2


def _several(data: bytes, at: int, count: int) -> tuple[object, int]:
    found = []
    for _ in range(count):
        each, at = _reply(data, at)
        found.append(each)
    return found, at
