"""The names of all counters, in the order in which they were first seen, for those who go through them bit by bit.

Pure. Each name has a number that no other name ever gets. A cursor is the number of the last name given, so it stays
valid while names come and go: whoever goes on from a cursor gets every name that was there all the time exactly once.

Names that are removed leave a mark, and `_sweep` takes them out once marks outnumber names. Names that were swept keep
their numbers in an array beside them; the others are numbered by their place, and cost nothing but the name.
"""

from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator


class NameIndex:
    """An ordered set of names with stable cursors."""

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._swept: list[str] = []
        """The names with those numbers."""
        self._first = 1
        """The number of the first of `_names`; each one after it has the next."""
        self._names: list[str] = []
        self._removed: set[str] = set()
        """Names that still stand in one of the lists."""

    def __len__(self) -> int:
        return len(self._swept) + len(self._names) - len(self._removed)

    @property
    def last(self) -> int:
        """The number of the last name that was added; 0 if there never was one."""
        return self._first + len(self._names) - 1

    def __iter__(self) -> Iterator[str]:
        for names in (self._swept, self._names):
            yield from (name for name in names if name not in self._removed)

    def add(self, names: Collection[str]) -> None:
        """Put new names at the end: none of them may be there already."""
        if self._removed:
            self._names += [name for name in names if name not in self._removed]
            self._removed.difference_update(names)
        else:
            self._names += names

    def remove(self, name: str) -> None:
        """Take out a name, which must be there. Cost: constant, amortised."""
        self._removed.add(name)
        if len(self._removed) > len(self) + 8:
            self._sweep()

    def after(self, cursor: int, most: int) -> tuple[list[str], int]:
        """The next names after a cursor (0: from the beginning), and the cursor to go on from: 0 at the end.

        At most `most` places are looked at, so fewer names may come although it is not the end.
        """
        at, place = bisect_right(self._numbers, cursor), max(0, cursor + 1 - self._first)
        swept = self._swept[at : at + most]
        fresh = self._names[place : place + most - len(swept)]
        found = [name for name in (*swept, *fresh) if name not in self._removed]
        if at + len(swept) == len(self._swept) and place + len(fresh) >= len(self._names):
            return found, 0
        return found, self._first + place + len(fresh) - 1 if fresh else self._numbers[at + len(swept) - 1]

    def _sweep(self) -> None:
        numbered = [*zip(self._numbers, self._swept, strict=True), *enumerate(self._names, self._first)]
        kept = [(number, name) for number, name in numbered if name not in self._removed]
        self._first += len(self._names)
        self._numbers = array("Q", (number for number, _ in kept))
        self._swept = [name for _, name in kept]
        self._names = []
        self._removed = set()
