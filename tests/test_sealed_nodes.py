"""Claim: a sealed node takes only what a holder of its keys has just sent to it; plain and sealed don't mix."""

import socket
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.effects import Send
from gossip_counter.node.core.gossip.messages import Syn
from gossip_counter.node.endpoints.peer_addresses import SILENT_ROUNDS
from gossip_counter.node.endpoints.senders import MOST_WORTHLESS
from gossip_counter.node.security import header
from gossip_counter.node.security.sealing import Sealing
from tests.support.replica import CLUSTER_ID, MS, X, packed, pushed
from tests.support.sealing import process, ring, sealed
from tests.support.udp import UdpNode, asking, received, send, udp_endpoint

ADD = msgpack.packb({"type": "add", "delta": 5, "msg_id": 1})


def meet(client: socket.socket, seal: Sealing, node: UdpNode) -> None:
    """Let a client greet a node on a real socket."""
    client.send(seal.greeting("b"))
    node.receive()
    (challenge,) = received(client)
    assert seal.unseal(challenge, "b") == b""


def refused(node: UdpNode) -> dict[str, int]:
    """What was refused so far, by reason."""
    reasons = ("no_key", "unknown_key", "retired_key", "forged", "replayed", "unbound", "bad_input")
    return {reason: count for reason in reasons if (count := getattr(node.replica.stats, reason))}


def test_a_sealed_request_is_answered_sealed() -> None:
    seal = process(1)
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        meet(client, seal, node)
        client.send(sealed(seal, ADD))
        node.receive()
        node.persisted()
        (reply,) = received(client)
        assert msgpack.unpackb(seal.unseal(reply, "b"))["type"] == "add_ok"
        assert node.replica.value("") == 5
        assert refused(node) == {}


def test_requests_that_are_sealed_together_are_answered_together() -> None:
    seal, replies = process(1), list[dict[str, Any]]()
    adds = [msgpack.packb({"type": "add", "delta": number, "msg_id": number}) for number in range(1, 21)]
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        meet(client, seal, node)
        client.send(sealed(seal, datagrams.joined(adds)))
        node.receive()
        node.persisted()
        answers = received(client)
        assert len(answers) < len(adds) / 2
        for answer in answers:
            assert len(answer) <= datagrams.SHARED_BYTES + 3 * len(adds) + header.OVERHEAD
            replies += map(msgpack.unpackb, datagrams.split(seal.unseal(answer, "b")))
        assert [(each["type"], each["in_reply_to"]) for each in replies] == [
            ("add_ok", number) for number in range(1, 21)
        ]
        assert (node.replica.value(""), node.replica.stats.commits) == (210, 1)
        assert node.udp.traffic.by_kind["in", "request"][0] == 1


@pytest.mark.parametrize("junk", [b"\xc5\xff\xff" + ADD, b"\xc5\x00\x00", b"\xc5", b"\xc5\x00\x01\xc5", b"x"])
def test_what_no_message_is_among_those_that_are_sealed_together_is_counted(junk: bytes) -> None:
    seal = process(1)
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        meet(client, seal, node)
        client.send(sealed(seal, datagrams.joined([ADD, ADD]) + junk))
        node.receive()
        node.persisted()
        assert (node.replica.value(""), refused(node)) == (5, {"bad_input": 1})  # the second add is the first one again


def test_plain_requests_do_not_share_a_datagram() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        client.send(datagrams.joined([ADD, ADD]))
        node.receive()
        assert (node.replica.value(""), refused(node)) == (None, {"bad_input": 1})


def test_a_captured_request_counts_once_and_not_again_after_a_restart_nor_from_elsewhere() -> None:
    seal = process(1)
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        meet(client, seal, node)
        captured = sealed(seal, ADD)
        for _ in range(3):
            client.send(captured)
        node.receive()
        node.persisted()
        assert (node.replica.value(""), refused(node)) == (5, {"replayed": 2})
        assert node.noted == [f"replayed: a datagram had come before, or is older than those that are remembered"
                              f" (from 127.0.0.1:{client.getsockname()[1]})"] * 2  # fmt: skip
        received(client)
        with asking(node.udp.address) as elsewhere:
            elsewhere.send(captured)
            node.receive()
            assert [len(each) for each in received(elsewhere)] == [header.OVERHEAD]
        assert (node.replica.value(""), refused(node)) == (5, {"replayed": 2, "unbound": 1})
    with udp_endpoint(seal=process(3)) as node, asking(node.udp.address) as client:
        client.send(captured)
        node.receive()
        assert (node.replica.value(""), refused(node)) == (None, {"unbound": 1})


