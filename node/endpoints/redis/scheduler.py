"""All Redis clients of a node: whose commands are executed when, and who is read.

Pure, but for the event loop that it is given. Clients are served in turns. Each gets a quantum (so many bytes, so
much time) before the others get theirs. Adds of all clients are gathered by the batcher. All that clients may have
buffered or in flight is bounded (`bounds`).
"""

from collections import Counter
from collections.abc import Callable, Collection

from gossip_counter.node.core.messages import CountCopies
from gossip_counter.node.endpoints.redis.adds import KnownAdds
from gossip_counter.node.endpoints.redis.batcher import Batcher
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS, Bounds
from gossip_counter.node.endpoints.redis.context import ClientInfo, Clients, Node, Wait
from gossip_counter.node.endpoints.redis.outlet import BufferedBytes, Outlet
from gossip_counter.node.endpoints.redis.ports import Core, Runtime
from gossip_counter.node.endpoints.redis.replies import Error
from gossip_counter.node.endpoints.redis.session import SCATTERED, Session, State
from gossip_counter.node.endpoints.redis.transaction import DelayedReply

NEVER_NS = 2**63
"""A time that does not come."""

_DIRECT = State.DIRECT
_TOO_MANY_CLIENTS = Error("ERR max number of clients reached")
_TOO_MUCH_BUFFERED = Error(
    "ERR too much of what clients sent is incomplete, or waits behind a WAIT or unread replies: try again later"
)


class Quantum:
    """What one client may use before others are served."""

    __slots__ = ("_runtime", "_until_ns", "bytes_left")

    def __init__(self, runtime: Runtime, bounds: Bounds) -> None:
        self.bytes_left = bounds.quantum_bytes
        self._runtime = runtime
        self._until_ns = runtime.now_ns() + bounds.quantum_ns

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return self._runtime.now_ns() > self._until_ns


