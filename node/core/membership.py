"""Who belongs to the cluster, how each member stands, and when all were known to agree.

Pure. Only members are listened to: what anybody else sends is dropped before anything of it is merged (`in`). A peer's
state is known by the fingerprint it last sent; nothing is assumed of a peer that was not heard from.
"""

from collections.abc import Callable, Collection
from random import Random
from typing import NamedTuple

from gossip_counter.node.core.config import Config

UP_NS = 3_000_000_000
"""A member that was heard within this time is up; in a large cluster, see `up_ns`."""

UP_TURNS = 12
"""Or so many times as long as it takes on average until one of two members picks the other for a round."""

DOWN = 10
"""One that was not heard for so many times as long is down. In between, it is suspect."""

LARGE_SKEW_MS = 1000
"""Clocks that differ by no more are as good as equal."""


def up_ns(others: int, interval_ns: int, fanout: int) -> int:
    """How long one of so many others may be silent that is up: as peers are picked at random, chance passes it over."""
    return max(UP_NS, UP_TURNS * interval_ns * others // (2 * max(1, fanout)))


class Standing(NamedTuple):
    """How far a peer is known to be: `level` (in sync), or behind by at least so many versions since `behind_ms`.

    `behind_ms` counts from when it was last known to hold all that we did, `silent_ms` from when it last sent gossip.
    Both count from our start for a peer that was not `heard` since then: nothing is known of that one.
    """

    name: str
    heard: bool
    """Since our start."""
    level: bool
    versions: int
    behind_ms: float
    silent_ms: float
    skew_ms: int | None = None
    """By how much its clock was ahead of ours when it last sent its digest; None: it did not say."""
    state: str = "up"
    """up, suspect or down, by when it was last heard."""


class Membership:
    """The other members of the cluster, in sorted order: the order of a set would differ between processes."""

    state_since_ns: int
    """When our state last changed."""
    _agreed_ns: int | None

    def __init__(
        self,
        config: Config,
        names: tuple[str, ...],
        fingerprint: Callable[[], int],
        now_ns: int,
        roster_hash: Callable[[], int] = lambda: 0,
    ) -> None:
        """`fingerprint` gives that of our own state; it is asked only when a peer's is there to compare it with.

        `roster_hash` gives that of our list of members.
        """
        self.roster_hash = roster_hash
        self._config = config
        self.names = tuple(sorted(names))
        self._fingerprints: dict[str, int | None] = dict.fromkeys(self.names)
        self._fingerprint = fingerprint
        self._in_sync_ns = dict.fromkeys(self.names, now_ns)
        self._heard_ns = dict.fromkeys(self.names, now_ns)
        self.versions_behind = dict.fromkeys(self.names, 0)
        """By how many versions a peer was behind when it last sent its digest."""
        self.skew_ms: dict[str, int] = {}
        """By how much a peer's clock was ahead of ours when it last sent its digest, as far as it said."""
        self.state_changed(now_ns)

    def set_names(self, names: tuple[str, ...], now_ns: int) -> None:
        """The other members are these now, in sorted order."""
        gone, new = set(self.names) - set(names), [name for name in names if name not in self._fingerprints]
        self.names = names
        for by_name in (self._fingerprints, self._in_sync_ns, self._heard_ns, self.versions_behind, self.skew_ms):
            for name in gone:
                by_name.pop(name, None)
        for name in new:
            self._fingerprints[name], self.versions_behind[name] = None, 0
            self._in_sync_ns[name] = self._heard_ns[name] = now_ns
        if new or not names:
            self._agreed_ns = None if names else now_ns

    def is_up(self, name: str, now_ns: int) -> bool:
        """Whether a member was heard just now."""
        return self._fingerprints.get(name) is not None and self._state(name, now_ns) == "up"

    @property
    def _patience_ns(self) -> int:
        config = self._config
        return up_ns(len(self.names), config.gossip_interval_ns, config.gossip_fanout)

    def is_missed(self, name: str, now_ns: int) -> bool:
        """Whether a member was silent for so long, since our start, that it is not up."""
        return now_ns - self._heard_ns[name] >= self._patience_ns

    def _state(self, name: str, now_ns: int) -> str:
        silent_ns, patience_ns = now_ns - self._heard_ns[name], self._patience_ns
        if silent_ns < patience_ns:
            return "suspect" if self._fingerprints[name] is None else "up"
        return "suspect" if silent_ns < DOWN * patience_ns else "down"

    def __contains__(self, name: str) -> bool:
        return name in self._fingerprints

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, most: int, rng: Random, leave_out: Collection[str] = ()) -> tuple[str, ...]:
        """`most` distinct peers at random, silent ones included: a healed partition must find them."""
        names = [name for name in self.names if name not in leave_out] if leave_out else self.names
        return tuple(rng.sample(names, min(most, len(names))))

    def state_changed(self, now_ns: int) -> None:
        """Our state has just become another: nobody is known to hold it until somebody is heard from."""
        self.state_since_ns = now_ns
        self._agreed_ns = None if self.names else now_ns

    def heard_from(self, peer: str, fingerprint: int, now_ns: int, is_compared: bool = True) -> None:
        """A peer sent its fingerprint. In the midst of many rows it is not compared: all that came would be hashed."""
        self._fingerprints[peer] = fingerprint
        self._heard_ns[peer] = now_ns
        if is_compared and fingerprint == self._fingerprint():
            self._in_sync_ns[peer] = now_ns
            if self._agreed_ns is None and self.synced == len(self.names):
                self._agreed_ns = now_ns

    def is_level(self, peer: str) -> bool:
        """Whether a peer was last heard to hold just our state."""
        return self._fingerprints[peer] == self._fingerprint()

    def standings(self, now_ns: int) -> list[Standing]:
        """What is known of each peer, in the order of their names."""
        return [self._standing(name, now_ns) for name in self.names]

    def _standing(self, name: str, now_ns: int) -> Standing:
        fingerprint, silent_ms = self._fingerprints[name], (now_ns - self._heard_ns[name]) / 1e6
        skew_ms, state = self.skew_ms.get(name), self._state(name, now_ns)
        if fingerprint == self._fingerprint():
            return Standing(name, True, True, 0, 0.0, silent_ms, skew_ms, state)
        behind_ms, versions = (now_ns - self._in_sync_ns[name]) / 1e6, self.versions_behind[name]
        return Standing(name, fingerprint is not None, False, versions, behind_ms, silent_ms, skew_ms, state)

    @property
    def unheard(self) -> list[str]:
        """The peers that sent nothing since our start."""
        return [name for name in self.names if self._fingerprints[name] is None]

    @property
    def synced(self) -> int:
        """How many peers were last heard to hold just our state."""
        ours = self._fingerprint() if self.names else 0
        return sum(fingerprint == ours for fingerprint in self._fingerprints.values())

    @property
    def convergence_ms(self) -> float | None:
        """From our state's last change to the moment we first knew all members to hold it; None until then."""
        if self._agreed_ns is None:
            return None
        return (self._agreed_ns - self.state_since_ns) / 1e6
