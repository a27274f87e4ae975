"""What is told to whom: anti-entropy every tick, and a push of every piece of news.

Pure. Anti-entropy is for certainty: SYN tells what is held, SYN-ACK brings what its sender lacks and asks for what we
lack, ACK brings that. Who finds no answer soon asks again, a few times. Push is for speed: a write is sent at once,
coalesced over a small window. Either alone brings all nodes together; a lost push leaves a gap that the next exchange
fills. In full-state mode there is neither: each tick sends the whole state, as the seed has it.

Sources: push-pull anti-entropy and rumor mongering, Demers et al., "Epidemic algorithms for replicated database
maintenance", PODC 1987, sections 1.3 and 1.4; digests and deltas by version, van Renesse et al., "Efficient
reconciliation and flow control for anti-entropy protocols", LADIS 2008, section 3.
"""

from dataclasses import dataclass
from itertools import groupby
from random import Random

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import NOTHING
from gossip_counter.node.core.membership import Peers
from gossip_counter.node.core.messages import Ack, Carrier, Delta, Gossip, Push, Replicate, Syn, SynAck
from gossip_counter.node.core.state import NONE_HELD, Actor, Held, NamedRow, State
from gossip_counter.node.core.stats import Stats

SMALL_CLUSTER = 8
"""Members up to which a push goes to all peers, so that nobody need pass it on."""

PUSH_FANOUT = 4
"""Random peers a push goes to in larger clusters, from each who found it news."""

DIGEST_ACTORS = 256
"""Actors a SYN tells of at the most: some ten datagrams. Of more, each tick tells another range."""

PASS_ON_DELTAS = 64
"""Deltas of others that wait to be passed on; what comes on top is left to anti-entropy."""

PATIENCE = 4
"""Retry intervals that a node which starts waits for its peers to say what they hold of it."""

RETRIES = 2
"""How often an exchange without an answer is begun again before the next tick's peers take over."""

MOST_ROW_BYTES = 30
"""What a row costs on the wire at the most, its name not counted."""

LEAST_ROW_BYTES = 8
"""Fewer bytes no row has on the wire but the very shortest: it bounds the rows looked up for one answer."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this gossip to each of these peers."""

    to: tuple[str, ...]
    message: Gossip


@dataclass(slots=True)
class _Asked:
    """An exchange that waits for a peer's answer."""

    since_ns: int
    retry_ns: int
    digest: dict[Actor, Held]
    """What we told that we hold."""
    fingerprint: int
    retries_left: int = RETRIES


