"""Redis clients by bytes: a scheduler around a replica in memory, whose rounds and commits happen when the test says.

No socket, no event loop, no thread: `Bench` is the runtime, `Client` the connection. Only `served` has all of these.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from queue import Queue
from random import Random
from time import monotonic_ns
from typing import Any

import pytest
import uvloop

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Answer
from gossip_counter.node.core.messages import CountCopies
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS, Bounds
from gossip_counter.node.endpoints.redis.context import Add, Clients, Node, RedisClient
from gossip_counter.node.endpoints.redis.parser import Limits, Parser
from gossip_counter.node.endpoints.redis.ports import Runtime
from gossip_counter.node.endpoints.redis.scheduler import Scheduler
from gossip_counter.node.endpoints.redis.scripts import Scripts
from gossip_counter.node.endpoints.redis.server import Address, Listen, RedisServer
from gossip_counter.node.endpoints.redis.session import State


def command(*words: bytes | str) -> bytes:
    """A command as client libraries send it."""
    parts = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


INCR_X = command("INCR", "x")


def parsed_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are parsed from now on, each time."""
    found: list[int] = []
    feed = Parser.feed

    def watched(parser: Parser, data: bytes, limits: Limits) -> list[Any]:
        found.append(len(data))
        return feed(parser, data, limits)

    monkeypatch.setattr(Parser, "feed", watched)
    return found


class Client:
    """One client: what it sends, what it has received, and whether it is read."""

    def __init__(self, bench: "Bench") -> None:
        self.received = b""
        self.unsent = 0
        self.is_read = True
        self.is_closed = False
        self.is_aborted = False
        self._bench = bench
        self.session = bench.scheduler.connect("127.0.0.1:1", self)
        self.update()

    def send(self, data: bytes) -> None:
        """As the session calls it."""
        assert not (self.is_closed or self.is_aborted)
        self.received += data

    def update(self) -> None:
        """As the session calls it."""
        session = getattr(self, "session", None)
        if session is None:
            return
        self.is_closed = session.state is State.CLOSED
        self.is_aborted = session.state is State.ABORTED
        self.is_read = session.is_open and session.wants_input and not self._bench.scheduler.is_paused

    def schedule(self) -> None:
        """As the session calls it."""
        self._bench.scheduler.schedule(self.session)

    def sends(self, data: bytes) -> "Client":
        """Bytes arrive from this client."""
        try:
            self._bench.scheduler.receive(self.session, data)
        except Exception as error:  # noqa: BLE001 as a connection does
            self._bench.scheduler.fail(self.session, error)
        return self

    def asks(self, *words: bytes | str) -> bytes:
        """The replies to a command, one round of the event loop later."""
        self.sends(command(*words))
        self._bench.round()
        return self.take()

    def ends_input(self) -> None:
        """It sends nothing more."""
        self._bench.scheduler.end_input(self.session)

    def disconnects(self) -> None:
        """Its connection is lost."""
        self._bench.scheduler.disconnect(self.session)

    def take(self) -> bytes:
        """What it has received since the last call."""
        received, self.received = self.received, b""
        return received

    @property
    def buffered(self) -> int:
        """Bytes that are buffered for it."""
        return sum(self._bench.scheduler.sessions[self.session])


def asks(client: Client, line: str) -> bytes:
    """The reply to a command, its words separated by spaces."""
    return client.asks(*line.split())


