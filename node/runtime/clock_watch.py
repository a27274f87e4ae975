"""Clocks of peers that differ from ours are logged once in a while: counters end by them."""

import logging
from collections.abc import Mapping

from gossip_counter.node.core.membership import LARGE_SKEW_MS

SETTLED_NS = 5_000_000_000
"""For so long a clock must have been off. A process that was paused reads old messages first, with old times."""

QUIET_NS = 600_000_000_000
"""Between two log lines about one peer."""


class ClockWatch:
    """Watches the clocks of the peers of one node."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._due_ns: dict[str, int] = {}
        """By peer whose clock is off, when to log it."""

    def look(self, skew_ms: Mapping[str, int], now_ns: int) -> None:
        """Log what is due. `skew_ms` is by how much the clock of each peer is ahead; `now_ns` is monotonic time."""
        for peer, skew in skew_ms.items():
            if abs(skew) <= LARGE_SKEW_MS:
                self._due_ns.pop(peer, None)
            elif now_ns >= self._due_ns.setdefault(peer, now_ns + SETTLED_NS):
                self._due_ns[peer] = now_ns + QUIET_NS
                where = "ahead of" if skew > 0 else "behind"
                self._log.warning(
                    "the clock of %s is %.1f s %s this node's: counters end at other times there; set both by NTP",
                    peer, abs(skew) / 1000, where,
                )  # fmt: skip
