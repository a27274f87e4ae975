"""The beginning of a new epoch: from now on this node writes as another actor, and all its parts know.

Pure. To count on as an actor that somebody else may write as too would let max-merge absorb every increment until the
new total passes the other's. Writes that are being committed are seen to when they are durable.
"""

from gossip_counter.node.core.acks import Acks
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.gossip.delta import DeltaGossip
from gossip_counter.node.core.gossip.messages import Rival
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.start import Start
from gossip_counter.node.core.stats import Stats

MAX_RIVALS = 64
"""Rivals that are distinguished. No node meets so many: those that come after are ignored."""


class Epochs:
    """When a new epoch begins."""

    def __init__(
        self, stats: Stats, identity: Identity, start: Start, gossip: DeltaGossip, commits: Commits, acks: Acks
    ) -> None:
        self._stats = stats
        self._identity = identity
        self._start = start
        self._gossip = gossip
        self._commits = commits
        self._acks = acks
        self._rivals: set[int] = set()
        """Boot ids of other processes that speak under our name."""

    def begin(self) -> None:
        """Be another actor from now on."""
        self._stats.new_epochs += 1
        self._identity.begin_epoch()
        self._gossip.begin_epoch()
        self._commits.begin_epoch()
        self._acks.begin_epoch()

    def begin_if_nobody_can_tell(self) -> None:
        """Adds are about to be committed as an actor of a former life, and no peer has replied what it holds of it."""
        if self._start.is_unanswered and self._identity.is_inherited and self._commits.has_adds:
            self.begin()

    def met_rival(self, rival: Rival) -> None:
        """Another process speaks under our name: leave the actor to nobody, once for each of them."""
        if rival.boot != self._identity.boot and rival.boot not in self._rivals and len(self._rivals) < MAX_RIVALS:
            self._rivals.add(rival.boot)
            self._stats.forks += 1
            self.begin()
