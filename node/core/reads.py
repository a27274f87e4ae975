"""Reads: answered at once, or once this node holds all that the token stands for which a client brought along.

Pure. Every wait ends: with the value, or at its deadline with an error.
"""

from collections.abc import Iterable

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.messages import ErrorReply, Read, ReadOk
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.core.token_waits import TokenWaits, Wait
from gossip_counter.node.core.tokens import Issuer

MAX_WAITING = 256
"""Reads that wait at once."""


class Reads:
    """Values for clients."""

    def __init__(
        self, config: Config, state: State, stats: Stats, tokens: Issuer, claims_versions: bool, outbox: Outbox
    ) -> None:
        self._config = config
        self._state = state
        self._stats = stats
        self._tokens = tokens
        self._claims_versions = claims_versions
        self._outbox = outbox
        self._waiting = TokenWaits(state)

    def value(self, counter: str) -> int | None:
        """A counter's value; None for one that nobody ever wrote to."""
        self._stats.reads += 1
        return self._state.totals.get(counter)

    def read(self, read: Read, client: Client, now_ns: int) -> None:
        """Answer a read, now or later. Raises `RequestError` if it can't be answered."""
        self._stats.reads += 1
        wait = Wait(client, read, now_ns + self._config.wait_ms * 1_000_000)
        if self._waiting.is_over(wait):
            self._answer(read, client)
            return
        if not self._claims_versions:
            raise RequestError(NOT_SUPPORTED, "full-state gossip claims no versions: leave out token")
        if len(self._waiting) >= MAX_WAITING:
            raise RequestError(TEMPORARILY_UNAVAILABLE, "too many reads wait for what their tokens stand for")
        self._waiting.put(wait)
        self._outbox.wake_at(wait.deadline_ns)

    def settle(self, actors: Iterable[Actor]) -> None:
        """Answer the reads that waited for what is held of these actors now."""
        if not self._waiting:
            return
        for each in self._waiting.take_over(actors):
            self._answer(each.read, each.client)

    @property
    def due_ns(self) -> int | None:
        """When the first read has waited long enough."""
        return self._waiting.due_ns

    def wake(self, now_ns: int) -> None:
        """Refuse the reads that have waited long enough."""
        text = f"this node does not hold all that the token stands for after {self._config.wait_ms} ms: ask again"
        for each in self._waiting.take_overdue(now_ns):
            self._stats.timeouts += 1
            self._outbox.reply(each.client, ErrorReply(each.read.msg_id, TEMPORARILY_UNAVAILABLE, text))

    def _answer(self, read: Read, client: Client) -> None:
        state, counter = self._state, read.counter
        ends = counter in state.special and counter in state.totals
        deadline = (state.lives(counter).deadline or None) if ends else None
        self._outbox.reply(client, ReadOk(read.msg_id, state.value(counter), self._tokens.current(), deadline))
