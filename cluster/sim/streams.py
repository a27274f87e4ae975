"""Virtual TCP: connections of Redis clients, lossless and in order, whose bytes arrive in pieces cut anywhere."""

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random

from gossip_counter.cluster.sim.clock import MS, Clock
from gossip_counter.cluster.sim.process import Process
from gossip_counter.node.endpoints.redis.session import Session

MAX_CUTS = 3

DELAY_MS = 1.0
"""How long a piece takes, at most."""

LATE_MS = 100.0
"""How long one in ten takes, at most; those behind it wait."""


class Stream:
    """One direction of a connection."""

    def __init__(self, clock: Clock, rng: Random, deliver: Callable[[bytes], None]) -> None:
        """`deliver` gets the pieces, and b"" at the end."""
        self._clock = clock
        self._rng = rng
        self._deliver = deliver
        self._arrives_ns = 0
        self._is_cut = False

    def send(self, data: bytes) -> None:
        """Let bytes arrive some time later."""
        cuts = self._rng.randrange(MAX_CUTS + 1)
        places = sorted({0, len(data), *(self._rng.randrange(1, len(data) + 1) for _ in range(cuts))})
        for start, end in pairwise(places):
            self._send(data[start:end])

    def end(self) -> None:
        """Send nothing more."""
        self._send(b"")

    def cut(self) -> None:
        """Let nothing arrive any more."""
        self._is_cut = True

    def _send(self, piece: bytes) -> None:
        delay_ms = self._rng.uniform(0, LATE_MS if self._rng.random() < 0.1 else DELAY_MS)
        self._arrives_ns = max(self._arrives_ns, self._clock.now_ns + int(delay_ms * MS))
        self._clock.at(self._arrives_ns, partial(self._arrive, piece))

    def _arrive(self, piece: bytes) -> None:
        if not self._is_cut:
            self._deliver(piece)


class ServerEnd:
    """The node's end of a connection: what asyncio's transport and the real endpoint are to a session."""

    def __init__(self, process: Process, to_client: Stream) -> None:
        self._process = process
        self._to_client = to_client
        self._pieces = deque[bytes]()
        """What arrived while the session did not want to be read."""
        self._is_closed = False
        self.session: Session = process.scheduler.connect("client", self)

    unsent = 0
    """As the session has it: what it sends is on its way at once."""

    def send(self, data: bytes) -> None:
        """As the session calls it."""
        self._process.emit(partial(self._to_client.send, data))

    def update(self) -> None:
        """As the session calls it."""
        if not (self.session.is_open or self._is_closed):
            self._is_closed = True
            self._process.emit(self._to_client.end)
        elif self._pieces and self._is_read:
            self._process.soon(self._read)

    def schedule(self) -> None:
        """As the session calls it."""
        self._process.scheduler.schedule(self.session)

    def receive(self, piece: bytes) -> None:
        """Bytes arrive, or the end of what the client sends."""
        self._pieces.append(piece)
        self._read()

    @property
    def _is_read(self) -> bool:
        return self.session.is_open and self.session.wants_input and not self._process.scheduler.is_paused

    def _read(self) -> None:
        while self._pieces and self._is_read:
            piece = self._pieces.popleft()
            if piece:
                self._process.scheduler.receive(self.session, piece)
            else:
                self._process.scheduler.end_input(self.session)


class Connection:
    """The client's end of a connection to a process."""

    def __init__(self, process: Process, clock: Clock, rng: Random, received: Callable[[bytes], None]) -> None:
        """`received` gets what the node sends, and b"" when it closes the connection."""
        self._process = process
        self._clock = clock
        self._received = received
        self._to_client = Stream(clock, rng, self._deliver)
        self._to_node = Stream(clock, rng, lambda piece: process.enter(partial(self._reach, piece)))
        self._server: ServerEnd | None = None
        process.enter(self._accept)

    @property
    def is_open(self) -> bool:
        """Whether the process lives."""
        return self._process.is_alive

    def send(self, data: bytes) -> None:
        """Send bytes to the node."""
        self._to_node.send(data)

    def end(self) -> None:
        """Send nothing more, and wait for what is still to be answered."""
        self._to_node.end()

    def abort(self) -> None:
        """Be gone, whatever was sent."""
        self._to_client.cut()
        self._to_node.cut()
        self._process.enter(self._disconnect)

    def stall(self, stall_ms: float) -> None:
        """Read no replies for a while: the node's buffers fill, and it is to take no more commands meanwhile."""
        self._process.enter(lambda: self._block_output(True))
        resumes_ns = self._clock.now_ns + int(stall_ms * MS)
        self._clock.at(resumes_ns, lambda: self._process.enter(lambda: self._block_output(False)))

    def _block_output(self, is_full: bool) -> None:
        session = self._server.session if self._server else None
        if session and session.is_open:
            session.block_output() if is_full else session.unblock_output()

    def _accept(self) -> None:
        self._server = ServerEnd(self._process, self._to_client)

    def _deliver(self, piece: bytes) -> None:
        if self._process.is_alive:
            self._received(piece)

    def _reach(self, piece: bytes) -> None:
        if self._server:
            self._server.receive(piece)

    def _disconnect(self) -> None:
        if self._server:
            self._process.scheduler.disconnect(self._server.session)
            self._server = None