def test_plain_requests_and_gossip_change_nothing_and_are_not_answered() -> None:
    with udp_endpoint(seal=process(2), n2=("127.0.0.1", 9)) as node, asking(node.udp.address) as client:
        send(client)
        client.send(packed(pushed(X, 0, ("", Row(9, 0, 1))))[0])
        client.send(b"junk")
        node.receive()
        assert received(client) == []
        assert (node.replica.value(""), node.replica.state.row_count) == (None, 0)
        assert refused(node) == {"no_key": 3}
        assert "is not sealed: start its sender with --keys FILE too" in node.noted[0]


@pytest.mark.parametrize(
    ("other", "reason"),
    [(process(1, ring(9)), "unknown_key"), (process(1, ring(1), "another"), "forged")],
    ids=["another key", "another cluster's name"],
)
def test_what_is_sealed_otherwise_changes_nothing_and_is_not_answered(other: Sealing, reason: str) -> None:
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        client.send(other.greeting("b"))
        node.receive()
        assert received(client) == []
        assert refused(node) == {reason: 1}


def test_a_plain_node_says_that_it_has_no_keys() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        client.send(process(1).greeting("b"))
        node.receive()
        assert refused(node) == {"no_key": 1}
        assert "start this node with --keys FILE too" in node.noted[0]


def test_an_unproven_address_gets_no_more_than_it_sent() -> None:
    seal = process(1)
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        for datagram in (seal.greeting("b"), seal._seal(ADD, "b", bytes(range(8)))):
            client.send(datagram)
            node.receive()
            (answer,) = received(client)
            assert len(answer) == header.OVERHEAD <= len(datagram)


def test_who_has_no_key_is_soon_not_read_any_more_and_who_has_is_always() -> None:
    seal = process(1)
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client, asking(node.udp.address) as other:
        meet(client, seal, node)
        client.send(sealed(seal, ADD))
        node.receive()
        for sender in (client, other):
            for _ in range(50):
                sender.send(process(1, ring(9)).greeting("b"))
            node.receive()
        assert node.replica.stats.worthless_dropped == 50 - MOST_WORTHLESS
        assert refused(node) == {"unknown_key": 50 + MOST_WORTHLESS}


def test_who_is_not_known_yet_is_sent_one_greeting_and_no_gossip() -> None:
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        rows = pushed(X, 0, *((f"{i:05}", Row(1, 0, i + 1)) for i in range(500)))
        node.udp.gossip(Send(((client.getsockname(), b"", b""),), replace(rows, cluster_id=CLUSTER_ID)))
        assert [len(each) for each in received(client)] == [header.OVERHEAD]


def test_sealed_gossip_fits_the_same_datagrams() -> None:
    seal = process(1)
    with udp_endpoint(seal=process(2)) as node, asking(node.udp.address) as client:
        meet(client, seal, node)
        client.send(sealed(seal, msgpack.packb({"type": "read", "msg_id": 1})))
        node.receive()
        received(client)
        rows = pushed(X, 0, *((f"{i:05}", Row(1, 0, i + 1)) for i in range(500)))
        node.udp.gossip(Send(((client.getsockname(), b"", b""),), replace(rows, cluster_id=CLUSTER_ID)))
        sizes = [len(each) for each in received(client)]
        assert len(sizes) > 3
        assert 1100 < max(sizes) <= 1200


@pytest.mark.parametrize("has_key", [True, False])
def test_a_member_that_has_no_id_yet_is_answered_where_it_is_if_it_has_the_key(has_key: bool) -> None:
    """It comes back at another address without its journal, and its peers list the old one by a number."""
    keys = (process(1), process(2)) if has_key else (None, None)
    syn = Syn("n2", 0, {}, boot=5, cluster_id=ClusterId(3, False))
    with udp_endpoint(seal=keys[1], n2=("127.0.0.1", 9)) as node, asking(node.udp.address) as client:
        node.udp.peers.found("n2", [("127.0.0.1", 9)])
        for number in range(SILENT_ROUNDS + 2):
            node.replica.tick(number * 100 * MS)
            node.advance(number * 100 * MS)
        (datagram,) = datagrams.pack_gossip(syn, "c", 1100, 16)
        if keys[0]:
            meet(client, keys[0], node)
            datagram = sealed(keys[0], datagram)
        client.send(datagram)
        node.receive(2000 * MS)
        assert len(received(client)) == has_key
