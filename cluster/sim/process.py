"""One life of a simulated node: the real replica, committer and Redis scheduler on the virtual clock.

It does what `runtime.node` does on a real machine: inputs go into the replica, and what is to be done is carried out
until nothing is left. A process may be paused, as by SIGSTOP, and it is blocked while it waits for its disk. What
happens to it meanwhile waits in its inbox, as it does in the buffers of the kernel, and is dealt with together.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

from gossip_counter.cluster.sim.clock import Clock, Trace
from gossip_counter.cluster.sim.disk import Disk, DiskError, Journal
from gossip_counter.cluster.sim.network import Address, Network
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.codec import datagrams, requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Answer, Client, Send
from gossip_counter.node.core.gossip.messages import Carrier, Gossip, Pulled, Replicate, Syn
from gossip_counter.node.core.gossip.pulls import WINDOW_EXCHANGES
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import Presence
from gossip_counter.node.endpoints.addresses import Sockaddr
from gossip_counter.node.endpoints.envelopes import Envelopes
from gossip_counter.node.endpoints.redis.bounds import Bounds
from gossip_counter.node.endpoints.redis.context import Clients as RedisClients
from gossip_counter.node.endpoints.redis.context import Node as RedisNode
from gossip_counter.node.endpoints.redis.context import RedisClient
from gossip_counter.node.endpoints.redis.ports import Runtime
from gossip_counter.node.endpoints.redis.scheduler import Scheduler
from gossip_counter.node.endpoints.redis.scripts import Scripts
from gossip_counter.node.endpoints.routes import TO_SOURCE
from gossip_counter.node.runtime.committer import Committer, Done
from gossip_counter.node.security.keyring import Keyring
from gossip_counter.node.security.sealing import Sealing

BEGAN_MS = 1_700_000_000_000
"""What wall clocks say when a simulation begins, in Unix milliseconds."""

ROUND_NS = 20_000
"""How long a round of the event loop takes."""

MAX_REDIS_CLIENTS = 100


class Machine(NamedTuple):
    """What a process runs on."""

    clock: Clock
    rng: Random
    trace: Trace
    network: Network
    disk: Disk
    clock_ahead_ms: Callable[[], int]
    """By how much its wall clock is ahead of the true time."""
    bounds: tuple[Bounds, ...]
    """Each process has one of these for its Redis clients."""
    ring: Callable[[], Keyring | None]
    """The keys in its file, if there is one."""


class Process:
    """One life, until `kill`. `replied` gets the datagrams for clients."""

    def __init__(
        self,
        config: Config,
        address: str,
        machine: Machine,
        replied: Callable[[bytes], None],
        presence: Presence | None = None,
    ) -> None:
        rng = machine.rng
        self.is_alive = True
        self._clock = machine.clock
        self._trace = machine.trace
        self._network = machine.network
        self._config = config
        self._address = address
        self._replied = replied
        self._is_paused = False
        self._blocked_until_ns = 0
        self._inbox = deque[Callable[[], None]]()
        self._outputs = deque[tuple[int, Callable[[], None]]]()
        """What leaves at which time: once the disk that was waited for before it has done its work."""
        self._alarm_ns = 0
        self._clock_ahead_ms = machine.clock_ahead_ms
        ring = machine.ring()
        sealing = Sealing(ring, config.cluster, Random(rng.getrandbits(64))) if ring else None
        self._envelopes = Envelopes(sealing, _not_counted, _not_counted)
        self._journal = Journal(machine.disk, self._block)
        self._committer = Committer(self._journal, self._aside, self._committed)
        self.replica = Replica(
            config, Random(rng.getrandbits(64)), self._clock.now_ns, machine.disk.contents.recovered(), None, presence
        )
        self._presence = presence
        self._asks_from: dict[str, Address] = {}
        """By peer, where it last sent a SYN from."""
        bounds = rng.choice(machine.bounds)
        runtime = Runtime(self.soon, self.now_ns, self.advance, _unexpected)
        self.scheduler = Scheduler(self.replica, self._redis_node, runtime, MAX_REDIS_CLIENTS, bounds)
        self._at(self._clock.now_ns + int(rng.random() * config.gossip_interval_ns), self._tick)
        self.enter(self._begin)

    def _redis_node(self, clients: RedisClients) -> RedisNode:
        replica = self.replica
        return RedisNode(
            version="0",
            value=replica.value,
            names=replica.state.names,
            peers=lambda: len(replica.membership),
            counts_copies=replica.config.gossip != "full",
            clients=clients,
            transaction=replica.transaction,
            watches=replica.state.watches,
            scripts=Scripts(replica.config.script_instructions, replica.config.script_memory_kb),
            random_below=lambda _: 0,
            info=dict,
            time_us=lambda: self.now_ns() // 1000,
            settings={},
        )

    # Its life.

    def kill(self) -> None:
        """End it, as `kill -9` does: what waits in its buffers is gone."""
        self.is_alive = False
        self._inbox.clear()
        self._outputs.clear()

    def pause(self) -> None:
        """Let it do nothing until `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Let it go on, with all that has happened meanwhile."""
        self._is_paused = False
        self._go_on()

    def enter(self, act: Callable[[], None]) -> None:
        """Let something happen to it: now, or as soon as it runs again. Nothing happens to the dead."""
        if self.is_alive:
            self._inbox.append(act)
            self._go_on()

    def emit(self, act: Callable[[], None]) -> None:
        """Let something leave it: now, or once the disk for which it waits has done its work.

        What it waits for after that holds nothing up that has left before.
        """
        if self._is_blocked:
            self._outputs.append((self._blocked_until_ns, act))
        else:
            act()

    def now_ns(self) -> int:
        """The time in this process, which has passed further than elsewhere while it is blocked."""
        return max(self._clock.now_ns, self._blocked_until_ns)

    def soon(self, act: Callable[..., None], *arguments: object) -> None:
        """Call it in the next round of the event loop."""
        self._at(self.now_ns() + ROUND_NS, partial(act, *arguments))

    @property
    def _is_blocked(self) -> bool:
        return self._clock.now_ns < self._blocked_until_ns

    def _block(self, took_ns: int) -> None:
        if took_ns:
            self._blocked_until_ns = self.now_ns() + took_ns
            self._clock.at(self._blocked_until_ns, self._go_on)

    def _go_on(self) -> None:
        if self._is_paused:
            return
        while self._outputs and self._outputs[0][0] <= self._clock.now_ns:
            self._outputs.popleft()[1]()
        if self._is_blocked:
            return
        while self._inbox and not self._is_blocked:
            self._inbox.popleft()()
        if self.is_alive:
            self.advance()

    def _at(self, due_ns: int, act: Callable[[], None]) -> None:
        self._clock.at(due_ns, partial(self.enter, act))

    # Inputs.

    def use_keys(self, ring: Keyring) -> None:
        """The file of keys was changed."""
        self._envelopes.use(ring)

    def receive(self, datagram: bytes, source: Client) -> None:
        """A datagram reaches its socket."""
        self.enter(partial(self._receive, datagram, source))

    def _receive(self, datagram: bytes, source: Client) -> None:
        self._trace.note(str(source), self._address, datagram)
        if isinstance(source, Address):
            content = self._envelopes.opened(datagram, source, b"", self._answer)
            if content is None:
                return
            datagram = content
        message = datagrams.unpack(datagram, self._config.cluster)
        parsed = requests.parse(message) if isinstance(message, dict) else message
        if isinstance(parsed, Syn) and isinstance(source, Address):
            self._asks_from[parsed.sender] = source
        self.replica.step(parsed, source, self.now_ns())

    def _set_clock(self) -> None:
        now_ns = self.now_ns()
        self.replica.set_clock(now_ns, BEGAN_MS + now_ns // 1_000_000 + self._clock_ahead_ms())

    def _begin(self) -> None:
        self._set_clock()
        self.replica.begin(self.now_ns())

    def _tick(self) -> None:
        self._at(self.now_ns() + self._config.gossip_interval_ns, self._tick)
        self._set_clock()
        self.replica.tick(self.now_ns())

    # What is to be done.

    def advance(self) -> None:
        """Carry out all that the replica wants done now."""
        while ready := self.replica.ready(self.now_ns()):
            if ready.wake_ns is not None:
                self._set_alarm(ready.wake_ns)
            for answer in ready.replies:
                self._reply(answer)
            for send in ready.sends:
                self._gossip(send)
            if ready.commit:
                self._committer.commit(ready.commit)

    def _set_alarm(self, due_ns: int) -> None:
        """Only the last alarm rings, as on a real machine."""

        def ring() -> None:
            if self._alarm_ns == due_ns:
                self.enter(_nothing)

        self._alarm_ns = due_ns
        self._clock.at(due_ns, ring)

    def _reply(self, answer: Answer) -> None:
        if isinstance(answer.to, RedisClient):
            answer.to.deliver(answer.reply)
            return
        datagram = datagrams.pack_reply(requests.reply_body(answer.reply, 0))
        self.emit(partial(self._trace.note, "reply", self._address, datagram))
        self.emit(partial(self._replied, datagram))

    def _gossip(self, send: Send) -> None:
        """Pack it into datagrams within their bounds. Raises `PromiseBroken`."""
        config, message = self._config, send.message
        size, most = send.bounds(config)
        packed = datagrams.pack_gossip(message, config.cluster, size - self._envelopes.overhead, most)
        bound = 2 * WINDOW_EXCHANGES * most if isinstance(message, Pulled) else most
        if not isinstance(message, Replicate | Syn) and len(packed) > bound:
            raise PromiseBroken(f"{len(packed)} datagrams in one answer")
        for each in packed:
            if len(each) > config.datagram_bytes and _rows_in(each, config.cluster) != 1:
                raise PromiseBroken(f"a datagram of {len(each)} bytes, and not of one row")
        carries_rows = isinstance(message, Carrier) and bool(message.deltas)
        for peer in send.to:
            to = self._address_of(peer, message)
            self.emit(partial(self._network.send_all, self._address, (to,), self._sealed(packed, to), carries_rows))

    def _address_of(self, peer: Client, message: Gossip) -> Address:
        """Where the endpoint would send it, if members move."""
        if not self._presence or not isinstance(peer, str):
            return self._network.address_of(peer)
        if isinstance(message, TO_SOURCE) and peer in self._asks_from:
            return self._asks_from[peer]
        record = self.replica.roster.records.get(peer)
        return Address(record.addresses[0] if record and record.addresses else peer)

    def _sealed(self, packed: list[bytes], to: Address) -> list[bytes]:
        """One greeting, if nothing can be sealed for this address yet."""
        envelopes = self._envelopes
        return [envelopes.sealed(each, to) for each in (packed if envelopes.knows(to) else packed[:1])]

    def _answer(self, datagram: bytes, to: Sockaddr, _: bytes) -> None:
        self.emit(partial(self._network.send, self._address, to[0], datagram))

    # Commits.

    def _aside(self, work: Callable[[], None], done: Done) -> None:
        """Run a commit as a thread does. It is durable some time before the process learns of it: a crash in between
        keeps rows that were never acknowledged.
        """
        now_ns, took_ns = self.now_ns(), self._journal.begin()

        def run() -> None:
            if self.is_alive:
                error = self._journal.run_aside(work)
                self._at(now_ns + took_ns, partial(done, error))

        self._clock.at(now_ns + took_ns // 2, run)

    def _committed(self, error: BaseException | None) -> None:
        if error and not isinstance(error, DiskError):
            raise error
        self.replica.persisted(None if error is None else str(error))


def _rows_in(datagram: bytes, cluster: str) -> int:
    message = datagrams.unpack(datagram, cluster)
    return sum(len(delta.rows) for delta in message.deltas) if isinstance(message, Carrier) else 0


def _unexpected(error: Exception) -> None:
    raise error


def _not_counted(*_: object) -> None:
    """What a node would count and log."""


def _nothing() -> None:
    """The time has come, and the replica knows what to do."""
