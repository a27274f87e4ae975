"""Claim: what a node counts can be scraped, and whether it is healthy and ready can be asked, whatever clients do."""

import asyncio
import json
import re
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import gossip_counter.cluster
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import MemberRecord, Presence
from gossip_counter.node.core.stats import SIZES, Stats
from gossip_counter.node.core.status import Status
from gossip_counter.node.endpoints.http.health import STALLED_S, Health
from gossip_counter.node.endpoints.http.metrics import PREFIX, Metrics
from gossip_counter.node.endpoints.http.server import MAX_CLIENTS, REQUEST_S, HttpServer
from tests.support.processes import udp_node
from tests.support.waiting import LIMIT_S, until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
ROOT = Path(__file__).parent.parent
REMOVED = MemberRecord("n1", life=5, version=1, removed=5)
TRAFFIC = {("in", "request"): [2, 70], ("out", "reply"): [2, 80]}


class Served(NamedTuple):
    """A node's figures over HTTP."""

    port: int
    metrics: Metrics
    replica: Replica
    errors: list[BaseException]


def replica(*peers: str, recovered: Recovered | None = None) -> Replica:
    return Replica(Config(name="n1", peers=peers), Random(1), monotonic_ns(), recovered)


@contextmanager
def served(node: Replica, host: str = "127.0.0.1", runs: bool = True, seconds: float = REQUEST_S) -> Iterator[Served]:
    """Over HTTP at a free port. The event loop that gathers the figures `runs` in a thread, or stands still."""
    loop, errors = asyncio.new_event_loop(), list[BaseException]()
    thread = threading.Thread(target=loop.run_forever)
    if runs:
        thread.start()
    metrics = Metrics(node, TRAFFIC, lambda: 3, loop, seconds)
    server = HttpServer(metrics, host, 0, errors.append, seconds)
    try:
        yield Served(server.address[1], metrics, node, errors)
    finally:
        server.close()
        if runs:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.fixture
def found() -> Iterator[Served]:
    with served(replica("n2", "n3")) as made:
        made.replica.membership.skew_ms["n2"] = -2500
        yield made


def add(node: Replica, delta: int) -> None:
    """An add that is durable at once."""
    node.submit("c", 1, [("likes", delta)])
    while ready := node.ready(monotonic_ns()):
        if ready.commit:
            node.persisted()


def page(port: int, path: str, host: str = "127.0.0.1", timeout: float = LIMIT_S) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(port: int) -> Samples:
    status, text = page(port, "/metrics")
    assert status == 200
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


# Figures.


def test_what_is_counted_can_be_scraped(found: Served) -> None:
    add(found.replica, 5)
    found.replica.value("likes")
    found.metrics.committed(2_000_000)
    figures = samples(found.port)
    for name, value in (
        ("adds_total", 1), ("reads_total", 1), ("commits_total", 1), ("commit_seconds_count", 1),
        ("commit_seconds_sum", 0.002), ("rows", 1), ("counters", 1), ("actors", 1), ("dirty_rows", 0), ("members", 3),
        ("peers_synced", 0), ("peers_unheard", 2), ("redis_connections", 3), ("ready", 1), ("rounds_total", 0),
    ):  # fmt: skip
        assert figures[PREFIX + name, ()] == value, name
    assert figures[PREFIX + "datagrams_total", (("direction", "in"), ("kind", "request"))] == 2
    assert figures[PREFIX + "bytes_total", (("direction", "out"), ("kind", "reply"))] == 80
    (labels,) = (dict(labels) for (name, labels) in figures if name == PREFIX + "build_info")
    assert labels["cluster_id"] == found.replica.cluster_id.text


def test_a_peer_that_is_dead_since_before_the_start_shows_as_silent_and_behind(found: Served) -> None:
    node, dead, level = found.replica, (("peer", "n2"),), (("peer", "n3"),)
    node.membership.heard_from("n3", node.state.fingerprint, monotonic_ns())
    until(lambda: samples(found.port)[PREFIX + "peer_behind_seconds", dead] > 0.01)
    figures = samples(found.port)
    assert (figures[PREFIX + "peer_heard", dead], figures[PREFIX + "peer_heard", level]) == (0, 1)
    assert figures[PREFIX + "peer_behind_seconds", level] == 0
    assert figures[PREFIX + "peer_silent_seconds", dead] > figures[PREFIX + "peer_silent_seconds", level] > 0
    assert figures[PREFIX + "peers_unheard", ()] == 1
    states = {dict(labels)["state"]: n for (name, labels), n in figures.items() if name == PREFIX + "members_by_state"}
    assert states == {"up": 2, "suspect": 1, "down": 0, "left": 0, "removed": 0}


