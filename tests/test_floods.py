"""Claim: one sender, whatever it sends, starves neither gossip nor others, and makes no node flood a peer."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from random import Random
from socket import socket
from time import sleep

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.gossip.deltas import MOST_ANSWERS
from gossip_counter.node.core.gossip.messages import Confirm, Gossip, Pull, Syn, SynAck
from gossip_counter.node.core.gossip.pulls import PERIOD_BYTES
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.endpoints import arrivals, udp
from gossip_counter.node.endpoints.addresses import bind
from gossip_counter.node.endpoints.arrivals import Arrivals
from gossip_counter.node.endpoints.senders import MOST_WORTHLESS, PERIOD_NS
from gossip_counter.node.endpoints.udp import UdpEndpoint
from gossip_counter.node.runtime.node import Node
from tests.support.replica import X, fill, messages, packed, sends, step, tick, two
from tests.support.udp import UdpNode, asking, received, send, udp_endpoint

SYN = packed(Syn("n2", 1, {}))[0]
READ = msgpack.packb({"type": "read", "msg_id": 1})


def handled(node: UdpNode, wait_s: float = 0.0) -> tuple[list[object], bool]:
    """Who sent what one call of `receive` handles, with a wait for each, and whether more waits."""
    found = list[object]()

    def handle(_: object, client: object) -> None:
        found.append(client[0])  # type: ignore[index]
        sleep(wait_s)

    waits = node.udp.receive(0, handle, *node._refuse)
    return found, waits


# Turns.


def test_a_round_ends_when_it_has_taken_its_time_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, udp.HANDLE_NS // 10)  # each datagram takes a tenth of it
    monkeypatch.setattr(udp, "thread_time_ns", lambda: next(clock))
    monkeypatch.setattr(udp, "monotonic_ns", count(0, udp.HANDLE_NS).__next__)
    with udp_endpoint() as node, asking(node.udp.address) as client:
        for _ in range(25):
            client.send(READ)
        rounds = [handled(node) for _ in range(3)]
        assert [(len(found), waits) for found, waits in rounds] == [(10, True), (10, True), (5, False)]


def test_time_in_which_other_processes_run_is_not_taken_for_that_of_datagrams() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as client:
        for _ in range(30):
            client.send(READ)
        found, waits = handled(node, wait_s=0.001)
        assert (len(found), waits) == (30, False)


@pytest.fixture
def reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "READ_NS", 10**10)


@pytest.mark.usefixtures("reads_all")
def test_who_sends_little_is_served_before_the_rest_of_a_flood() -> None:
    with udp_endpoint() as node, asking(node.udp.address) as flood, asking(node.udp.address) as client:
        for _ in range(400):
            flood.send(READ)
        client.send(READ)
        assert client.getsockname() in handled(node)[0][:2]


@contextmanager
def with_peers(*names: str) -> Iterator[tuple[UdpNode, list[socket]]]:
    """A node, and a socket of each of its peers, connected to it."""
    with ExitStack() as stack:
        peers = [stack.enter_context(asking(("127.0.0.1", 9))) for _ in names]
        addresses = {name: peer.getsockname() for name, peer in zip(names, peers, strict=True)}
        node = stack.enter_context(udp_endpoint(**addresses))
        for name, peer in zip(names, peers, strict=True):
            node.udp.peers.found(name, [addresses[name]])
            peer.connect(node.udp.address)
        yield node, peers


@pytest.mark.usefixtures("reads_all")
def test_a_member_is_served_before_the_rest_of_a_flood_of_many() -> None:
    with with_peers("n2") as (node, (peer,)), ExitStack() as stack:
        for _ in range(30):
            flood = stack.enter_context(asking(node.udp.address))
            for _ in range(10):
                flood.send(READ)
        peer.send(SYN)
        assert peer.getsockname() in handled(node)[0][:2]


@pytest.mark.usefixtures("reads_all")
def test_a_request_is_answered_before_the_rest_of_the_gossip_that_waits() -> None:
    with with_peers("n2", "n3") as (node, peers), asking(node.udp.address) as client:
        for _ in range(200):
            for peer in peers:
                peer.send(SYN)
        client.send(READ)
        assert client.getsockname() in handled(node)[0][:2]


@pytest.mark.usefixtures("reads_all")
def test_members_take_turns() -> None:
    with with_peers("n2", "n3") as (node, (noisy, other)):
        for _ in range(200):
            noisy.send(SYN)
        other.send(SYN)
        assert other.getsockname() in handled(node)[0][:2]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), max_size=60))
def test_what_waits_is_bounded_and_comes_in_its_senders_order(
    steps: list[tuple[int, bool, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "MOST_OF_ONE", 3)
        patch.setattr(arrivals, "MOST", 8)
        patch.setattr(arrivals, "MOST_BYTES", 40)
        waiting, expected = Arrivals(), dict[int, list[int]]()
        for number, (source, is_member, taken) in enumerate(steps):
            sender = source + 10 * is_member
            if waiting.put((b"x" * number, (sender,), b""), is_member):
                expected.setdefault(sender, []).append(number)
            for _ in range(taken):
                if (arrival := waiting.take()) is None:
                    break
                assert expected[arrival[1][0]].pop(0) == len(arrival[0])
            assert len(waiting) == sum(map(len, expected.values())) <= 16
        while arrival := waiting.take():
            assert expected[arrival[1][0]].pop(0) == len(arrival[0])
        assert not any(expected.values())


# What is no use.


JUNK = b"\xc1" * 20
FOREIGN = packed(Syn("n2", 1, {}), cluster="another")[0]
ELSEWHERE = packed(Syn("n2", 1, {}))[0]
OUTSIDER = packed(Syn("n9", 1, {}))[0]


@pytest.mark.parametrize("datagram", [JUNK, FOREIGN, ELSEWHERE, OUTSIDER], ids=["junk", "foreign", "elsewhere", "n9"])
def test_who_sends_what_is_no_use_is_not_read_for_a_while(datagram: bytes) -> None:
    with (
        udp_endpoint(n2=("127.0.0.1", 9)) as node,
        asking(node.udp.address) as flood,
        asking(node.udp.address) as other,
    ):
        for _ in range(300):
            flood.send(datagram)
        for _ in range(4):
            node.receive()
        stats = node.replica.stats
        assert stats.worthless_dropped == 300 - MOST_WORTHLESS
        assert stats.datagrams_in == 300
        send(flood, type="read")
        send(other, type="read")
        node.receive()
        # One that has the cluster's id, and is no member, is sent so much.
        assert (len(received(flood)), len(received(other))) == (int(datagram == OUTSIDER), 1)
        send(flood, type="read")
        node.receive(PERIOD_NS)
        assert len(received(flood)) == 1


def flooded(make: Callable[[Actor, int], Gossip]) -> tuple[int, int]:
    """Datagrams that n2 gets, and those dropped, while somebody else floods n1 in its name. `make` takes n1's actor."""
    with asking(("127.0.0.1", 9)) as peer, udp_endpoint(n2=peer.getsockname()) as node:
        node.udp.peers.found("n2", [peer.getsockname()])
        fill(node.replica, 500)
        peer.connect(node.udp.address)
        node.advance()
        received(peer)
        with asking(node.udp.address) as flood:
            for number in range(2000):
                flood.send(packed(make(node.replica.actor, number))[0])
                if number % 100 == 99:
                    node.receive()
        return len(received(peer)), node.replica.stats.worthless_dropped


