"""What the Redis endpoint needs from outside: the replica, and the event loop with the node's runtime around it.

Pure.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.messages import CountCopies
from gossip_counter.node.endpoints.redis.context import Add


class Core(Protocol):
    """What is needed of the replica."""

    def submit(self, client: Client, request_id: object, writes: Sequence[Add]) -> None:
        """Take adds; the client's `deliver` gets the reply."""

    def step(self, message: CountCopies, client: Client, now_ns: int) -> None:
        """Count copies; the client's `deliver` gets the reply."""

    def forget(self, client: Client) -> None:
        """Deliver nothing more to this client."""


class Runtime(NamedTuple):
    """What is needed of the event loop and of the node's runtime."""

    soon: Callable[..., object]
    """Calls a function with arguments in the next round of the event loop."""
    now_ns: Callable[[], int]
    """The time, on the replica's clock."""
    advance: Callable[[], None]
    """Carries out what the replica has ready, until it has nothing."""
    unexpected: Callable[[Exception], None]
    """Reports an error that should not have happened."""
    set_clock: Callable[[], object] = lambda: None
    """Lets the replica know what time it is, before adds that set an expiry."""
