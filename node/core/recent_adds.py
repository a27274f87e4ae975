"""Adds of the last seconds with their replies: a datagram that the network doubled, or a client repeated, counts once.

Pure. An add is recognised by who sent it and by its bytes. Where there are too many, the oldest are forgotten first: a
duplicate that comes after that is a new add.
"""

from collections import deque
from collections.abc import Hashable

Client = tuple[Hashable, bytes, bytes]
"""Who sent a request, at which address of ours if that matters, and the bytes that it is recognised by."""

KEEP_NS = 10_000_000_000
MAX_ADDS = 32_768
MAX_BYTES = 8 * 2**20
"""The bytes of adds and replies together."""


class RecentAdds:
    """By client and bytes, the reply; empty while there is none yet."""

    def __init__(self, keep_ns: int = KEEP_NS, max_adds: int = MAX_ADDS, max_bytes: int = MAX_BYTES) -> None:
        self._keep_ns = keep_ns
        self._max_adds = max_adds
        self._max_bytes = max_bytes
        self._replies: dict[Client, bytes] = {}
        self._arrived = deque[tuple[int, Client]]()
        """Each of them once, with the time at which it came; the oldest first."""
        self._bytes = 0

    def arrived(self, add: Client, now_ns: int) -> bytes | None:
        """An add has come: None if it is new, else the reply that it got, which is empty as long as it waits for one.

        `now_ns` is monotonic time.
        """
        while self._arrived and self._arrived[0][0] <= now_ns - self._keep_ns:
            self._forget_oldest()
        reply = self._replies.get(add)
        if reply is None:
            self._replies[add] = b""
            self._arrived.append((now_ns, add))
            self._grow(len(add[2]))
        return reply

    def replied(self, add: Client, reply: bytes) -> None:
        """An add has got its reply. One that is forgotten already stays so."""
        old = self._replies.get(add)
        if old is not None:
            self._replies[add] = reply
            self._grow(len(reply) - len(old))

    def __len__(self) -> int:
        return len(self._replies)

    def _grow(self, size: int) -> None:
        self._bytes += size
        while len(self._arrived) > self._max_adds or self._bytes > self._max_bytes:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, add = self._arrived.popleft()
        self._bytes -= len(add[2]) + len(self._replies.pop(add))
