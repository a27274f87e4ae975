"""What a node counts, as Prometheus scrapes it.

Scrapes come from other threads. Figures are gathered by the event loop, since to look at a node's state may settle what
it has put off, and only the loop may do that.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from time import monotonic_ns

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gossip_counter import __version__
from gossip_counter.node.core.membership import Standing
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.stats import HELP, SIZES, Stats
from gossip_counter.node.core.status import Status
from gossip_counter.node.endpoints.http.health import Health

PREFIX = "gossip_counter_"

GATHER_S = 5.0
"""Seconds that the event loop may take to gather figures."""

_COMMIT_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_AGREEMENT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)
_BY_KIND = {"datagrams_in", "datagrams_out", "bytes_in", "bytes_out"}
"""Figures of Stats that are shown by kind of message instead."""

Traffic = dict[tuple[str, str], list[int]]
"""By direction (in, out) and kind of message: datagrams and bytes."""


class Metrics(Collector):
    """The figures of one node. The runtime calls `ticked` and `committed`."""

    def __init__(
        self,
        replica: Replica,
        traffic: Traffic,
        connections: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
        gather_s: float = GATHER_S,
    ) -> None:
        """`connections` gives the number of Redis clients; `loop` is the one that alone may touch the replica."""
        self.health = Health(replica)
        self._gather_s = gather_s
        self._loop = loop
        self._replica = replica
        self._traffic = traffic
        self._connections = connections
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
        """A gossip round took place."""
        self.health.ticked()
        membership = self._replica.membership
        if membership.convergence_ms is not None and membership.state_since_ns != self._agreed_since_ns:
            self._agreed_since_ns = membership.state_since_ns
            if len(membership):
                self._agreement.observe(membership.convergence_ms / 1000)

    def committed(self, took_ns: int) -> None:
        """A commit took so many nanoseconds."""
        self._commit.observe(took_ns / 1e9)

    def collect(self) -> Iterable[Metric]:
        """As prometheus_client wants it, from another thread than the loop's. Raises `TimeoutError`."""
        gathering = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
        try:
            return gathering.result(self._gather_s)
        except TimeoutError:
            gathering.cancel()
            raise

    async def _gather(self) -> list[Metric]:
        status = self._replica.status(monotonic_ns())
        return [
            *self._counts(status),
            *self._by_kind(),
            *self._gauges(status),
            _members_by_state(status),
            *_standings(status),
            _build_info(status),
        ]

    def _counts(self, status: Status) -> Iterator[Metric]:
        for field in fields(Stats):
            if field.name not in _BY_KIND:
                value = getattr(status.stats, field.name)
                family = GaugeMetricFamily if field.name in SIZES else CounterMetricFamily
                yield family(PREFIX + field.name, HELP[field.name], value=value)
        yield CounterMetricFamily(f"{PREFIX}rounds", "Gossip rounds.", value=status.rounds)

    def _by_kind(self) -> Iterator[Metric]:
        for at, unit in enumerate(("datagrams", "bytes")):
            family = CounterMetricFamily(
                f"{PREFIX}{unit}", f"UDP {unit} by direction and kind of message.", labels=["direction", "kind"]
            )
            for (direction, kind), counts in self._traffic.items():
                family.add_metric([direction, kind], counts[at])
            yield family

    def _gauges(self, status: Status) -> Iterator[Metric]:
        is_ready = self.health.is_ready
        gauges: dict[str, tuple[str, float]] = {
            "members": ("Members of the cluster, this node included.", status.members),
            "keys": ("Keys that open datagrams; 0: they are plain.", len(status.keys)),
            "peers_synced": ("Peers whose last state received equals ours.", status.peers_synced),
            "peers_unheard": ("Peers that sent nothing since this process started.", status.peers_unheard),
            "counters": ("Counters that have a row.", status.counters),
            "rows": ("Rows stored.", status.rows),
            "actors": ("Actors that have a row: lives of nodes.", status.actors),
            "dirty_rows": ("Peers' rows that are not durable yet.", status.dirty_rows),
            "redis_connections": ("Redis clients that are connected.", self._connections()),
            "ready": ("1 while it is a member, and peers have reported what they hold or were given up.", is_ready),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=value)


def _members_by_state(status: Status) -> Metric:
    text = "Members by how they stand, this node included; those that left or were removed, too."
    family = GaugeMetricFamily(f"{PREFIX}members_by_state", text, labels=["state"])
    for state, count in status.members_by_state.items():
        family.add_metric([state], count)
    return family


def _standings(status: Status) -> Iterable[Metric]:
    """What is known of each peer. Of one that is unheard, seconds count from our start: silence must raise alerts."""
    figures: dict[str, tuple[str, Callable[[Standing], float | None]]] = {
        "heard": ("1 if a peer sent anything since this process started.", lambda peer: peer.heard),
        "versions_behind": ("Versions a peer lacked when it last reported.", lambda peer: peer.versions),
        "behind_seconds": (
            "Since when a peer is not known to hold all that we do; since our start if it is unheard.",
            lambda peer: peer.behind_ms / 1000,
        ),
        "silent_seconds": (
            "Since when a peer sent nothing; since our start if it is unheard.",
            lambda peer: peer.silent_ms / 1000,
        ),
        "clock_ahead_seconds": (
            "By how much a peer's clock was ahead of ours when it last said its time; below 0: it was behind.",
            lambda peer: None if peer.skew_ms is None else peer.skew_ms / 1000,
        ),
    }
    for name, (text, figure) in figures.items():
        family = GaugeMetricFamily(f"{PREFIX}peer_{name}", text, labels=["peer"])
        for peer in status.standings:
            if (value := figure(peer)) is not None:
                family.add_metric([peer.name], value)
        yield family


def _build_info(status: Status) -> Metric:
    labels = ["version", "node", "epoch", "cluster_id"]
    info = GaugeMetricFamily(f"{PREFIX}build_info", "What runs here.", labels=labels)
    info.add_metric([__version__, status.name, status.actor, status.cluster_id.text], 1)
    return info
