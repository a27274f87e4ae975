"""Pulls: a node that is far behind asks for rows as fast as it can take them.

Pure. An exchange brings as many rows as no buffer overflows with, about ten times a second. Who lacks more than that
*pulls*: it asks a peer for so many bytes of rows, its *window*, and asks on when the answer is complete. The window
grows by an exchange with each answer that came whole, and halves when something was lost. What one peer is asked for is
asked of no other meanwhile.

Rows that would leave a gap are dropped here and asked for again: those that were lost come with them. A peer that
answers keeps nothing about it, and sends so many bytes in a period at most: pulls can't take all of its time.

Source: additive increase and multiplicative decrease of a window, Jacobson, "Congestion avoidance and control",
SIGCOMM 1988, section 3; feeding as fast as the receiver takes, van Renesse et al., "Efficient reconciliation and flow
control for anti-entropy protocols", LADIS 2008, section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Outbox
from gossip_counter.node.core.gossip.deltas import Deltas
from gossip_counter.node.core.gossip.messages import Delta, Pull, Pulled
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats

FAR = 256
"""Versions. Who is no more than that behind is level after an exchange or two."""

MOST_FEEDS = 4
"""Peers that are pulled from at a time."""

MOST_VERSIONS = 4096
"""So much one peer is asked for at a time, about: others are there for the rest."""

MOST_ACTOR_BYTES, WANT_BYTES = 320, 10
"""What all actors take in a pull at the most, about, and each beside its name: a pull fits a small datagram."""

WINDOW_EXCHANGES = 2
"""The largest window, in what an exchange brings. It is some 32 datagrams, for others wait while they are made."""

PATIENCE = 5
"""How long the first answer of a peer is waited for, in terms of `retry_ms`: rows take longer than a digest."""

SILENCES = 3
"""How often in a row a pull is sent again that got no answer, or no more of one."""

PERIOD_NS = 100_000_000
PERIOD_BYTES = 256 * 1024
"""What all pulls of a period get in answer, about; each gets a datagram at least."""


@dataclass(slots=True)
class _Feed:
    """A peer that is pulled from."""

    window: int
    """Bytes."""
    targets: dict[Actor, int]
    """Up to which versions it has rows of actors, by what it sent."""
    number: int = 0
    """Of the pull that waits for its answer: random, so that nobody can answer who does not see it."""
    asked: dict[Actor, int] = field(default_factory=dict)
    """What that asked for: rows above these versions."""
    asked_ns: int = 0
    due_ns: int = 0
    """When to send it again, unless more of the answer comes."""
    parts: int = 0
    """Datagrams of the answer that have come."""
    is_cut: bool = False
    """Whether one before them has not."""
    silences: int = 0
    has_brought: bool = False
    """Whether the last whole answer brought anything."""
    answer_ns: float = 0
    """How long an answer takes, on average."""


class Pulls:
    """This node's side of every pull."""

    def __init__(self, config: Config, state: State, stats: Stats, rng: Random, deltas: Deltas, outbox: Outbox) -> None:
        self._config = config
        self._state = state
        self._stats = stats
        self._rng = rng
        self._deltas = deltas
        self._outbox = outbox
        self._step_bytes = config.exchange_datagrams * config.datagram_bytes
        self._feeds: dict[str, _Feed] = {}
        self._period_ends_ns = 0
        self._period_room = PERIOD_BYTES

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        self._feeds.pop(peer, None)

    # Being fed.

    def begin(self, peer: str, ahead: Mapping[Actor, int], now_ns: int) -> None:
        """A peer sent that it has rows of actors up to these versions: pull them, if that is far above ours.

        Nothing is believed of it: versions rise with the rows that come.
        """
        if not ahead or peer in self._feeds or len(self._feeds) >= MOST_FEEDS:
            return
        behind = {each: upto - self._state.version(each) for each, upto in ahead.items()}
        if sum(each for each in behind.values() if each > 0) <= FAR:
            return
        targets, versions, room = dict[Actor, int](), MOST_VERSIONS, MOST_ACTOR_BYTES
        for actor, lacking in behind.items():
            if min(lacking, versions, room) > 0 and not self.is_asked_for(actor):
                targets[actor] = ahead[actor]
                versions -= lacking
                room -= len(actor.encode()) + WANT_BYTES
        if targets:
            self._feeds[peer] = feed = _Feed(self._step_bytes, targets)
            self._ask(peer, feed, now_ns)

    def brings(self, peer: str, actor: Actor, upto: int) -> bool:
        """Whether an actor's rows up to there, which a peer has, need not be asked for in an exchange.

        They come with a pull that is under way. Or they are many: then they are pulled after what comes from this peer,
        if anything does come; in exchanges, each peer would bring the same ones.
        """
        feed, is_far = self._feeds.get(peer), upto - self._state.version(actor) > FAR
        return self.is_asked_for(actor) or (is_far and feed is not None and feed.has_brought)

    def is_asked_for(self, actor: Actor) -> bool:
        """Whether a peer is being asked for an actor's rows."""
        return any(actor in feed.targets for feed in self._feeds.values())

    def joining(self, pulled: Pulled) -> tuple[Delta, ...]:
        """Of the deltas of an answer those that go on where our rows end; nothing of one that nobody asked for.

        An answer to an earlier pull is welcome: it may be that one takes longer than we wait.
        """
        if pulled.sender not in self._feeds:
            return ()
        version = self._state.version
        return tuple(each for each in pulled.deltas if each.since is not None and each.since <= version(each.actor))

    def receive(self, pulled: Pulled, now_ns: int) -> bool:
        """Part of an answer was taken in; whether all has come now that its sender was asked for."""
        feed = self._feeds.get(pulled.sender)
        if feed is None or pulled.number != feed.number or pulled.part < feed.parts:
            return False  # late, or doubled
        if pulled.part > feed.parts and not feed.is_cut:
            feed.is_cut = True
            self._lost(feed)
        feed.parts, feed.silences = pulled.part + 1, 0
        if not pulled.is_last:
            feed.due_ns = now_ns + self._patience_ns(feed)
            return False
        took = now_ns - feed.asked_ns
        feed.answer_ns = 0.75 * (feed.answer_ns or took) + 0.25 * took
        if not feed.is_cut:
            feed.window = min(feed.window + self._step_bytes, WINDOW_EXCHANGES * self._step_bytes)
            feed.has_brought = any(self._state.version(each) > since for each, since in feed.asked.items())
            if not feed.has_brought:
                del self._feeds[pulled.sender]  # it has no more, or there is no room for it here
                return False
        self._ask(pulled.sender, feed, now_ns)
        return pulled.sender not in self._feeds

    def _ask(self, peer: str, feed: _Feed, now_ns: int) -> None:
        """Send the next pull, if anything is lacking."""
        feed.targets = {each: upto for each, upto in feed.targets.items() if upto > self._state.version(each)}
        if not feed.targets:
            del self._feeds[peer]
            return
        feed.number, feed.asked_ns = self._rng.getrandbits(32), now_ns
        feed.parts, feed.is_cut = 0, False
        feed.asked = {each: self._state.version(each) for each in feed.targets}
        feed.due_ns = now_ns + self._patience_ns(feed)
        self._outbox.wake_at(feed.due_ns)
        pull = Pull(self._config.name, self._state.fingerprint, feed.number, feed.window, feed.asked)
        self._outbox.send((peer,), pull)

    def _lost(self, feed: _Feed) -> None:
        """Something of an answer did not come."""
        self._stats.pulls_lost += 1
        feed.window = max(self._config.datagram_bytes, feed.window // 2)

    def _patience_ns(self, feed: _Feed) -> int:
        """How long to wait for more of an answer: longer each time that none came, for a peer that has much to do."""
        least_ns = PATIENCE * self._config.retry_ms * 1_000_000
        return max(least_ns, int(2 * feed.answer_ns)) << feed.silences

    @property
    def due_ns(self) -> int | None:
        """When `wake` should be called, if at all."""
        return min((feed.due_ns for feed in self._feeds.values()), default=None)

    def wake(self, now_ns: int) -> None:
        """Send pulls again that got no answer."""
        for peer, feed in list(self._feeds.items()):
            if feed.due_ns > now_ns:
                continue
            feed.silences += 1
            if feed.silences > SILENCES:
                del self._feeds[peer]  # what it has is found again with its next digest
            else:
                self._lost(feed)
                self._ask(peer, feed, now_ns)

    # Feeding.

    def answer(self, pull: Pull, now_ns: int) -> None:
        """Send the rows that were asked for, as many as the window and the period have room for."""
        if now_ns >= self._period_ends_ns:
            self._period_ends_ns, self._period_room = now_ns + PERIOD_NS, PERIOD_BYTES
        room = min(pull.window, self._period_room, WINDOW_EXCHANGES * self._step_bytes)
        room = max(room, self._config.datagram_bytes)
        self._period_room = max(0, self._period_room - room)
        deltas = self._deltas.pulled(pull.wants, room)
        pulled = Pulled(self._config.name, self._state.fingerprint, pull.number, deltas)
        self._outbox.send((pull.sender,), pulled)
