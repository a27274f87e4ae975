"""The start of a life that has a journal: may it go on as the actor of the life before?

Pure. Only peers can tell whether that life, or a copy of it, still speaks, and whether it wrote more than the journal
has. So nothing is committed until the peers that were asked have answered or were given up. Where nobody answers at
all, nobody can tell, and this life writes as a new actor: that costs one actor, and can lose or repeat nothing.
"""

from gossip_counter.node.core.effects import Outbox

WAIT_FOR_ALL = 4
"""Retry intervals that all peers have to answer."""

WAIT_FOR_ANY = 25
"""Retry intervals that the first of them has, if none has answered in that time."""


class Start:
    """Peers that were asked what they hold of us."""

    def __init__(self, retry_ms: int, outbox: Outbox) -> None:
        self.awaited: set[str] = set()
        """Those that have neither answered nor been given up."""
        self.is_unanswered = False
        """Whether peers were asked, and none of them has answered yet."""
        self.due_ns: int | None = None
        """When `wake` should be called, if at all."""
        self._give_up_ns = 0
        """When nobody is waited for any more, whoever has answered."""
        self._retry_ns = retry_ms * 1_000_000
        self._outbox = outbox

    def begin(self, peers: tuple[str, ...], now_ns: int) -> None:
        """These are being asked."""
        self.awaited, self.is_unanswered = set(peers), True
        self._give_up_ns = now_ns + WAIT_FOR_ANY * self._retry_ns
        self._wake_at(now_ns + WAIT_FOR_ALL * self._retry_ns)

    def asks(self, peer: str) -> bool:
        """Whether what this one holds of us is still the question."""
        return self.is_unanswered or peer in self.awaited

    def answered(self, peer: str) -> None:
        """One has answered."""
        self.is_unanswered = False
        if self.due_ns == self._give_up_ns:
            self._give_up()
        self.awaited.discard(peer)

    def wake(self, now_ns: int) -> None:
        """Give up those that have not answered in time."""
        if self.due_ns is None or now_ns < self.due_ns:
            return
        if self.is_unanswered and now_ns < self._give_up_ns:
            self._wake_at(self._give_up_ns)
        else:
            self._give_up()

    def _wake_at(self, due_ns: int) -> None:
        self.due_ns = due_ns
        self._outbox.wake_at(due_ns)

    def _give_up(self) -> None:
        self.awaited.clear()
        self.due_ns = None
