"""One node as a process: the event loop, and around one replica its endpoints, its timers and its journal.

Inputs go into the replica, and `_advance` carries out what it says is to be done, until there is nothing left.
"""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random, SystemRandom
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, NamedTuple, cast

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Answer, Ready
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.addresses import Address, bind, shown
from gossip_counter.node.endpoints.faults import Faults
from gossip_counter.node.endpoints.redis.server import MAX_CONNECTIONS, Listen, RedisClient, RedisServer
from gossip_counter.node.endpoints.udp import UdpClient, UdpEndpoint
from gossip_counter.node.runtime import signals
from gossip_counter.node.runtime.clock_watch import ClockWatch
from gossip_counter.node.runtime.committer import Committer, Done
from gossip_counter.node.runtime.diagnostics import Diagnostics
from gossip_counter.node.runtime.key_watch import KeyWatch
from gossip_counter.node.runtime.peer_finder import PeerFinder, check_reach
from gossip_counter.node.runtime.place import Place
from gossip_counter.node.runtime.refusals import why_refused, why_removed
from gossip_counter.node.runtime.roster_watch import RosterWatch
from gossip_counter.node.runtime.timers import Alarm, BusyPoll, Ticker
from gossip_counter.node.storage.journal import Journal, JournalError
from gossip_counter.node.storage.key_file import KeyFile

if TYPE_CHECKING:
    from gossip_counter.node.endpoints.http.metrics import Metrics
    from gossip_counter.node.endpoints.http.server import HttpServer
    from gossip_counter.node.security.keyring import Keyring
    from gossip_counter.node.security.sealing import Sealing

log = logging.getLogger("gossip_counter.node")


COLLECT_AFTER = (10_000, 10, 10)
"""How seldom Python collects garbage that is in cycles; it never goes through what was restored. No row is in a cycle,
and a collection that goes through a million of them takes half a second.
"""

DROPPED = {
    "rows_dropped": "there is no room for peers' rows: start this node with a larger --max-rows",
    "actors_dropped": (
        "there is no room for rows of more actors, of which each start without a journal makes one: start this node"
        " with a larger --max-actors"
    ),
}
"""What the replica drops for lack of room, and what is logged of it."""


class Listeners(NamedTuple):
    """What a node serves beside UDP: Redis clients, and metrics over HTTP."""

    redis: Listen | None = None
    metrics: Address | None = None


NO_LISTENERS = Listeners()
NO_PLACE = Place()


