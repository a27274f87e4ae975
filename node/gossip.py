"""What is told to whom: anti-entropy every tick, and a push of every piece of news.

Pure. Anti-entropy is for certainty: SYN tells what is held, SYN-ACK brings what its sender lacks and asks for what we
lack, ACK brings that. Push is for speed: a write is sent at once, coalesced over a small window. Either alone brings
all nodes together; a lost push leaves a gap that the next exchange fills. In full-state mode there is neither: each
tick sends the whole state, as the seed has it.

Sources: push-pull anti-entropy and rumor mongering, Demers et al., "Epidemic algorithms for replicated database
maintenance", PODC 1987, sections 1.3 and 1.4; digests and deltas by version, van Renesse et al., "Efficient
reconciliation and flow control for anti-entropy protocols", LADIS 2008, section 3.
"""

from dataclasses import dataclass
from itertools import groupby
from random import Random

from node.config import Config
from node.messages import Ack, Delta, Gossip, Push, Replicate, Syn, SynAck
from node.peers import Peers
from node.state import NONE_HELD, Actor, NamedRow, State
from node.stats import Stats

SMALL_CLUSTER = 8
"""Members up to which a push goes to all peers, so that nobody need pass it on."""

PUSH_FANOUT = 4
"""Random peers a push goes to in larger clusters, from each who found it news."""

PUSH_ROWS = 512
"""Rows of ours pushed at one time; more go in the next window."""

PASS_ON_DELTAS = 64
"""Deltas of others that wait to be passed on; what comes on top is left to anti-entropy."""

LEAST_ROW_BYTES = 8
"""Fewer bytes no row has on the wire but the very shortest: it bounds the rows looked up for one answer."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this gossip to each of these peers."""

    to: tuple[str, ...]
    message: Gossip


@dataclass(frozen=True, slots=True)
class Wake:
    """Call `wake` at this time."""

    at_ns: int