def test_a_flood_of_digests_in_a_peers_name_does_not_reach_the_peer() -> None:
    sent, dropped = flooded(lambda _, number: Syn("n2", number, {}, boot=1))
    assert sent <= 2 * 128 + 16
    assert dropped > 1500


def test_a_flood_of_confirms_in_a_peers_name_does_not_reach_the_peer() -> None:
    sent, dropped = flooded(lambda _, number: Confirm("n2", number, Actor("n2.x"), 7))
    assert sent <= 2
    assert dropped > 1500


def test_a_flood_of_pulls_in_a_peers_name_does_not_reach_the_peer() -> None:
    sent, dropped = flooded(lambda actor, number: Pull("n2", 1, number, 2**40, {actor: 0}))
    assert 0 < sent <= PERIOD_BYTES // 1200 + MOST_ANSWERS
    assert dropped > 1500


def test_a_peer_is_answered_so_often_between_two_ticks() -> None:
    first, _ = two()
    answers = sum(len(sends(step(first, Syn("n2", 1, {X: DigestEntry(5, 1, 0)}, boot=1)))) for _ in range(1000))
    assert answers == MOST_ANSWERS
    assert first.stats.answers_withheld == 1000 - MOST_ANSWERS
    tick(first)
    assert any(isinstance(each, SynAck) for each in messages(step(first, Syn("n2", 1, {}, boot=1))))


def test_a_peer_that_answers_from_an_address_that_is_not_listed_is_known_there() -> None:
    with udp_endpoint(n2=("127.0.0.1", 9)) as node, asking(node.udp.address) as peer:
        node.udp.peers.found("n2", [("127.0.0.1", 9)])
        node.replica.tick(0)
        node.advance()
        peer.send(packed(SynAck("n2", 1, (), {}, boot=node.replica._identity.boot ^ 1))[0])
        node.receive()
        assert not node.udp.peers.are_at(peer.getsockname())
        peer.send(packed(SynAck("n2", 1, (), {}, boot=node.replica._identity.boot))[0])
        node.receive()
        assert node.udp.peers.are_at(peer.getsockname())
        for _ in range(2 * MOST_WORTHLESS):
            peer.send(ELSEWHERE)
        node.receive()
        node.receive()
        assert node.replica.stats.worthless_dropped == 0


def test_what_waits_is_handled_in_the_next_round_of_the_loop_once() -> None:
    config = Config(name="n1")

    async def live() -> None:
        with bind(("127.0.0.1", 0)) as bound:
            node = Node(
                config, lambda made, log: UdpEndpoint(bound, {}, config, Random(7), made.stats, log.note), Random(7)
            )
            soon = list[Callable[[], None]]()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(node._udp, "receive", lambda *_: True)
                patch.setattr(node._loop, "call_soon", soon.append)
                for _ in range(3):
                    node._receive()
                (again,) = soon
                again()
            assert len(soon) == 2

    asyncio.run(live())
