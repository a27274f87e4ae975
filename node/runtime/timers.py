"""Timers of the event loop: the tick, one alarm, and the short time in which the loop does not go to sleep."""

import asyncio
from collections.abc import Callable
from time import monotonic_ns

BUSY_NS = 200_000
"""How long the loop goes round after a commit. Clients that send again within this time are seen at once: to be woken
by the kernel takes as long as half of what they wait for. Who comes later costs no more than without it.
"""


class Ticker:
    """Calls `tick` every `interval_s` until `stop`. Those that a starved process missed are not made up for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float, tick: Callable[[], None]) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._tick = tick
        self._timer: asyncio.TimerHandle | None = None

    def start(self, delay_s: float) -> None:
        """Begin with a delay: nodes started together must not all speak at once."""
        self._arm(self._loop.time() + delay_s)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer:
            self._timer.cancel()

    def _arm(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._ring, due)

    def _ring(self, due: float) -> None:
        self._arm(max(due + self._interval_s, self._loop.time()))
        self._tick()


class Alarm:
    """Calls `ring` once, with the time that was set last.

    A timer of the loop may end up to a millisecond before that time, since the loop rounds times. To set it again for
    what is left, rounded once more, makes the alarm late instead; so `ring` is given the time for which it was set.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[int], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        """Ring at this time of the monotonic clock."""
        self.stop()
        self._timer = self._loop.call_later(max(0, at_ns - monotonic_ns()) / 1e9, self._ring, at_ns)

    def stop(self) -> None:
        """Don't ring."""
        if self._timer:
            self._timer.cancel()


class BusyPoll:
    """Keeps the loop from going to sleep for a while after a commit, if the next ones come that soon."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle_since_ns = 0
        """When the last commit was done."""
        self._is_polling = False

    def commit_begins(self) -> None:
        """A commit has just come."""
        if not self._is_polling and self._is_soon():
            self._is_polling = True
            self._loop.call_soon(self._poll)

    def commit_ended(self) -> None:
        """A commit is done."""
        self._idle_since_ns = monotonic_ns()

    def _is_soon(self) -> bool:
        return monotonic_ns() < self._idle_since_ns + BUSY_NS

    def _poll(self) -> None:
        if self._is_soon():
            self._loop.call_soon(self._poll)
        else:
            self._is_polling = False