class Gossiper:
    """One replica's side of every exchange; it merges what comes into the replica's state."""

    def __init__(self, config: Config, state: State, stats: Stats, rng: Random, now_ns: int, actor: Actor) -> None:
        self.peers = Peers(config.peers, lambda: state.fingerprint, now_ns)
        self.own_actor_is_older = False
        """Someone showed more of our own actor than we ever wrote; `begin_epoch` settles it."""
        self._config = config
        self._state = state
        self._stats = stats
        self._rng = rng
        self.unsaved: dict[Actor, set[str]] = {}
        """What gossip changed since it was last saved: rows by actor. Whoever saves it replaces it by an empty one."""
        self.unheard: set[str] = set()
        """Peers that were asked at the start what they hold, and that have neither answered nor been given up."""
        self.agreeing: set[str] = set()
        """Peers that have told in this life what they hold of our actor, and it was no more than we do."""
        self._give_up_ns = 0
        self._actor = actor
        self._pushed = state.version(actor)
        self._to_pass_on: list[tuple[str, Delta]] = []
        self._push_ns: int | None = None
        self._asked: dict[str, _Asked] = {}
        self._answer_ns: dict[str, float] = {}
        self._mending: dict[Actor, int] = {}
        self._room: dict[str, int] = {}
        self._most_rows = config.exchange_datagrams * config.datagram_bytes // LEAST_ROW_BYTES

    def begin_epoch(self, actor: Actor) -> None:
        """Our rows are written by this actor from now on."""
        self._actor = actor
        self._pushed = 0
        self.own_actor_is_older = False

    def begin(self, now_ns: int) -> list[Send]:
        """The first thing a node does: ask peers what they hold, all of them in a small cluster."""
        peers = self.peers.sample(SMALL_CLUSTER, self._rng)
        if not peers or self._config.gossip == "full":
            return []
        self.unheard = set(peers)
        self._give_up_ns = now_ns + PATIENCE * self._config.retry_ms * 1_000_000
        return self.ask(peers, now_ns)

    def ask(self, peers: tuple[str, ...], now_ns: int) -> list[Send]:
        """Begin an exchange with these."""
        for peer in peers:
            self._expect(peer, now_ns)
        return [Send(peers, self._syn())]

    def tick(self, now_ns: int) -> list[Send]:
        """One round: tell a few random peers what we hold, or in full-state mode all of it."""
        self._room.clear()
        peers = self.peers.sample(self._config.gossip_fanout, self._rng)
        if not peers:
            return []
        me, fingerprint = self._config.name, self._state.fingerprint
        if self._config.gossip == "full":
            return [Send(peers, Replicate(me, fingerprint, self._whole_state()))]
        return self.ask(peers, now_ns)

    def handle(self, message: Carrier | Syn, now_ns: int) -> list[Send]:
        """Take one message that tells of rows or digests; what it calls for."""
        sends: list[Send] = []
        news = [] if isinstance(message, Syn) else self._merge(message.deltas, now_ns)
        asked = self._answered(message.sender, now_ns) if isinstance(message, SynAck | Ack) else None
        # Where a message holds the whole state, its sender need not tell the fingerprint.
        told = fingerprint_of(message) if message.fingerprint is None else message.fingerprint
        self.peers.heard(message.sender, told, now_ns)
        match message:
            case Syn() | SynAck() if message.sender not in self.peers:
                self._stats.strangers += 1
            case Syn():
                answer = self._syn_ack(message)
                if answer.wants:
                    self._expect(message.sender, now_ns)
                sends = [Send((message.sender,), answer)]
            case SynAck():
                if self._actor in message.wants or message.fingerprint == self._state.fingerprint:
                    self.agreeing.add(message.sender)
                deltas = self._deltas(self._lacking(message, asked), message.sender)
                ack = Ack(self._config.name, self._state.fingerprint, deltas)
                sends = [Send((message.sender,), ack)] if deltas else []
            case Push():
                self._pass_on(message.sender, news, now_ns)
            case _:
                pass
        return sends

    def wrote(self, actor: Actor, now_ns: int) -> None:
        """Rows of ours have just become durable."""
        self.peers.state_changed(now_ns)
        if actor == self._actor:
            self._push_soon(now_ns)

    @property
    def due_ns(self) -> int | None:
        """When `wake` should next be called, if at all."""
        if not (self._asked or self.unheard):
            return self._push_ns
        due = [asked.retry_ns for asked in self._asked.values()]
        due += [self._give_up_ns] if self.unheard else []
        return min([*due, self._push_ns] if self._push_ns is not None else due, default=None)

    def wake(self, now_ns: int) -> list[Send]:
        """Do what is due: push the news that has gathered, begin exchanges again that found no answer."""
        if now_ns >= self._give_up_ns:
            self.unheard.clear()
        pushes = self._push(now_ns) if self._push_ns is not None and self._push_ns <= now_ns else []
        again = tuple(peer for peer in list(self._asked) if self._retries(peer, now_ns))
        return [*pushes, *([Send(again, self._syn())] if again else [])]

    def _syn(self) -> Syn:
        """What we hold; of more actors than a tick has room for, those in a random range."""
        me, fingerprint, digest = self._config.name, self._state.fingerprint, self._state.digest()
        if len(digest) <= DIGEST_ACTORS:
            return Syn(me, fingerprint, digest)
        actors = list(digest)
        first = self._rng.randrange(1 - DIGEST_ACTORS, len(actors))
        told = {actor: digest[actor] for actor in actors[max(0, first) : first + DIGEST_ACTORS]}
        above = actors[first - 1] if first > 0 else ""
        upto = actors[first + DIGEST_ACTORS - 1] if first + DIGEST_ACTORS < len(actors) else None
        return Syn(me, fingerprint, told, above, upto)

    def _expect(self, peer: str, now_ns: int) -> None:
        """Note that an answer should come; how soon, its earlier ones tell."""
        patience = max(self._config.retry_ms * 1_000_000, int(2 * self._answer_ns.get(peer, 0)))
        self._asked[peer] = _Asked(now_ns, now_ns + patience, self._state.digest(), self._state.fingerprint)

    def _answered(self, peer: str, now_ns: int) -> _Asked | None:
        asked = self._asked.pop(peer, None)
        self.unheard.discard(peer)
        if asked:
            # Counted from the first time of asking, so never too short for a peer that answers late.
            took = now_ns - asked.since_ns
            self._answer_ns[peer] = 0.875 * self._answer_ns.get(peer, took) + 0.125 * took
        return asked

    def _lacking(self, syn_ack: SynAck, asked: _Asked | None) -> dict[Actor, int]:
        """What the sender of a SYN-ACK lacks: what it asked for, and what another answer brought us since we asked.

        Of an actor it does not mention it holds what our digest told, or it would have given or wanted something; where
        that is not so, as for actors out of a SYN's range, what it gets stands ahead and claims nothing.
        """
        if asked is None or asked.fingerprint == self._state.fingerprint:
            return syn_ack.wants
        mentioned = {delta.actor for delta in syn_ack.deltas} | syn_ack.wants.keys()
        told = asked.digest
        gained = {
            actor: told.get(actor, NONE_HELD).version
            for actor, held in self._state.digest().items()
            if actor not in mentioned and held.version > told.get(actor, NONE_HELD).version
        }
        return syn_ack.wants | gained

    def _retries(self, peer: str, now_ns: int) -> bool:
        asked = self._asked[peer]
        if asked.retry_ns > now_ns:
            return False
        if not asked.retries_left:
            del self._asked[peer]
            return False
        asked.retries_left -= 1
        asked.retry_ns += asked.retry_ns - asked.since_ns
        return True

    def _push(self, now_ns: int) -> list[Send]:
        self._push_ns = None
        own = self._delta(self._actor, self._pushed, self._pushable())
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
        if self._pushed < self._state.version(self._actor):
            self._push_ns = now_ns + self._config.push_window_us * 1000
        return sends

    def _pushable(self) -> tuple[NamedRow, ...]:
        """The oldest of our rows not yet pushed, as many as surely fit the datagrams of one push."""
        room = self._config.exchange_datagrams * self._config.datagram_bytes // 2
        rows: list[NamedRow] = []
        for counter, row in self._state.newer(self._actor, self._pushed, self._most_rows):
            room -= len(counter.encode()) + MOST_ROW_BYTES
            if room < 0 and rows:
                break
            rows.append((counter, row))
        return tuple(rows)

    def _push_to(self, source: str) -> tuple[str, ...]:
        if len(self.peers) < SMALL_CLUSTER:
            return self.peers.sample(len(self.peers), self._rng)
        return self.peers.sample(PUSH_FANOUT, self._rng, leave_out=(source,))

    def _pass_on(self, source: str, news: list[Delta], now_ns: int) -> None:
        """Keep what was news for the next push, unless everybody got it from its source."""
        room = PASS_ON_DELTAS - len(self._to_pass_on)
        if len(self.peers) >= SMALL_CLUSTER and news and room:
            self._to_pass_on += [(source, delta) for delta in news[:room]]
            self._push_soon(now_ns)

    def _push_soon(self, now_ns: int) -> None:
        if self._push_ns is None and self._config.push and self._config.gossip == "delta" and len(self.peers):
            self._push_ns = now_ns + self._config.push_window_us * 1000

    def _syn_ack(self, syn: Syn) -> SynAck:
        """What they lack, and what we do. Actors out of the range that they told of are for another message."""
        lacks, wants = dict[Actor, int](), dict[Actor, int]()
        behind = 0
        ours = self._state.digest()
        for actor in sorted({*ours, *syn.digest, self._actor}):
            if actor <= syn.above or (syn.upto is not None and actor > syn.upto):
                continue
            mine, theirs = ours.get(actor, NONE_HELD), syn.digest.get(actor, NONE_HELD)
            seen = self._mending.get(actor, 0)
            if mine.version > theirs.version:
                lacks[actor] = theirs.version
                behind += mine.version - theirs.version
            elif mine.version < theirs.version:
                wants[actor] = seen if mine.version < seen < theirs.version else mine.version
            elif mine.version and mine.hash != theirs.hash:
                wants[actor] = self._mending[actor] = seen if seen < mine.version else 0
            elif mine.ahead != theirs.ahead:
                lacks[actor] = wants[actor] = mine.version
            if actor == self._actor:
                self._compare_own(syn.sender, theirs.version)
        self.peers.versions_behind[syn.sender] = behind
        return SynAck(self._config.name, self._state.fingerprint, self._deltas(lacks, syn.sender), wants)

    def _compare_own(self, peer: str, version: int) -> None:
        """A peer told how much it holds of the actor that we write as."""
        if version > self._state.version(self._actor):
            self._stats.future_digests += 1
            self.own_actor_is_older = True
        else:
            self.agreeing.add(peer)

    def _deltas(self, wanted: dict[Actor, int], peer: str) -> tuple[Delta, ...]:
        """What is held above these versions, as far as there is room for this peer until the next tick.

        No actor is always first, so that none is starved.
        """
        deltas = []
        room = self._room.get(peer, self._most_rows)
        for actor in self._rng.sample(list(wanted), len(wanted)):
            rows = self._state.newer(actor, wanted[actor], room)
            newer = self._delta(actor, wanted[actor], rows)
            room -= len(newer.rows)
            ahead = self._state.ahead(actor)
            # Shuffled, or an answer with room for some would bring the same ones every time.
            loose = Delta(actor, None, tuple(self._rng.sample(ahead, min(len(ahead), max(0, room)))))
            room -= len(loose.rows)
            deltas += [each for each in (newer, loose) if each.rows]
            if room <= 0:
                break
        self._room[peer] = room
        return tuple(deltas)

    def _delta(self, actor: Actor, since: int, rows: tuple[NamedRow, ...]) -> Delta:
        target = self._state.target(actor)
        return Delta(actor, since, rows, target if rows and target > rows[-1][1].version else 0)

    def _merge(self, deltas: tuple[Delta, ...], now_ns: int) -> list[Delta]:
        """Merge what came; the deltas that brought news, without the rows that did not."""
        news = [each for each in map(self._merge_delta, deltas) if each]
        if news:
            self.peers.state_changed(now_ns)
        return news

    def _merge_delta(self, delta: Delta) -> Delta | None:
        actor, since = delta.actor, delta.since
        if actor not in self._state and self._state.actors >= self._config.max_actors:
            self._stats.actors_dropped += 1
            return None
        rows = self._within_bounds(delta)
        if len(rows) < len(delta.rows):
            since = None  # with rows left out, we can't vouch for their versions; go on after them all the same
            if actor in self._state:
                self._mending[actor] = delta.rows[-1][1].version
        if since is not None and rows and since > self._state.version(actor):
            self._stats.gaps += 1
        version = self._state.version(actor)
        news = self._state.merge(actor, since, rows, delta.target)
        if news or self._state.version(actor) != version:
            self.unsaved.setdefault(actor, set()).update(counter for counter, _ in news)
        self._stats.shrinking_rows = self._state.shrinking_rows
        if since == delta.since:
            self._mended(delta)
        if news and actor == self._actor:
            self.own_actor_is_older = True
        if not news:
            return None
        return Delta(actor, since if len(news) == len(delta.rows) else None, tuple(news), delta.target)

    def _within_bounds(self, delta: Delta) -> tuple[NamedRow, ...]:
        room = self._config.max_rows - self._state.row_count
        if len(delta.rows) <= room:
            return delta.rows
        kept = []
        for counter, row in delta.rows:
            known = self._state.row(delta.actor, counter) is not NOTHING
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
