"""Virtual time: what is due and when, and a hash of all that happened.

Pure. Nothing here waits: time passes by carrying out what is due next.
"""

import heapq
from collections.abc import Callable
from hashlib import blake2b

MS = 1_000_000
SECOND = 1000 * MS


class Clock:
    """Nanoseconds since the run began, and an agenda."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._entries = 0

    def at(self, due_ns: int, act: Callable[[], None]) -> None:
        """Call `act` at that time. What is due at the same time is done in the order of these calls."""
        self._entries += 1
        heapq.heappush(self._agenda, (due_ns, self._entries, act))

    def run_until(self, end_ns: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Let time pass to `end_ns`, or until `stop` returns True; it is asked after each entry of the agenda."""
        while self._agenda and self._agenda[0][0] <= end_ns:
            self.now_ns, _, act = heapq.heappop(self._agenda)
            act()
            if stop():
                return
        self.now_ns = end_ns


class Trace:
    """A hash of every datagram, request and reply with its time. Equal runs have equal traces."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hash = blake2b(digest_size=16)

    def note(self, source: str, to: str, data: bytes) -> None:
        """`data` came from `source` to `to` now."""
        self._hash.update(f"{self._clock.now_ns} {source} {to} ".encode() + data)

    @property
    def digest(self) -> str:
        """The hash so far, in hexadecimal."""
        return self._hash.hexdigest()
