"""One member of the cluster as a pure state machine: what arrives, what time it is, and what is to be done about it.

Pure. `step` takes a message, `submit` a write, `tick` and `ready` the time. `ready` gives what is to be done, as data
for an adapter to carry out. The same inputs and the same seed give the same effects. The replica decides nothing
itself: each input goes to the part whose business it is.

    client_requests   what clients ask          writes, commits       what is added; how it becomes durable, and counts
    peer_messages     what peers send           acks, confirmations   who waits for copies elsewhere; who waits for us
    gossip            what is sent to peers     identity              whom we write as, and when that must change
    admission         every bound               membership            who belongs, and how each member stands
    roster            the list of members       member_changes, leaving    who joins, leaves, is removed
"""

from collections.abc import Sequence
from random import Random

from gossip_counter.node.core.acks import Acks
from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.client_requests import ClientRequests
from gossip_counter.node.core.cluster_id import ClusterId, OwnClusterId
from gossip_counter.node.core.commits import Commits, UnderWay
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.confirmations import Confirmations
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.effects import Client, Commit, Outbox, Ready
from gossip_counter.node.core.epochs import Epochs
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.gossip.delta import DeltaGossip
from gossip_counter.node.core.gossip.full_state import FullStateGossip
from gossip_counter.node.core.gossip.messages import Carrier, Gossip
from gossip_counter.node.core.identity import Identity, Recovered
from gossip_counter.node.core.leaving import REMOVED, Leaving
from gossip_counter.node.core.member_changes import MemberChanges, RefusedJoin
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.messages import REQUESTS, Request
from gossip_counter.node.core.peer_messages import PeerMessages, Refused
from gossip_counter.node.core.reads import Reads
from gossip_counter.node.core.restoring import restored
from gossip_counter.node.core.roster import MemberRecord, Presence, Roster
from gossip_counter.node.core.standing_list import page
from gossip_counter.node.core.start import Start
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.core.status import Status, snapshot
from gossip_counter.node.core.tokens import Issuer
from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.core.writes import Write, Writes

STRATEGIES = {"delta": DeltaGossip, "full": FullStateGossip}
"""By the setting `gossip`."""


