"""Claim: Redis clients of real nodes lose nothing they were answered, by crashes, failover and load, nor by options."""

import asyncio
import resource
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import redis.asyncio
from cryptography.hazmat.primitives import serialization
from redis.backoff import NoBackoff
from redis.retry import Retry

from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.endpoints.redis.server import MAX_CONNECTIONS, OTHER_FILES, Address
from tests.support.commands import Commands, node_refuses
from tests.support.processes import node_process, udp_node
from tests.support.redis import command, served
from tests.support.tls import certificate
from tests.support.waiting import LIMIT_S, until


def client(address: Address, **options: Any) -> "redis.Redis":
    never = Retry(NoBackoff(), 0)  # an add whose outcome is unknown must not be sent again
    return redis.Redis(*address, socket_timeout=LIMIT_S, retry=never, **options)


def addresses(cluster: Commands) -> dict[str, Address]:
    """By node, where it serves Redis clients."""
    found = {node["name"]: node["resp"].rpartition(":") for node in cluster.nodes()}
    return {name: (host, int(port)) for name, (host, _, port) in found.items()}


def test_what_redis_clients_were_answered_survives_kill_9(tmp_path: Path) -> None:
    address = "127.0.0.1", free_ports(1)[0]
    for already in (0, 10):
        with udp_node(f"--resp=127.0.0.1:{address[1]}", data=tmp_path) as (process, _), client(address) as counter:
            assert int(counter.get("x") or 0) == already
            for _ in range(10):
                counter.incr("x")
            process.kill()
            process.wait(LIMIT_S)


def test_what_was_taken_before_sigterm_is_answered(tmp_path: Path) -> None:
    address = "127.0.0.1", free_ports(1)[0]
    with udp_node(f"--resp=127.0.0.1:{address[1]}", data=tmp_path) as (process, _):
        with socket.create_connection(address, timeout=LIMIT_S) as raw, raw.makefile("rb") as replies:
            raw.sendall(command("INCR", "x"))
            assert replies.readline() == b":1\r\n"
            process.terminate()
            assert replies.read() == b""
        assert process.wait(LIMIT_S) == 0


def test_wait_counts_the_nodes_that_hold_what_was_written(cluster: Commands) -> None:
    cluster.up(3, "--faults")
    first = addresses(cluster)["n1"]
    with client(first) as counter:
        counter.incr("x")
        assert counter.wait(2, int(LIMIT_S * 1000)) == 2
        assert counter.wait(0, 0) == 2
        cluster.ok("partition", "n1/n2,n3")
        counter.incr("x")
        assert counter.wait(1, 100) == 0
        cluster.ok("heal")
        assert counter.wait(2, 0) == 2  # without a bound
        with socket.create_connection(first, timeout=LIMIT_S) as raw:  # one that goes away while it waits is forgotten
            raw.sendall(b"INCR x\r\nWAIT 9 0\r\n")
            assert raw.recv(100) == b":3\r\n"
            until(lambda: counter.info("clients")["blocked_clients"] == 1)
        until(lambda: counter.info("clients")["connected_clients"] == 1)
    other = addresses(cluster)["n3"]
    cluster.ok("kill", "n1")
    cluster.ok("kill", "n2")
    with client(other) as counter:
        assert int(counter.get("x") or 0) >= 2


def test_another_node_carries_on_and_nothing_acknowledged_is_lost(cluster: Commands) -> None:
    cluster.up(3)
    nodes = addresses(cluster)
    names = list(nodes)
    acknowledged = unknown = at = 0
    for turn in range(60):
        if turn in (20, 40):
            cluster.ok("kill", names[at])
        with client(nodes[names[at]]) as counter:
            try:
                counter.incr("hits")
                acknowledged += 1
            except redis.ConnectionError:
                unknown += 1
                at += 1
    assert (at, acknowledged) == (2, 58)
    cluster.ok("restart", "n1")
    cluster.ok("restart", "n2")
    until(lambda: cluster.status()["agreed"])
    for address in nodes.values():
        with client(address) as counter:
            assert acknowledged <= int(counter.get("hits") or 0) <= acknowledged + unknown


def test_many_asyncio_clients_count_exactly(cluster: Commands) -> None:
    cluster.up(3)
    nodes = addresses(cluster).values()

    async def live() -> list[int]:
        made = [redis.asyncio.Redis(host=host, port=port, socket_timeout=LIMIT_S) for host, port in nodes]
        try:
            for _ in range(10):
                await asyncio.gather(*(made[i % 3].incr("hits") for i in range(60)))
            while True:
                values = [int(await one.get("hits") or 0) for one in made]
                if len(set(values)) == 1:
                    return values
        finally:
            for one in made:
                await one.aclose()

    assert asyncio.run(asyncio.wait_for(live(), LIMIT_S)) == [600] * 3


