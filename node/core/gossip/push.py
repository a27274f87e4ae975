"""Push: news is sent at once, unasked.

Pure. News that comes alone leaves at once. What follows within about a millisecond of a push is coalesced into the
next. In a small cluster a push goes to all peers. In a larger one it goes to a few at random, who pass on only what was
news to them, and never back. A push that is lost is made good by anti-entropy.

Source: rumor mongering, Demers et al., "Epidemic algorithms for replicated database maintenance", PODC 1987,
section 1.4.
"""

from itertools import groupby
from random import Random

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Outbox
from gossip_counter.node.core.gossip.deltas import Deltas
from gossip_counter.node.core.gossip.messages import Delta
from gossip_counter.node.core.gossip.messages import Push as PushMessage
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.state import State

SMALL_CLUSTER = 8
"""Members up to which a push goes to all peers, so that nobody need pass it on."""

FANOUT = 4
"""Random peers a push goes to in larger clusters, from each who found it news."""

MAX_TO_PASS_ON = 64
"""Deltas of others that wait to be passed on; what comes on top is left to anti-entropy."""


class Push:
    """News on its way to the peers."""

    def __init__(
        self,
        config: Config,
        state: State,
        rng: Random,
        identity: Identity,
        membership: Membership,
        deltas: Deltas,
        outbox: Outbox,
        is_on: bool,
    ) -> None:
        self._is_on = is_on
        self._config = config
        self._state = state
        self._rng = rng
        self._identity = identity
        self._membership = membership
        self._deltas = deltas
        self._outbox = outbox
        self._pushed = state.version(identity.actor)
        """The version of our own up to which all was pushed."""
        self._to_pass_on: list[tuple[str, Delta]] = []
        """Deltas, with the peer that each came from."""
        self.due_ns: int | None = None
        """When `wake` should be called, if at all."""
        self._next_ns = 0
        """The earliest time of the next push: one window after the last."""

    def begin_epoch(self) -> None:
        """Our rows are another actor's from now on."""
        self._pushed = 0

    def wrote(self, now_ns: int) -> None:
        """There is news of our own."""
        if self.due_ns is None and self._is_on and len(self._membership):
            if now_ns >= self._next_ns:
                self._push(now_ns)
            else:
                self._wake_next()

    def _wake_next(self) -> None:
        self.due_ns = self._next_ns
        self._outbox.wake_at(self.due_ns)

    def pass_on(self, source: str, news: list[Delta], now_ns: int) -> None:
        """Keep what was news for the next push, unless everybody got it from its source."""
        room = MAX_TO_PASS_ON - len(self._to_pass_on)
        if len(self._membership) >= SMALL_CLUSTER and news and room:
            self._to_pass_on += [(source, delta) for delta in news[:room]]
            self.wrote(now_ns)

    def wake(self, now_ns: int) -> None:
        """Send the news that has gathered, if it is time to."""
        if self.due_ns is not None and self.due_ns <= now_ns:
            self._push(now_ns)

    def _push(self, now_ns: int) -> None:
        self.due_ns = None
        self._next_ns = now_ns + self._config.push_window_us * 1000
        actor = self._identity.actor
        own = self._deltas.next_push(actor, self._pushed)
        gathered = [("", own)] if own.rows else []
        self._pushed = max(self._pushed, own.reach)
        gathered += self._to_pass_on
        self._to_pass_on = []
        for source, group in groupby(gathered, key=lambda each: each[0]):
            if peers := self._peers(source):
                deltas = tuple(delta for _, delta in group)
                self._outbox.send(peers, PushMessage(self._config.name, self._state.fingerprint, deltas))
        if self._pushed < self._state.version(actor):
            self._wake_next()

    def _peers(self, source: str) -> tuple[str, ...]:
        if len(self._membership) < SMALL_CLUSTER:
            return self._membership.sample(len(self._membership), self._rng)
        return self._membership.sample(FANOUT, self._rng, leave_out=(source,))