class Replica:
    """One member of the cluster. Without `recovered` it begins a new epoch."""

    keys: tuple[str, ...] = ()
    """Ids of the keys that datagrams are sealed with, as an adapter reports them: the first seals, all open."""
    _unix_ahead_ms = 0
    """By how much the wall clock is ahead of the one that `now_ns` is of."""

    def __init__(
        self,
        config: Config,
        rng: Random,
        now_ns: int,
        recovered: Recovered | None = None,
        entropy: Random | None = None,
        presence: Presence | None = None,
    ) -> None:
        """`rng` picks peers. `entropy` mints epochs and lives: it must be the system's, except in a simulation. Without
        `presence`, this node writes no record about itself.
        """
        state, stats = restored(recovered.stored if recovered else ()), Stats()
        self.config, self.state, self.stats, self.rounds = config, state, stats, 0
        self._presence, self._entropy = presence or Presence(), entropy or rng
        self._identity = identity = Identity(config.name, self._entropy, state, recovered)
        self.roster = roster = _roster(config, recovered, presence)
        self.membership = membership = Membership(
            config, roster.others, lambda: state.fingerprint, now_ns, lambda: roster.hash
        )
        stored_id, joins = recovered.cluster_id if recovered else None, bool(self._presence.seeds)
        self._cluster_id = cluster_id = OwnClusterId(roster.others, stored_id, self._entropy, joins)
        self._outbox = outbox = Outbox(lambda: cluster_id.shown)
        strategy, dirty = STRATEGIES[config.gossip], DirtyRows(state)
        tokens = Issuer(state, strategy.claims_versions)
        self._admission = admission = Admission(config, state, stats, strategy.claims_versions)
        self._commits = commits = Commits(state, stats, identity, cluster_id, roster, dirty, outbox)
        self._acks = acks = Acks(config, state, stats, identity, tokens, outbox)
        self._confirmations = Confirmations(config, state, admission, commits, dirty, outbox)
        self._reads = reads = Reads(config, state, stats, tokens, strategy.claims_versions, outbox)
        self._start = start = Start(config.retry_ms, outbox)
        self._gossip = strategy(config, state, stats, rng, identity, membership, admission, dirty, start, outbox)
        self._epochs = epochs = Epochs(stats, identity, start, self._gossip, commits, acks)
        self._writes = writes = Writes(state, stats, identity, admission, commits, strategy.claims_versions)
        self._member_changes = changes = MemberChanges(
            config, state, stats, rng, identity, cluster_id, roster, membership, commits, outbox, self._set_members
        )
        self._leaving = leaving = Leaving(config, state, identity, admission, roster, membership, commits, outbox)
        self._client_requests = ClientRequests(
            stats, admission, commits, writes, acks, reads, tokens, outbox, self.status, self._advance_clock,
            changes, leaving, lambda at_ns, after: page(roster, membership, at_ns, after),
        )  # fmt: skip
        self._peer_messages = PeerMessages(
            state, stats, identity, cluster_id, membership, self._gossip, commits, acks, self._confirmations, epochs,
            dirty, changes, leaving,
        )  # fmt: skip
        self._set_members(now_ns)

    # Inputs. What they cause is fetched with `ready`.

    def use_keys(self, names: tuple[str, ...]) -> None:
        """Datagrams are sealed with these keys from now on: the first seals, all open."""
        self.keys = names
        self.roster.use_key(names[0])

    def begin(self, now_ns: int) -> None:
        """The first call: ask peers what they hold.

        If an earlier life wrote as our actor too, no add is committed until they answered or were given up (after some
        80 ms, or half a second if nobody answers): see `start`.
        """
        is_other_life = self.roster.own.has_left
        self.roster.begin(self._identity.boot, self.state.ends.now_ms, self._entropy)
        self.roster.use_key(self.keys[0] if self.keys else "")
        self._set_members(now_ns)
        self._member_changes.begin(now_ns, is_other_life, self._presence.seeds)
        self._gossip.begin(now_ns)

    def _set_members(self, now_ns: int) -> None:
        """Others may be members than before."""
        others = self.roster.others
        if others != self.membership.names:
            for gone in set(self.membership.names).difference(others):
                self._gossip.anti_entropy.forget(gone)
            self.membership.set_names(others, now_ns)
        self._admission.set_members(others)
        self._acks.set_peers(others)
        self._cluster_id.set_members(others)
        if self.roster.own.is_removed:
            self._admission.closed = REMOVED

    def set_clock(self, now_ns: int, unix_ms: int) -> None:
        """What the wall clock says at `now_ns`: counters end by it. To be called first, and before each tick."""
        self._unix_ahead_ms = unix_ms - now_ns // 1_000_000
        self.state.advance(unix_ms)

    def _advance_clock(self, now_ns: int) -> None:
        """Let what is over at this time end."""
        self.state.advance(now_ns // 1_000_000 + self._unix_ahead_ms)

    def tick(self, now_ns: int) -> None:
        """One gossip round, due every `gossip_interval_ms`."""
        self.rounds += 1
        self._commits.request_if_needed(is_leaving=bool(self._admission.closed))
        self._member_changes.tick(now_ns)
        self._leaving.tick(now_ns)
        if not self.roster.own.is_removed:
            self._gossip.tick(now_ns)

    def step(self, message: Request | Gossip, client: Client, now_ns: int) -> None:
        """Take one message. A request is answered, be it with an error, a write once it is durable; gossip is not."""
        if isinstance(message, REQUESTS):
            self._client_requests.answer(message, client, now_ns)
        else:
            self._peer_messages.receive(message, client, now_ns)
            if isinstance(message, Carrier):
                self._reads.settle(delta.actor for delta in message.deltas)

    def submit(self, client: Client, request_id: object, writes: Sequence[Write]) -> None:
        """Take any number of adds as one write.

        It is answered by `Written` once all of it is durable; if it can't be made so, each of its values is an error.
        Replies to one client's writes come in the order in which it submitted them.
        """
        self._client_requests.submit(client, request_id, writes)

    def transaction(self) -> Transaction:
        """Begin commands that are carried out at once, and answered when durable. Then call `ready`."""
        return Transaction(self.stats, self._commits, self._writes)

    def refuse(self, client: Client, error: RequestError) -> None:
        """Answer a request that could not be read, though its `msg_id` could; nothing has changed."""
        self._client_requests.refuse(client, error.msg_id, error)

    def forget(self, client: Client) -> None:
        """This client is gone, and waits for no copies any more."""
        self._acks.forget(client)

    def persisted(self, error: str | None = None) -> None:
        """The last Commit is durable, or failed for the reason given."""
        if error is None:
            self._commits.persisted()
        else:
            self._commits.failed(error)
            self._member_changes.failed(error)

    def wake(self, now_ns: int) -> None:
        """Do what is due. An adapter whose timers end a little early passes the time it set, not the one it is."""
        due_ns = self._outbox.wake_ns
        if due_ns is None or now_ns < due_ns:
            return
        self._outbox.wake_ns = None
        self._advance_clock(now_ns)
        for part in (self._start, self._gossip, self._acks, self._reads):
            part.wake(now_ns)
            if part.due_ns is not None:
                self._outbox.wake_at(part.due_ns)
        self._confirmations.expire(now_ns)

    # What is to be done.

    def ready(self, now_ns: int) -> Ready | None:
        """What is to be done now; None if nothing is. To be called after inputs and once its `wake_ns` has come (then
        `wake` may be called first), until it gives None.

        Replies leave first: clients that wait for nothing else can go on while the state is brought up to date.
        """
        return self._outbox.take(None if self._outbox.replies else self._advance(now_ns))

    def _advance(self, now_ns: int) -> Commit | None:
        self.wake(now_ns)
        if due_ms := self.state.ends.due_ms:
            self._outbox.wake_at((due_ms - self._unix_ahead_ms) * 1_000_000)
        if self._commits.is_durable:
            self._acknowledge(self._commits.apply(), now_ns)
        if not self._may_commit:
            return None
        self._epochs.begin_if_nobody_can_tell()
        return self._commits.begin()

    def _acknowledge(self, done: UnderWay, now_ns: int) -> None:
        """A commit is in the state now: its writes are answered, and peers hear of it."""
        self._confirmations.persisted(done)
        self._member_changes.persisted()
        if done.rows:
            self.membership.state_changed(now_ns)
            if done.actor == self.actor:
                self._gossip.wrote(now_ns)
        self._acks.acknowledge(done, now_ns)
        self._confirmations.settle()
        self._reads.settle((done.actor,))

    # What adapters may know.

    @property
    def actor(self) -> Actor:
        """Who this node writes as."""
        return self._identity.actor

    @property
    def cluster_id(self) -> ClusterId:
        """The id of the cluster, as gossip carries it."""
        return self._cluster_id.shown

    @property
    def _may_commit(self) -> bool:
        """Whether an add would be committed at once: peers have said what they hold of us, or were given up."""
        return not (self._start.awaited and self._identity.is_inherited)

    @property
    def is_ready(self) -> bool:
        """Whether clients should come here: this node is a member, and an add would be committed at once."""
        return self.is_member and self._may_commit

    def forks(self, now_ns: int) -> list[tuple[str, list[Client]]]:
        """Members under whose names several processes speak, and where each does so from."""
        return self._gossip.anti_entropy.speakers.forks(now_ns)

    def take_refused(self) -> Refused | None:
        """Who last sent gossip without this cluster's id and was refused, since this was called before."""
        refused, self._peer_messages.refused = self._peer_messages.refused, None
        return refused

    def take_refused_join(self) -> RefusedJoin | None:
        """Who last was not taken in as a member, since this was called before."""
        refused, self._member_changes.refused_join = self._member_changes.refused_join, None
        return refused

    @property
    def unagreed(self) -> tuple[str, ...]:
        """The members that have not replied with the cluster's id, as long as that is not settled."""
        return self._cluster_id.unagreed

    def take_stayed(self) -> str:
        """Why this node last could not leave, since this was called before; else empty."""
        stayed, self._leaving.stayed = self._leaving.stayed, ""
        return stayed

    @property
    def is_member(self) -> bool:
        """Whether this node is a member, as far as it knows."""
        return self.roster.own.is_member and not self._member_changes.is_outside

    @property
    def closed(self) -> str:
        """Why this node takes no writes: it is leaving, or was removed; else empty."""
        return self._admission.closed

    @property
    def is_joining(self) -> bool:
        """Whether this node still asks to be taken in as a member."""
        return self._member_changes.is_joining

    @property
    def asks_seeds(self) -> bool:
        """Whether this node still sends to those that people named to be asked first."""
        return self._member_changes.asks_seeds

    @property
    def has_left(self) -> bool:
        """Whether this node has left the cluster, and is no more needed."""
        return self._leaving.has_left

    def value(self, counter: str) -> int | None:
        """This node's value of a counter, None for one that nobody ever wrote to: a read that is answered at once."""
        return self._reads.value(counter)

    def status(self, now_ns: int, counter: str = "") -> Status:
        """A snapshot of this node; `counter` is the one whose value it has."""
        return snapshot(
            self.config, self.state, self.stats, self.membership, self.roster, now_ns, counter,
            actor=self.actor, rounds=self.rounds, is_ready=self.is_ready,
            dirty_rows=self._commits.dirty_rows, cluster_id=self.cluster_id, keys=self.keys,
        )  # fmt: skip


def _roster(config: Config, recovered: Recovered | None, presence: Presence | None) -> Roster:
    """The list of members. A journal that is a copy of another is no life of a member."""
    stored = recovered.members if recovered else ()
    if recovered and recovered.actor is None:
        stored = tuple(_of_another(each) if each.name == config.name else each for each in stored)
    return Roster(config.name, config.peers, stored, presence)


def _of_another(record: MemberRecord) -> MemberRecord:
    """The record in a copy of a journal about the member that it was copied from."""
    return record._replace(life=0, version=0, removed=record.removed if record.is_removed else 0)
