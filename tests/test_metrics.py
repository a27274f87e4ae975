"""The metrics door of real processes: what Prometheus scrapes, whether a node is healthy, and the dashboard."""

import asyncio
import json
import re
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from random import Random

import pytest
import redis
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import cluster
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.endpoints.http import metrics
from tests.support.commands import Commands
from tests.support.processes import ask, node_process, udp_node
from tests.support.waiting import LIMIT_S, until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_S) as told:
            return told.status, told.read().decode()
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


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    found, redis_port = free_ports(2)
    with udp_node(f"--metrics=127.0.0.1:{found}", f"--resp=127.0.0.1:{redis_port}", data=tmp_path) as (_, address):
        ask(address, lambda client: client.add(5))
        ask(address, lambda client: client.read())
        with redis.Redis(port=redis_port, socket_timeout=LIMIT_S) as counter:
            counter.incr("likes")
            counter.get("likes")
            yield found


def test_what_is_counted_is_told(port: int) -> None:
    told = samples(port)
    prefix = metrics.PREFIX
    assert told[prefix + "adds_total", ()] == 2
    assert told[prefix + "reads_total", ()] == 2
    assert told[prefix + "commits_total", ()] == told[prefix + "commit_seconds_count", ()] == 2
    assert told[prefix + "rows", ()] == told[prefix + "counters", ()] == 2
    assert told[prefix + "redis_connections", ()] == 1
    assert told[prefix + "members", ()] == told[prefix + "ready", ()] == 1
    assert told[prefix + "datagrams_total", (("direction", "in"), ("kind", "request"))] >= 2
    assert told[prefix + "bytes_total", (("direction", "out"), ("kind", "reply"))] > 50


def test_every_count_of_a_node_is_told(port: int) -> None:
    names = {name for name, _ in samples(port)}
    by_kind = {"datagrams_in", "datagrams_out", "bytes_in", "bytes_out"}
    assert {f"{metrics.PREFIX}{each.name}_total" for each in fields(Stats) if each.name not in by_kind} <= names


