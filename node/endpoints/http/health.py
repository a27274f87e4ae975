"""Whether a node is healthy, and whether it is ready for clients.

Both are asked from other threads than the event loop's, so they look only at figures that the loop writes.
"""

from collections.abc import Callable
from time import monotonic_ns

from gossip_counter.node.core.replica import Replica

STALLED_S = 5.0
"""Seconds without a gossip round after which a node is not healthy any more."""


class Health:
    """The health of one node. The runtime calls `ticked` after each gossip round."""

    def __init__(self, replica: Replica, now_ns: Callable[[], int] = monotonic_ns) -> None:
        self._replica = replica
        self._now_ns = now_ns
        self._max_silence_ns = max(STALLED_S * 1e9, 3 * replica.config.gossip_interval_ns)
        self._round_ns = now_ns()

    def ticked(self) -> None:
        """A gossip round took place."""
        self._round_ns = self._now_ns()

    @property
    def is_healthy(self) -> bool:
        """Whether the node's event loop still runs."""
        return self._now_ns() - self._round_ns < self._max_silence_ns

    @property
    def unheard(self) -> list[str]:
        """The peers that sent nothing since the start. A node is ready without them: it counts alone if it must."""
        return self._replica.membership.unheard

    @property
    def is_member(self) -> bool:
        """Whether the node belongs to its cluster: it waits for nobody to take it in, and did not leave."""
        return self._replica.is_member

    @property
    def is_ready(self) -> bool:
        """Whether it runs, is a member, and peers have reported what they hold or were given up; not of the disk."""
        return self.is_healthy and self._replica.is_ready
