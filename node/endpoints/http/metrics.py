"""The metrics door: what a node counts, as Prometheus scrapes it, and whether it is healthy and ready, over HTTP.

It answers from a thread of its own, so that it can tell when the event loop stands still. Figures are gathered by the
loop, since to look at a node's state may settle what it has put off, which is no other thread's affair.
"""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from socketserver import ThreadingMixIn
from time import monotonic_ns
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Histogram, make_wsgi_app
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gossip_counter import __version__
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.stats import HELP, Stats

PREFIX = "gossip_counter_"

STILL_S = 5.0
"""Seconds without a gossip round after which a node is not healthy any more."""

REQUEST_S = 5.0
"""How long a client of this door may take to say what it wants, and the loop to gather it."""

MOST_CLIENTS = 16
"""Clients of this door at once; who comes on top is sent away."""

_STILL = "the event loop stands still"

_COMMIT_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_AGREEMENT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)
_BY_KIND = {"datagrams_in", "datagrams_out", "bytes_in", "bytes_out"}

Traffic = dict[tuple[str, str], list[int]]
"""By direction (in, out) and kind of message: datagrams and bytes."""


class Metrics(Collector):
    """What one node tells of itself. The world calls `ticked` and `committed`."""

    def __init__(
        self, replica: Replica, traffic: Traffic, connections: Callable[[], int], loop: asyncio.AbstractEventLoop
    ) -> None:
        """`loop` is the one that alone may touch the replica."""
        self._loop = loop
        self._replica = replica
        self._traffic = traffic
        self._connections = connections
        self._round_ns = monotonic_ns()
        self._agreed_since_ns = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._commit = Histogram(
            f"{PREFIX}commit_seconds", "How long commits took.", buckets=_COMMIT_S, registry=self.registry
        )
        self._agreement = Histogram(
            f"{PREFIX}convergence_seconds",
            "From a change of this node's state to when it first knew every member to hold it; looked at once a round.",
            buckets=_AGREEMENT_S,
            registry=self.registry,
        )

    def ticked(self) -> None:
        """A gossip round."""
        self._round_ns = monotonic_ns()
        peers = self._replica.peers
        if peers.convergence_ms is not None and peers.state_since_ns != self._agreed_since_ns:
            self._agreed_since_ns = peers.state_since_ns
            if len(peers):
                self._agreement.observe(peers.convergence_ms / 1000)

    def committed(self, took_ns: int) -> None:
        """A commit that took so long."""
        self._commit.observe(took_ns / 1e9)

    @property
    def is_healthy(self) -> bool:
        """Whether the node's loop still goes round."""
        interval_s = self._replica.config.gossip_interval_ms / 1000
        return monotonic_ns() - self._round_ns < max(STILL_S, 3 * interval_s) * 1e9

    @property
    def is_ready(self) -> bool:
        """Whether the loop goes round and peers have told what they hold, or were given up; the disk is not asked."""
        return self.is_healthy and self._replica.is_ready

    def collect(self) -> Iterable[Metric]:
        """As prometheus_client wants it, from another thread than the loop's. Raises `TimeoutError`."""
        gathering = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
        try:
            return gathering.result(REQUEST_S)
        except TimeoutError:
            gathering.cancel()
            raise

    async def _gather(self) -> list[Metric]:
        return list(self._figures())

    def _figures(self) -> Iterator[Metric]:
        replica = self._replica
        for field in fields(Stats):
            if field.name not in _BY_KIND:
                yield CounterMetricFamily(
                    PREFIX + field.name, HELP[field.name], value=getattr(replica.stats, field.name)
                )
        yield CounterMetricFamily(f"{PREFIX}rounds", "Gossip rounds.", value=replica.rounds)
        for at, what in enumerate(("datagrams", "bytes")):
            family = CounterMetricFamily(
                f"{PREFIX}{what}", f"UDP {what} by direction and kind of message.", labels=["direction", "kind"]
            )
            for (direction, kind), counts in self._traffic.items():
                family.add_metric([direction, kind], counts[at])
            yield family
        peers, state = replica.peers, replica.state
        gauges: dict[str, tuple[str, float]] = {
            "members": ("Members of the cluster, this node included.", len(peers) + 1),
            "peers_synced": ("Peers last heard to hold just our state.", peers.synced),
            "counters": ("Counters that have a row.", state.counters),
            "rows": ("Rows held.", state.row_count),
            "actors": ("Actors that have a row: lives of nodes.", state.actors),
            "unsaved_rows": ("Peers' rows that are not durable yet.", replica.unsaved),
            "redis_connections": ("Redis clients that are connected.", self._connections()),
            "ready": ("1 once peers have told what they hold, or were given up: adds are taken.", self.is_ready),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=value)
        yield from self._standings()

    def _standings(self) -> Iterable[Metric]:
        versions = GaugeMetricFamily(
            f"{PREFIX}peer_versions_behind", "Versions a peer lacked when last heard.", labels=["peer"]
        )
        seconds = GaugeMetricFamily(
            f"{PREFIX}peer_behind_seconds", "Since when a peer is not known to hold all that we do.", labels=["peer"]
        )
        for peer in self._replica.peers.standings(monotonic_ns()):
            versions.add_metric([peer.name], peer.versions)
            seconds.add_metric([peer.name], (peer.behind_ms or 0) / 1000)
        info = GaugeMetricFamily(f"{PREFIX}build_info", "What runs here.", labels=["version", "node", "epoch"])
        info.add_metric([__version__, self._replica.config.name, self._replica.actor], 1)
        return versions, seconds, info


class Door:
    """An HTTP server with /metrics, /healthz and /readyz, until `close`."""

    def __init__(self, metrics: Metrics, host: str, port: int, unforeseen: Callable[[BaseException], None]) -> None:
        """`unforeseen` is told, from another thread, what nobody foresaw. Raises `ConfigError` if it can't listen."""
        self._metrics = metrics
        self._scrape = make_wsgi_app(metrics.registry)
        try:
            self._server = make_server(host, port, self._answer, _Server6 if ":" in host else _Server, _Handler)
        except OSError as error:
            raise ConfigError(f"can't serve metrics at {host}:{port}: {error.strerror}") from None
        self._server.unforeseen = unforeseen
        self.address = self._server.server_address[:2]
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Let the port go."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: dict[str, Any], start: Any) -> Iterable[bytes]:
        match request["PATH_INFO"]:
            case "/metrics":
                try:
                    return cast(Iterable[bytes], self._scrape(request, start))
                except TimeoutError:
                    return _told(start, False, _STILL)
            case "/healthz":
                return _told(start, self._metrics.is_healthy, _STILL)
            case "/readyz":
                why_not = "peers have not said yet what they hold" if self._metrics.is_healthy else _STILL
                return _told(start, self._metrics.is_ready, why_not)
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there are /metrics, /healthz and /readyz\n"]


def _told(start: Any, good: bool, why_not: str) -> Iterable[bytes]:
    start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
    return [b"ok\n" if good else f"{why_not}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each client, but no more than MOST_CLIENTS."""

    daemon_threads = True
    unforeseen: Callable[[BaseException], None]

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:  # no thread can be started
            self._room.release()
            self.shutdown_request(request)
            self.unforeseen(error)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 as socketserver calls it
        error = sys.exception()
        if error and not isinstance(error, OSError):  # a client that is gone, or says nothing, is no mishap
            self.unforeseen(error)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, *_: object) -> None:
        """Scrapes are no news."""