def test_redis_cli(cluster: Commands) -> None:
    program = shutil.which("redis-cli")
    if not program:
        pytest.skip("REDIS-CLI IS NOT INSTALLED: apt-get install redis-tools")
    cluster.up(3)
    port = str(addresses(cluster)["n2"][1])

    def reply(*words: str) -> str:
        return subprocess.run(
            [program, "-p", port, *words], check=False, capture_output=True, text=True, timeout=LIMIT_S
        ).stdout

    assert reply("incr", "likes") == "1\n"
    assert reply("-3", "incrby", "likes", "41") == "42\n"
    assert reply("--scan") == "likes\n"
    assert "state=" in reply("info", "gossip")
    assert "integer" in reply("set", "likes", "many")
    assert reply("wait", "2", "5000") == "2\n"


def test_redis_benchmark_counts_exactly(tmp_path: Path) -> None:
    program = shutil.which("redis-benchmark")
    if not program:
        pytest.skip("REDIS-BENCHMARK IS NOT INSTALLED: apt-get install redis-tools")
    (port,) = free_ports(1)
    with udp_node(f"--resp=127.0.0.1:{port}", data=tmp_path), client(("127.0.0.1", port)) as counter:
        for pipeline in ("1", "16"):
            run = [program, "-p", str(port), "-t", "incr", "-n", "4800", "-c", "20", "-P", pipeline, "--csv"]
            output = subprocess.run(run, check=True, capture_output=True, text=True, timeout=3 * LIMIT_S).stdout
            assert '"INCR"' in output
        (name,) = counter.keys("*")
        assert counter.get(name) == b"9600"


def test_ten_thousand_idle_connections_are_no_burden(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = MAX_CONNECTIONS - 1
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard - 2 * OTHER_FILES)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted + OTHER_FILES), before[1]))
    (port,) = free_ports(1)
    address = "127.0.0.1", port
    with (
        udp_node(f"--resp=127.0.0.1:{port}", data=tmp_path) as (process, _),
        ExitStack() as idle,
        client(address) as counter,
    ):
        counter.incr("x")
        memory = psutil.Process(process.pid).memory_info().rss
        for _ in range(wanted):
            idle.enter_context(socket.create_connection(address, timeout=LIMIT_S))
        until(lambda: counter.info("clients")["connected_clients"] == wanted + 1)
        assert counter.incr("x") == 2
        assert psutil.Process(process.pid).memory_info().rss - memory < 20_000 * wanted + 20e6
        idle.close()
        until(lambda: counter.info("clients")["connected_clients"] == 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_one_connection_more_than_there_may_be_is_told_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    few = OTHER_FILES + 5  # which is a fraction of what shells allow
    lowered = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, {few})); "
    arguments = ["--name=n1", "--bind=127.0.0.1:0", f"--data={tmp_path}", f"--resp=127.0.0.1:{port}"]
    program = f"{lowered}from gossip_counter.node.__main__ import main; main({arguments!r})"
    with node_process(program=program) as process, ExitStack() as stack:
        assert process.stderr
        stderr = process.stderr
        until(lambda: "serves at most 5 Redis clients, not 10000" in stderr.readline())
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)) for _ in range(6)]
        assert made[-1].recv(100) == b"-ERR max number of clients reached\r\n"
        made[0].sendall(b"PING\r\n")
        assert made[0].recv(100) == b"+PONG\r\n"


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    with served() as (host, port):
        error = node_refuses("--name=n2", "--bind=127.0.0.1:0", "--ephemeral", f"--resp={host}:{port}")
    assert error.splitlines()[-1].startswith(f"counter-node: can't serve Redis clients at {host}:{port}: ")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--resp=0.0.0.0:0"], "--resp-password-file"),
        (["--resp=127.0.0.1:0", "--resp-password-file=/no/such"], "can't read /no/such"),
        (["--resp=127.0.0.1:0", "--resp-password-file=/dev/null"], "holds no password"),
        (["--resp=127.0.0.1:0", "--resp-tls-cert=/dev/null"], "both"),
        (["--resp=127.0.0.1:0", "--resp-tls-cert=/dev/null", "--resp-tls-key=/dev/null"], "can't use /dev/null"),
        (["--resp-password-file=/dev/null"], "say --resp"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], error: str) -> None:
    assert error in node_refuses("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", *arguments)


def test_a_key_that_does_not_fit_its_certificate_is_refused(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = certificate(tmp_path / "other")
    arguments = (f"--resp-tls-cert={cert}", f"--resp-tls-key={key}", "--resp=127.0.0.1:0")
    assert "for TLS" in node_refuses("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", *arguments)


def test_nobody_is_asked_for_the_password_of_a_key(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    read = serialization.load_pem_private_key(key.read_bytes(), None)
    how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    key.write_bytes(read.private_bytes(*how))
    arguments = (f"--resp-tls-cert={cert}", f"--resp-tls-key={key}", "--resp=127.0.0.1:0")
    error = node_refuses("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", *arguments)
    assert "openssl pkey" in error
    assert len(error.splitlines()) == 1
