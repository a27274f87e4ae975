"""What a replica wants done, as data: adapters carry it out.

Pure. Nothing in the core can block or fail for reasons outside it: it gives `Ready`, and is called again with what came
of it. After etcd/raft's `Ready`.
"""

from collections.abc import Hashable
from typing import NamedTuple

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.messages import Gossip, Reply
from gossip_counter.node.core.state import Stored

Client = Hashable
"""Who sent a request: opaque to the core. To an adapter it is an address, a name or a connection."""


class Answer(NamedTuple):
    """Send this reply to that client."""

    to: Client
    reply: Reply


class Send(NamedTuple):
    """Send this gossip to each of these peers."""

    to: tuple[str, ...]
    message: Gossip


class Commit(NamedTuple):
    """Make all of this durable, or nothing, then call `Replica.persisted`. No other Commit comes before.

    `actor` is what this node writes as. Of each actor, rows that are named replace those stored before.
    """

    actor: Actor
    stored: tuple[Stored, ...]


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
    """Where the parts of a replica put replies and gossip until they are fetched."""

    def __init__(self) -> None:
        self.replies: list[Answer] = []
        self.sends: list[Send] = []

    def reply(self, to: Client, reply: Reply) -> None:
        """Let this reply leave."""
        self.replies.append(Answer(to, reply))

    def send(self, to: tuple[str, ...], message: Gossip) -> None:
        """Let this gossip leave."""
        self.sends.append(Send(to, message))

    def take(self) -> tuple[list[Answer], list[Send]]:
        """All that is to leave, which then has left."""
        replies, self.replies = self.replies, []
        sends, self.sends = self.sends, []
        return replies, sends
