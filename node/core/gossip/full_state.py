"""Full-state gossip: each tick sends the whole state to a few random peers, and nothing else is begun.

Pure. It is the protocol of a plain state-based PN-Counter, the baseline of the benchmarks, and what the stdin/stdout
endpoint speaks. Its messages claim no versions, so peers can confirm no copies. A peer with delta gossip is answered
all the same: a mixed cluster comes to one state.
"""

from itertools import groupby
from typing import ClassVar

from gossip_counter.node.core.gossip.delta import DeltaGossip
from gossip_counter.node.core.gossip.messages import Delta, Replicate


class FullStateGossip(DeltaGossip):
    """The other strategy of gossip."""

    claims_versions: ClassVar[bool] = False

    def begin(self, now_ns: int) -> None:
        """Nobody is asked anything."""

    def tick(self, now_ns: int) -> None:  # noqa: ARG002 as the other strategy has it
        """One round: send the whole state to a few random peers."""
        self._deltas.ticked()
        if peers := self._membership.sample(self._config.gossip_fanout, self._rng):
            self._outbox.send(peers, Replicate(self._config.name, self._state.fingerprint, self._whole_state()))

    def _whole_state(self) -> tuple[Delta, ...]:
        grouped = groupby(self._state, key=lambda each: each[0])
        return tuple(Delta(actor, None, tuple(named[1:] for named in rows)) for actor, rows in grouped)
