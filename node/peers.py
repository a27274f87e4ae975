"""What each peer is known to hold, whom to gossip with, and when everyone was known to agree.

Pure. A peer's state is known by the fingerprint it last told; nothing is assumed of a peer that was not heard.
"""

from collections.abc import Callable, Collection
from random import Random


class Peers:
    """The other members of the cluster, in sorted order: set order would differ between processes."""

    state_since_ns: int
    _agreed_ns: int | None

    def __init__(self, names: tuple[str, ...], fingerprint: Callable[[], int], now_ns: int) -> None:
        """`fingerprint` tells that of our own state; it is asked only when a peer's is there to compare it with."""
        self._names = sorted(names)
        self._heard: dict[str, int | None] = dict.fromkeys(self._names)
        self._fingerprint = fingerprint
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
        if peer in self._heard:
            self._heard[peer] = fingerprint
        if self._agreed_ns is None and fingerprint == self._fingerprint() and self.synced == len(self._names):
            self._agreed_ns = now_ns

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
