"""The state machine: every decision a node makes.

Pure. `handle` takes a message and the time, `tick` the time; both return effects, which are data for the world around
to carry out. It owns no socket, clock, disk or randomness: the same inputs and the same seed give the same effects.

Gossip is the seed's anti-entropy: each tick, the full P and N vectors to a few distinct random peers, who take the
elementwise maximum. Source: Demers et al., "Epidemic algorithms for replicated database maintenance", PODC 1987,
section 1.3 (anti-entropy, push).
"""

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from random import Random

from node import counter
from node.config import Config
from node.counter import NOTHING, Row
from node.errors import MALFORMED, TEMPORARILY_UNAVAILABLE, RequestError
from node.messages import (
    Add,
    AddOk,
    ErrorReply,
    Gossip,
    GossipStatus,
    GossipStatusOk,
    Read,
    ReadOk,
    Replicate,
    Reply,
    Request,
)
from node.peers import Peers
from node.state import Actor, State, mint
from node.stats import Stats

Client = Hashable
"""Who asked: opaque here, an address or a name to the world."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this reply to that client."""

    to: Client
    reply: Reply


@dataclass(frozen=True, slots=True)
class Send:
    """Send this gossip to each of these peers."""

    to: tuple[str, ...]
    message: Gossip


Effect = Answer | Send


class Replica:
    """One member of the cluster."""

    def __init__(self, config: Config, rng: Random, now_ns: int, actor: Actor | None = None) -> None:
        self.config = config
        self.state = State()
        self.stats = Stats()
        self._rng = rng
        self._actor = actor or self._new_actor()
        self._version = 0
        self._peers = Peers(config.peers, now_ns)
        self._rounds = 0

    def tick(self, now_ns: int) -> list[Effect]:
        """One gossip round, due every `gossip_interval_ms`."""
        del now_ns  # full state needs no clock
        self._rounds += 1
        peers = self._peers.sample(self.config.gossip_fanout, self._rng)
        if not peers:
            return []
        return [Send(peers, Replicate(self.config.name, tuple(self.state), self.state.fingerprint))]

    def handle(self, message: Request | Gossip, client: Client, now_ns: int) -> list[Effect]:
        """Take one message. A request is answered, be it with an error; gossip never is."""
        if isinstance(message, Replicate):
            self._merge(message, now_ns)
            return []
        try:
            return [Answer(client, self._answer(message, now_ns))]
        except RequestError as error:
            return self.refuse(error, message.msg_id, client)

    def refuse(self, error: RequestError, msg_id: int, client: Client) -> list[Effect]:
        """Answer a request with the error it met; nothing has changed."""
        self.stats.requests_refused += 1
        return [Answer(client, ErrorReply(msg_id, error.code, error.text))]

    def _answer(self, request: Request, now_ns: int) -> Reply:
        match request:
            case Add():
                self._add(request, now_ns)
                return AddOk(request.msg_id)
            case Read():
                return ReadOk(request.msg_id, self.state.value(request.counter))
            case GossipStatus():
                return self._status(request)

    def _add(self, request: Add, now_ns: int) -> None:
        if request.delta == 0:
            return
        row = self.state.row(self._actor, request.counter)
        if row is NOTHING and self.state.row_count >= self.config.max_rows:
            raise RequestError(TEMPORARILY_UNAVAILABLE, f"this node holds max_rows ({self.config.max_rows}) rows")
        try:
            new = counter.added(row, request.delta, self._version + 1)
        except ValueError as error:
            raise RequestError(MALFORMED, str(error)) from None
        self._version = new.version
        self.state.merge(self._actor, request.counter, new)
        self._peers.state_changed(now_ns)

    def _merge(self, message: Replicate, now_ns: int) -> None:
        if sum(self._merge_row(*row) for row in message.rows):
            self._peers.state_changed(now_ns)
        # A world whose messages hold the whole state need not tell its fingerprint: the rows are all there is.
        told = fingerprint_of(message.rows) if message.fingerprint is None else message.fingerprint
        self._peers.heard(message.sender, told, self.state.fingerprint, now_ns)

    def _merge_row(self, actor: Actor, name: str, row: Row) -> bool:
        mine = self.state.row(actor, name)
        if mine is NOTHING and self.state.row_count >= self.config.max_rows:
            self.stats.rows_dropped += 1
            return False
        news = self.state.merge(actor, name, row)
        if news and actor == self._actor:
            # A former life of ours wrote this. Counting on under the same actor would let the maximum swallow
            # every increment until the new total passes the old one.
            self.stats.own_rows_returned += 1
            self._actor = self._new_actor()
            self._version = 0
        return news

    def _new_actor(self) -> Actor:
        return mint(self.config.name, self._rng.getrandbits(63))

    def _status(self, request: GossipStatus) -> GossipStatusOk:
        rows = list(self.state.rows_of(request.counter))
        return GossipStatusOk(
            in_reply_to=request.msg_id,
            local_value=self.state.value(request.counter),
            gossip_rounds=self._rounds,
            peers_synced=self._peers.synced(self.state.fingerprint),
            convergence_ms=self._peers.convergence_ms,
            increments=sum(row.p for row in rows),
            decrements=sum(row.n for row in rows),
            counters=self.state.counters,
            rows=self.state.row_count,
            fingerprint=f"{self.state.fingerprint:016x}",
            state_since_ns=self._peers.state_since_ns,
            name=self.config.name,
            cluster=self.config.cluster,
            stats=asdict(self.stats),
        )


def fingerprint_of(rows: tuple[tuple[Actor, str, Row], ...]) -> int:
    """The fingerprint of the state that holds just these rows."""
    state = State()
    for row in rows:
        state.merge(*row)
    return state.fingerprint
