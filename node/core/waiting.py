"""Requests that wait for other members: adds for their copies, reads for what their token stands for.

Pure. Every wait ends: with an answer, or at its deadline with an error that says what is known.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

from gossip_counter.node.core.messages import Read
from gossip_counter.node.core.state import State
from gossip_counter.node.core.tokens import includes, reach

Client = Hashable
"""Who asked: opaque here, an address or a name to the world."""

NEVER = 2**63
"""A time that does not come."""

MOST_READS = 256
"""Reads that wait at once; each is looked at whenever the state changes."""


class WaitingAdd(NamedTuple):
    """An add that is durable here, as `version` of the actor that wrote it."""

    client: Client
    msg_id: int
    copies: int
    version: int
    deadline_ns: int


class WaitingCount(NamedTuple):
    """Somebody who asked to be told when so many other members hold everything up to a version."""

    client: Client
    version: int
    members: int
    deadline_ns: int


class Copies:
    """Adds by the copies they want, and what peers said that they hold durably of the actor we write as."""

    def __init__(self, peers: tuple[str, ...], wait_ns: int, first_ask_ns: int, ask_ns: int) -> None:
        """Peers are asked after `first_ask_ns` and then every `ask_ns`, until they confirmed all that is waited for."""
        self._peers = peers
        self._wait_ns = wait_ns
        self._first_ask_ns = first_ask_ns
        self._ask_ns = ask_ns
        self._next_ask_ns = 0
        self._adds: dict[int, deque[WaitingAdd]] = {}
        self._counts: dict[Client, WaitingCount] = {}
        self._confirmed = dict.fromkeys(peers, 0)

    def wait_count(self, client: Client, version: int, members: int, deadline_ns: int, now_ns: int) -> None:
        """Let a client wait for `counted`; it waits for one thing at a time."""
        if not (self._adds or self._counts):
            self._next_ask_ns = now_ns + self._first_ask_ns
        self._counts[client] = WaitingCount(client, version, members, deadline_ns)

    def counted(self, now_ns: int = 0) -> list[tuple[Client, int]]:
        """Those whose members are there or whose time is up, and how many other members hold what they asked about."""
        known = [(each, self.held(each.version)) for each in self._counts.values()]
        done = [(each.client, held) for each, held in known if held >= each.members or each.deadline_ns <= now_ns]
        for client, _ in done:
            del self._counts[client]
        return done

    def held(self, version: int) -> int:
        """How many other members are known to hold everything up to a version."""
        return sum(confirmed >= version for confirmed in self._confirmed.values())

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self._counts.pop(client, None)

    def wait(self, client: Client, msg_id: int, copies: int, version: int, now_ns: int) -> None:
        """Hold back the answer to an add that has just become durable here."""
        if not (self._adds or self._counts):
            self._next_ask_ns = now_ns + self._first_ask_ns
        add = WaitingAdd(client, msg_id, copies, version, now_ns + self._wait_ns)
        self._adds.setdefault(copies, deque()).append(add)

    def confirmed(self, peer: str, version: int) -> Iterator[WaitingAdd]:
        """A peer holds everything up to `version` durably; the adds that now have their copies."""
        if peer not in self._confirmed:
            return
        self._confirmed[peer] = max(version, self._confirmed[peer])
        for copies in list(self._adds):
            held = self._held_by(copies)
            yield from self._take(copies, lambda add, held=held: add.version <= held)  # type: ignore[misc]

    def overdue(self, now_ns: int) -> Iterator[WaitingAdd]:
        """The adds whose time is up."""
        for copies in list(self._adds):
            yield from self._take(copies, lambda add: add.deadline_ns <= now_ns)

    def begin_epoch(self) -> tuple[list[WaitingAdd], list[Client]]:
        """What peers confirm from now on is another actor's; the adds, and those who count, which now wait in vain."""
        adds = [add for waiting in self._adds.values() for add in waiting]
        counts = list(self._counts)
        self._adds.clear()
        self._counts.clear()
        self._confirmed = dict.fromkeys(self._peers, 0)
        return adds, counts

    def to_ask(self, now_ns: int) -> tuple[tuple[str, ...], int]:
        """The peers to ask now, and the version that they should confirm."""
        asked = [waiting[-1].version for waiting in self._adds.values()]
        asked += [each.version for each in self._counts.values()]
        if not asked or now_ns < self._next_ask_ns:
            return (), 0
        self._next_ask_ns = now_ns + self._ask_ns
        wanted = max(asked)
        return tuple(peer for peer, version in self._confirmed.items() if version < wanted), wanted

    @property
    def due_ns(self) -> int | None:
        """When somebody must be asked, or an add is overdue."""
        if not (self._adds or self._counts):
            return None
        due = [waiting[0].deadline_ns for waiting in self._adds.values()]
        return min([self._next_ask_ns, *due, *(each.deadline_ns for each in self._counts.values())])

    def _held_by(self, copies: int) -> int:
        """The version up to which so many members hold everything durably, this one included."""
        return sorted(self._confirmed.values(), reverse=True)[copies - 2]

    def _take(self, copies: int, done: Callable[[WaitingAdd], bool]) -> Iterator[WaitingAdd]:
        waiting = self._adds[copies]
        while waiting and done(waiting[0]):
            yield waiting.popleft()
        if not waiting:
            del self._adds[copies]


class WaitingRead(NamedTuple):
    """A read whose token stands for more than is held."""

    client: Client
    read: Read
    deadline_ns: int


class Reads:
    """Reads that wait for what their token stands for."""

    def __init__(self, state: State, wait_ns: int) -> None:
        self._state = state
        self._wait_ns = wait_ns
        self._reads: list[WaitingRead] = []

    def wait(self, client: Client, read: Read, now_ns: int) -> bool:
        """Hold back a read; False if too many wait already."""
        if len(self._reads) >= MOST_READS:
            return False
        self._reads.append(WaitingRead(client, read, now_ns + self._wait_ns))
        return True

    def ready(self) -> list[WaitingRead]:
        """The reads whose token is satisfied now."""
        reached = reach(self._state)
        return self._take(lambda each: each.read.token is None or includes(reached, each.read.token))

    def overdue(self, now_ns: int) -> list[WaitingRead]:
        """The reads whose time is up."""
        return self._take(lambda each: each.deadline_ns <= now_ns)

    @property
    def due_ns(self) -> int | None:
        """When the first read is overdue."""
        return self._reads[0].deadline_ns if self._reads else None

    def _take(self, done: Callable[[WaitingRead], bool]) -> list[WaitingRead]:
        taken = [each for each in self._reads if done(each)]
        if taken:
            self._reads = [each for each in self._reads if not done(each)]
        return taken
