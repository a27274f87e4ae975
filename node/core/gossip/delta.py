"""Delta gossip: anti-entropy every tick, and a push of every piece of news.

Pure.
"""

from random import Random
from typing import ClassVar

from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import ZERO, AnyRow, counts_nothing, is_news, merged
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.gossip.anti_entropy import AntiEntropy
from gossip_counter.node.core.gossip.deltas import Deltas
from gossip_counter.node.core.gossip.intake import Intake
from gossip_counter.node.core.gossip.messages import Ack, Carrier, Delta, Pull, Pulled, Replicate, Syn, SynAck
from gossip_counter.node.core.gossip.messages import Push as PushMessage
from gossip_counter.node.core.gossip.pulls import Pulls
from gossip_counter.node.core.gossip.push import SMALL_CLUSTER, Push
from gossip_counter.node.core.gossip.repair import RepairCursors
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.start import Start
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats


class DeltaGossip:
    """One strategy of gossip; it merges what arrives into the replica's state."""

    claims_versions: ClassVar[bool] = True
    """Whether this node's messages say what it holds, so that peers can confirm copies and clients bring tokens."""

    def __init__(
        self,
        config: Config,
        state: State,
        stats: Stats,
        rng: Random,
        identity: Identity,
        membership: Membership,
        admission: Admission,
        dirty: DirtyRows,
        start: Start,
        outbox: Outbox,
    ) -> None:
        repair = RepairCursors()
        self._config = config
        self._rng = rng
        self._state = state
        self._identity = identity
        self._membership = membership
        self._outbox = outbox
        self._deltas = Deltas(config, state, rng)
        self._intake = Intake(state, stats, admission, membership, dirty, repair)
        pushes = config.push and self.claims_versions
        self._push = Push(config, state, rng, identity, membership, self._deltas, outbox, pushes)
        self._start = start
        self._places = admission.places
        self._pulls = Pulls(config, state, stats, rng, self._deltas, outbox)
        self.anti_entropy = AntiEntropy(
            config, state, stats, rng, identity, membership, self._deltas, repair, self._pulls, start, admission.places,
            outbox,
        )  # fmt: skip

    def begin(self, now_ns: int) -> None:
        """The first thing a node does: ask peers what they hold, all of them in a small cluster."""
        if peers := self._membership.sample(SMALL_CLUSTER, self._rng):
            self._start.begin(peers, now_ns)
            self.anti_entropy.ask(peers, now_ns)

    def tick(self, now_ns: int) -> None:
        """One round: send a few random peers the digest of what we hold."""
        self._deltas.ticked()
        if peers := self._membership.sample(self._config.gossip_fanout, self._rng):
            self.anti_entropy.ask(peers, now_ns)

    def receive(self, message: Carrier | Syn | Pull, source: Client, now_ns: int) -> bool:
        """Take one message of a member, from `source`; whether it shows more of our own actor than we ever wrote."""
        deltas = () if isinstance(message, Syn | Pull) else message.deltas
        if isinstance(message, Pulled):
            deltas = self._pulls.joining(message)
        is_behind = self._has_row_of_another_life(deltas)  # before they are merged
        news = self._intake.merge(deltas, message.sender, now_ns)
        # Where a message is the whole state, its sender need not send the fingerprint.
        fingerprint = _fingerprint_of(message) if message.fingerprint is None else message.fingerprint
        is_last = not isinstance(message, Pulled) or message.is_last
        self._membership.heard_from(message.sender, fingerprint, now_ns, is_compared=is_last)
        match message:
            case Syn():
                if message.clock_ms:
                    self._state.ends.met(message.clock_ms)
                    self._membership.skew_ms[message.sender] = message.clock_ms - self._state.ends.now_ms
                is_behind = self.anti_entropy.receive_syn(message, source, now_ns)
            case SynAck():
                self.anti_entropy.receive_syn_ack(message, now_ns)
            case Ack():
                self.anti_entropy.receive_ack(message, now_ns)
            case PushMessage():
                self._push.pass_on(message.sender, news, now_ns)
            case Pull():
                self.anti_entropy.receive_pull(message, now_ns)
            case Pulled():
                self.anti_entropy.receive_pulled(message, now_ns)
            case Replicate():
                pass  # its rows are all there is to it
        self._pull_rest(message, deltas, now_ns)
        return is_behind

    def _pull_rest(self, message: Carrier | Syn | Pull, deltas: tuple[Delta, ...], now_ns: int) -> None:
        """Pull what a message had no room for, of actors whose rows we have as far as its deltas reach.

        An answer to a pull begins none: if it brought too little, nor would the next one bring more.
        """
        cut = [each for each in deltas if each.reach and each.source_version]
        if cut and not isinstance(message, Pulled):
            ahead = {each.actor: each.source_version for each in cut if each.reach <= self._state.version(each.actor)}
            self._pulls.begin(message.sender, ahead, now_ns)

    def _has_row_of_another_life(self, deltas: tuple[Delta, ...]) -> bool:
        """Whether a row of our actor is none that we wrote: of a counter that we store, it has what our row has not;
        of any other, it is newer than all that we have forgotten. Be there room for it or not.
        """
        actor, state = self._identity.actor, self._state
        forgotten = state.forgotten_upto(actor).forgotten

        def is_unknown(counter: str, row: AnyRow) -> bool:
            mine = state.row(actor, counter)
            if mine is ZERO:
                return row.version > forgotten and not counts_nothing(row)
            return is_news(mine, merged(mine, row))

        return any(is_unknown(*named) for delta in deltas if delta.actor == actor for named in delta.rows)

    def wrote(self, now_ns: int) -> None:
        """Rows of our actor are durable, and count."""
        self._push.wrote(now_ns)

    def begin_epoch(self) -> None:
        """Our rows are another actor's from now on."""
        self._push.begin_epoch()
        self._places.begin_epoch()

    @property
    def due_ns(self) -> int | None:
        """When `wake` should be called, if at all."""
        times = (self.anti_entropy.due_ns, self._push.due_ns, self._pulls.due_ns)
        return min((each for each in times if each is not None), default=None)

    def wake(self, now_ns: int) -> None:
        """Do what is due: push the news that has gathered, begin exchanges again that found no answer."""
        self._push.wake(now_ns)
        self._pulls.wake(now_ns)
        self.anti_entropy.wake(now_ns)


def _fingerprint_of(message: Carrier | Syn | Pull) -> int:
    """The fingerprint of the state that holds just a message's rows."""
    state = State()
    for delta in () if isinstance(message, Syn | Pull) else message.deltas:
        state.merge(delta.actor, None, delta.rows)
    return state.fingerprint
