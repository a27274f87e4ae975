"""Clients that count copies, by what they wait for: a confirmation costs what it makes ready.

Pure. Entries of those that were answered or are gone stay in the heaps until they come up, or outnumber the others.
"""

from collections.abc import Callable
from heapq import heappop, heappush

from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.messages import CountCopies

_Entry = tuple[int, int, Client, CountCopies]
"""A version or a deadline, a number that no other entry has, and who asked what."""


class CopyCounts:
    """Requests that wait, one for each client."""

    def __init__(self, peers: int) -> None:
        self._peers = peers
        self._asked: dict[Client, CountCopies] = {}
        self._by_version: dict[int, list[_Entry]] = {}
        """By the members that are asked for, a heap by version. More than there are peers are one too many."""
        self._by_deadline: list[_Entry] = []
        """A heap."""
        self._entries = 0
        """Put since the heaps were last made: none has more."""

    def set_peers(self, peers: int) -> None:
        """There are so many peers now."""
        if peers != self._peers:
            self._peers = peers
            self._put_again()

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def newest_version(self) -> int:
        """The greatest version that anybody asked about; cost: those that wait."""
        return max((asked.version for asked in self._asked.values()), default=0)

    @property
    def due_ns(self) -> int | None:
        """The first deadline."""
        self._drop(self._by_deadline)
        return self._by_deadline[0][0] if self._by_deadline else None

    def put(self, client: Client, asked: CountCopies) -> None:
        """Let a client wait."""
        self._asked[client] = asked
        self._push(client, asked)
        if self._entries > 2 * len(self._asked) + 64:  # most of them wait no more
            self._put_again()

    def _put_again(self) -> None:
        self._by_version, self._by_deadline, self._entries = {}, [], 0
        for each in self._asked.items():
            self._push(*each)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self._asked.pop(client, None)

    def take_all(self) -> list[tuple[Client, CountCopies]]:
        """Take out all of them."""
        taken = list(self._asked.items())
        self._asked.clear()
        return taken

    def take_held(self, held_by: Callable[[int], int]) -> list[tuple[Client, CountCopies]]:
        """Take out those whose version is held; `held_by` gives the version that so many peers hold."""
        taken: list[tuple[Client, CountCopies]] = []
        for members, heap in list(self._by_version.items()):
            if members <= self._peers:
                taken += self._take(heap, held_by(members))
            if not heap:
                del self._by_version[members]
        return taken

    def take_overdue(self, now_ns: int) -> list[tuple[Client, CountCopies]]:
        """Take out those whose deadline has come."""
        return self._take(self._by_deadline, now_ns)

    def _take(self, heap: list[_Entry], upto: int) -> list[tuple[Client, CountCopies]]:
        taken = []
        while heap and heap[0][0] <= upto:
            _, _, client, asked = heappop(heap)
            if self._asked.get(client) is asked:
                del self._asked[client]
                taken.append((client, asked))
        self._drop(heap)
        return taken

    def _drop(self, heap: list[_Entry]) -> None:
        """Drop what comes first in a heap and waits no more."""
        while heap and self._asked.get(heap[0][2]) is not heap[0][3]:
            heappop(heap)

    def _push(self, client: Client, asked: CountCopies) -> None:
        self._entries += 1
        by_version = self._by_version.setdefault(min(asked.members, self._peers + 1), [])
        heappush(by_version, (asked.version, self._entries, client, asked))
        heappush(self._by_deadline, (asked.deadline_ns, self._entries, client, asked))
