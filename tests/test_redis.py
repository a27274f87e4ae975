"""Redis clients as people use them: passwords, TLS, WAIT, failover, redis-cli, redis-benchmark, thousands at once."""

import asyncio
import datetime
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
import redis
import redis.asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.backoff import NoBackoff
from redis.retry import Retry

from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.endpoints.redis import server as resp
from gossip_counter.node.runtime.node import Address
from tests.support.commands import Commands
from tests.support.processes import node_process, udp_node
from tests.support.waiting import LIMIT_S, until

PASSWORD = "s3cret pass"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path)
    made.ok("up", "-n", "3", "--base-port", "0", "--detach", "--faults")
    try:
        yield made
    finally:
        made.ok("down")


def doors(cluster: Commands) -> dict[str, Address]:
    found = {node["name"]: node["resp"].rpartition(":") for node in cluster.status()["nodes"]}
    return {name: (host, int(port)) for name, (host, _, port) in found.items()}


def client(door: Address, **options: object) -> "redis.Redis":
    never = Retry(NoBackoff(), 0)  # an add whose outcome is unknown must not be sent again
    return redis.Redis(*door, socket_timeout=LIMIT_S, retry=never, **options)  # type: ignore[arg-type]


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Address]:
    (port,) = free_ports(1)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    with udp_node(f"--resp=0.0.0.0:{port}", f"--resp-password-file={tmp_path / 'password'}", data=tmp_path / "data"):
        yield "127.0.0.1", port


def test_without_the_password_nothing_is_told_or_counted(locked: Address) -> None:
    with client(locked, protocol=2) as stranger:
        for command in ("INCR x", "GET x", "PING", "INFO", "WAIT 0 0", "CONFIG GET *", "KEYS *", "NOSUCH", "SET x 1"):
            with pytest.raises(redis.AuthenticationError, match="Authentication required"):
                stranger.execute_command(*command.split())
    with client(locked, password=PASSWORD) as friend:
        assert friend.get("x") is None
        assert friend.incr("x") == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_password_opens(locked: Address, protocol: int) -> None:
    with client(locked, password=PASSWORD, username="default", protocol=protocol) as friend:
        assert friend.incr(f"x{protocol}") == 1
    for wrong in ({"password": "x"}, {"password": PASSWORD, "username": "root"}):
        with client(locked, protocol=protocol, **wrong) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.incr("x")


def test_a_reset_forgets_the_password(locked: Address) -> None:
    with socket.create_connection(locked, timeout=LIMIT_S) as raw, raw.makefile("rwb") as file:
        told = []
        for line in (
            f"*2\r\n$4\r\nAUTH\r\n${len(PASSWORD)}\r\n{PASSWORD}\r\n",
            "INCR x\r\n",
            "RESET\r\n",
            "INCR x\r\n",
        ):
            file.write(line.encode())
            file.flush()
            told.append(file.readline())
    assert told == [b"+OK\r\n", b":1\r\n", b"+RESET\r\n", b"-NOAUTH Authentication required.\r\n"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resp=0.0.0.0:0"], "--resp-password-file"),
        (["--resp=127.0.0.1:0", "--resp-password-file=/no/such"], "can't read /no/such"),
        (["--resp=127.0.0.1:0", "--resp-password-file=/dev/null"], "holds no password"),
        (["--resp=127.0.0.1:0", "--resp-tls-cert=/dev/null"], "both"),
        (["--resp=127.0.0.1:0", "--resp-tls-cert=/dev/null", "--resp-tls-key=/dev/null"], "can't use /dev/null"),
        (["--resp-password-file=/dev/null"], "say --resp"),
    ],
)
def test_doors_that_make_no_sense(arguments: list[str], said: str) -> None:
    with node_process("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", *arguments) as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert said in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that it signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "counter")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


