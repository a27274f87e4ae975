"""What peers send: rows and digests go to gossip, confirmations to those who wait for them.

Pure. Only members are listened to, and only those of this cluster: what anybody else sends is dropped here, before
anything of it is merged. What a message shows of our own actor may make us another one.
"""

from typing import NamedTuple

from gossip_counter.node.core.acks import Acks
from gossip_counter.node.core.cluster_id import Handling, OwnClusterId
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.confirmations import Confirmations
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.epochs import Epochs
from gossip_counter.node.core.gossip.delta import DeltaGossip
from gossip_counter.node.core.gossip.messages import (
    Carrier,
    Confirm,
    Confirmed,
    Gossip,
    Join,
    Members,
    Pull,
    Replicate,
    Rival,
    Syn,
)
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.leaving import Leaving
from gossip_counter.node.core.member_changes import MemberChanges
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats


class Refused(NamedTuple):
    """One who speaks without this cluster's id, under a member's name or asked to take us in, and where from.

    `member` is where that member speaks from with our id; None: the sender's own id is settled.
    """

    name: str
    source: Client
    member: Client | None
    answers_join: bool = False
    """Whether we had asked it to take us in."""


class PeerMessages:
    """The peers' side of a replica."""

    def __init__(
        self,
        state: State,
        stats: Stats,
        identity: Identity,
        cluster_id: OwnClusterId,
        membership: Membership,
        gossip: DeltaGossip,
        commits: Commits,
        acks: Acks,
        confirmations: Confirmations,
        epochs: Epochs,
        dirty: DirtyRows,
        member_changes: MemberChanges,
        leaving: Leaving,
    ) -> None:
        self._state = state
        self._stats = stats
        self._identity = identity
        self._cluster_id = cluster_id
        self._membership = membership
        self._gossip = gossip
        self._commits = commits
        self._acks = acks
        self._confirmations = confirmations
        self._epochs = epochs
        self._dirty = dirty
        self._member_changes = member_changes
        self._leaving = leaving
        self.refused: Refused | None = None
        """The last one."""

    def receive(self, message: Gossip, source: Client, now_ns: int) -> None:
        """Take a message, if it is a member's. It came from `source`, which may be another address than we know."""
        if isinstance(message, Join):
            self._member_changes.receive_join(message, source, now_ns)
            return
        if self._member_changes.answers_us(message):
            self._member_changes.seed_answered()
        is_answer = self._member_changes.is_answer(message)
        if message.sender not in self._membership and not is_answer:
            self._receive_from_non_member(message, source)
            return
        if not self._is_of_this_cluster(message, source, now_ns):
            return
        match message:
            case Confirm():
                self._confirm(message, now_ns)
            case Confirmed():
                self._leaving.confirmed(message)
                self._confirmed(message)
            case Members():
                self._leaving.seen(message)
                self._member_changes.receive(message, source, now_ns)
            case Rival():
                self._epochs.met_rival(message)
                self._gossip.anti_entropy.receive_rival(message)
            case _:
                self._exchange(message, source, now_ns)

    def _receive_from_non_member(self, message: Gossip, source: Client) -> None:
        theirs, ours = message.cluster_id, self._cluster_id.shown
        if theirs and theirs.is_settled and ours.is_settled and theirs.number != ours.number:
            self._refuse(message, source, None)
        else:
            self._stats.non_members += 1
            self._member_changes.correct(message, source)

    def _is_of_this_cluster(self, message: Gossip, source: Client, now_ns: int) -> bool:
        """Whether the message is to be handled. If not, its sender is replied to, asked, or refused."""
        theirs, sender, exchanges = message.cluster_id, message.sender, self._gossip.anti_entropy
        if theirs is None:
            return True
        is_reply = isinstance(message, Replicate) or exchanges.is_ours(message)
        is_reply = is_reply or self._member_changes.is_answer(message)
        handling = self._cluster_id.receive(theirs, sender, is_reply)
        if handling is Handling.REFUSE:
            self._refuse(message, source, None)
        elif handling is Handling.ASK and isinstance(message, Members):
            self._member_changes.note_doubts(message.records)
        elif handling is Handling.ASK and not exchanges.is_asking(sender):
            exchanges.ask((sender,), now_ns)
        elif handling is Handling.REPLY and isinstance(message, Syn):
            if member := exchanges.speakers.elsewhere(sender, source, now_ns):
                self._refuse(message, source, member)
            else:
                exchanges.reply(message)
        if self._cluster_id.awaits_commit:
            self._commits.request()
        return handling is Handling.TAKE

    def _refuse(self, message: Gossip, source: Client, member: Client | None) -> None:
        self._stats.foreign_gossip += 1
        self.refused = Refused(message.sender, source, member, self._member_changes.answers_us(message))

    def _exchange(self, message: Carrier | Syn | Pull, source: Client, now_ns: int) -> None:
        absorbed = [] if isinstance(message, Syn | Pull) else self._identity.absorbed_by(message.deltas)
        if self._gossip.receive(message, source, now_ns):
            self._epochs.begin()  # somebody wrote as our actor what we never did
        if isinstance(message, Syn):
            self._member_changes.compare(message.sender, message.members)
        self._commits.reapply(absorbed)
        if absorbed or self._confirmations.waits_for(self._dirty):
            self._commits.request()

    def _confirm(self, asked: Confirm, now_ns: int) -> None:
        """A peer waits for copies: make durable what is not yet, and fetch what is missing."""
        self._confirmations.ask(asked, now_ns)
        is_lacking = self._confirmations.lacks(asked)
        if is_lacking and not self._gossip.anti_entropy.is_asking(asked.sender):
            self._gossip.anti_entropy.ask((asked.sender,), now_ns)
        if is_lacking and not asked.entry_hash:
            return
        if asked.actor in self._dirty:
            self._commits.request()
        self._confirmations.settle()

    def _confirmed(self, message: Confirmed) -> None:
        """A peer holds so much of our actor durably: if an earlier life wrote as the same actor, that may be its rows.

        So it counts only if the peer has shown, since our start, that it holds no more of our actor than we do.
        """
        if message.actor != self._identity.actor:
            return
        if message.version > self._state.version(message.actor):
            self._stats.future_digests += 1
            self._epochs.begin()
        elif not self._identity.is_inherited or message.sender in self._gossip.anti_entropy.agreeing:
            self._acks.confirmed(message)