def test_the_dashboard_names_metrics_that_exist(port: int) -> None:
    _, text = page(port, "/metrics")
    names = {name for name, _ in samples(port)} | set(re.findall(r"# TYPE (\w+) gauge", text))
    dashboard = json.loads((Path(cluster.__file__).parent / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for each in expressions for name in re.findall(r"\bgossip_counter_\w+", each)}
    assert len(shown) > 20
    assert shown <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_names_keep_to_the_conventions_of_prometheus(port: int) -> None:
    _, text = page(port, "/metrics")
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        assert family.name.startswith(metrics.PREFIX)
        assert not re.search(r"_(ms|ns|kb|percent)$", family.name), "base units"


def test_healthy_ready_and_nothing_else(port: int) -> None:
    assert page(port, "/healthz") == (200, "ok\n")
    assert page(port, "/readyz") == (200, "ok\n")
    status, text = page(port, "/")
    assert (status, "/metrics" in text) == (404, True)


def test_a_node_whose_loop_stands_still_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()
    made = metrics.Metrics(Replica(Config(name="n1"), Random(1), 0), {}, lambda: 0, loop)
    loop.close()
    health = [made.is_healthy]
    monkeypatch.setattr(metrics, "monotonic_ns", lambda: made._round_ns + int(metrics.STILL_S * 1e9))
    health += [made.is_healthy, made.is_ready]
    assert health == [True, False, False]


def test_what_a_scrape_settles_is_settled_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state's hashes and index are brought up to date when somebody looks, and the loop writes them too."""
    seen = set()
    settle = State._settle

    def noted(self: State) -> None:
        seen.add(threading.current_thread())
        settle(self)

    async def live() -> bytes:
        replica = Replica(Config(name="n1", peers=("n2",)), Random(1), 0)
        made = metrics.Metrics(replica, {}, lambda: 0, asyncio.get_running_loop())
        monkeypatch.setattr(State, "_settle", noted)
        return await asyncio.to_thread(generate_latest, made.registry)

    assert metrics.PREFIX.encode() in asyncio.run(live())
    assert seen == {threading.main_thread()}


def test_agreement_is_observed_once_each_time(tmp_path: Path) -> None:
    made = Commands(tmp_path)
    made.ok("up", "-n", "3", "--base-port", "0", "--metrics", "--detach")
    try:
        where = [node["metrics"] for node in made.status()["nodes"]]
        port = int(where[0].rpartition(":")[2])
        name = metrics.PREFIX + "convergence_seconds_count"
        until(lambda: samples(port)[name, ()] == 1)  # that all of them know of nothing yet
        made.ok("add", "1", "--node", "n1")
        until(lambda: samples(port)[name, ()] == 2)
        rounds = samples(port)[metrics.PREFIX + "rounds_total", ()]
        until(lambda: samples(port)[metrics.PREFIX + "rounds_total", ()] > rounds + 5)
        assert samples(port)[name, ()] == 2
        assert samples(port)[metrics.PREFIX + "peer_behind_seconds", (("peer", "n2"),)] == 0
    finally:
        made.ok("down")


def test_ipv6_is_served_too() -> None:
    (found,) = free_ports(1)
    with udp_node(f"--metrics=[::1]:{found}"), urllib.request.urlopen(f"http://[::1]:{found}/healthz") as told:
        assert told.read() == b"ok\n"


def test_figures_of_a_node_that_stands_still_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_S", 0.1)
    loop = asyncio.new_event_loop()  # which nobody runs
    (found,) = free_ports(1)
    made = metrics.Metrics(Replica(Config(name="n1"), Random(1), 0), {}, lambda: 0, loop)
    door = metrics.Door(made, "127.0.0.1", found, print)
    assert page(found, "/metrics") == (503, "the event loop stands still\n")
    door.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_client_that_says_nothing_is_no_mishap_and_what_nobody_foresaw_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics, "REQUEST_S", 0.1)
    monkeypatch.setattr(metrics._Handler, "timeout", 0.1)
    met = list[BaseException]()
    (found,) = free_ports(1)
    loop = asyncio.new_event_loop()
    made = metrics.Metrics(Replica(Config(name="n1"), Random(1), 0), {}, lambda: 0, loop)
    door = metrics.Door(made, "127.0.0.1", found, met.append)
    with socket.create_connection(("127.0.0.1", found)) as silent:
        assert silent.recv(100) == b""
    assert met == []
    monkeypatch.setattr(metrics._Handler, "handle", lambda _: 1 // 0)
    with socket.create_connection(("127.0.0.1", found)) as one:
        assert one.recv(100) == b""
    until(lambda: met)
    assert isinstance(met[0], ZeroDivisionError)
    door.close()
    loop.close()
    assert capfd.readouterr().err == ""


def test_clients_are_bounded(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(metrics.MOST_CLIENTS)]
    with socket.create_connection(("127.0.0.1", port)) as one_more:
        assert one_more.recv(100) == b""
    for each in silent:
        each.close()
    until(lambda: page_or_nothing(port))


def test_a_client_that_no_thread_can_be_started_for_leaves_its_room_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[BaseException] = []
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    made = metrics.Metrics(Replica(Config(name="n1"), Random(1), 0), {}, lambda: 0, loop)
    door = metrics.Door(made, "127.0.0.1", port, met.append)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.daemon:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(metrics.MOST_CLIENTS):
            with socket.create_connection(("127.0.0.1", port)) as one:
                assert one.recv(100) == b""
    assert page(port, "/healthz") == (200, "ok\n")
    assert len(met) == metrics.MOST_CLIENTS
    door.close()
    loop.close()


def page_or_nothing(port: int) -> bool:
    try:
        return page(port, "/healthz")[0] == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def test_half_a_request_holds_up_nobody(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"GET /met")
        # Sooner than the half one is given up, after which anybody would be answered.
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=metrics.REQUEST_S / 2) as told:
            assert told.status == 200


def test_a_busy_port_is_told_in_one_line(port: int) -> None:
    with node_process("--name=n2", "--bind=127.0.0.1:0", "--ephemeral", f"--metrics=127.0.0.1:{port}") as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 2
        assert "can't serve metrics" in stderr.splitlines()[-1]


def test_a_node_with_metrics_stops_cleanly(tmp_path: Path) -> None:
    (found,) = free_ports(1)
    with udp_node(f"--metrics=127.0.0.1:{found}", data=tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
