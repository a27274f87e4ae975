"""What each peer is known to hold, whom to gossip with, and when everyone was known to agree.

Pure. A peer's state is known by the fingerprint it last told; nothing is assumed of a peer that was not heard.
"""

from collections.abc import Callable, Collection
from random import Random
from typing import NamedTuple


class Standing(NamedTuple):
    """How far a peer is known to be: `level`, or behind by at least so many versions since so many milliseconds.

    `behind_ms` counts from when it was last known to hold all that we did, and is None if it was never heard.
    """

    name: str
    level: bool
    versions: int
    behind_ms: float | None


class Peers:
    """The other members of the cluster, in sorted order: set order would differ between processes."""

    state_since_ns: int
    _agreed_ns: int | None

    def __init__(self, names: tuple[str, ...], fingerprint: Callable[[], int], now_ns: int) -> None:
        """`fingerprint` tells that of our own state; it is asked only when a peer's is there to compare it with."""
        self._names = sorted(names)
        self._heard: dict[str, int | None] = dict.fromkeys(self._names)
        self._fingerprint = fingerprint
        self._level_ns = dict.fromkeys(self._names, now_ns)
        self.versions_behind = dict.fromkeys(self._names, 0)
        """By how many versions a peer was behind when it last told its digest."""
        self.state_changed(now_ns)

    def __contains__(self, name: str) -> bool:
        return name in self._heard

    def __len__(self) -> int:
        return len(self._names)

    def sample(self, most: int, rng: Random, leave_out: Collection[str] = ()) -> tuple[str, ...]:
        """`most` distinct peers at random, silent ones included: a healed partition must find them."""
        names = [name for name in self._names if name not in leave_out] if leave_out else self._names
        return tuple(rng.sample(names, min(most, len(names))))

    def state_changed(self, now_ns: int) -> None:
        """Our state has just become another: nobody is known to hold it until somebody is heard."""
        self.state_since_ns = now_ns
        self._agreed_ns = None if self._names else now_ns

    def heard(self, peer: str, fingerprint: int, now_ns: int) -> None:
        """A peer told its fingerprint. Names that are no member's are not remembered."""
        level = fingerprint == self._fingerprint()
        if peer in self._heard:
            self._heard[peer] = fingerprint
            if level:
                self._level_ns[peer] = now_ns
        if level and self._agreed_ns is None and self.synced == len(self._names):
            self._agreed_ns = now_ns

    def standings(self, now_ns: int) -> list[Standing]:
        """What is known of each peer, in the order of their names."""
        return [self._standing(name, now_ns) for name in self._names]

    def _standing(self, name: str, now_ns: int) -> Standing:
        heard = self._heard[name]
        if heard == self._fingerprint():
            return Standing(name, True, 0, 0.0)
        behind_ms = None if heard is None else (now_ns - self._level_ns[name]) / 1e6
        return Standing(name, False, self.versions_behind[name], behind_ms)

    @property
    def synced(self) -> int:
        """How many peers were last heard to hold just our state."""
        ours = self._fingerprint() if self._names else 0
        return sum(heard == ours for heard in self._heard.values())

    @property
    def convergence_ms(self) -> float | None:
        """From our state's last change to the moment we first knew all members to hold it; None until then."""
        if self._agreed_ns is None:
            return None
        return (self._agreed_ns - self.state_since_ns) / 1e6
