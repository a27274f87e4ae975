"""Every setting of a replica, with its unit, its meaning and its bounds; checked when made.

Pure. Addresses are the affair of adapters and are not here. The text of a field, its bounds and its default are what
the command line shows too.
"""

from dataclasses import dataclass, field, fields

from gossip_counter.node.core import limits
from gossip_counter.node.core.errors import ConfigError


def _number(default: int, low: int, high: int, text: str) -> int:
    return field(default=default, metadata={"help": text, "bounds": (low, high)})


def _choice(default: str, choices: tuple[str, ...], text: str) -> str:
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How one replica runs. Raises `ConfigError` on a value out of its bounds."""

    name: str = field(metadata={"help": "this node's name, such as n1: 1 to 255 bytes of UTF-8"})

    peers: tuple[str, ...] = field(default=(), metadata={"help": "the names of the other members"})

    cluster: str = field(
        default="counter",
        metadata={"help": "the cluster's name: gossip of another cluster is dropped. 1 to 255 bytes of UTF-8"},
    )

    gossip: str = _choice(
        "delta",
        ("delta", "full"),
        "delta: digests, and the rows that changed; full: the whole state every round, and nothing else",
    )

    push: bool = field(
        default=True, metadata={"help": "send new rows at once, and not only in rounds; for delta gossip only"}
    )

    gossip_interval_ms: int = _number(100, 1, 3_600_000, "milliseconds between two gossip rounds")

    gossip_fanout: int = _number(
        2,
        0,
        1000,
        "random peers that each round is sent to, all if there are fewer; 0 for none (only pushes spread rows then)",
    )

    retry_ms: int = _number(
        20, 1, 10_000, "milliseconds until an exchange without an answer is begun again; longer for slow peers"
    )

    push_window_us: int = _number(
        1000, 0, 1_000_000, "least microseconds between two pushes; rows written meanwhile are pushed together"
    )

    wait_ms: int = _number(
        1000, 1, 3_600_000, "milliseconds that an add waits for its copies, and a read for the writes of its token"
    )

    # 1200 bytes pass every common network in one piece.
    datagram_bytes: int = _number(1200, 512, 65_507, "the largest gossip datagram, in bytes")

    # A peer that is far behind is sent rows steadily, not in a burst that overruns its buffer.
    exchange_datagrams: int = _number(
        16,
        1,
        1000,
        "the most datagrams that are sent in answer to one",
    )

    max_rows: int = _number(
        1_000_000,
        1,
        1_000_000_000,
        "rows stored before new counters are refused with error 11, and peers' new rows dropped",
    )

    max_actors: int = _number(
        4096, 1, 1_000_000, "actors stored before rows of new ones are dropped; each epoch of a node is an actor"
    )

    allow_flush: bool = field(
        default=False, metadata={"help": "let Redis clients delete all counters with FLUSHALL and FLUSHDB"}
    )

    script_instructions: int = _number(
        10_000_000,
        1000,
        1_000_000_000,
        "instructions that the Lua scripts of one Redis command or transaction may take",
    )

    script_memory_kb: int = _number(16_384, 2048, 1_000_000, "kilobytes of memory that Lua scripts may take")

    def __post_init__(self) -> None:
        try:
            for each in ("name", "cluster"):
                limits.nonempty_name(getattr(self, each), each)
            for peer in self.peers:
                limits.nonempty_name(peer, "a peer's name")
            for each, (low, high) in BOUNDS.items():
                limits.whole(getattr(self, each), each, low, high)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self.gossip not in CHOICES["gossip"]:
            raise ConfigError(f"gossip must be 'delta' or 'full', not {self.gossip!r}")
        if self.name in self.peers:
            raise ConfigError(f"{self.name} can't be its own peer")
        if len(set(self.peers)) < len(self.peers):
            raise ConfigError("two peers have the same name")

    @property
    def gossip_interval_ns(self) -> int:
        """Nanoseconds between two gossip rounds."""
        return self.gossip_interval_ms * 1_000_000


HELP: dict[str, str] = {each.name: each.metadata["help"] for each in fields(Config)}
"""By setting, what it means."""

DEFAULTS: dict[str, object] = {each.name: each.default for each in fields(Config)}
"""By setting, its value where none is given."""

BOUNDS: dict[str, tuple[int, int]] = {
    each.name: each.metadata["bounds"] for each in fields(Config) if "bounds" in each.metadata
}
"""By setting that is a number, the least and the most that it may be."""

CHOICES: dict[str, tuple[str, ...]] = {
    each.name: each.metadata["choices"] for each in fields(Config) if "choices" in each.metadata
}
"""By setting that is one of a few words, these words."""
