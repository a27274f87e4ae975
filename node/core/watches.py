"""Who watches counters, and whether they have changed since.

Pure. A change costs one look at whether anybody watches anything. A counter that changed marks all its watches, which
are then forgotten: so each costs what it cost to put it there, however often a counter changes.
"""

from collections.abc import Mapping


class Watch:
    """The counters that one client watches."""

    __slots__ = ("changed", "counters")

    def __init__(self) -> None:
        self.changed = False
        """Whether one of them has changed since it was put here, be it that it came back to the same value."""
        self.counters: set[str] = set()


class Watches:
    """All watches of a state, by counter."""

    def __init__(self) -> None:
        self._by_counter: dict[str, set[Watch]] = {}

    def __bool__(self) -> bool:
        """Whether anybody watches anything."""
        return bool(self._by_counter)

    def add(self, watch: Watch, counter: str) -> None:
        """Let a watch see changes of a counter from now on."""
        watch.counters.add(counter)
        self._by_counter.setdefault(counter, set()).add(watch)

    def remove(self, watch: Watch) -> None:
        """A watch need not see anything any more."""
        for counter in watch.counters:
            watching = self._by_counter.get(counter)
            if watching and watch in watching:
                watching.remove(watch)
                if not watching:
                    del self._by_counter[counter]
        watch.counters.clear()

    def note(self, changed: Mapping[str, object]) -> None:
        """These counters have changed."""
        for counter in changed.keys() & self._by_counter.keys():
            for watch in self._by_counter.pop(counter):
                watch.changed = True