def test_over_tls_and_not_without(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    (port,) = free_ports(1)
    door = "127.0.0.1", port
    with udp_node(f"--resp=127.0.0.1:{port}", f"--resp-tls-cert={cert}", f"--resp-tls-key={key}", data=tmp_path / "d"):
        with client(door, ssl=True, ssl_ca_certs=str(cert)) as friend:
            assert friend.incr("x") == 1
            pipeline = friend.pipeline(transaction=False)
            for _ in range(1000):
                pipeline.incr("x")
            assert pipeline.execute() == list(range(2, 1002))
        with client(door) as plain, pytest.raises(redis.ConnectionError):
            plain.incr("x")
        with client(door, ssl=True) as stranger, pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
            stranger.incr("x")  # nobody vouches for that certificate
        with client(door, ssl=True, ssl_ca_certs=str(cert)) as friend:
            assert friend.get("x") == b"1001"


def test_wait_tells_how_many_other_nodes_hold_what_was_written(cluster: Commands) -> None:
    with client(doors(cluster)["n1"]) as counter:
        assert counter.wait(2, 1) == 2  # nothing was written, and everybody holds that
        counter.incr("x")
        assert counter.wait(2, int(LIMIT_S * 1000)) == 2
        assert counter.wait(0, 0) == 2
    cluster.ok("kill", "n1")
    cluster.ok("kill", "n2")
    with client(doors(cluster)["n3"]) as other:
        assert other.get("x") == b"1"


def test_wait_ends_in_time_and_promises_no_more_than_is_known(cluster: Commands) -> None:
    cluster.ok("partition", "n1/n2,n3")
    with client(doors(cluster)["n1"]) as counter:
        counter.incr("x")
        began = time.monotonic()
        assert counter.wait(1, 300) == 0
        assert time.monotonic() - began >= 0.3
        cluster.ok("heal")
        assert counter.wait(2, 0) == 2  # without a bound


def test_what_comes_after_a_wait_is_answered_after_it(cluster: Commands) -> None:
    door = doors(cluster)["n1"]
    with socket.create_connection(door, timeout=LIMIT_S) as raw, raw.makefile("rb") as file:
        raw.sendall(b"INCR x\r\nWAIT 9 100\r\nINCR x\r\nGET x\r\nWAIT x y\r\nWAIT 1\r\nWAIT 0 -1\r\nPING\r\n")
        told = [file.readline() for _ in range(9)]
    assert told[:5] == [b":1\r\n", b":2\r\n", b":2\r\n", b"$1\r\n", b"2\r\n"]
    assert [line[:4] for line in told[5:]] == [b"-ERR", b"-ERR", b"-ERR", b"+PON"]
    with client(door) as other:  # one that went away while it waited is forgotten
        for value, more in ((3, b""), (4, b"PING\r\nINCR y\r\nGET x\r\n")):
            with socket.create_connection(door, timeout=LIMIT_S) as raw:
                raw.sendall(b"INCR x\r\nWAIT 9 0\r\n" + more)
                assert raw.recv(100) == b":%d\r\n" % value
                until(lambda: other.info("clients")["blocked_clients"] == 1)
            until(lambda: other.info("clients")["connected_clients"] == 1)
        assert other.incr("x") == 5


def test_another_node_carries_on_and_nothing_acknowledged_is_lost(cluster: Commands) -> None:
    names = list(doors(cluster))
    where = doors(cluster)
    acknowledged, unknown = 0, 0
    at = 0
    for turn in range(300):
        if turn in (100, 200):
            cluster.ok("kill", names[at])
        with client(where[names[at]]) as counter:
            try:
                counter.incr("hits")
                acknowledged += 1
            except redis.ConnectionError:
                unknown += 1
                at += 1
    assert at == 2
    cluster.ok("restart", "n1")
    cluster.ok("restart", "n2")
    until(lambda: cluster.status()["agreed"])
    for door in where.values():
        with client(door) as counter:
            total = int(counter.get("hits") or 0)
            assert acknowledged <= total <= acknowledged + unknown
    assert acknowledged == 298


def test_many_asyncio_clients_count_exactly(cluster: Commands) -> None:
    async def live() -> list[int]:
        made = [
            redis.asyncio.Redis(host=door[0], port=door[1], socket_timeout=LIMIT_S) for door in doors(cluster).values()
        ]
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
    port = str(doors(cluster)["n2"][1])

    def said(*words: str) -> str:
        return subprocess.run(
            [program, "-p", port, *words], check=False, capture_output=True, text=True, timeout=LIMIT_S
        ).stdout

    assert said("incr", "likes") == "1\n"
    assert said("-3", "incrby", "likes", "41") == "42\n"
    assert said("--scan") == "likes\n"
    assert "state=" in said("info", "gossip")
    assert "not possible here" in said("set", "likes", "1")
    assert said("wait", "2", "5000") == "2\n"


def test_redis_benchmark_counts_exactly(cluster: Commands) -> None:
    program = shutil.which("redis-benchmark")
    if not program:
        pytest.skip("REDIS-BENCHMARK IS NOT INSTALLED: apt-get install redis-tools")
    host, port = doors(cluster)["n1"]
    for pipeline in ("1", "16"):
        command = [program, "-p", str(port), "-t", "incr", "-n", "4800", "-c", "20", "-P", pipeline, "--csv"]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3 * LIMIT_S).stdout
        assert '"INCR"' in told
    with client((host, port)) as counter:
        (name,) = counter.keys("*")
        assert counter.get(name) == b"9600"