class Scheduler:
    """Serves all clients."""

    def __init__(
        self,
        core: Core,
        node: Callable[[Clients], Node],
        runtime: Runtime,
        max_clients: int,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        """`node` makes what commands may know, given the clients."""
        self.sessions: dict[Session, BufferedBytes] = {}
        """Those that are connected, with what each has buffered. They are read again in this order after all had to
        wait: whose queue grew last comes last.
        """
        self.clients_seen = 0
        self.calls = Counter[bytes]()
        """How often each command was executed, adds when they were taken."""
        self.second = 0
        """How often `second_passed` was called."""
        self.commands_per_second = 0
        """In the last second."""
        self._calls_before = 0
        self._clients_before = 0
        """How many had been seen when statistics were reset."""
        self.is_paused = False
        """So much is buffered that no client is read."""
        self._core = core
        self._node = node(self)
        self._runtime = runtime
        self._max_clients = max_clients
        self._bounds = bounds
        self._known = KnownAdds(self.calls)
        self._is_closing = False
        self.batcher = Batcher(core, runtime, bounds, self.sessions.keys(), self.schedule, self.fail)
        self.buffered = BufferedBytes()
        """What all clients have buffered."""

    # Clients that come and go.

    def connect(self, address: str, outlet: Outlet, local_address: str = "") -> Session:
        """A new client. If there are too many, it gets an error and its session is closed."""
        self.clients_seen += 1
        client = ClientInfo(
            self.clients_seen, address, self._node.password is None, local_address, self.second, self.second
        )
        session = Session(client, self._node, self._known, outlet, self._bounds)
        if len(self.sessions) < self._max_clients:
            self.sessions[session] = BufferedBytes()
        else:
            session.send(_TOO_MANY_CLIENTS)
            session.state = State.CLOSED
        return session

    def disconnect(self, session: Session) -> None:
        """A client is gone. Its adds in flight stay, and their results are dropped."""
        before = self.sessions.pop(session, None)
        if before is not None:
            self._core.forget(session)
            session.state = State.CLOSED
            session.release()
            self._count_buffered(before, BufferedBytes())

    def fail(self, session: Session, error: Exception) -> None:
        """An unexpected error ends this client's connection, and no other's."""
        self._runtime.unexpected(error)
        session.abort()

    def begin_close(self) -> None:
        """Read and execute nothing more; adds that were taken are still submitted and answered."""
        self._is_closing = True
        self._pause()
        self.batcher.submit()

    def close(self) -> None:
        """Close all sessions."""
        for session in list(self.sessions):
            session.close()

    @property
    def connected(self) -> Collection[Session]:
        """Those that are connected, now and at any later time."""
        return self.sessions.keys()

    @property
    def connections_received(self) -> int:
        """How many clients were seen since statistics were reset."""
        return self.clients_seen - self._clients_before

    def second_passed(self) -> None:
        """Look at what was done since the last call: to be called every second."""
        self.second += 1
        calls = self.calls.total()
        self.commands_per_second, self._calls_before = calls - self._calls_before, calls

    def reset_stats(self) -> None:
        """Begin to count calls and connections again."""
        self.calls.clear()
        self._clients_before, self._calls_before = self.clients_seen, 0

    @property
    def waiting_clients(self) -> int:
        """How many clients wait for a WAIT."""
        return sum(session.state is State.WAITING for session in self.sessions)

    # Quanta.

    def receive(self, session: Session, data: bytes) -> None:
        """Take bytes of a client."""
        session.client.seen = self.second
        if session.state is _DIRECT and len(data) <= self._bounds.quantum_bytes:
            adds = self._known.find(data)
            if adds:
                self.batcher.add(session, adds)
                return
        session.buffer(data)
        if session.is_scheduled:
            session.outlet.update()
        else:
            self._run(session)

    def end_input(self, session: Session) -> None:
        """A client sends nothing more. It may be gone, so a WAIT is answered with what is known now."""
        session.end_input()
        if session.state is State.WAITING:
            self._count_copies(session, 0, 0)
        session.close_if_done()

    def schedule(self, session: Session) -> None:
        """Give a client a quantum in the next round of the event loop."""
        if not session.is_scheduled:
            session.is_scheduled = True
            self._runtime.soon(self._run_scheduled, session)

    def _run_scheduled(self, session: Session) -> None:
        session.is_scheduled = False
        if session not in self.sessions:  # it has gone since
            return
        try:
            self._run(session)
        except Exception as error:  # noqa: BLE001 counted, logged and shown in status
            self.fail(session, error)

    def _run(self, session: Session) -> None:
        """Give a client a quantum: execute its commands, as far as none has to wait for something else."""
        if self._is_closing:
            return
        quantum = Quantum(self._runtime, self._bounds)
        self._reply(session, quantum)
        self._execute(session, quantum)
        while session.is_runnable:  # at least one chunk, or slow chunks would never be executed
            self._run_chunk(session, quantum)
            if quantum.bytes_left <= 0 or quantum.is_over:
                break
        if session.is_runnable:
            self.schedule(session)
        self._end_quantum(session)

    def _run_chunk(self, session: Session, quantum: Quantum) -> None:
        most = min(quantum.bytes_left, session.chunk_bytes)
        quantum.bytes_left -= most
        chunk = session.cut(most)
        may_recognise = session.may_recognise_adds and not self.batcher.is_full
        adds = self._known.find(chunk) if may_recognise else None
        session.chunk_bytes = self._bounds.quantum_bytes if adds else self._bounds.chunk_bytes
        if adds:
            self.batcher.add(session, adds)
        else:
            session.parse(chunk)
            self._execute(session, quantum)

    def _execute(self, session: Session, quantum: Quantum) -> None:
        """Execute commands that were parsed, up to one that has to wait; one that is no add whatever the time."""
        is_first = True
        while session.has_next():
            if add := session.next_add():
                if self.batcher.is_full:
                    return
                self.batcher.add(session, session.take_adds(add))
                if not session.has_next():
                    return
            if session.in_flight or session.output_full:
                return
            if not is_first and quantum.is_over:
                self.schedule(session)
                return
            is_first = False
            if (awaited := session.execute()) is not None:
                self._await(session, awaited)
            self._reply(session, quantum)

    def _reply(self, session: Session, quantum: Quantum) -> None:
        """Make more of a reply under way: as much as the client reads, and one step whatever the time."""
        while session.may_reply:
            session.send_piece()
            if quantum.is_over:
                break
        if session.may_reply:
            self.schedule(session)

    def _end_quantum(self, session: Session) -> None:
        buffered = session.buffered()
        if not (any(buffered) or self.batcher.is_full):
            session.enter_direct()
        if not self._note_buffered(session, buffered):
            self._cut_off(session)
        session.outlet.update()
        session.close_if_done()

    def _await(self, session: Session, asked: Wait | DelayedReply) -> None:
        if isinstance(asked, DelayedReply):
            self._runtime.advance()
            return
        timeout_ns = asked.timeout_ms * 1_000_000
        self._count_copies(session, asked.members, self._runtime.now_ns() + timeout_ns if timeout_ns else NEVER_NS)

    def _count_copies(self, session: Session, members: int, deadline_ns: int) -> None:
        """Let the replica answer a WAIT, in place of what it was asked before."""
        actor, version = session.client.written or SCATTERED
        self._core.forget(session)
        self._core.step(CountCopies(0, actor, version, members, deadline_ns), session, self._runtime.now_ns())
        self._runtime.advance()

    # Buffered bytes.

    def _note_buffered(self, session: Session, now: BufferedBytes) -> bool:
        """Count what a client has buffered in place of what it had; whether there is room for it."""
        before = self.sessions.get(session)
        if before is None or before == now:
            return True
        if now.queued > before.queued:
            del self.sessions[session]  # it comes last from now on
        self.sessions[session] = now
        self._count_buffered(before, now)
        return now.blocked <= before.blocked or self.buffered.blocked <= self._bounds.max_stuck_bytes

    def _count_buffered(self, before: BufferedBytes, now: BufferedBytes) -> None:
        queued, blocked = self.buffered
        self.buffered = BufferedBytes(queued + now.queued - before.queued, blocked + now.blocked - before.blocked)
        has_room = self.buffered.queued <= self._bounds.max_queued_bytes
        if now.queued > before.queued and not (has_room or self.is_paused):
            self._pause()
        elif now.queued < before.queued and has_room and self.is_paused and not self._is_closing:
            self._resume()

    def _pause(self) -> None:
        """Read no client."""
        self.is_paused = True
        for session in self.sessions:
            session.outlet.update()

    def _resume(self) -> None:
        """Read clients again, those whose queues are oldest first."""
        self.is_paused = False
        for session in self.sessions:
            session.outlet.update()

    def _cut_off(self, session: Session) -> None:
        """Disconnect a client for which more is kept than there is room for."""
        session.release()
        self._note_buffered(session, BufferedBytes())
        if session.output_full:  # it would not read this reply either
            session.abort()
            return
        if not session.expects_reply:
            session.send(_TOO_MUCH_BUFFERED)
        session.close()