class Gossiper:
    """One replica's side of every exchange; it merges what comes into the replica's state."""

    def __init__(self, config: Config, state: State, stats: Stats, rng: Random, now_ns: int, actor: Actor) -> None:
        self.peers = Peers(config.peers, state.fingerprint, now_ns)
        self.own_actor_is_older = False
        """Someone showed more of our own actor than we ever wrote; `begin_epoch` settles it."""
        self._config = config
        self._state = state
        self._stats = stats
        self._rng = rng
        self._actor = actor
        self._pushed = state.version(actor)
        self._to_pass_on: list[tuple[str, Delta]] = []
        self._wake_asked = False
        self._mending: dict[Actor, int] = {}
        self._most_rows = config.exchange_datagrams * config.datagram_bytes // LEAST_ROW_BYTES

    def begin_epoch(self, actor: Actor) -> None:
        """Our rows are written by this actor from now on."""
        self._actor = actor
        self._pushed = 0
        self.own_actor_is_older = False

    def tick(self) -> list[Send]:
        """One round: tell a few random peers what we hold, or in full-state mode all of it."""
        peers = self.peers.sample(self._config.gossip_fanout, self._rng)
        if not peers:
            return []
        me, fingerprint = self._config.name, self._state.fingerprint
        if self._config.gossip == "full":
            return [Send(peers, Replicate(me, fingerprint, self._whole_state()))]
        return [Send(peers, Syn(me, fingerprint, self._state.digest()))]

    def handle(self, message: Gossip, now_ns: int) -> list[Send | Wake]:
        """Take one gossip message; what it calls for."""
        effects: list[Send | Wake] = []
        news = [] if isinstance(message, Syn) else self._merge(message.deltas, now_ns)
        # Where a message holds the whole state, its sender need not tell the fingerprint.
        told = fingerprint_of(message) if message.fingerprint is None else message.fingerprint
        self.peers.heard(message.sender, told, now_ns)
        match message:
            case Syn() | SynAck() if message.sender not in self.peers:
                self._stats.strangers += 1
            case Syn():
                effects = [Send((message.sender,), self._syn_ack(message))]
            case SynAck(_, _, _, wants) if wants:
                deltas = self._deltas(wants)
                ack = Ack(self._config.name, self._state.fingerprint, deltas)
                effects = [Send((message.sender,), ack)] if deltas else []
            case Push():
                effects = [*self._pass_on(message.sender, news, now_ns)]
            case _:
                pass
        return effects

    def wrote(self, actor: Actor, now_ns: int) -> list[Wake]:
        """Rows of ours have just become durable."""
        self.peers.state_changed(self._state.fingerprint, now_ns)
        return self._ask_wake(now_ns) if actor == self._actor else []

    def push(self, now_ns: int) -> list[Send | Wake]:
        """Send the news that has gathered."""
        self._wake_asked = False
        own = Delta(self._actor, self._pushed, self._state.newer(self._actor, self._pushed, PUSH_ROWS))
        gathered = [("", own)] if own.rows else []
        if own.rows:
            self._pushed = own.rows[-1][1].version
        gathered += self._to_pass_on
        self._to_pass_on = []
        sends = []
        for source, group in groupby(gathered, key=lambda each: each[0]):
            to = self._push_to(source)
            if to:
                message = Push(self._config.name, self._state.fingerprint, tuple(delta for _, delta in group))
                sends.append(Send(to, message))
        more = self._pushed < self._state.version(self._actor)
        return [*sends, *(self._ask_wake(now_ns) if more else [])]

    def _push_to(self, source: str) -> tuple[str, ...]:
        if len(self.peers) < SMALL_CLUSTER:
            return self.peers.sample(len(self.peers), self._rng)
        return self.peers.sample(PUSH_FANOUT, self._rng, leave_out=(source,))

    def _pass_on(self, source: str, news: list[Delta], now_ns: int) -> list[Wake]:
        """Keep what was news for the next push, unless everybody got it from its source."""
        if len(self.peers) < SMALL_CLUSTER or not news or len(self._to_pass_on) >= PASS_ON_DELTAS:
            return []
        self._to_pass_on += [(source, delta) for delta in news]
        return self._ask_wake(now_ns)

    def _ask_wake(self, now_ns: int) -> list[Wake]:
        if self._wake_asked or not self._config.push or self._config.gossip == "full":
            return []
        self._wake_asked = True
        return [Wake(now_ns + self._config.push_window_us * 1000)]

    def _syn_ack(self, syn: Syn) -> SynAck:
        """What they lack, and what we do. Actors out of the range that they told of are for another message."""
        lacks, wants = dict[Actor, int](), dict[Actor, int]()
        ours = self._state.digest()
        for actor in sorted(ours.keys() | syn.digest.keys()):
            if actor <= syn.above or (syn.upto is not None and actor > syn.upto):
                continue
            mine, theirs = ours.get(actor, NONE_HELD), syn.digest.get(actor, NONE_HELD)
            if mine.version > theirs.version:
                lacks[actor] = theirs.version
            elif mine.version < theirs.version:
                wants[actor] = mine.version
            elif mine.hash != theirs.hash:
                wants[actor] = self._mending.setdefault(actor, 0)
            elif mine.ahead != theirs.ahead:
                lacks[actor] = wants[actor] = mine.version
            if actor == self._actor and mine.version < theirs.version:
                self.own_actor_is_older = True
        return SynAck(self._config.name, self._state.fingerprint, self._deltas(lacks), wants)

    def _deltas(self, wanted: dict[Actor, int]) -> tuple[Delta, ...]:
        """What is held above these versions, up to about as much as one answer has room for, nobody always first."""
        deltas = []
        room = self._most_rows
        for actor in self._rng.sample(list(wanted), len(wanted)):
            newer = Delta(actor, wanted[actor], self._state.newer(actor, wanted[actor], room))
            room -= len(newer.rows)
            ahead = self._state.ahead(actor)
            loose = Delta(actor, None, ahead if len(ahead) <= room else tuple(self._rng.sample(ahead, max(0, room))))
            room -= len(loose.rows)
            deltas += [each for each in (newer, loose) if each.rows]
            if room <= 0:
                break
        return tuple(deltas)

    def _merge(self, deltas: tuple[Delta, ...], now_ns: int) -> list[Delta]:
        """Merge what came; the deltas that brought news, without the rows that did not."""
        before = self._state.fingerprint
        news = [each for each in map(self._merge_delta, deltas) if each]
        if self._state.fingerprint != before:
            self.peers.state_changed(self._state.fingerprint, now_ns)
        return news

    def _merge_delta(self, delta: Delta) -> Delta | None:
        actor, since = delta.actor, delta.since
        if actor not in self._state and self._state.actors >= self._config.max_actors:
            self._stats.actors_dropped += 1
            return None
        rows = self._within_bounds(delta)
        if len(rows) < len(delta.rows):
            since = None  # with rows left out, it can't vouch for its versions
        news = self._state.merge(actor, since, rows)
        self._mended(delta)
        if news and actor == self._actor:
            self.own_actor_is_older = True
        if not news:
            return None
        return Delta(actor, since if len(news) == len(delta.rows) else None, tuple(news))

    def _within_bounds(self, delta: Delta) -> tuple[NamedRow, ...]:
        room = self._config.max_rows - self._state.row_count
        if len(delta.rows) <= room:
            return delta.rows
        kept = []
        for counter, row in delta.rows:
            known = self._state.row(delta.actor, counter).version or self._state.row(delta.actor, counter).p
            if known or room > 0:
                kept.append((counter, row))
                room -= not known
        self._stats.rows_dropped += len(delta.rows) - len(kept)
        return tuple(kept)

    def _mended(self, delta: Delta) -> None:
        """Go on from here with an actor whose versions are equal and whose rows are not; at the end, begin anew."""
        if delta.since is not None and delta.rows and self._mending.get(delta.actor) == delta.since:
            upto = delta.rows[-1][1].version
            if upto < self._state.version(delta.actor):
                self._mending[delta.actor] = upto
            else:
                del self._mending[delta.actor]

    def _whole_state(self) -> tuple[Delta, ...]:
        grouped = groupby(self._state, key=lambda each: each[0])
        return tuple(Delta(actor, None, tuple(named[1:] for named in rows)) for actor, rows in grouped)


def fingerprint_of(message: Replicate) -> int:
    """The fingerprint of the state that holds just these rows."""
    state = State()
    for delta in message.deltas:
        state.merge(delta.actor, None, delta.rows)
    return state.fingerprint
