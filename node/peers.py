"""What each peer is known to hold, whom to gossip with, and when everyone was known to agree.

Pure. A peer's state is known by the fingerprint it last told; nothing is assumed of a peer that was not heard.
"""

from random import Random


class Peers:
    """The other members of the cluster, in sorted order: set order would differ between processes."""

    def __init__(self, names: tuple[str, ...], now_ns: int) -> None:
        self._heard: dict[str, int | None] = dict.fromkeys(sorted(names))
        self.state_since_ns = now_ns
        self._agreed_ns: int | None = None if names else now_ns

    def sample(self, fanout: int, rng: Random) -> tuple[str, ...]:
        """`fanout` distinct peers at random, silent ones included: a healed partition must find them."""
        return tuple(rng.sample(list(self._heard), min(fanout, len(self._heard))))

    def state_changed(self, now_ns: int) -> None:
        """Our state has just changed: nobody else is known to hold it."""
        self.state_since_ns = now_ns
        self._agreed_ns = None if self._heard else now_ns

    def heard(self, peer: str, fingerprint: int, ours: int, now_ns: int) -> None:
        """A peer told its fingerprint. Names that are no member's are not remembered."""
        if peer not in self._heard:
            return
        self._heard[peer] = fingerprint
        if self._agreed_ns is None and self.synced(ours) == len(self._heard):
            self._agreed_ns = now_ns

    def synced(self, fingerprint: int) -> int:
        """How many peers were last heard to hold just this state."""
        return sum(heard == fingerprint for heard in self._heard.values())

    @property
    def convergence_ms(self) -> float | None:
        """From our state's last change to the moment we first knew all members to hold it; None until then."""
        if self._agreed_ns is None:
            return None
        return (self._agreed_ns - self.state_since_ns) / 1e6
