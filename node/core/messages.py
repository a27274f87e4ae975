"""What clients send a replica, and what it answers, as data. What nodes send each other is in `gossip.messages`.

Pure. Requests and replies are those of the protocol's table, over every endpoint.
A reply carries the id that its client gave the request. Its own `msg_id` is added by the endpoint it leaves through.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.increases import Increase, Outcome
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