def test_ten_thousand_idle_connections_are_no_burden(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = resp.MAX_CONNECTIONS - 1
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard - 2 * resp.OTHER_FILES)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted + resp.OTHER_FILES), before[1]))
    (port,) = free_ports(1)
    door = "127.0.0.1", port
    with (
        udp_node(f"--resp=127.0.0.1:{port}", data=tmp_path) as (process, _),
        ExitStack() as idle,
        client(door) as counter,
    ):
        counter.incr("x")
        memory = psutil.Process(process.pid).memory_info().rss
        for _ in range(wanted):
            idle.enter_context(socket.create_connection(door, timeout=LIMIT_S))
        until(lambda: counter.info("clients")["connected_clients"] == wanted + 1)
        assert counter.incr("x") == 2
        assert psutil.Process(process.pid).memory_info().rss - memory < 20_000 * wanted + 20e6
        idle.close()
        until(lambda: counter.info("clients")["connected_clients"] == 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_one_connection_more_than_there_may_be_is_told_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    few = resp.OTHER_FILES + 5
    lowered = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, {few})); "
    arguments = ["--name=n1", "--bind=127.0.0.1:0", f"--data={tmp_path}", f"--resp=127.0.0.1:{port}"]
    program = f"{lowered}from node.__main__ import main; main({arguments!r})"
    with node_process(program=program) as process, ExitStack() as held:
        assert process.stderr
        stderr = process.stderr
        until(lambda: "serves Redis" in stderr.readline())
        made = [held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)) for _ in range(6)]
        assert made[-1].recv(100) == b"-ERR max number of clients reached\r\n"
        made[0].sendall(b"PING\r\n")
        assert made[0].recv(100) == b"+PONG\r\n"


def test_tls_wants_a_key_that_fits(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = certificate(tmp_path / "other")
    arguments = (f"--resp-tls-cert={cert}", f"--resp-tls-key={key}", "--resp=127.0.0.1:0")
    with node_process("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", *arguments) as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert "for TLS" in stderr.splitlines()[-1]


def test_tls_asks_nobody_for_the_password_of_a_key(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    read = serialization.load_pem_private_key(key.read_bytes(), None)
    how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    key.write_bytes(read.private_bytes(*how))
    arguments = (f"--resp-tls-cert={cert}", f"--resp-tls-key={key}", "--resp=127.0.0.1:0")
    with node_process("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", *arguments) as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert "openssl pkey" in stderr
    assert len(stderr.splitlines()) == 1
