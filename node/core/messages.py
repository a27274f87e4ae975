"""Every message a replica takes or gives, as data.

Pure. Requests and replies are those of the protocol's table, over every endpoint; gossip is what nodes send each other.
A reply carries the id that its client gave the request. Its own `msg_id` is added by the endpoint it leaves through.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor, NamedRow
from gossip_counter.node.core.holdings import NO_FLOORS, DigestEntry, Floors, Part
from gossip_counter.node.core.increases import Increase, Outcome
from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.core.tokens import Token

DEFAULT_COUNTER = ""


@dataclass(frozen=True, slots=True)
class Init:
    """Name this node and its members; only the stdin/stdout endpoint takes it."""

    msg_id: int
    node_id: str
    node_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Add:
    """Add `delta` (negative: decrement) to a counter; answered when so many members hold it durably."""

    msg_id: int
    delta: int
    counter: str = DEFAULT_COUNTER
    copies: int = 1
    terms: Increase | None = None
    """Bounds and an expiry, with the same delta."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Take away all that this node knows of a counter; answered when that is durable."""

    msg_id: int
    counter: str = DEFAULT_COUNTER


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for this node's value of a counter, once it holds all that `token` stands for."""

    msg_id: int
    counter: str = DEFAULT_COUNTER
    token: Token | None = None


@dataclass(frozen=True, slots=True)
class GossipStatus:
    """Ask how far gossip has come; `counter` is the one that `local_value` is of."""

    msg_id: int
    counter: str = DEFAULT_COUNTER


