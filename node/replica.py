"""The state machine: every decision a node makes.

Pure. `handle` takes a message and the time, `tick` and `wake` the time; all return effects, which are data for the
world around to carry out. It owns no socket, clock, disk or randomness: the same inputs and the same seed give the same
effects. `node.gossip` decides what is told to whom; here is what is counted, and when it may be acknowledged.

A write waits in a batch until it is durable. The state holds only what is, so no read shows, no delta carries and no
digest claims what a crash could still take back. While one batch is being committed, the next gathers.
"""

from collections.abc import Hashable
from dataclasses import asdict, dataclass, field
from random import Random

from node import counter
from node.config import Config
from node.counter import NOTHING, Row
from node.errors import MALFORMED, NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from node.gossip import Gossiper, Send, Wake
from node.limits import MAX_COUNT
from node.messages import (
    Add,
    AddOk,
    ErrorReply,
    Gossip,
    GossipStatus,
    GossipStatusOk,
    Read,
    ReadOk,
    Reply,
    Request,
)
from node.state import Actor, NamedRow, State, mint
from node.stats import Stats

Client = Hashable
"""Who asked: opaque here, an address or a name to the world."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this reply to that client."""

    to: Client
    reply: Reply


@dataclass(frozen=True, slots=True)
class Commit:
    """Make these rows of one actor durable, then call `committed`. No other Commit comes before that."""

    actor: Actor
    rows: tuple[NamedRow, ...]


Effect = Answer | Send | Wake | Commit


@dataclass(slots=True)
class _Batch:
    """Writes on their way to the disk: the rows they come to, the rows they began from, and who waits for them."""

    actor: Actor
    version: int
    rows: dict[str, Row] = field(default_factory=dict)
    before: dict[str, Row] = field(default_factory=dict)
    waiting: list[tuple[Client, int]] = field(default_factory=list)

    def add(self, name: str, held: Row, delta: int) -> None:
        """One more write, on top of those before it. Raises `ValueError` if p or n would leave its bounds."""
        new = counter.added(self.rows.get(name, held), delta, self.version + 1)
        self.version = new.version
        self.before.setdefault(name, held)
        self.rows.pop(name, None)  # so that rows stand in the order of their versions
        self.rows[name] = new


