"""Commands that are carried out at once, one after the other, and answered when all that they did and saw is durable.

Pure. A transaction goes into the batch that gathers: its adds share one commit. It is carried out without a pause, so
nothing of anybody else comes between. It reads what this node's values will be once all that waits is durable, and so
its reply must not leave before that.
"""

from collections.abc import Iterable
from enum import IntEnum

from gossip_counter.node.core.batch import Pending
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.increases import Increase, Outcome
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.core.writes import Value, Writes

_AS_ONE = (0,)
"""The values of a transaction as a write: it is durable, or refused, as one."""


class _Needs(IntEnum):
    """The last commit that the reply has to wait for."""

    NONE = 0
    UNDER_WAY = 1
    NEXT = 2


class Transaction:
    """To be made, used and ended without anything else done to the replica meanwhile."""

    __slots__ = ("_commits", "_needs", "_stats", "_writes", "has_added")

    def __init__(self, stats: Stats, commits: Commits, writes: Writes) -> None:
        self._stats = stats
        self._commits = commits
        self._writes = writes
        self._needs = _Needs.NONE
        self.has_added = False
        """Whether anything was added."""

    def add(self, counter: str, delta: int) -> Value:
        """Add to a counter; its value after that, or why this add was refused and changes nothing."""
        self._stats.adds += 1
        self._note(counter)
        value = self._writes.put_one(counter, delta)
        if delta and type(value) is int:
            self._wrote()
        return value

    def increase(self, counter: str, terms: Increase) -> Outcome:
        """Add to a counter within bounds, and set its expiry; what that comes to, or why it changes nothing."""
        self._stats.adds += 1
        self._note(counter)
        outcome = self._writes.increase(counter, terms)
        if counter in self._commits.batch:
            self._wrote()
        return outcome

    def check_room(self, counters: Iterable[str]) -> None:
        """Whether all of these can be set, the new ones among them. Raises `RequestError`."""
        self._writes.check_room(counters)

    def create(self, counter: str) -> None:
        """Have a counter that does not exist come to 0. Raises `RequestError`; then nothing changed."""
        self._writes.create(counter)
        self._wrote()

    def expire(self, counter: str, deadline_ms: int) -> None:
        """Have a counter end at a time, in Unix milliseconds; 0: never. Raises `RequestError`; then nothing changed."""
        self._writes.expire(counter, deadline_ms)
        self._wrote()

    def delete(self, counter: str) -> None:
        """Take away all that is known of a counter. Raises `RequestError`; then nothing changed."""
        self._writes.delete(counter)
        self._wrote()

    @property
    def names(self) -> list[str]:
        """The counters that what waits to be durable changes."""
        commits = self._commits
        return [name for batch in (commits.committing, commits.batch) if batch for name in (*batch.net, *batch.ending)]

    @property
    def now_ms(self) -> int:
        """The time that counters end by, in Unix milliseconds."""
        return self._writes.now_ms

    def deadline_ms(self, counter: str) -> int:
        """When a counter ends, in Unix milliseconds; 0: never, or there is none."""
        self._note(counter)
        return self._commits.lives_soon(counter).deadline if self._commits.exists_soon(counter) else 0

    def _wrote(self) -> None:
        self.has_added = True
        self._needs = _Needs.NEXT
        self._commits.request()  # whatever becomes of this transaction: what it wrote stays in the batch

    def value(self, counter: str) -> int | None:
        """A counter's value; None for one that nobody ever wrote to."""
        self._stats.reads += 1
        self._note(counter)
        return self._commits.value_soon(counter) if self._commits.exists_soon(counter) else None

    def is_changing(self, counter: str) -> bool:
        """Whether a change of a counter waits to be durable."""
        return self._commits.is_waiting(counter)

    def wait(self, client: Client, request_id: object) -> bool:
        """End it. Its client gets a `Written` once all is durable, or with an error if it can't be made so.

        False: nothing that it did or saw waits for the disk, and there will be no `Written`.
        """
        pending = Pending(client, request_id, _AS_ONE)
        if self._needs is _Needs.NEXT:
            self._commits.wait(pending)
        elif self._needs is _Needs.UNDER_WAY:
            self._commits.wait_for_that_under_way(pending)
        return self._needs > _Needs.NONE

    def _note(self, counter: str) -> None:
        """The reply shows this counter."""
        if counter in self._commits.batch:
            self._needs = _Needs.NEXT
        elif self._commits.is_waiting(counter):
            self._needs = max(self._needs, _Needs.UNDER_WAY)