def test_a_clock_is_ahead_or_behind_once_its_peer_has_said_its_time(found: Served) -> None:
    figures = samples(found.port)
    ahead = {labels: value for (name, labels), value in figures.items() if name == PREFIX + "peer_clock_ahead_seconds"}
    assert ahead == {(("peer", "n2"),): -2.5}


def test_every_alert_of_the_documents_names_metrics_that_exist(found: Served) -> None:
    names = {name for name, _ in samples(found.port)}
    alerts = re.findall(r"\bgossip_counter_\w+", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    assert {"gossip_counter_peer_heard", "gossip_counter_peer_behind_seconds"} <= set(alerts) <= names | {PREFIX}


def test_every_count_of_a_node_is_shown(found: Served) -> None:
    names = {name for name, _ in samples(found.port)}
    by_kind = {"datagrams_in", "datagrams_out", "bytes_in", "bytes_out"}
    shown = {each.name if each.name in SIZES else f"{each.name}_total" for each in fields(Stats)} - by_kind
    assert {PREFIX + name for name in shown if name.removesuffix("_total") not in by_kind} <= names


def test_the_dashboard_names_metrics_that_exist(found: Served) -> None:
    names = {name for name, _ in samples(found.port)}
    dashboard = json.loads((Path(gossip_counter.cluster.__file__).parent / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for each in expressions for name in re.findall(r"\bgossip_counter_\w+", each)}
    assert len(shown) > 20
    assert shown <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_names_keep_to_the_conventions_of_prometheus(found: Served) -> None:
    _, text = page(found.port, "/metrics")
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        assert family.name.startswith(PREFIX)
        assert not re.search(r"_(ms|ns|kb|percent)$", family.name), "base units"


def test_figures_are_gathered_by_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at a node may settle what it has put off, and only the loop may do that."""
    threads = set()
    status = Replica.status

    def noted(node: Replica, now_ns: int) -> Status:
        threads.add(threading.current_thread())
        return status(node, now_ns)

    async def live() -> bytes:
        made = Metrics(replica("n2"), {}, lambda: 0, asyncio.get_running_loop())
        monkeypatch.setattr(Replica, "status", noted)
        return await asyncio.to_thread(generate_latest, made.registry)

    assert PREFIX.encode() in asyncio.run(live())
    assert threads == {threading.main_thread()}


def test_agreement_is_observed_once_for_each_change(found: Served) -> None:
    node, name = found.replica, (PREFIX + "convergence_seconds_count", ())

    def agrees() -> None:
        for peer in ("n2", "n3"):
            node.membership.heard_from(peer, node.state.fingerprint, monotonic_ns())
        for _ in range(3):
            found.metrics.ticked()

    found.metrics.ticked()
    assert samples(found.port)[name] == 0
    agrees()
    assert samples(found.port)[name] == 1
    add(node, 1)
    found.metrics.ticked()
    assert samples(found.port)[name] == 1
    agrees()
    assert samples(found.port)[name] == 2


# Health.


def test_healthy_ready_and_nothing_else(found: Served) -> None:
    assert page(found.port, "/healthz") == (200, "ok\n")
    assert page(found.port, "/readyz") == (200, "ok\nnot heard since the start: n2, n3\n")
    for peer in ("n2", "n3"):
        found.replica.membership.heard_from(peer, 1, monotonic_ns())
    assert page(found.port, "/readyz") == (200, "ok\n")
    status, text = page(found.port, "/")
    assert (status, "/metrics" in text) == (404, True)


def test_a_node_that_waits_for_its_peers_is_healthy_and_not_ready() -> None:
    node = replica("n2", recovered=Recovered(Actor("n1.a")))
    node.begin(monotonic_ns())
    with served(node) as found:
        assert page(found.port, "/healthz") == (200, "ok\n")
        not_ready = "peers have not reported yet what they hold\nnot heard since the start: n2\n"
        assert page(found.port, "/readyz") == (503, not_ready)
        assert samples(found.port)[PREFIX + "ready", ()] == 0


def test_who_is_no_member_is_not_ready() -> None:
    joining = Replica(Config(name="n1"), Random(1), monotonic_ns(), presence=Presence(seeds=("n2",)))
    joining.begin(monotonic_ns())
    removed = Replica(Config(name="n1"), Random(1), monotonic_ns(), Recovered(Actor("n1.a"), members=(REMOVED,)))
    for node in (joining, removed):
        with served(node) as found:
            status, text = page(found.port, "/readyz")
            assert (status, "no member" in text) == (503, True)
            assert samples(found.port)[PREFIX + "ready", ()] == 0
        assert not node.status(monotonic_ns()).is_ready


def test_a_node_whose_loop_stands_still_is_neither_healthy_nor_ready() -> None:
    now_ns = 0
    health = Health(replica(), lambda: now_ns)
    now_ns = int(STALLED_S * 1e9) - 1
    assert (health.is_healthy, health.is_ready) == (True, True)
    now_ns += 1
    assert (health.is_healthy, health.is_ready) == (False, False)
    health.ticked()
    assert health.is_healthy


def test_figures_of_a_loop_that_stands_still_are_not_waited_for_for_ever() -> None:
    with served(replica(), runs=False, seconds=0.1) as found:
        assert page(found.port, "/metrics") == (503, "the event loop stands still\n")


# Clients.


def test_ipv6_is_served_too() -> None:
    with served(replica(), host="::1") as found:
        assert page(found.port, "/healthz", host="[::1]") == (200, "ok\n")


def test_a_port_that_is_taken_is_an_error_that_names_it(found: Served) -> None:
    with pytest.raises(ConfigError, match=f"can't serve metrics at 127.0.0.1:{found.port}: "):
        HttpServer(found.metrics, "127.0.0.1", found.port, print)


def end_of(port: int) -> bytes:
    """What a client gets that sends nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as client:
        return client.recv(100)


def test_a_silent_client_is_no_error_and_an_unexpected_one_is_reported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(replica(), seconds=0.1) as found:
        assert end_of(found.port) == b""
        assert found.errors == []
        monkeypatch.setattr(WSGIRequestHandler, "handle", lambda _: 1 // 0)
        assert end_of(found.port) == b""
        until(lambda: found.errors)
        assert isinstance(found.errors[0], ZeroDivisionError)
    assert capfd.readouterr().err == ""


def test_what_asks_in_an_odd_way_is_told_so_and_an_error_is_reported(
    found: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def asked(accept: str) -> int:
        with closing(HTTPConnection("127.0.0.1", found.port, timeout=LIMIT_S)) as client:
            client.request("GET", "/metrics", headers={"Accept": accept})
            return client.getresponse().status

    assert asked("application/openmetrics-text;version=1.0.0") == 200
    assert asked("application/openmetrics-text;version=x") == 400
    assert found.errors == []
    monkeypatch.setattr(found.metrics.registry, "collect", lambda: 1 // 0)
    assert asked("text/plain") == 503
    assert [type(each) for each in found.errors] == [ZeroDivisionError]
    assert capfd.readouterr().err == ""


def is_served(port: int) -> bool:
    try:
        return page(port, "/healthz")[0] == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def test_clients_are_bounded(found: Served) -> None:
    silent = [socket.create_connection(("127.0.0.1", found.port)) for _ in range(MAX_CLIENTS)]
    assert end_of(found.port) == b""
    for each in silent:
        each.close()
    until(lambda: is_served(found.port))


def test_clients_that_no_thread_can_be_started_for_leave_room_for_others(
    found: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.daemon:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(MAX_CLIENTS):
            assert end_of(found.port) == b""
    assert page(found.port, "/healthz") == (200, "ok\n")
    assert len(found.errors) == MAX_CLIENTS


def test_half_a_request_holds_up_nobody(found: Served) -> None:
    with socket.create_connection(("127.0.0.1", found.port)) as half:
        half.sendall(b"GET /met")
        # Sooner than the half one is given up, after which anybody would be answered.
        assert page(found.port, "/healthz", timeout=REQUEST_S / 2)[0] == 200


def test_a_real_node_serves_its_figures_and_stops_cleanly(tmp_path: Path) -> None:
    with udp_node("--metrics=127.0.0.1:0", data=tmp_path) as (process, _):
        assert process.stderr
        port = int(process.stderr.readline().rpartition(":")[2])
        until(lambda: samples(port)[PREFIX + "rounds_total", ()] > 1)
        assert is_served(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
