"""The UDP world: one process, one socket, one timer and one journal around a replica.

The socket is read by a plain reader callback that drains it in bursts: one datagram per turn of the event loop, as
asyncio's own datagram transport reads, costs several times as much at full load. What one burst brings shares a commit.
While the disk is quick the loop waits for it; else a thread of its own carries commits there, and the loop goes on.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple, cast

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.codec import requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.errors import BadDatagramError, ConfigError, RequestError
from gossip_counter.node.core.gossip import Send
from gossip_counter.node.core.messages import Carrier, ErrorReply, Gossip, Replicate
from gossip_counter.node.core.replica import Answer, Commit, Copied, Effect, Replica, RunOk, Wake
from gossip_counter.node.endpoints.faults import Faults
from gossip_counter.node.endpoints.redis import server as resp
from gossip_counter.node.runtime.diagnostics import Complaints
from gossip_counter.node.storage.journal import Journal, JournalError

if TYPE_CHECKING:
    from gossip_counter.node.endpoints.http import metrics

Address = tuple[str, int]

BURST = 128
"""Datagrams read before the loop looks at its timers again."""

RECEIVE_BUFFER_BYTES = 4 * 2**20
"""Asked of the kernel, which may grant less: room for a burst while a tick is under way."""

QUICK_NS = 20_000_000
"""Commits are waited for while none takes longer: to hand one to a thread and hear of its end costs as much again."""

SLOW = 2.0
"""While so many took longer of late, commits are another thread's affair, and hold up no reads and no gossip. Each
that did not forgives a tenth of one that did.
"""

AWAKE_NS = 200_000
"""Clients that come again sooner than this after a commit are looked out for without going to sleep: to be woken takes
half as long, and they wait for it. Who comes later costs no more than before.
"""

log = logging.getLogger("gossip_counter.node")


class Doors(NamedTuple):
    """What a node serves beside UDP: Redis clients, and metrics over HTTP."""

    redis: resp.Listen | None = None
    metrics: Address | None = None


NO_DOORS = Doors()


class UdpNode:
    """One replica on one bound socket, until `stop`."""

    def __init__(
        self,
        config: Config,
        bound: socket.socket,
        peers: Mapping[str, Address],
        rng: Random,
        journal: Journal | None = None,
        faults: Faults | None = None,
        doors: Doors = NO_DOORS,
    ) -> None:
        """`doors` are those beside this one. Without a journal, rows are in memory only. With
        `faults`, anyone may make the network worse.
        """
        self.replica = Replica(config, rng, monotonic_ns(), journal.recovered if journal else None)
        self._config = config
        self._socket = bound
        self._addresses = peers
        self._rng = rng
        self._journal = journal
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._complaints = Complaints(log, self.replica.stats)
        self._traffic: metrics.Traffic = defaultdict(lambda: [0, 0])
        self._redis = None
        if doors.redis:
            unforeseen = self._complaints.unforeseen
            self._redis = resp.Door(self.replica, self._turn, self._carry_out, unforeseen, doors.redis.password)
        self._doors = doors
        self._metrics: metrics.Metrics | None = None
        self._disk = ThreadPoolExecutor(1, "journal")
        self._under_way: asyncio.Future[None] | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._reply_ids = count()
        self._stopped = asyncio.Event()
        self._slowness = 0.0
        """How many commits of late took long."""
        self._idle_since_ns = 0
        """When the last commit was done."""
        self._is_awake = False
        if journal and journal.set_aside:
            self._complaints.add("journals_set_aside", "the journal was damaged, and is now %s", journal.set_aside)

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`."""
        loop = self._loop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, signal.Signals(number).name)
        server = await self._redis.serve(self._doors.redis) if self._redis and self._doors.redis else None
        page = self._serve_metrics(*self._doors.metrics) if self._doors.metrics else None
        loop.add_reader(self._socket.fileno(), self._drain)
        log.info("listens on %s:%d, peers: %d", *self._socket.getsockname()[:2], len(self._addresses))
        for each in server.sockets if server else ():
            log.info("serves Redis clients on %s:%d", *each.getsockname()[:2])
        if page:
            log.info("serves metrics on %s:%d", *page.address)
        self._turn(lambda: self._carry_out(self.replica.begin(monotonic_ns())))
        interval = self._config.gossip_interval_ms / 1000
        # A random phase: nodes started together must not all speak at once.
        self._arm(loop.time() + self._rng.random() * interval, interval)
        try:
            await self._stopped.wait()
        finally:
            if server:
                server.close()
            await self._end()
            if page:
                await asyncio.to_thread(page.close)

    async def _end(self) -> None:
        """Hear nobody any more, answer those who were heard, and say nothing more."""
        self._loop.remove_reader(self._socket.fileno())
        if self._redis:
            self._redis.begin_end()
        while self._under_way:
            await asyncio.wait([self._under_way])
        self._disk.shutdown()
        for timer in (self._tick_timer, self._wake_timer):
            if timer:
                timer.cancel()
        if self._redis:
            self._redis.hang_up()

    def _serve_metrics(self, host: str, port: int) -> "metrics.Door":
        redis = self._redis
        from gossip_counter.node.endpoints.http import metrics  # noqa: PLC0415 three megabytes and half the start-up, for those who ask for it

        connections = redis.connections if redis else ()
        self._metrics = metrics.Metrics(self.replica, self._traffic, lambda: len(connections), self._loop)
        return metrics.Door(self._metrics, host, port, self._unforeseen_elsewhere)

    def _unforeseen_elsewhere(self, error: BaseException) -> None:
        """What another thread met."""
        self._loop.call_soon_threadsafe(self._complaints.unforeseen, error)

    def stop(self, why: str = "asked to") -> None:
        """End `run`."""
        log.info("stops: %s", why)
        self._stopped.set()

    def _arm(self, due: float, interval: float) -> None:
        self._tick_timer = self._loop.call_at(due, self._tick, due, interval)

    def _tick(self, due: float, interval: float) -> None:
        # Rounds that a stopped or starved process missed are not made up for.
        self._arm(max(due + interval, self._loop.time()), interval)
        self._turn(lambda: self._carry_out(self.replica.tick(monotonic_ns())))
        if self._metrics:
            self._guarded(self._metrics.ticked)

    def _wake(self) -> None:
        self._wake_timer = None
        self._turn(lambda: self._carry_out(self.replica.wake(monotonic_ns())))

    def _turn(self, act: Callable[[], None]) -> None:
        """Do it, and then what it left to be committed."""
        self._guarded(act)
        self._guarded(self._flush)

    def _flush(self) -> None:
        while effects := self.replica.flush():
            self._carry_out(effects)

    def _guarded(self, act: Callable[..., None], *arguments: object) -> None:
        """Do it; the tick and the receive loop outlive whatever happens in it."""
        try:
            act(*arguments)
        except Exception as error:  # noqa: BLE001 counted, logged and told in status
            self._complaints.unforeseen(error)

    def _drain(self) -> None:
        self._turn(self._read_burst)

    def _read_burst(self) -> None:
        for _ in range(BURST):
            try:
                datagram, source = self._socket.recvfrom(wire.MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._complaints.add("receive_errors", "receiving: %s", error)
                return
            self._guarded(self._receive, datagram, source)

    def _receive(self, datagram: bytes, source: Address) -> None:
        kind = "unreadable"
        try:
            message = wire.unpack(datagram, self._config.cluster)
            kind = "request" if isinstance(message, Mapping) else type(message).__name__.lower()
        except wire.OtherClusterError as error:
            self._complaints.add("foreign_gossip", "%s from %s:%d", error, *source[:2])
            return
        except BadDatagramError as error:
            self._complaints.add("bad_input", "%s from %s:%d", error, *source[:2])
            return
        finally:
            stats = self.replica.stats
            stats.datagrams_in += 1
            stats.bytes_in += len(datagram)
            self._note("in", kind, datagram)
        if isinstance(message, Mapping):
            self._request(message, source)
        elif not (self._faults and message.sender in self._faults.cut):
            self._carry_out(self.replica.handle(message, source, monotonic_ns()))

    def _request(self, body: requests.Body, source: Address) -> None:
        try:
            if self._faults and body.get("type") == "fault":
                told = {"type": "fault_ok", "in_reply_to": self._faults.set(body), "msg_id": next(self._reply_ids)}
                self._send(wire.pack_body(told), source)
                return
            request = requests.parse(body)
        except RequestError as error:
            if error.msg_id is None:
                self._complaints.add("bad_input", "%s from %s:%d", error, *source[:2])
            else:
                self._carry_out(self.replica.refuse(error, error.msg_id, source))
            return
        self._carry_out(self.replica.handle(request, source, monotonic_ns()))

    def _carry_out(self, effects: list[Effect]) -> None:
        """All of these, whatever one of them meets.

        None may lead here again but a Commit, which comes alone: else a Wake could be followed by one of before it.
        """
        for effect in effects:
            self._guarded(self._carry_out_one, effect)

    def _carry_out_one(self, effect: Effect) -> None:
        match effect:
            case RunOk(to, run, actor, version):
                cast(resp.Door, to).saved(run, actor, version)
            case Answer(resp.Door() as to, ErrorReply(run, code, text)):
                to.refused(run, RequestError(code, text))
            case Answer(to, reply):
                self._send(wire.pack_body(requests.reply_body(reply, next(self._reply_ids))), cast(Address, to))
            case Copied(to, members):
                cast(resp.Connection, to).copied(members)
            case Send(to, message):
                self._gossip(to, message)
            case Wake(at_ns):
                if self._wake_timer:
                    self._wake_timer.cancel()  # only ever replaced by an earlier one
                self._wake_timer = self._loop.call_later(max(0, at_ns - monotonic_ns()) / 1e9, self._wake)
            case Commit():
                self._commit(effect)

    def _commit(self, commit: Commit) -> None:
        journal = self._journal
        if not self._is_awake and monotonic_ns() < self._idle_since_ns + AWAKE_NS:
            self._is_awake = True
            self._loop.call_soon(self._stay_awake)
        if journal is None:
            self._end_commit(None)
        elif self._slowness < SLOW:
            self._commit_here(journal, commit)
        else:
            self._under_way = self._loop.run_in_executor(self._disk, journal.commit, commit)
            self._under_way.add_done_callback(lambda done: self._turn(lambda: self._end_commit(done.exception())))

    def _commit_here(self, journal: Journal, commit: Commit) -> None:
        try:
            journal.commit(commit)
        except Exception as error:  # noqa: BLE001 told to those who wait, counted and logged
            self._end_commit(error)
        else:
            self._end_commit(None)

    def _end_commit(self, error: BaseException | None) -> None:
        self._under_way = None
        if self._journal:
            self._guarded(self._note_commit, self._journal.took_ns)
        if error is None:
            self._idle_since_ns = monotonic_ns()
            self._guarded(lambda: self._carry_out(self.replica.durable()))
            self._carry_out(self.replica.committed(self._idle_since_ns))
            return
        if isinstance(error, JournalError):
            self._complaints.add("commit_errors", "%s", error)
        else:
            self._complaints.unforeseen(error)
        self._carry_out(self.replica.not_committed(str(error)))

    def _note_commit(self, took_ns: int) -> None:
        self._slowness = min(2 * SLOW, self._slowness + 1) if took_ns >= QUICK_NS else max(0, self._slowness - 0.1)
        if self._metrics:
            self._metrics.committed(took_ns)

    def _stay_awake(self) -> None:
        """Go round until it is clear that nobody comes."""
        if monotonic_ns() < self._idle_since_ns + AWAKE_NS:
            self._loop.call_soon(self._stay_awake)
        else:
            self._is_awake = False

    def _gossip(self, peers: tuple[str, ...], message: Gossip) -> None:
        config = self._config
        datagrams = wire.pack_gossip(message, config.cluster, config.datagram_bytes, config.exchange_datagrams)
        if isinstance(message, Replicate):
            # A burst may overrun the receiver's buffer; in random order, it is not always the same rows that are lost.
            self._rng.shuffle(datagrams)
        kind = type(message).__name__.lower()
        carries_rows = isinstance(message, Carrier) and bool(message.deltas)
        for peer in peers:
            for datagram in datagrams:
                if self._faults and self._faults.stop(peer):
                    continue
                self._send(datagram, self._addresses[peer], kind)
                self.replica.stats.row_bytes_out += carries_rows * len(datagram)

    def _note(self, direction: str, kind: str, datagram: bytes) -> None:
        counts = self._traffic[direction, kind]
        counts[0] += 1
        counts[1] += len(datagram)

    def _send(self, datagram: bytes, to: Address, kind: str = "reply") -> None:
        try:
            self._socket.sendto(datagram, to)
        except OSError as error:
            self._complaints.add("send_errors", "sending to %s: %s", to, error)
            return
        self._note("out", kind, datagram)
        self.replica.stats.datagrams_out += 1
        self.replica.stats.bytes_out += len(datagram)


def bind(address: Address) -> socket.socket:
    """A socket bound to `address`, which nobody else may share. Raises `ConfigError` that says why not."""
    family, *_, sockaddr = resolve(address)
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.bind(sockaddr)
    except OSError as error:
        bound.close()
        raise ConfigError(f"can't bind {address[0]}:{address[1]}: {error.strerror}") from None
    bound.setblocking(False)
    with contextlib.suppress(OSError):  # a wish, not a need
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return bound


def resolve(address: Address, family: int = 0) -> tuple[int, int, int, str, Address]:
    """What the system makes of a host and a port, as `getaddrinfo` gives it. Raises `ConfigError`."""
    try:
        found = socket.getaddrinfo(*address, family=family, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigError(f"can't find the address {address[0]}:{address[1]}: {error.strerror}") from None
    return found[0]  # type: ignore[return-value]  # the stubs allow for hosts without an address


async def serve(
    config: Config,
    address: Address,
    peers: Mapping[str, Address],
    rng: Random,
    data: Path | None = None,
    faults: Faults | None = None,
    doors: Doors = NO_DOORS,
) -> None:
    """Run one node on `address` until a signal, its journal in `data`, with these other doors.

    Raises `ConfigError` if it can't begin.
    """
    with bind(address) as bound:
        resolved = {name: resolve(peer, bound.family)[4] for name, peer in peers.items()}
        with (
            contextlib.closing(Journal(data, config.name, config.cluster))
            if data
            else contextlib.nullcontext() as journal
        ):
            await UdpNode(config, bound, resolved, rng, journal, faults, doors).run()
            log.info("stopped")
