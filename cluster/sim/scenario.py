"""What may happen in one simulated run, and the scenarios of `bench judge`."""

from dataclasses import dataclass, replace

from gossip_counter.cluster.sim.network import Conditions
from gossip_counter.node.core.config import Config
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS, Bounds
from gossip_counter.node.security.keyring import Key, Keyring

TIGHT_BOUNDS = Bounds(
    quantum_bytes=256,
    chunk_bytes=64,
    max_chunks=3,
    batch_adds=8,
    max_adds=12,
    max_behind_wait_bytes=32,
    max_queued_bytes=512,
)
"""Every bound of Redis clients is met by a few short pipelines."""

LOSSY = Conditions(delay_ms=5, loss=0.15, duplicates=0.1, late=0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens in one simulated run. Rates are per second of the whole cluster."""

    config: Config
    nodes: int = 5
    seconds: float = 10.0
    counters: int = 3
    adds: float = 20.0
    pipelines: float = 5.0
    """Of several commands each, by Redis clients."""
    bounds: tuple[Bounds, ...] = (DEFAULT_BOUNDS, TIGHT_BOUNDS)
    """Each process has one of these for its Redis clients."""
    reads: float = 5.0
    network: Conditions = LOSSY
    partitions: float = 0.3
    slow_nodes: float = 0.1
    pauses: float = 0.2
    crashes: float = 0.4
    journal_lost: float = 0.3
    """The share of crashes in which the journal is lost."""
    restored: float = 0.2
    """The share of crashes after which a node is given an older copy of its journal."""
    failing_disks: float = 0.2
    slow_disks: float = 0.3
    clones: float = 0.0
    """A node's whole machine is cloned, and for some seconds both run under its name."""
    transactions: float = 0.0
    """On counters that end."""
    skew_ms: int = 0
    """By how much wall clocks differ from the true time at the most."""
    jumps: float = 0.0
    """A wall clock is some seconds off for a while."""
    ring: Keyring | None = None
    """The keys with which gossip is sealed."""
    rotations: float = 0.0
    """Steps in which the keys are changed; nodes that are down may miss them."""
    member_changes: float = 0.0
    """Nodes join, leave, move to another address, or die for good and are removed."""
    copies: int = 1
    """What adds ask for. With more than one, no more journals are lost than any add survives."""
    commit_ms: float = 2.0
    """A commit takes from a fifth of this to nine fifths, in milliseconds; ten times as long on a slow disk."""
    heal_seconds: float = 30.0
    """How long nodes may take to agree after the last fault."""


FAULTY = Scenario(config=Config(name="?"))
"""Everything that can go wrong, in moderation."""

TRUNCATING = replace(
    FAULTY,
    config=Config(name="?", datagram_bytes=512, exchange_datagrams=1, gossip_fanout=1, push=False),
    counters=60,
    adds=120.0,
    crashes=1.5,
    journal_lost=0.8,
)
"""More news than answers have room for, and nodes that have it crash."""

CROWD = replace(FAULTY, nodes=12, seconds=5.0, adds=40.0)
"""So many members that news is passed on."""

COPIED = replace(
    FAULTY,
    config=Config(name="?", datagram_bytes=512, exchange_datagrams=1, wait_ms=300),
    copies=2,
    counters=30,
    adds=60.0,
)
"""Adds are acknowledged when two nodes store them durably, and then one journal is lost."""

RESTORED = replace(
    FAULTY,
    adds=60.0,
    network=replace(FAULTY.network, loss=0.6),
    partitions=4.0,
    crashes=2.0,
    journal_lost=0.0,
    restored=0.8,
    failing_disks=1.0,
    slow_disks=2.0,
    commit_ms=10.0,
)
"""Older copies of journals are put back, and it is some time before a peer shows what they lack."""

REDIS = replace(FAULTY, seconds=5.0, adds=5.0, pipelines=60.0, slow_disks=1.0)
"""Many Redis clients, whose adds share commits."""

CLONED = replace(FAULTY, clones=0.5, partitions=0.0, journal_lost=0.0, restored=0.0, adds=60.0)
"""Two processes speak under one name at a time, each with the disk of the same node, and take adds."""

ENDING = replace(FAULTY, adds=5.0, pipelines=2.0, transactions=40.0, skew_ms=300, jumps=0.3, restored=0.0)
"""Counters that are deleted and that expire, forgotten a day later, where clocks differ."""

CLONED_ENDING = replace(ENDING, clones=0.5, partitions=0.0, journal_lost=0.0, adds=60.0)
"""Two processes speak under one name, while counters end and are deleted."""

SEALED = replace(
    FAULTY,
    ring=Keyring((Key(bytes(32), 0),)),
    network=replace(FAULTY.network, tampered=0.3),
    rotations=1.0,
    crashes=1.0,
    journal_lost=0.1,
    adds=60.0,
)
"""Somebody on the path tampers with datagrams, and keys are changed."""

MEMBERS = replace(FAULTY, member_changes=0.6, seconds=15.0, pipelines=0.0, journal_lost=0.1, heal_seconds=60.0)
"""The members change, while all else goes wrong too."""

SCENARIOS = {
    "restored": RESTORED,
    "faulty": FAULTY,
    "truncating": TRUNCATING,
    "crowd": CROWD,
    "copied": COPIED,
    "redis": REDIS,
    "cloned": CLONED,
    "ending": ENDING,
    "cloned-ending": CLONED_ENDING,
    "sealed": SEALED,
    "members": MEMBERS,
}
