"""Claim: a node on UDP answers requests, survives input of every kind, and stops cleanly."""

import signal
import socket
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gossip_counter.cluster.client import Client, RequestRefusedError
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.gossip.messages import Delta, Replicate
from gossip_counter.node.endpoints.addresses import Address
from tests.support.processes import ask, node_process, udp_node
from tests.support.replica import packed
from tests.support.waiting import LIMIT_S

PEER = "--peer=n2=127.0.0.1:9"
"""A member that never answers."""


def exchange(address: Address, *datagrams: bytes) -> dict[str, Any]:
    """Send datagrams, then a `gossip_status` with id 99; the node's reply to the last."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT_S)
        client.connect(address)
        for datagram in (*datagrams, msgpack.packb({"type": "gossip_status", "msg_id": 99})):
            client.send(datagram)
        while True:
            reply: dict[str, Any] = msgpack.unpackb(client.recv(65_536))
            if reply["in_reply_to"] == 99:
                return reply


def test_requests_are_answered() -> None:
    with udp_node() as (_, address):
        ask(address, lambda client: client.add(5))
        ask(address, lambda client: client.add(-7, "stock"))
        assert ask(address, lambda client: client.read()) == 5
        assert ask(address, lambda client: client.read("stock")) == -7
        status = ask(address, lambda client: client.gossip_status("stock"))
        assert (status["local_value"], status["increments"], status["decrements"]) == (-7, 0, 7)
        assert (status["peers_synced"], status["convergence_ms"], status["counters"]) == (0, 0, 2)


def test_a_bad_delta_gets_error_12_and_changes_nothing() -> None:
    bad: list[Any] = [2**63, -(2**63), 2**64 - 1, True, 1.5, None, "5", b"5", [5]]

    async def add_all(client: Client) -> int:
        for delta in bad:
            with pytest.raises(RequestRefusedError, match="delta") as caught:
                await client.add(delta)
            assert caught.value.code == 12, delta
        return await client.read()

    with udp_node() as (_, address):
        assert ask(address, add_all) == 0


JUNK = [
    *(b"", b"\x00", b"\xc1", b"\xff" * 2000, b"GET / HTTP/1.1\r\n\r\n", b"\x91" * 5000, b"x" * 65_507),
    *(
        msgpack.packb(each)
        for each in (None, 5, "text", [], {}, [1, 1, "counter", "n2"], {1: 2}, {"type": "add", "delta": 1})
    ),
    *(msgpack.packb(each) for each in ({b"type": "add"}, {"type": "add", "delta": 1, "msg_id": "x"})),
    msgpack.packb({"type": "add", "delta": 1, "msg_id": 1}) + b"trailing",
    msgpack.packb({"type": "add", "delta": 1, "msg_id": 1})[:-1],
    msgpack.packb(msgpack.ExtType(5, b"x")),
    msgpack.packb(msgpack.Timestamp(2**33)),
]


def test_junk_is_counted_logged_once_and_changes_nothing() -> None:
    with udp_node() as (process, address):
        status = exchange(address, *JUNK)
        assert status["bad_input"] == len(JUNK)
        assert status["rows"] == status["internal_errors"] == 0
        process.terminate()
        _, logged = process.communicate(timeout=LIMIT_S)
        assert len([line for line in logged.splitlines() if "bad_input" in line]) == 1


def test_gossip_of_another_cluster_changes_nothing() -> None:
    message = Replicate("n2", 1, (Delta(Actor("n2.x"), 0, (("", Row(5, 0, 1)),)),))
    (foreign,) = packed(message, "another")
    (ours,) = packed(message, "mine")
    with udp_node("--cluster-name=mine", PEER) as (_, address):
        status = exchange(address, foreign, foreign)
        assert (status["foreign_gossip"], status["local_value"]) == (2, 0)
        assert exchange(address, ours)["local_value"] == 5


def test_a_reply_is_never_answered() -> None:
    reply = msgpack.packb({"type": "error", "in_reply_to": 4, "msg_id": 99, "code": 10, "text": "?"})
    with udp_node() as (_, address):
        assert exchange(address, reply)["bad_input"] == 1


def test_values_beyond_64_bits_are_true_and_never_the_nearest_that_fits() -> None:
    most = 2**63 - 1
    whole = Replicate(
        "n2", 1, (Delta(Actor("n2.x"), 0, (("", Row(0, most, 1)),)), Delta(Actor("n2.y"), 0, (("", Row(0, most, 1)),)))
    )
    (datagram,) = packed(whole, "counter")
    with udp_node(PEER) as (_, address):
        status = exchange(address, datagram)  # -2**64 + 2 is beyond msgpack, 2**64 - 2 is not
        assert (status["local_value"], status["decrements"]) == (str(-2 * most), 2 * most)
        status = ask(address, lambda client: client.gossip_status())
        assert (status["local_value"], status["decrements"], status["internal_errors"]) == (-2 * most, 2 * most, 0)
        assert ask(address, lambda client: client.read()) == -2 * most


def test_init_and_replicate_are_for_stdio_only() -> None:
    with udp_node() as (_, address):
        body = {"type": "replicate", "msg_id": 3, "p_counters": {"n2": 5}, "n_counters": {}}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LIMIT_S)
            client.sendto(msgpack.packb(body), address)
            reply = msgpack.unpackb(client.recv(65_536))
        assert (reply["type"], reply["code"], reply["in_reply_to"]) == ("error", 10, 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(number: int) -> None:
    with udp_node() as (process, _):
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr
        lines = process.stderr.read().splitlines()
        assert [line.split(" ", 4)[4] for line in lines] == [f"stops: {signal.Signals(number).name}", "stopped"]


def test_dead_peers_do_not_trouble_a_node() -> None:
    port = free_ports(1)[0]
    with udp_node(f"--peer=n2=127.0.0.1:{port}", "--interval-ms=1") as (_, address):
        ask(address, lambda client: client.add(1))
        status = exchange(address)
        assert (status["peers_synced"], status["convergence_ms"]) == (0, None)


def test_a_busy_port_is_reported_in_one_line() -> None:
    with (
        udp_node() as (_, address),
        node_process("--name=n2", "--bind={}:{}".format(*address), "--ephemeral") as second,
    ):
        _, stderr = second.communicate(timeout=LIMIT_S)
        assert second.returncode != 0
        where = "{}:{}".format(*address)
        assert stderr.startswith(f"counter-node: can't bind {where}: Address already in use; stop what uses it")
        assert stderr.count("\n") == 1


def test_members_file_gives_every_node_its_address_and_peers(tmp_path: Path) -> None:
    port, other = free_ports(2)
    members = tmp_path / "members.toml"
    members.write_text(f'cluster = "likes"\n[members]\nn1 = "127.0.0.1:{port}"\nn2 = "127.0.0.1:{other}"\n')
    with node_process("--name=n1", f"--members={members}", "--interval-ms=10", "--ephemeral") as first:
        assert first.stderr
        assert f"n1 listens on 127.0.0.1:{port}, peers: 1" in first.stderr.readline()
        assert ask(("127.0.0.1", port), lambda client: client.gossip_status())["cluster"] == "likes"


def test_a_node_that_stops_sends_nothing_more(tmp_path: Path) -> None:
    """Not even while its metrics server closes, which takes longer than a round."""
    (port, peer) = free_ports(2)
    arguments = (f"--metrics=127.0.0.1:{port}", f"--peer=n2=127.0.0.1:{peer}", "--interval-ms=1")
    with udp_node(*arguments, data=tmp_path) as (process, _):
        assert process.stderr
        assert "serves metrics" in process.stderr.readline()
        process.terminate()
        _, stderr = process.communicate(timeout=LIMIT_S)
    assert "WARNING" not in stderr
    assert stderr.splitlines()[-1].endswith("stopped")
