"""Adds of the last seconds with their replies: a datagram that the network doubled, or a client repeated, counts once.

Pure. An add is recognised by who sent it and by its bytes. Where there are too many, the oldest are forgotten first: a
duplicate that comes after that is a new add.
"""

from collections import deque
from collections.abc import Hashable

Key = Hashable
"""What an add is recognised by: who sent it, to which address of ours, and its bytes."""

KEEP_NS = 10_000_000_000
MAX_ADDS = 32_768

MAX_REPLY_BYTES = 8 * 2**20
"""Of their replies together: a token makes a reply long."""


class RecentAdds:
    """By key, the reply; empty while there is none yet."""

    def __init__(
        self, keep_ns: int = KEEP_NS, max_adds: int = MAX_ADDS, max_reply_bytes: int = MAX_REPLY_BYTES
    ) -> None:
        self._keep_ns = keep_ns
        self._max_adds = max_adds
        self._max_reply_bytes = max_reply_bytes
        self._replies: dict[Key, bytes] = {}
        self._arrived = deque[tuple[int, Key]]()
        """Each of them once, with the time at which it came; the oldest first."""
        self._reply_bytes = 0

    def __len__(self) -> int:
        return len(self._replies)

    def arrived(self, add: Key, now_ns: int) -> bytes | None:
        """An add has come: None if it is new, else the reply that it got, which is empty as long as it waits for one.

        `now_ns` is monotonic time.
        """
        arrived, forgotten_ns = self._arrived, now_ns - self._keep_ns
        while arrived and arrived[0][0] <= forgotten_ns:
            self._forget_oldest()
        if add in self._replies:
            return self._replies[add]
        if len(arrived) >= self._max_adds:
            self._forget_oldest()
        self._replies[add] = b""
        arrived.append((now_ns, add))
        return None

    def replied(self, add: Key, reply: bytes) -> None:
        """An add has got its reply. One that is forgotten already stays so."""
        if add in self._replies:
            self._reply_bytes += len(reply) - len(self._replies[add])
            self._replies[add] = reply
            while self._reply_bytes > self._max_reply_bytes:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._reply_bytes -= len(self._replies.pop(self._arrived.popleft()[1]))
