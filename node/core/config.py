"""Every setting of a replica, with its unit, its meaning and its bounds; checked when made.

Pure. Addresses are the worlds' affair and are not here.
"""

from dataclasses import dataclass

from gossip_counter.node.core import limits
from gossip_counter.node.core.errors import ConfigError

BOUNDS = {
    "gossip_interval_ms": (1, 3_600_000),
    "gossip_fanout": (0, 1000),
    "retry_ms": (1, 10_000),
    "push_window_us": (0, 1_000_000),
    "wait_ms": (1, 3_600_000),
    "datagram_bytes": (512, 65_507),
    "exchange_datagrams": (1, 1000),
    "max_rows": (1, 1_000_000_000),
    "max_actors": (1, 1_000_000),
}
"""By setting, the least and the most that it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How one replica runs. Raises `ConfigError` on a value out of its bounds."""

    name: str
    """This node's name: 1 to 255 bytes of UTF-8."""

    peers: tuple[str, ...] = ()
    """The names of the other members, this node's own not among them."""

    cluster: str = "counter"
    """The cluster's name: gossip of another cluster is dropped. 1 to 255 bytes of UTF-8."""

    gossip: str = "delta"
    """`delta`: digests and what changed. `full`: the seed's protocol, the whole state every tick and nothing else."""

    push: bool = True
    """Whether news is sent at once, unasked (`delta` only). Without it, ticks alone bring nodes together."""

    gossip_interval_ms: int = 100
    """Milliseconds between two ticks: 1 to 3600000."""

    gossip_fanout: int = 2
    """Random peers a tick speaks to, fewer where there are fewer: 0 (no anti-entropy) to 1000."""

    retry_ms: int = 20
    """Milliseconds until an exchange that found no answer is begun again; more for slow peers. 1 to 10000."""

    push_window_us: int = 1000
    """Microseconds that news waits for more of it before it is pushed: 0 to 1000000."""

    wait_ms: int = 1000
    """Milliseconds that an add waits for its copies, and a read for what its token stands for: 1 to 3600000."""

    datagram_bytes: int = 1200
    """The most bytes of one gossip datagram: 512 to 65507. 1200 passes every common network unfragmented."""

    exchange_datagrams: int = 16
    """The most datagrams sent in answer to one: a peer far behind is fed steadily, not in a burst. 1 to 1000."""

    max_rows: int = 1_000_000
    """Rows held before new counters are refused with error 11 and peers' new rows dropped: 1 to 10**9."""

    max_actors: int = 4096
    """Actors held before those never heard of are dropped: 1 to 1000000. Each life of a node is one."""

    def __post_init__(self) -> None:
        try:
            for field in ("name", "cluster"):
                limits.nonempty_name(getattr(self, field), field)
            for peer in self.peers:
                limits.nonempty_name(peer, "a peer's name")
            for field, (low, high) in BOUNDS.items():
                limits.whole(getattr(self, field), field, low, high)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self.gossip not in ("delta", "full"):
            raise ConfigError(f"gossip must be 'delta' or 'full', not {self.gossip!r}")
        if self.name in self.peers:
            raise ConfigError(f"{self.name} can't be its own peer")
        if len(set(self.peers)) < len(self.peers):
            raise ConfigError("two peers have the same name")

    @property
    def gossip_interval_ns(self) -> int:
        """Nanoseconds between two ticks."""
        return self.gossip_interval_ms * 1_000_000
