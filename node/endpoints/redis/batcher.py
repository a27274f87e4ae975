"""Adds of all Redis clients, gathered into batches: each is one write of the replica.

Pure, but for the event loop that it is given. A batch gathers for a few rounds of the event loop. The replica's reply
comes back with the batch's `portions`, which tell whose adds are whose.
"""

from collections.abc import Callable, Collection, Sequence

from gossip_counter.node.core.increases import Outcome
from gossip_counter.node.core.messages import Reply, Written
from gossip_counter.node.endpoints.redis.bounds import Bounds
from gossip_counter.node.endpoints.redis.context import Add, RedisClient
from gossip_counter.node.endpoints.redis.ports import Core, Runtime
from gossip_counter.node.endpoints.redis.replies import encode_results
from gossip_counter.node.endpoints.redis.session import SCATTERED, Author, Session

Portion = tuple[Session, int]
"""A client, and how many of a batch's adds are its own."""


class Batcher(RedisClient):
    """Gathers adds, and gives each client its results. It is the replica's client for them."""

    def __init__(
        self,
        core: Core,
        runtime: Runtime,
        bounds: Bounds,
        sessions: Collection[Session],
        schedule: Callable[[Session], None],
        fail: Callable[[Session, Exception], None],
    ) -> None:
        """`sessions` are those that are connected, at any time."""
        self.is_full = False
        """Too many adds are in flight: the next ones wait with their clients."""
        self.in_flight = 0
        """Adds that were taken and not answered yet, those that gather among them."""
        self._core = core
        self._runtime = runtime
        self._bounds = bounds
        self._sessions = sessions
        self._schedule = schedule
        self._fail = fail
        self._adds: list[Add] = []
        """The batch that gathers."""
        self._portions: list[Portion] = []
        """Whose adds these are, in this order."""
        self._adding: set[Session] = set()
        self._is_gathering = False
        self._has_grown = False
        self._rounds = 0

    def add(self, session: Session, adds: list[Add]) -> None:
        """Take adds of a client into the batch that gathers."""
        session.in_flight += 1
        if session.in_flight == self._bounds.max_chunks:
            session.outlet.update()
        self._adds += adds
        self._portions.append((session, len(adds)))
        self._adding.add(session)
        self._has_grown = True
        self.in_flight += len(adds)
        if self.in_flight > self._bounds.max_adds:
            self._become_full()
        nobody_is_left = len(self._adding) >= len(self._sessions)
        if nobody_is_left or len(self._adds) >= self._bounds.batch_adds:
            self.submit()
        elif not self._is_gathering:
            self._is_gathering = True
            self._rounds = 0
            self._runtime.soon(self._end_round)

    def _end_round(self) -> None:
        """Gather for one more round if this one brought adds: it costs some microseconds, and a commit some hundred."""
        self._rounds += 1
        if self._has_grown and self._rounds < self._bounds.gather_rounds:
            self._has_grown = False
            self._runtime.soon(self._end_round)
        else:
            self._is_gathering = False
            self.submit()

    def submit(self) -> None:
        """Hand the batch to the replica, which answers through `deliver`."""
        adds, self._adds = self._adds, []
        portions, self._portions = self._portions, []
        self._adding.clear()
        if adds:
            self._runtime.set_clock()
            try:
                self._core.submit(self, portions, adds)
            except Exception as error:  # noqa: BLE001 counted, logged and shown in status
                self._fail_batch(portions, error)
        self._runtime.advance()

    def _fail_batch(self, portions: list[Portion], error: Exception) -> None:
        for session, count in portions:
            self._fail(session, error)
            self._end_adds(count)

    def deliver(self, reply: Reply) -> None:
        """The replica's reply to a batch: each client gets its portion."""
        if isinstance(reply, Written):  # the replica answers a write with nothing else
            nowhere = SCATTERED if reply.version else None
            self._distribute(reply.in_reply_to, reply.values, (reply.actor, reply.version) if reply.actor else nowhere)

    def _distribute(self, portions: list[Portion], values: Sequence[Outcome], written: Author | None) -> None:
        at = 0
        for session, count in portions:
            try:
                if count == 1 and type(value := values[at]) is int:
                    session.added(b":%d\r\n" % value, written)
                else:
                    session.added(encode_results(values[at : at + count], session.client.protocol), written)
            except Exception as error:  # noqa: BLE001 counted, logged and shown in status
                self._fail(session, error)
            at += count
        self._end_adds(at)

    def _end_adds(self, count: int) -> None:
        """So many adds are no longer in flight."""
        self.in_flight -= count
        if self.is_full and self.in_flight <= self._bounds.max_adds // 2:
            self.is_full = False
            for session in self._sessions:
                self._schedule(session)

    def _become_full(self) -> None:
        """Take no more adds until half of those in flight are answered."""
        if not self.is_full:
            self.is_full = True
            for session in self._sessions:
                session.leave_direct()
