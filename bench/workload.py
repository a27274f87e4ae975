"""What each run of `bench converge` does: the cluster, and the adds that every node is sent."""

from dataclasses import dataclass, field
from random import Random

from gossip_counter.cluster.manifest import Settings
from gossip_counter.node.core.messages import DEFAULT_COUNTER

Add = tuple[int, str]
"""A delta and a counter's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every run does. With `decrements`, half as many random decrements are mixed in.

    With one counter, all adds go to the default counter; with more, each add goes to one at random.
    """

    nodes: int = 5
    counters: int = 1
    increments: int = 1000
    decrements: bool = False
    seed: int = 1
    settings: Settings = field(default_factory=Settings)
    timeout_s: float = 30.0

    @property
    def subtracted(self) -> int:
        """The number of decrements."""
        return self.increments // 2 if self.decrements else 0

    @property
    def expected(self) -> int:
        """The value all nodes must reach."""
        return self.increments - self.subtracted

    @property
    def changes(self) -> int:
        """Increments and decrements together."""
        return self.increments + self.subtracted

    @property
    def names(self) -> list[str]:
        """The counters' names."""
        return [DEFAULT_COUNTER] if self.counters == 1 else [f"c{i}" for i in range(self.counters)]

    def adds(self, rng: Random) -> list[list[Add]]:
        """For each node, what to add to it, in order."""
        names = self.names
        adds = [(1, rng.choice(names)) for _ in range(self.increments)]
        adds += [(-1, rng.choice(names)) for _ in range(self.subtracted)]
        rng.shuffle(adds)
        per_node: list[list[Add]] = [[] for _ in range(self.nodes)]
        for add in adds:
            rng.choice(per_node).append(add)
        return per_node


def mode(settings: Settings) -> str:
    """How nodes gossip, in a few words."""
    return f"{kind(settings)}, interval {settings.interval_ms} ms, fanout {settings.fanout}"


def kind(settings: Settings) -> str:
    """How nodes gossip, without the figures."""
    push = "" if settings.gossip == "full" else ", push" if settings.push else ", no push"
    loss = f", {settings.loss:.0%} loss" if settings.loss else ""
    sealed = ", sealed" if settings.sealed else ""
    return f"{'full-state' if settings.gossip == 'full' else 'delta'} gossip{push}{loss}{sealed}"
