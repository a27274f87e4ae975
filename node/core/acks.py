"""Writes that wait for copies: what peers confirm that they hold durably of the actor that we write as.

Pure. Every wait ends: with a reply once the copies are there, or at its deadline with what is known by then.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gossip_counter.node.core.batch import Pending
from gossip_counter.node.core.commits import UnderWay
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.copy_counts import CopyCounts
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import TIMEOUT
from gossip_counter.node.core.gossip.messages import Confirm, Confirmed
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.messages import CopiesOk, CountCopies, ErrorReply
from gossip_counter.node.core.replies import written
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.core.tokens import Issuer


@dataclass(frozen=True, slots=True)
class WaitingWrite:
    """A write that is durable here, as what our actor wrote up to `version`."""

    pending: Pending
    version: int
    deadline_ns: int


class Acks:
    """Writes by the copies they want, and clients that count copies. Peers are asked until they have confirmed all."""

    def __init__(
        self, config: Config, state: State, stats: Stats, identity: Identity, tokens: Issuer, outbox: Outbox
    ) -> None:
        self._config = config
        self._state = state
        self._stats = stats
        self._identity = identity
        self._tokens = tokens
        self._outbox = outbox
        self._next_ask_ns = 0
        self._writes: dict[int, deque[WaitingWrite]] = {}
        """By the copies they want; of each, in the order of their versions and deadlines."""
        self._counts = CopyCounts(len(config.peers))
        self._confirmed = dict.fromkeys(config.peers, 0)
        """By peer, the version up to which it holds durably what our actor wrote."""

    def set_peers(self, names: tuple[str, ...]) -> None:
        """The other members are these now."""
        self._confirmed = {name: self._confirmed.get(name, 0) for name in names}
        self._counts.set_peers(len(names))

    def acknowledge(self, done: UnderWay, now_ns: int) -> None:
        """Answer the writes of a commit that counts; those that want more copies have to wait."""
        waiting = done.batch.waiting
        token = self._tokens.current() if waiting else None
        for pending in waiting:
            if pending.copies > 1 and not pending.error:
                self._wait(pending, done, now_ns)
            else:
                given = token if pending.is_request else None
                self._outbox.reply(pending.client, written(pending, done.actor, done.version, given))

    def _wait(self, pending: Pending, done: UnderWay, now_ns: int) -> None:
        """Hold back the reply to a write that has just become durable here."""
        if done.actor != self._identity.actor:  # nobody confirms that actor any more
            self._too_few(pending)
            return
        self._ask_soon(now_ns)
        deadline_ns = now_ns + self._config.wait_ms * 1_000_000
        self._writes.setdefault(pending.copies, deque()).append(WaitingWrite(pending, done.version, deadline_ns))
        self._outbox.wake_at(deadline_ns)

    def count(self, asked: CountCopies, client: Client, now_ns: int) -> None:
        """Answer a client once enough members hold what it asked about. A client waits for one thing at a time.

        Of a former actor's writes none are known to hold anything, since nobody confirms those any more.
        """
        is_current = asked.actor == self._identity.actor
        held = self._held(asked.version) if is_current else 0
        if held >= asked.members or not is_current:
            self._outbox.reply(client, CopiesOk(asked.msg_id, held))
            return
        self._ask_soon(now_ns)
        self._counts.put(client, asked)
        self._outbox.wake_at(asked.deadline_ns)

    def forget(self, client: Client) -> None:
        """A client is gone, and counts no copies any more."""
        self._counts.forget(client)

    def confirmed(self, message: Confirmed) -> None:
        """A peer holds durably everything that our actor wrote up to a version."""
        self._confirmed[message.sender] = max(message.version, self._confirmed[message.sender])
        for copies in list(self._writes):
            held = self._held_by(copies)
            for each in self._take(copies, lambda write, held=held: write.version <= held):  # type: ignore[misc]
                reply = written(each.pending, message.actor, each.version, self._tokens.current())
                self._outbox.reply(each.pending.client, reply)
        self._answer(self._counts.take_held(lambda members: self._held_by(members + 1)))

    def begin_epoch(self) -> None:
        """What peers confirm from now on is another actor's: whoever waits now, waits in vain."""
        writes, self._writes = self._writes, {}
        self._confirmed = dict.fromkeys(self._confirmed, 0)
        for each in (each for waiting in writes.values() for each in waiting):
            self._too_few(each.pending)
        for client, asked in self._counts.take_all():
            self._outbox.reply(client, CopiesOk(asked.msg_id, 0))

    @property
    def due_ns(self) -> int | None:
        """When peers must be asked, or somebody has waited long enough."""
        if not (self._writes or self._counts):
            return None
        due = [self._next_ask_ns, *(waiting[0].deadline_ns for waiting in self._writes.values())]
        if self._counts.due_ns is not None:
            due.append(self._counts.due_ns)
        return min(due)

    def wake(self, now_ns: int) -> None:
        """Ask peers, and answer those who have waited long enough."""
        self._ask(now_ns)
        for copies in list(self._writes):
            for each in self._take(copies, lambda write: write.deadline_ns <= now_ns):
                self._too_few(each.pending)
        self._answer(self._counts.take_overdue(now_ns))

    def _ask_soon(self, now_ns: int) -> None:
        if not (self._writes or self._counts):
            self._next_ask_ns = now_ns + self._config.push_window_us * 1000  # once the rows themselves have left
        self._outbox.wake_at(self._next_ask_ns)

    def _ask(self, now_ns: int) -> None:
        wanted = [waiting[-1].version for waiting in self._writes.values()]
        if not (wanted or self._counts) or now_ns < self._next_ask_ns:
            return
        self._next_ask_ns = now_ns + self._config.retry_ms * 1_000_000
        version = max([*wanted, self._counts.newest_version])
        if peers := tuple(peer for peer, confirmed in self._confirmed.items() if confirmed < version):
            fingerprint = self._state.fingerprint
            self._outbox.send(peers, Confirm(self._config.name, fingerprint, self._identity.actor, version))

    def _answer(self, counts: list[tuple[Client, CountCopies]]) -> None:
        for client, asked in counts:
            self._outbox.reply(client, CopiesOk(asked.msg_id, self._held(asked.version)))

    def _held(self, version: int) -> int:
        """How many other members are known to hold everything up to a version."""
        return sum(confirmed >= version for confirmed in self._confirmed.values())

    def _held_by(self, copies: int) -> int:
        """The version up to which so many members hold everything durably, this one included."""
        if copies > len(self._confirmed) + 1:
            return 0  # so many members there were when it was asked
        return sorted(self._confirmed.values(), reverse=True)[copies - 2]

    def _take(self, copies: int, is_done: Callable[[WaitingWrite], bool]) -> Iterator[WaitingWrite]:
        waiting = self._writes[copies]
        while waiting and is_done(waiting[0]):
            yield waiting.popleft()
        if not waiting:
            del self._writes[copies]

    def _too_few(self, pending: Pending) -> None:
        self._stats.timeouts += 1
        text = (
            f"fewer than {pending.copies} members confirmed in time ({self._config.wait_ms} ms) that they store it"
            " durably: it is counted and will spread, so adding it again would count it twice"
        )
        self._outbox.reply(pending.client, ErrorReply(pending.request_id, TIMEOUT, text))