@dataclass(frozen=True, slots=True)
class CountCopies:
    """Ask how many other members hold durably what `actor` wrote up to `version`; answered when `members` of them do,
    or at `deadline_ns` (on the clock of the replica's `now_ns`).
    """

    msg_id: int
    actor: Actor
    version: int
    members: int
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class ListMembers:
    """Ask for the members and how each stands: those after a name, in order, as many as a reply has room for."""

    msg_id: int
    after: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """Ask this node to leave the cluster; answered when others store all that it has, and know that it left."""

    msg_id: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a member that is gone for good; answered when that is durable here."""

    msg_id: int
    name: str


Request = Add | Delete | Read | GossipStatus | CountCopies | ListMembers | Leave | Remove
REQUESTS = (Add, Delete, Read, GossipStatus, CountCopies, ListMembers, Leave, Remove)
"""The same for `isinstance`, which takes a tuple in a fraction of the time."""


@dataclass(frozen=True, slots=True)
class InitOk:
    """Answers Init."""

    in_reply_to: int


class Written(NamedTuple):
    """Answers an Add that is durable, and a write of several adds. A tuple, since every add makes one.

    To a write of several it gives `values`: this node's value after each add, or why that one was refused and changed
    nothing. The write stands in rows of `actor` up to `version`; None: in rows of more than one actor, or of none. To
    an Add it gives a `token` for all that this node held then; None where versions mean nothing.
    """

    in_reply_to: Any
    values: Sequence[Outcome]
    actor: Actor | None
    version: int
    token: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteOk:
    """Answers a Delete that is durable. `existed`: whether there was such a counter; if not, nothing was written."""

    in_reply_to: Any
    existed: bool
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ReadOk:
    """Answers Read. `deadline` is when the counter ends, in Unix milliseconds; None: never."""

    in_reply_to: int
    value: int
    token: str | None = None
    deadline: int | None = None


@dataclass(frozen=True, slots=True)
class CopiesOk:
    """Answers CountCopies: so many other members are known to hold it durably."""

    in_reply_to: int
    members: int


@dataclass(frozen=True, slots=True)
class GossipStatusOk:
    """Answers GossipStatus.

    `convergence_ms` is null until every other member is known to hold our state. `state_since_ns` is when the state
    last changed, on this machine's monotonic clock. `fingerprint` is the state's hash: equal states, equal hashes.
    `counted` is the sum of every row's increments and decrements, `dirty_rows` how many rows of peers' are not durable
    yet. `members` includes this node, and `members_by_state` also those that left or were removed; `peers_unheard` sent
    nothing since it started. Values and `counted` may be beyond 64 bits. `deadline` is when the counter ends, in Unix
    milliseconds; None: never. `skew_ms` is by how much the clock of `skewed_peer` is ahead of ours, which of all
    differs most; null until one sent its time. `cluster_id` is in hexadecimal. `keys` are the ids of those that
    seal datagrams, which the first does, and open them. `stats` are the counts of `core.stats`, beside the others.
    """

    in_reply_to: int
    local_value: int
    gossip_rounds: int
    peers_synced: int
    convergence_ms: float | None
    increments: int
    decrements: int
    deadline: int | None
    counters: int
    rows: int
    counted: int
    dirty_rows: int
    members: int
    members_by_state: dict[str, int]
    peers_unheard: int
    skew_ms: int | None
    skewed_peer: str | None
    fingerprint: str
    state_since_ns: int
    name: str
    cluster: str
    cluster_id: str
    cluster_id_settled: bool
    keys: tuple[str, ...] = ()
    stats: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Answers a request that was refused; nothing has changed, unless the code is that of a timeout."""

    in_reply_to: Any
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class MembersOk:
    """Answers ListMembers. `more`: there are others after these."""

    in_reply_to: int
    listed: tuple[dict[str, Any], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class LeaveOk:
    """Answers Leave: this node is no member any more. `unconfirmed` are members that did not take over, 30 at most."""

    in_reply_to: int
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoveOk:
    """Answers Remove."""

    in_reply_to: int


Reply = InitOk | Written | DeleteOk | ReadOk | CopiesOk | GossipStatusOk | MembersOk | LeaveOk | RemoveOk | ErrorReply


@dataclass(frozen=True, slots=True)
class Delta:
    """Rows of one actor, ascending in version: all those above `since` up to `reach`.

    `source_version` is the version of the state that they were cut from, where that is later. `since` None: these rows
    claim nothing, and stand in any order. Up to `floors`, what the sender does not have it has forgotten.
    """

    actor: Actor
    since: int | None
    rows: tuple[NamedRow, ...]
    source_version: int = 0
    upto: int = 0
    """How far it reaches where that is above the last row: later ones were forgotten."""
    floors: Floors = NO_FLOORS
    clock_ms: int = 0
    """By what time it has, in Unix milliseconds."""
    is_whole: bool = False
    """Whether all contiguous rows are here that the sender stores above `since`."""

    @property
    def reach(self) -> int:
        """The version up to which all rows are here."""
        return max(self.upto, self.rows[-1][1].version if self.rows else 0)


@dataclass(frozen=True, slots=True)
class _FromPeer:
    """What all gossip has."""

    cluster_id: ClusterId | None = field(default=None, compare=False, kw_only=True)
    """The sender's. The outbox states it; None: the sender's endpoint states none (stdin/stdout)."""


@dataclass(frozen=True, slots=True)
class Replicate(_FromPeer):
    """Full-state gossip: the rows of a whole state, or some of them, claiming nothing. `fingerprint` is that of the
    sender's whole state, or None where the rows are all that is known of it.
    """

    sender: str
    fingerprint: int | None
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Syn(_FromPeer):
    """What the sender holds of the actors above `above` up to `upto` ("" and None: no bound).

    It opens an exchange, or goes into the detail of what differs. Either `digest` has all of them, or `parts` divide
    the range, and the last ends where it does. What is too large for one datagram is sent in several ranges.
    """

    sender: str
    fingerprint: int
    digest: dict[Actor, DigestEntry]
    above: str = ""
    upto: str | None = None
    boot: int = 0
    """A random number, below 2**32, of the sender's process."""
    clock_ms: int = 0
    """The sender's clock, in Unix milliseconds: its hashes are made for that time, see `ends`. 0: it says none."""
    parts: tuple[Part, ...] = ()
    answered: int = 0
    """The boot id of the SYN that this answers; 0: none."""
    members: int = 0
    """The hash of the sender's list of members."""


@dataclass(frozen=True, slots=True)
class SynAck(_FromPeer):
    """Answers Syn: rows that its sender lacks, and what we lack of theirs, as the version to go on from."""

    sender: str
    fingerprint: int
    deltas: tuple[Delta, ...]
    wants: dict[Actor, int]
    boot: int = 0
    """That of the SYN, which may have come from another process than the one this reaches."""


@dataclass(frozen=True, slots=True)
class Ack(_FromPeer):
    """Answers SynAck: the rows that were wanted."""

    sender: str
    fingerprint: int
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Push(_FromPeer):
    """News, unasked."""

    sender: str
    fingerprint: int
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Confirm(_FromPeer):
    """Asks whether all writes of an actor up to `version`, or just what `entry_hash` is of if not 0, are durable."""

    sender: str
    fingerprint: int
    actor: Actor
    version: int
    entry_hash: int = 0


@dataclass(frozen=True, slots=True)
class Confirmed(_FromPeer):
    """Answers Confirm: every write up to `version` is stored durably, and so is what Confirm's `entry_hash` is of."""

    sender: str
    fingerprint: int
    actor: Actor
    version: int
    entry_hash: int = 0


@dataclass(frozen=True, slots=True)
class Rival(_FromPeer):
    """Answers Syn where another process speaks under the name of its sender: that one's boot id.

    `wants` is what we lack of the receiver's rows. No rows go to it: it may not be the member that we know.
    """

    sender: str
    fingerprint: int
    boot: int
    wants: dict[Actor, int]


@dataclass(frozen=True, slots=True)
class Join(_FromPeer):
    """Asks to be taken in as a member, with the record about the sender. `boot` comes back in the answer."""

    sender: str
    fingerprint: int
    boot: int
    record: MemberRecord


@dataclass(frozen=True, slots=True)
class Members(_FromPeer):
    """Records of members. `boot`: of the Join that it answers, else 0. `is_taken`: another process has that name."""

    sender: str
    fingerprint: int
    records: tuple[MemberRecord, ...]
    boot: int = 0
    is_taken: bool = False
    sent_to: str = ""
    """The address to which it is sent, as the sender's endpoint writes it: the receiver may know none of its own."""


Carrier = Replicate | SynAck | Ack | Push
"""Gossip that carries rows."""

Gossip = Carrier | Syn | Rival | Confirm | Confirmed | Join | Members


def boot_answered(message: Gossip) -> int:
    """The boot id of the SYN that a message answers; 0: it answers none, or another kind."""
    return message.answered if isinstance(message, Syn) else message.boot if isinstance(message, SynAck) else 0