class Bench:
    """A scheduler and its replica. With `quick`, commits are durable at once; else when `persist` is called."""

    def __init__(
        self,
        quick: bool = False,
        password: bytes | None = None,
        peers: tuple[str, ...] = (),
        max_clients: int = 1000,
        core: "FakeCore | None" = None,
        node: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        unix_ms: int = 1000,
        **bounds: int,
    ) -> None:
        """`node` replaces what commands know of the node, `config` and `bounds` default settings."""
        self.quick = quick
        self.replica = Replica(Config(name="n1", peers=peers, **(config or {})), Random(1), 0)
        self.now_ns = 0
        self.unix_ms = unix_ms
        """What the wall clock says."""
        self.commits = 0
        self.errors: list[BaseException] = []
        self.bounds: Bounds = DEFAULT_BOUNDS._replace(**bounds)
        self._is_committing = False
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        runtime = Runtime(
            lambda act, *given: self._soon.append((act, given)),
            self._clock,
            self.advance,
            self._unexpected,
            self.set_clock,
        )
        self.set_clock()
        self.scheduler = Scheduler(
            core or self.replica,
            lambda clients: replace(self._node(clients, len(peers), password), **(node or {})),
            runtime,
            max_clients,
            self.bounds,
        )

    def _node(self, clients: Clients, peers: int, password: bytes | None) -> Node:
        state = self.replica.state
        return Node(
            version="1.2.3", value=self.replica.value, names=state.names, peers=lambda: peers, clients=clients,
            transaction=self._transaction, watches=state.watches, scripts=Scripts(1_000_000, 4096),
            random_below=Random(1).randrange, counts_copies=True, password=password,
            time_us=lambda: self.unix_ms * 1000 + 2,
            info=lambda: {"Server": {"a": 1}, "Stats": {"b": 2}}, settings={"databases": "1", "maxclients": "10"},
        )  # fmt: skip

    def set_clock(self) -> None:
        self.replica.set_clock(self.now_ns, self.unix_ms)

    def _transaction(self) -> Transaction:
        self.set_clock()
        return self.replica.transaction()

    def passes(self, milliseconds: int) -> None:
        """So much time passes."""
        self.now_ns += milliseconds * 1_000_000
        self.unix_ms += milliseconds
        self.set_clock()
        self.advance()

    def _clock(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def _unexpected(self, error: BaseException) -> None:
        self.errors.append(error)

    def connect(self) -> Client:
        return Client(self)

    def clients(self, count: int) -> list[Client]:
        return [Client(self) for _ in range(count)]

    def round(self, times: int = 1) -> None:
        """What was put off to the next round of the event loop happens; so many rounds."""
        for _ in range(times):
            acts, self._soon = self._soon, deque()
            for act, given in acts:
                act(*given)

    def advance(self) -> None:
        """Carry out what the replica has ready."""
        while ready := self.replica.ready(self.now_ns):
            for answer in ready.replies:
                _deliver(answer)
            if ready.commit:
                self._is_committing = True
                self.commits += 1
                if self.quick:
                    self.replica.persisted()
                    self._is_committing = False

    def persist(self, error: str | None = None) -> None:
        """The commit under way, if there is one, is durable or has failed."""
        if self._is_committing:
            self._is_committing = False
            self.replica.persisted(error)
            self.advance()

    def settle(self, rounds: int = 20) -> None:
        """So many rounds, after each of which commits are durable."""
        for _ in range(rounds):
            self.round()
            self.persist()

    @property
    def buffered(self) -> int:
        """Bytes that are buffered for all clients."""
        return sum(self.scheduler.buffered)


def _deliver(answer: Answer) -> None:
    assert isinstance(answer.to, RedisClient)
    answer.to.deliver(answer.reply)


class FakeCore:
    """Notes what the scheduler asks of a replica. The test delivers the replies."""

    def __init__(self) -> None:
        self.batches: list[tuple[RedisClient, Any, list[Add]]] = []
        self.asked: list[tuple[RedisClient, CountCopies]] = []
        self.forgotten: list[RedisClient] = []
        self.fails = False

    def submit(self, client: Any, request_id: object, writes: Sequence[Add]) -> None:
        """As the replica has it. Raises if `fails`."""
        if self.fails:
            raise RuntimeError("planted")
        self.batches.append((client, request_id, list(writes)))

    def step(self, message: CountCopies, client: Any, now_ns: int) -> None:
        """As the replica has it."""
        self.asked.append((client, message))

    def forget(self, client: Any) -> None:
        """As the replica has it."""
        self.forgotten.append(client)


@contextmanager
def served(password: bytes | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Address]:
    """A Redis server on loopback around a replica in memory, in a thread of its own."""
    ready: Queue[tuple[Address, Callable[[], object]]] = Queue()

    async def serve() -> None:
        replica = Replica(Config(name="n1"), Random(1), 0)
        errors: list[BaseException] = []
        server = RedisServer(replica, lambda: _advance(replica), errors.append, Listen("127.0.0.1", 0, password, tls))
        await server.start()
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        ready.put((server.addresses[0], lambda: loop.call_soon_threadsafe(stopped.set)))
        await stopped.wait()
        server.begin_close()
        server.close()
        assert errors == []

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(uvloop.run, serve())  # the event loop of real nodes
        address, stop = ready.get()
        try:
            yield address
        finally:
            stop()
            running.result()


def _advance(replica: Replica) -> None:
    while ready := replica.ready(monotonic_ns()):
        for answer in ready.replies:
            _deliver(answer)
        if ready.commit:
            replica.persisted()
