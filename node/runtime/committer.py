"""Makes commits durable: at once while the disk is quick, elsewhere while it is slow.

To hand a commit to a thread and to hear of its end costs as much as a quick disk takes, so the event loop waits for a
quick one. A slow one would hold up reads and gossip: then a thread makes commits, and the next batch gathers meanwhile.
So does a thread with a commit that has to wait for another process.
"""

from collections.abc import Callable
from typing import Protocol

from gossip_counter.node.core.effects import Commit
from gossip_counter.node.storage.errors import MustWaitError

QUICK_NS = 20_000_000
"""A commit that takes longer is slow."""

SLOW = 2.0
"""So many slow commits of late make the disk slow. Each quick one forgives a tenth of a slow one."""

Done = Callable[[BaseException | None], None]
"""Takes None for success, or the error."""


class Store(Protocol):
    """Where commits go."""

    took_ns: int
    """How many nanoseconds the last commit took."""

    def commit(self, commit: Commit, may_wait: bool = True) -> None:
        """Make it durable, all or nothing, or raise: `MustWaitError` if it would have to wait and may not."""


class Committer:
    """Takes one commit at a time. Without a store, each is done at once: rows are in memory only."""

    def __init__(self, store: Store | None, aside: Callable[[Callable[[], None], Done], None], done: Done) -> None:
        """`aside(work, done)` runs `work` somewhere else and calls `done` where `commit` is called; `done` is called
        after each commit.
        """
        self._store = store
        self._aside = aside
        self._done = done
        self._slowness = 0.0
        """How many commits of late were slow."""

    def commit(self, commit: Commit) -> None:
        """Begin a commit, which may be done when this returns."""
        store = self._store
        if store is None:
            self._done(None)
        elif self._slowness >= SLOW:
            self._hand_over(store, commit)
        else:
            error = _failure(store, commit)
            if isinstance(error, MustWaitError):
                self._hand_over(store, commit)
            else:
                self._end(error)

    def _hand_over(self, store: Store, commit: Commit) -> None:
        self._aside(lambda: store.commit(commit), self._end)

    def _end(self, error: BaseException | None) -> None:
        if self._store and self._store.took_ns >= QUICK_NS:
            self._slowness = min(2 * SLOW, self._slowness + 1)
        else:
            self._slowness = max(0.0, self._slowness - 0.1)
        self._done(error)


def _failure(store: Store, commit: Commit) -> BaseException | None:
    try:
        store.commit(commit, may_wait=False)
    except Exception as error:  # noqa: BLE001 reported to those who wait, counted and logged
        return error
    return None
