"""Writes of the last seconds with their replies: a datagram that was doubled or sent again is carried out once.

Pure. A write, which is an add or a delete, is recognised by who sent it and by its bytes. Where there are too many,
older ones are forgotten sooner: a duplicate that comes after that is a new write.
"""

from collections.abc import Hashable
from hashlib import blake2b

LONG_BYTES = 128
"""A write of more than so many bytes is recognised by a hash of them."""

Key = bytes
"""What a write is recognised by: who sent it, to which address of ours, and its bytes, in one."""

KEEP_NS = 10_000_000_000
MAX_WRITES = 8192
MAX_REPLY_BYTES = 2 * 2**20  # together: a token makes a reply long


def key(write: bytes, sender: Hashable) -> Key:
    """Of these bytes. One piece of bytes takes a third of the memory that a tuple takes."""
    content = write if len(write) <= LONG_BYTES else blake2b(write).digest()
    return b"%d %b" % (hash(sender), content)


class RecentWrites:
    """By key, the reply; empty while there is none yet.

    There are two generations. When the younger one has lasted `keep_ns`, or is full, the older one is dropped at once:
    each write is remembered for `keep_ns` at least, unless there are too many, and nothing is moved for any of them.
    """

    def __init__(
        self, keep_ns: int = KEEP_NS, max_writes: int = MAX_WRITES, max_reply_bytes: int = MAX_REPLY_BYTES
    ) -> None:
        """The bounds are those of one generation. A reply counts in the one in which it comes."""
        self._keep_ns = keep_ns
        self._max_writes = max_writes
        self._max_reply_bytes = max_reply_bytes
        self._young: dict[Key, bytes] = {}
        self._old: dict[Key, bytes] = {}
        self._young_until_ns = 0
        self._reply_bytes = 0
        """Of the replies that came since the younger generation began."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def arrived(self, write: Key, now_ns: int) -> bytes | None:
        """A write has come: None if it is new, else the reply that it got, which is empty as long as it waits for one.

        `now_ns` is monotonic time.
        """
        if now_ns >= self._young_until_ns:
            self._begin_generation()
            if now_ns >= self._young_until_ns + self._keep_ns:
                self._old = {}
            self._young_until_ns = now_ns + self._keep_ns
        elif len(self._young) >= self._max_writes:
            self._begin_generation()
        reply = self._young.get(write)
        if reply is None:
            reply = self._old.get(write)
        if reply is None:
            self._young[write] = b""
        return reply

    def replied(self, write: Key, reply: bytes) -> None:
        """A write has got its reply. One that is forgotten already stays so."""
        generation = self._young if write in self._young else self._old
        if write in generation:
            generation[write] = reply
            self._reply_bytes += len(reply)
            if self._reply_bytes > self._max_reply_bytes:
                self._begin_generation()

    def _begin_generation(self) -> None:
        self._young, self._old, self._reply_bytes = {}, self._young, 0