class Replica:
    """One member of the cluster; `actor` and `rows` are what its journal gave back, if it has one."""

    def __init__(
        self,
        config: Config,
        rng: Random,
        now_ns: int,
        actor: Actor | None = None,
        rows: tuple[NamedRow, ...] = (),
    ) -> None:
        self.config = config
        self.state = State()
        self.stats = Stats()
        self._rng = rng
        self._actor = actor or mint(config.name, rng.getrandbits(63))
        self.state.merge(self._actor, 0, rows)
        self._gossip = Gossiper(config, self.state, self.stats, rng, now_ns, self._actor)
        self._rounds = 0
        self._batch = _Batch(self._actor, self.state.version(self._actor))
        self._committing: _Batch | None = None

    def tick(self, now_ns: int) -> list[Effect]:
        """One gossip round, due every `gossip_interval_ms`."""
        self._rounds += 1
        return [*self._gossip.tick(now_ns)]

    def wake(self, now_ns: int) -> list[Effect]:
        """What a `Wake` effect asked for has come."""
        return [*self._gossip.wake(now_ns)]

    def handle(self, message: Request | Gossip, client: Client, now_ns: int) -> list[Effect]:
        """Take one message. A request is answered, be it with an error, an add once it is durable; gossip is not."""
        match message:
            case Add() | Read() | GossipStatus():
                try:
                    return self._answer(message, client)
                except RequestError as error:
                    return self.refuse(error, message.msg_id, client)
            case _:
                effects: list[Effect] = [*self._gossip.handle(message, now_ns)]
                if self._gossip.own_actor_is_older:
                    self._begin_epoch()
                return effects

    def refuse(self, error: RequestError, msg_id: int, client: Client) -> list[Effect]:
        """Answer a request with the error it met; nothing has changed."""
        self.stats.requests_refused += 1
        return [Answer(client, ErrorReply(msg_id, error.code, error.text))]

    def committed(self, now_ns: int) -> list[Effect]:
        """The rows of the last `Commit` are durable: they count, their writers are answered, and peers hear of them."""
        batch, self._committing = self._committing, None
        if batch is None:
            raise RuntimeError("nothing was being committed")
        held = {name: self.state.row(batch.actor, name) for name in batch.rows}
        self.state.merge(batch.actor, self.state.version(batch.actor), tuple(batch.rows.items()))
        swallowed = self._swallowed(batch, held)
        if swallowed:
            # Acknowledged only when what the maximum took is counted again, under the actor we are now.
            for name, delta in swallowed:
                self._batch.add(name, self.state.row(self._actor, name), delta)
            self._batch.waiting[:0] = batch.waiting
            return self._commit()
        answers: list[Effect] = [Answer(client, AddOk(msg_id)) for client, msg_id in batch.waiting]
        return [*answers, *self._gossip.wrote(batch.actor, now_ns), *self._commit()]

    def _answer(self, request: Request, client: Client) -> list[Effect]:
        match request:
            case Add(msg_id, 0):
                return [Answer(client, AddOk(msg_id))]
            case Add():
                self._add(request)
                self._batch.waiting.append((client, request.msg_id))
                return self._commit()
            case Read():
                value = self.state.value(request.counter)
                if abs(value) > MAX_COUNT:
                    raise RequestError(NOT_SUPPORTED, f"the value is beyond {MAX_COUNT}, what a reply can hold")
                return [Answer(client, ReadOk(request.msg_id, value))]
            case GossipStatus():
                return [Answer(client, self._status(request))]

    def _add(self, request: Add) -> None:
        held = self._durable_soon(request.counter)
        is_new = held is NOTHING and request.counter not in self._batch.rows
        if is_new and self._rows_soon() >= self.config.max_rows:
            raise RequestError(TEMPORARILY_UNAVAILABLE, f"this node holds max_rows ({self.config.max_rows}) rows")
        try:
            self._batch.add(request.counter, held, request.delta)
        except ValueError as error:
            raise RequestError(MALFORMED, str(error)) from None

    def _durable_soon(self, name: str) -> Row:
        """Our own row as it will be once what is being committed is durable."""
        if self._committing and self._committing.actor == self._actor and name in self._committing.rows:
            return self._committing.rows[name]
        return self.state.row(self._actor, name)

    def _rows_soon(self) -> int:
        """Rows held once all that waits is durable; while the bound is far, what waits is not looked at."""
        names = self._batch.rows.keys() | (self._committing.rows.keys() if self._committing else set())
        if self.state.row_count + len(names) < self.config.max_rows:
            return self.state.row_count
        return self.state.row_count + sum(self.state.row(self._actor, name) is NOTHING for name in names)

    def _commit(self) -> list[Effect]:
        """Begin the next commit unless one is under way."""
        if self._committing or not self._batch.waiting:
            return []
        batch = self._committing = self._batch
        self._batch = _Batch(batch.actor, batch.version)
        return [Commit(batch.actor, tuple(batch.rows.items()))]

    def _begin_epoch(self) -> None:
        """Someone wrote under our name what we never did: a former life, restored or copied. From now on, be another.

        Counting on under the same actor would let the maximum swallow every increment until the new total passes the
        old one. Writes that no commit has begun for are moved; those being committed are seen to when they are durable.
        """
        self.stats.new_epochs += 1
        self._actor = mint(self.config.name, self._rng.getrandbits(63))
        moved = _Batch(self._actor, 0, waiting=self._batch.waiting)
        for name, row in self._batch.rows.items():
            before = self._batch.before[name]
            for delta in (row.p - before.p, before.n - row.n):
                if delta:
                    moved.add(name, NOTHING, delta)
        self._batch = moved
        self._gossip.begin_epoch(self._actor)

    def _swallowed(self, batch: _Batch, held: dict[str, Row]) -> list[tuple[str, int]]:
        """What the maximum took from a batch because another wrote the same rows while it was being committed."""
        taken = []
        for name, row in batch.rows.items():
            before, other = batch.before[name], held[name]
            for sign, ours, theirs in (
                (1, row.p - before.p, other.p - before.p),
                (-1, row.n - before.n, other.n - before.n),
            ):
                if min(ours, theirs) > 0:
                    taken.append((name, sign * min(ours, theirs)))
        return taken

    def _status(self, request: GossipStatus) -> GossipStatusOk:
        rows = list(self.state.rows_of(request.counter))
        peers = self._gossip.peers
        return GossipStatusOk(
            in_reply_to=request.msg_id,
            local_value=_within_reply(self.state.value(request.counter)),
            gossip_rounds=self._rounds,
            peers_synced=peers.synced,
            convergence_ms=peers.convergence_ms,
            increments=_within_reply(sum(row.p for row in rows)),
            decrements=_within_reply(sum(row.n for row in rows)),
            counters=self.state.counters,
            rows=self.state.row_count,
            fingerprint=f"{self.state.fingerprint:016x}",
            state_since_ns=peers.state_since_ns,
            name=self.config.name,
            cluster=self.config.cluster,
            stats=asdict(self.stats),
        )


def _within_reply(value: int) -> int:
    """Sums over nodes may pass 64 bits, which a reply can't hold; then the nearest that it can."""
    return max(-MAX_COUNT, min(value, MAX_COUNT))
