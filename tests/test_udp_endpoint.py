"""Claim: an add that the network doubles counts once, and a node bound to all addresses answers from the one asked."""

import socket

import msgpack
import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.gossip.messages import Syn, SynAck
from gossip_counter.node.endpoints.addresses import bind
from tests.support.replica import packed
from tests.support.udp import UdpNode, asking, received, send, udp_endpoint

SECOND = 1_000_000_000


def types(replies: list[bytes]) -> list[str]:
    return [msgpack.unpackb(each)["type"] for each in replies]


# Duplicates.


def test_an_add_that_arrives_twice_counts_once_and_is_answered_alike() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        send(client)
        node.receive()
        node.persisted()
        (first,) = received(client)
        send(client)
        node.receive(9 * SECOND)
        assert received(client) == [first]
        assert node.replica.value("") == 5
        assert (node.replica.stats.adds, node.replica.stats.repeated_adds) == (1, 1)


def test_a_duplicate_that_overtakes_the_disk_counts_once_and_there_is_one_reply() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        for _ in range(2):
            send(client)
            node.receive()
        send(client)
        node.receive()
        node.persisted()
        assert types(received(client)) == ["add_ok"]
        assert node.replica.value("") == 5
        assert node.replica.stats.repeated_adds == 2


def test_the_duplicate_of_an_add_that_was_refused_does_not_count_later() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        send(client)
        node.receive()
        node.persisted("the disk is full")
        (refusal,) = received(client)
        send(client)
        node.receive()
        assert received(client) == [refusal]
        assert types([refusal]) == ["error"]
        assert node.replica.value("") is None


def test_the_same_request_of_another_port_and_another_body_of_the_same_id_count() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as one, asking(node.udp.address) as other:
        send(one)
        send(other)
        send(one, counter="likes")
        send(one, pad="x" * 300)
        send(one, pad="x" * 299 + "y")
        node.receive()
        node.persisted()
        assert [types(received(each)) for each in (one, other)] == [["add_ok"] * 4, ["add_ok"]]
        assert [node.replica.value(counter) for counter in ("", "likes")] == [20, 5]


def test_the_same_bytes_are_a_new_add_after_thirty_seconds() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        for now_ns in (0, 30 * SECOND):
            send(client)
            node.receive(now_ns)
            node.persisted()
        assert node.replica.value("") == 10


# Addresses of one's own.


def can_bind(host: str) -> bool:
    try:
        bind((host, 0)).close()
    except Exception:  # noqa: BLE001 whatever keeps this machine from it
        return False
    return True


def asked_at(node: UdpNode, host: str) -> list[str]:
    """The types of the replies that come from the address that was asked."""
    with asking((host, node.port)) as client:
        send(client, type="read")
        node.receive()
        return types(received(client))


@pytest.mark.skipif(not can_bind("127.0.0.2"), reason="this machine has only one loopback address")
def test_a_node_bound_to_all_addresses_answers_from_the_one_that_was_asked() -> None:
    with udp_endpoint("0.0.0.0") as node:
        assert [asked_at(node, host) for host in ("127.0.0.1", "127.0.0.2")] == [["read_ok"]] * 2


@pytest.mark.skipif(not can_bind("::"), reason="this machine has no IPv6")
def test_a_node_bound_to_all_ipv6_addresses_serves_ipv4_too_each_from_the_address_that_was_asked() -> None:
    hosts = ["::1", "127.0.0.1", *(["127.0.0.2"] if can_bind("127.0.0.2") else [])]
    with udp_endpoint("::") as node:
        assert [asked_at(node, host) for host in hosts] == [["read_ok"]] * len(hosts)


@pytest.mark.skipif(not can_bind("127.0.0.2"), reason="this machine has only one loopback address")
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_gossip_leaves_from_the_address_at_which_the_peer_knows_this_node(host: str) -> None:
    if not can_bind(host):
        pytest.skip("this machine has no IPv6")
    with udp_endpoint(host, n2=("127.0.0.1", 9)) as node, asking(("127.0.0.2", node.port)) as peer:
        prefix, rest = ("::ffff:", (0, 0)) if host == "::" else ("", ())
        node.udp.peers.found("n2", [(f"{prefix}127.0.0.1", peer.getsockname()[1], *rest)])
        (syn,) = packed(Syn("n2", 1, {}))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(syn, ("127.0.0.1", node.port))  # not from where n2 is
            peer.send(syn)
            elsewhere.sendto(syn, ("127.0.0.1", node.port))
            node.receive()
        assert len(received(peer)) == 3


@pytest.mark.skipif(not can_bind("127.0.0.2"), reason="this machine has only one loopback address")
def test_a_peer_that_starts_again_and_asks_another_address_of_ours_is_no_second_process() -> None:
    with udp_endpoint("0.0.0.0", n2=("127.0.0.1", 9)) as node, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for boot, host in ((1, "127.0.0.1"), (2, "127.0.0.2")):
            (syn,) = packed(Syn("n2", 1, {}, boot=boot))
            peer.sendto(syn, (host, node.port))
        node.receive()
        assert node.replica.stats.forks == 0


def test_a_member_without_an_id_is_answered_at_its_address_though_another_process_of_its_name_spoke_elsewhere() -> None:
    """Its journal was lost while a copy of it ran. Replies to where the copy was never brought it the id."""
    with (
        udp_endpoint(n2=("127.0.0.1", 9)) as node,
        asking(node.udp.address) as home,
        asking(node.udp.address) as elsewhere,
    ):
        node.udp.peers.found("n2", [home.getsockname()])
        node.replica.tick(0)
        node.advance()
        assert received(home)
        elsewhere.send(packed(Syn("n2", 1, {}, boot=1))[0])
        node.receive()
        assert any(isinstance(datagrams.unpack(each, "c"), SynAck) for each in received(elsewhere))
        syn = Syn("n2", 1, {}, boot=2, cluster_id=ClusterId(9, False))
        home.send(datagrams.pack_gossip(syn, "c", 1100, 16)[0])
        node.receive(10 * SECOND)
        assert any(isinstance(datagrams.unpack(each, "c"), SynAck) for each in received(home))
