"""What a replica wants done, as data: adapters carry it out.

Pure. Nothing in the core can block or fail for reasons outside it: it gives `Ready`, and is called again with what came
of it. After etcd/raft's `Ready`.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import NamedTuple

from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.gossip.messages import Gossip, Syn
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.messages import Reply
from gossip_counter.node.core.paths import NARROW_BYTES, Paths
from gossip_counter.node.core.roster import MemberRecord

Client = Hashable
"""Who sent a request: opaque to the core. To an adapter it is an address, a name or a connection."""


class Answer(NamedTuple):
    """Send this reply to that client."""

    to: Client
    reply: Reply


class Send(NamedTuple):
    """Send this gossip to each of these: a peer by its name, or whoever sent something, as given to `step`."""

    to: tuple[Client, ...]
    message: Gossip
    is_narrow: bool = False
    """In small datagrams: large ones do not get there."""

    def bounds(self, config: Config) -> tuple[int, int]:
        """How large each datagram may be, and how many there may be: small ones make up in number."""
        size, most = config.datagram_bytes, config.exchange_datagrams
        if not self.is_narrow or size <= NARROW_BYTES:
            return size, most
        return NARROW_BYTES, most * size // NARROW_BYTES


class Commit(NamedTuple):
    """Make all of this durable, or nothing, then call `Replica.persisted`. No other Commit comes before.

    `actor` is what this node writes as. Of each actor, rows that are named replace those stored before. `cluster_id`
    None: the one stored before stays. `members` are the records that have changed, which replace those of their names.
    """

    actor: Actor
    stored: tuple[Stored, ...]
    cluster_id: ClusterId | None = None
    members: tuple[MemberRecord, ...] = ()


class Ready(NamedTuple):
    """What is to be done now, in this order: replies, gossip, a commit.

    `wake_ns` is when `Replica.ready` is to be called at the latest; it replaces the time given before. None: that one
    stands.
    """

    replies: list[Answer]
    sends: list[Send]
    commit: Commit | None
    wake_ns: int | None


class Outbox:
    """Where the parts of a replica put what is to be done, until it is fetched."""

    def __init__(self, cluster_id: Callable[[], ClusterId]) -> None:
        """`cluster_id` is what gossip carries."""
        self._cluster_id = cluster_id
        self.paths = Paths()
        self.replies: list[Answer] = []
        self.wake_ns: int | None = None
        """The earliest time that a part asked to be woken at."""
        self._sends: list[Send] = []
        self._given_ns: int | None = None
        """The time last given in a Ready."""

    def reply(self, to: Client, reply: Reply) -> None:
        """Let this reply leave."""
        self.replies.append(Answer(to, reply))

    def send(self, to: tuple[Client, ...], message: Gossip) -> None:
        """Let this gossip leave."""
        identified = replace(message, cluster_id=self._cluster_id())
        narrow = self.paths.narrow(to, isinstance(message, Syn))
        if narrow:
            self._sends.append(Send(narrow, identified, is_narrow=True))
            to = tuple(each for each in to if each not in narrow)
        if to:
            self._sends.append(Send(to, identified))

    def wake_at(self, due_ns: int) -> None:
        """Let the replica be woken at this time, or earlier. Each part says so whenever it sets a deadline."""
        if self.wake_ns is None or due_ns < self.wake_ns:
            self.wake_ns = due_ns

    def take(self, commit: Commit | None) -> Ready | None:
        """All that is to be done, which then counts as done; None if it is nothing."""
        replies, sends, wake_ns = self.replies, self._sends, self.wake_ns
        is_new = wake_ns is not None and wake_ns != self._given_ns
        if not (replies or sends or commit or is_new):
            return None
        self.replies, self._sends, self._given_ns = [], [], wake_ns
        return Ready(replies, sends, commit, wake_ns if is_new else None)