class Node:
    """One replica, served until `stop`. Without a journal, rows are in memory only."""

    def __init__(
        self,
        config: Config,
        endpoint: Callable[[Replica, Diagnostics], UdpEndpoint],
        rng: Random,
        journal: Journal | None = None,
        listeners: Listeners = NO_LISTENERS,
        keys: KeyFile | None = None,
        place: Place = NO_PLACE,
    ) -> None:
        """`endpoint` makes the UDP endpoint of this node's replica."""
        loop = asyncio.get_running_loop()
        # Epochs are the system's: two lives with one seed must never share an actor.
        recovered = journal.recovered if journal else None
        presence = None if config.gossip == "full" else place.presence()
        self.replica = Replica(config, rng, monotonic_ns(), recovered, SystemRandom(), presence)
        _check_is_member(self.replica)
        self._rng = rng
        self._loop = loop
        self._listeners = listeners
        self._diagnostics = Diagnostics(log, self.replica.stats)
        self._udp = endpoint(self.replica, self._diagnostics)
        self._peer_finder = PeerFinder(loop, self._udp.socket, self._udp.peers, self._diagnostics.note)
        self._roster_watch = RosterWatch(self.replica, self._udp, self._peer_finder, self._diagnostics, place.seeds)
        self._journal = journal
        self._committer = Committer(journal, self._aside, self._committed)
        self._disk = ThreadPoolExecutor(1, "journal")
        self._under_way: asyncio.Future[None] | None = None
        self._ticker = Ticker(loop, config.gossip_interval_ms / 1000, self._tick)
        self._alarm = Alarm(loop, self._wake)
        self._busy_poll = BusyPoll(loop)
        self._redis = None
        if listeners.redis:
            self._redis = RedisServer(self.replica, self._advance, self._diagnostics.unexpected, listeners.redis)
        self._key_watch = KeyWatch(loop, keys, self._use_keys, self._diagnostics.note_once, log) if keys else None
        self._metrics: Metrics | None = None
        self._is_id_logged = False
        self._clock_watch = ClockWatch(log)
        self._receives_soon = False
        self._stopped = asyncio.Event()
        if journal:
            self._note_findings(journal)

    def _note_findings(self, journal: Journal) -> None:
        """What was found when the journal was opened."""
        note = self._diagnostics.note
        if journal.set_aside:
            note("journals_set_aside", "the journal was damaged (%s): it is now %s", journal.damage, journal.set_aside)
        if journal.copy_of:
            note("journals_copied", "the journal is a copy of %s: this node begins a new epoch", journal.copy_of)
        self._note_all(journal)

    async def run(self) -> None:
        """Serve until a signal that ends, or `stop`: then the process is about to exit, and ignores further signals.

        Raises `ConfigError` if it can't begin.
        """
        # No handlers of the loop: it restores the default ones at its end, and then a second signal would kill us.
        signals.on_ending(self._interrupted)
        self._roster_watch.follow()
        await self._peer_finder.begin()
        check_reach(self._udp.socket, self._udp.peers)
        if self._redis:
            await self._redis.start()
        page = self._serve_metrics(*self._listeners.metrics) if self._listeners.metrics else None
        if self._key_watch:
            self._key_watch.start()
        self._loop.add_reader(self._udp.fileno, self._receive)
        self._log_listeners(page)
        self._set_clock()
        self._log_cluster_id()
        self._guarded(self.replica.begin, monotonic_ns())
        self._advance()
        self._ticker.start(self._rng.random() * self.replica.config.gossip_interval_ms / 1000)
        try:
            await self._stopped.wait()
        finally:
            await self._end()
            if page:
                await asyncio.to_thread(page.close)

    def stop(self, why: str = "asked to") -> None:
        """End `run`."""
        log.info("stops: %s", why)
        self._stopped.set()

    def _interrupted(self, number: int) -> None:
        signals.ignore_ending()  # many more would leave no time to end
        if not self._loop.is_closed():  # else it could not begin, and is about to exit
            self._loop.call_soon_threadsafe(self.stop, signal.Signals(number).name)

    async def _end(self) -> None:
        """Receive nothing any more, answer what was received, and send nothing more."""
        self._loop.remove_reader(self._udp.fileno)
        if self._redis:
            self._redis.begin_close()
            self._advance()
        while self._under_way:
            await asyncio.wait([self._under_way])
        self._disk.shutdown()
        self._ticker.stop()
        self._alarm.stop()
        self._peer_finder.stop()
        if self._key_watch:
            self._key_watch.stop()
        if self._redis:
            self._redis.close()

    def _log_listeners(self, page: "HttpServer | None") -> None:
        log.info("listens on %s, peers: %d", shown(self._udp.address), len(self.replica.membership))
        for address in self._redis.addresses if self._redis else ():
            log.info("serves Redis clients on %s", shown(address))
        if self._redis and self._redis.max_connections < MAX_CONNECTIONS:
            log.warning(
                "serves at most %d Redis clients, not %d: this process may open too few files (see ulimit -n)",
                self._redis.max_connections, MAX_CONNECTIONS,
            )  # fmt: skip
        if page:
            log.info("serves metrics on %s", shown(page.address))

    # Inputs.

    def _receive(self) -> None:
        step, now_ns = self.replica.step, monotonic_ns
        if self._stopped.is_set():
            return
        try:
            waits = self._udp.receive(
                now_ns(),
                lambda message, source: step(message, source, now_ns()),
                self.replica.refuse,
                self._diagnostics.unexpected,
            )
            if waits and not self._receives_soon:
                self._receives_soon = True
                self._loop.call_soon(self._receive_again)
        except Exception as error:  # noqa: BLE001 counted, logged and shown in status
            self._diagnostics.unexpected(error)
        self._advance()

    def _receive_again(self) -> None:
        """What there was no time for, though nothing new may have arrived."""
        self._receives_soon = False
        self._receive()

    def _set_clock(self) -> None:
        self._guarded(self.replica.set_clock, monotonic_ns(), time_ns() // 1_000_000)

    def _tick(self) -> None:
        now_ns = monotonic_ns()
        self._set_clock()
        self._udp.at(now_ns)
        self._guarded(self.replica.tick, now_ns)
        self._advance()
        self._guarded(self._warn_of_forks, now_ns)
        self._guarded(self._log_cluster_id)
        self._guarded(self._roster_watch.look, now_ns)
        if self.replica.has_left and not self._stopped.is_set():
            self.stop("it has left the cluster")
        self._guarded(self._clock_watch.look, self.replica.membership.skew_ms, now_ns)
        for kind, text in DROPPED.items():
            self._guarded(self._diagnostics.warn_if_grown, kind, text)
        if self._metrics:
            self._guarded(self._metrics.ticked)

    def _warn_of_forks(self, now_ns: int) -> None:
        for name, sources in self.replica.forks(now_ns):
            places = ", ".join(shown(cast(UdpClient, source)[0]) for source in sources)
            self._diagnostics.warn("forks", "several processes speak as %s, stop all but one: %s", name, places)

    def _log_cluster_id(self) -> None:
        """Log it once it is settled, and who was refused for having another."""
        cluster, cluster_id = self.replica.config.cluster, self.replica.cluster_id
        if cluster_id.is_settled and self.replica.membership and not self._is_id_logged:
            self._is_id_logged = True
            log.info("the id of cluster %r is %s", cluster, cluster_id.text)
        if refused := self.replica.take_refused():
            self._diagnostics.warn("foreign_gossip", "%s", why_refused(refused, cluster))

    def _wake(self, due_ns: int) -> None:
        self._guarded(self.replica.wake, max(due_ns, monotonic_ns()))
        self._advance()

    def _guarded(self, act: Callable[..., None], *arguments: object) -> None:
        """Do it; the tick, the receive loop and the commits outlive whatever happens in it."""
        try:
            act(*arguments)
        except Exception as error:  # noqa: BLE001 counted, logged and shown in status
            self._diagnostics.unexpected(error)

    def _use_keys(self, ring: "Keyring") -> None:
        self._udp.use_keys(ring)
        self.replica.use_keys(ring.names)

    # What is to be done.

    def _advance(self) -> None:
        """Carry out all that the replica wants done now."""
        while ready := self._ready():
            if ready.wake_ns is not None:
                self._alarm.set(ready.wake_ns)
            for answer in ready.replies:
                self._guarded(self._reply, answer)
            self._guarded(self._udp.send_replies)
            self._guarded(self._roster_watch.follow)
            for send in ready.sends:
                self._guarded(self._udp.gossip, send)
            if ready.commit:
                self._busy_poll.commit_begins()
                self._guarded(self._committer.commit, ready.commit)
            elif not ready.replies:  # or they may lead to more requests
                return

    def _ready(self) -> Ready | None:
        try:
            return self.replica.ready(monotonic_ns())
        except Exception as error:  # noqa: BLE001 counted, logged and shown in status
            self._diagnostics.unexpected(error)
            return None

    def _reply(self, answer: Answer) -> None:
        if isinstance(answer.to, RedisClient):
            answer.to.deliver(answer.reply)
        elif isinstance(answer.to, tuple):
            self._udp.reply(answer.to, answer.reply)

    # Commits.

    def _aside(self, work: Callable[[], None], done: Done) -> None:
        """Run a commit in a thread of its own."""

        def ended(future: asyncio.Future[None]) -> None:
            self._under_way = None
            self._guarded(done, future.exception())
            self._advance()

        self._under_way = self._loop.run_in_executor(self._disk, work)
        self._under_way.add_done_callback(ended)

    def _committed(self, error: BaseException | None) -> None:
        if journal := self._journal:
            self.replica.stats.journal_wal_bytes = journal.wal_bytes
            if self._metrics:
                self._guarded(self._metrics.committed, journal.took_ns)
            if journal.noticed:
                self._guarded(self._note_all, journal)
        if error is None:
            self._busy_poll.commit_ended()
            self.replica.persisted()
            return
        if isinstance(error, JournalError):
            self._diagnostics.note("commit_errors", "%s", error)
        else:
            self._diagnostics.unexpected(error)
        self.replica.persisted(str(error))

    def _note_all(self, journal: Journal) -> None:
        """Note what the journal has noticed."""
        while journal.noticed:
            kind, text = journal.noticed.popitem()
            self._diagnostics.note(kind, "%s", text)

    # Metrics.

    def _serve_metrics(self, host: str, port: int) -> "HttpServer":
        # Three megabytes and half the start-up, for those who ask for it.
        from gossip_counter.node.endpoints.http import metrics, server  # noqa: PLC0415

        connections = self._redis.connections if self._redis else ()
        self._metrics = metrics.Metrics(self.replica, self._udp.traffic.by_kind, lambda: len(connections), self._loop)
        return server.HttpServer(self._metrics, host, port, self._unexpected_elsewhere)

    def _unexpected_elsewhere(self, error: BaseException) -> None:
        """What another thread met."""
        self._loop.call_soon_threadsafe(self._diagnostics.unexpected, error)


def _check_is_member(replica: Replica) -> None:
    """Raises `ConfigError` if the journal says that this node was removed."""
    if replica.roster.own.is_removed:
        raise ConfigError(why_removed(replica.config.name))


def _sealing(keys: KeyFile, cluster: str) -> "Sealing":
    # A third of the start-up, for those who have keys.
    from gossip_counter.node.security.sealing import Sealing  # noqa: PLC0415

    return Sealing(keys.ring, cluster, SystemRandom())


async def serve(
    config: Config,
    address: Address,
    peers: Mapping[str, Address],
    rng: Random,
    data: Path | None = None,
    faults: Faults | None = None,
    listeners: Listeners = NO_LISTENERS,
    keys: KeyFile | None = None,
    place: Place = NO_PLACE,
) -> None:
    """Run one node on `address` until a signal, its journal in `data`; with `keys`, its datagrams are sealed.

    Raises `ConfigError` if it can't begin.
    """
    with bind(address) as bound:

        def endpoint(replica: Replica, diagnostics: Diagnostics) -> UdpEndpoint:
            sealing = _sealing(keys, config.cluster) if keys else None
            listed = {**peers, **place.seeds}
            return UdpEndpoint(bound, listed, config, rng, replica.stats, diagnostics.note, faults, sealing)

        with (
            contextlib.closing(Journal(data, config.name, config.cluster))
            if data
            else contextlib.nullcontext() as journal
        ):
            node = Node(config, endpoint, rng, journal, listeners, keys, place.at(bound))
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            await node.run()
            log.info("stopped")
