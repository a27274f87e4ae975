"""Reads that wait for what their tokens stand for, by what they wait for: a message costs what it makes ready.

Pure. A token has a part for each actor. A read waits for one part at a time, the first that is missing; once that is
held, it stays held, and the read goes on to the next that is missing. So each part of each token is looked at twice at
most, however many messages arrive meanwhile.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.messages import Read
from gossip_counter.node.core.state import State
from gossip_counter.node.core.tokens import Part, Reach, Token, hash_of


@dataclass(slots=True, eq=False)
class Wait:
    """A read of a client, and until when it waits. Parts of its token before `at` are held."""

    client: Client
    read: Read
    deadline_ns: int
    at: int = 0

    @property
    def part(self) -> Part:
        """The part of its token that it waits for."""
        return (self.read.token or Token(()))[self.at]


class TokenWaits:
    """Reads that wait. They must be put in the order of their deadlines."""

    def __init__(self, state: State) -> None:
        self._reach = Reach(state)
        self._waiting: dict[Wait, None] = {}
        """In the order of their deadlines."""
        self._by_version: dict[int, list[Wait]] = {}
        """By actor's hash, in ascending order of the version that they wait for."""
        self._by_entry: dict[tuple[int, int], dict[Wait, None]] = {}
        """The same reads by actor's hash and the hash of the digest entry that will do too."""

    def __len__(self) -> int:
        return len(self._waiting)

    def is_over(self, wait: Wait) -> bool:
        """Whether all is held that a read waits for; if not, its `at` is moved to the first part that is missing."""
        parts = wait.read.token or Token(())
        while wait.at < len(parts) and self._reach.has(parts[wait.at]):
            wait.at += 1
        return wait.at == len(parts)

    def put(self, wait: Wait) -> None:
        """Let a read wait that is not over."""
        self._waiting[wait] = None
        self._index(wait)

    def take_over(self, actors: Iterable[Actor]) -> list[Wait]:
        """Take out those that are over, now that these actors may have changed, in the order of their deadlines."""
        over = [wait for actor in actors for wait in self._held_of(hash_of(actor)) if self._goes_on(wait)]
        over.sort(key=lambda wait: wait.deadline_ns)
        for wait in over:
            del self._waiting[wait]
        return over

    def take_overdue(self, now_ns: int) -> list[Wait]:
        """Take out those that have waited long enough."""
        overdue = []
        while self._waiting and (wait := next(iter(self._waiting))).deadline_ns <= now_ns:
            self._unindex(wait)
            del self._waiting[wait]
            overdue.append(wait)
        return overdue

    @property
    def due_ns(self) -> int | None:
        """The first deadline."""
        return next(iter(self._waiting)).deadline_ns if self._waiting else None

    def _goes_on(self, wait: Wait) -> bool:
        """Whether a read, whose part is held now, is over. If not, it waits for the next one that is missing."""
        self._unindex(wait)
        wait.at += 1
        if self.is_over(wait):
            return True
        self._index(wait)
        return False

    def _held_of(self, actor_hash: int) -> list[Wait]:
        """Those whose part is held, of those that wait for this actor."""
        waiting = self._by_version.get(actor_hash)
        if not waiting:
            return []
        complete_version = self._reach.complete_version(actor_hash)
        held = waiting[: bisect_right(waiting, complete_version, key=_version)]
        if len(held) < len(waiting):
            for entry_hash in self._reach.entry_hashes(actor_hash):
                held += [
                    wait
                    for wait in self._by_entry.get((actor_hash, entry_hash), ())
                    if wait.part.version > complete_version
                ]
        return held

    def _index(self, wait: Wait) -> None:
        actor_hash, _, entry_hash = wait.part
        insort(self._by_version.setdefault(actor_hash, []), wait, key=_version)
        self._by_entry.setdefault((actor_hash, entry_hash), {})[wait] = None

    def _unindex(self, wait: Wait) -> None:
        actor_hash, _, entry_hash = wait.part
        by_version, by_entry = self._by_version[actor_hash], self._by_entry[actor_hash, entry_hash]
        by_version.remove(wait)
        del by_entry[wait]
        if not by_version:
            del self._by_version[actor_hash]
        if not by_entry:
            del self._by_entry[actor_hash, entry_hash]


def _version(wait: Wait) -> int:
    return wait.part.version
