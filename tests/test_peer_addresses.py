"""Claim: no peer's name keeps a node from starting, each address of a peer is tried, and wrong addresses are named."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import threading
from typing import Any

import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.gossip.messages import Syn, SynAck
from gossip_counter.node.endpoints import addresses, socket_errors
from gossip_counter.node.endpoints.addresses import Address, Found, bind
from gossip_counter.node.endpoints.peer_addresses import SILENT_ROUNDS, PeerAddresses
from gossip_counter.node.runtime import peer_finder
from gossip_counter.node.runtime.peer_finder import PeerFinder, check_reach
from tests.support.finding import FIRST, NO_NAME, SECOND, V4, V6, finding
from tests.support.processes import ask, node_process
from tests.support.replica import packed
from tests.support.udp import udp_endpoint
from tests.support.waiting import LIMIT_S

# Names.


def test_a_node_whose_peer_has_no_address_starts_counts_and_says_so() -> None:
    with node_process("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", "--peer=n2=n2.invalid:7302") as process:
        assert process.stderr
        line = process.stderr.readline()
        assert "unresolved_names (1 so far): nothing can be sent to n2 (n2.invalid:7302): " in line
        listens = process.stderr.readline()
        assert "listens" in listens
        address = ("127.0.0.1", int(listens.split("127.0.0.1:")[1].split(",")[0]))
        ask(address, lambda client: client.add(5))
        status = ask(address, lambda client: client.gossip_status())
        assert (status["local_value"], status["send_errors"]) == (5, 0)
        assert status["unresolved_names"] >= 1


async def nothing(_: PeerFinder) -> None:
    """The first round is all."""


def test_a_name_is_looked_up_again_until_it_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_finder, "FIRST_PAUSE_S", 0.001)
    peers = PeerAddresses({"n2": ("n2.example", 1)})
    answers: list[Any] = [NO_NAME, NO_NAME, [(V4, FIRST), (V4, SECOND)]]

    def look_up(_: Address) -> list[Found]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    is_found, found = asyncio.Event(), peers.found

    def note_found(peer: str, usable: Any) -> None:
        found(peer, usable)
        is_found.set()

    monkeypatch.setattr(peers, "found", note_found)

    async def until_found(_: PeerFinder) -> None:
        await asyncio.wait_for(is_found.wait(), LIMIT_S)

    noted = finding(peers, look_up, until_found)
    assert noted == ["unresolved_names: nothing can be sent to n2 (n2.example:1): Name or service not known"] * 2
    assert (peers.current("n2"), peers.missing) == (FIRST, {})


def test_a_name_server_that_does_not_answer_keeps_no_node_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_finder, "START_S", 0.01)
    peers, answered = PeerAddresses({"n2": ("slow", 1), "n3": ("10.0.0.3", 1)}), threading.Event()

    def look_up(_: Address) -> list[Found]:
        answered.wait(LIMIT_S)
        return []

    try:
        assert finding(peers, look_up, nothing) == []
    finally:
        answered.set()
    assert peers.current("n3") == ("10.0.0.3", 1)


def test_a_peer_of_the_other_family_is_named_with_what_to_do() -> None:
    peers = PeerAddresses({"n2": ("n2.example", 1), "n3": ("::1", 1)})
    (noted,) = finding(peers, lambda listed: [(V6, (listed[0], 1, 0, 0))], nothing)
    assert (
        "n2 (n2.example:1): it has IPv6 addresses only, and this node is bound to an IPv4 address: say --bind ["
        in noted
    )
    assert "n3 ([::1]:1): it has IPv6" in noted


def test_what_is_bound_decides_which_addresses_can_be_used() -> None:
    found: list[Found] = [(V6, ("2001:db8::1", 1, 0, 0)), (V4, ("10.0.0.1", 1))]
    with bind(("127.0.0.1", 0)) as bound:
        assert addresses.usable(bound, found) == [("10.0.0.1", 1)]
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with bind(("::", 0)) as bound:
        assert addresses.usable(bound, found) == [("2001:db8::1", 1, 0, 0), ("::ffff:10.0.0.1", 1, 0, 0)]
    with bind(("::1", 0)) as bound:
        assert addresses.usable(bound, found) == [("2001:db8::1", 1, 0, 0)]


def test_an_own_name_that_does_not_resolve_ends_a_node_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"n1\.invalid:7100: .*; say --bind 0\.0\.0\.0:7100"):
        bind(("n1.invalid", 7100))


# Several addresses.


def test_each_address_of_a_peer_is_tried_in_turn_while_it_is_silent() -> None:
    peers = PeerAddresses({"n2": ("n2", 1)})
    assert peers.current("n2") is None
    peers.found("n2", [FIRST, SECOND])
    used = []
    for _ in range(3 * SILENT_ROUNDS):
        peers.round_begins("n2")
        used.append(peers.current("n2"))
    assert used == [FIRST] * SILENT_ROUNDS + [SECOND] * SILENT_ROUNDS + [FIRST] * SILENT_ROUNDS


@pytest.mark.parametrize("heard", [(FIRST, False), (FIRST, True), (("10.9.9.9", 1), True)])
def test_an_address_at_which_a_peer_replies_is_kept(heard: tuple[Address, bool]) -> None:
    peers = PeerAddresses({"n2": ("n2", 1)})
    peers.found("n2", [FIRST, SECOND])
    for _ in range(100):
        peers.round_begins("n2")
        peers.heard_from("n2", *heard)
    assert peers.current("n2") == FIRST


def test_the_next_address_is_tried_though_a_peer_that_is_elsewhere_speaks() -> None:
    """As where a name has an IPv6 address at which that node does not listen: it can send here all the same."""
    with udp_endpoint(n2=("n2", 1)) as node, bind(("127.0.0.1", 0)) as nobody, bind(("127.0.0.1", 0)) as peer:
        node.udp.peers.found("n2", [nobody.getsockname(), peer.getsockname()])
        (syn,) = packed(Syn("n2", 1, {}))
        for _ in range(SILENT_ROUNDS + 1):
            peer.sendto(syn, node.udp.address)
            node.receive()
            node.replica.tick(0)
            node.advance()
        assert node.udp.peers.current("n2") == peer.getsockname()
        assert drained(peer)
        peer.sendto(syn, node.udp.address)
        node.receive()
        assert [type(each) for each in drained(peer)] == [SynAck]


def drained(peer: socket.socket) -> list[object]:
    """All gossip that has come."""
    messages: list[object] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(datagrams.unpack(peer.recv(65_536), "c"))
    return messages


def test_the_address_of_ours_that_a_peer_asked_is_not_used_for_its_other_addresses() -> None:
    """It may be of a network that does not lead there."""
    with (
        udp_endpoint("0.0.0.0", n2=("n2", 1)) as node,
        bind(("127.0.0.3", 0)) as first,
        bind(("127.0.0.4", 0)) as second,
    ):
        node.udp.peers.found("n2", [first.getsockname(), second.getsockname()])
        (syn,) = packed(Syn("n2", 1, {}))
        first.sendto(syn, ("127.0.0.2", node.port))
        node.receive()
        sources = [first.recvfrom(65_536)[1][0]]
        for _ in range(SILENT_ROUNDS + 1):
            node.replica.tick(0)
            node.advance()
        sources.append(second.recvfrom(65_536)[1][0])
        assert sources[0] == "127.0.0.2"
        assert sources[1] != "127.0.0.2"


# Wrong addresses.


def unreachable_for(patch: pytest.MonkeyPatch, code: int, *hosts: str) -> None:
    error = OSError(code, os.strerror(code))
    patch.setattr(addresses, "probe", lambda _, to: error if to[0] in hosts else None)


def found(*hosts: str) -> PeerAddresses:
    peers = PeerAddresses({host: (host, 1) for host in hosts})
    for host in hosts:
        peers.found(host, [(host, 1)])
    return peers


def test_a_loopback_address_from_which_no_member_can_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable_for(monkeypatch, errno.EINVAL, "10.0.0.1", "10.0.0.2")
    with bind(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"127\.0\.0\.1:{port}, a loopback address, .* say --bind 0\.0\.0\.0:{port}"
        ):
            check_reach(bound, found("10.0.0.1", "10.0.0.2"))


def test_a_member_that_cannot_be_reached_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable_for(monkeypatch, errno.EINVAL, "10.0.0.1")
    with bind(("127.0.0.1", 0)) as bound, caplog.at_level(logging.WARNING):
        check_reach(bound, found("10.0.0.1", "127.0.0.2"))
        (line,) = caplog.messages
        assert line.startswith(f"10.0.0.1 can't be reached at 10.0.0.1:1 from 127.0.0.1:{bound.getsockname()[1]}: ")
        assert line.endswith("bind one that the members can reach")


def test_a_network_that_is_down_keeps_no_node_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable_for(monkeypatch, errno.ENETUNREACH, "10.0.0.1")
    with bind(("127.0.0.1", 0)) as bound:
        check_reach(bound, found("10.0.0.1"))


def test_members_that_only_the_journal_names_keep_no_node_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable_for(monkeypatch, errno.EINVAL, "10.0.0.1", "10.0.0.2")
    from_journal = PeerAddresses({})
    peers = found("10.0.0.1")
    for each in (from_journal, peers):
        each.listed["n2"] = ("10.0.0.2", 1)
        each.found("n2", [("10.0.0.2", 1)])
    with bind(("127.0.0.1", 0)) as bound:
        check_reach(bound, from_journal)
        with pytest.raises(ConfigError, match="a loopback address"):
            check_reach(bound, peers)


def test_a_node_on_a_hosts_loopback_name_is_refused_in_one_line() -> None:
    with bind(("127.0.0.1", 0)) as bound:
        error = addresses.probe(bound, ("192.0.2.99", 9))
    if error is None or error.errno != errno.EINVAL:
        pytest.skip(f"this machine has no route from which a loopback address is refused: {error}")
    with node_process("--name=n1", "--bind=127.0.1.1:0", "--ephemeral", "--peer=n2=192.0.2.99:9") as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 2
        assert len(stderr.splitlines()) == 1
        assert "a loopback address, from which no member can be reached: say --bind 0.0.0.0:" in stderr


@pytest.mark.parametrize("code", socket_errors.SENDING)
def test_an_error_of_sending_says_what_to_do_and_is_counted(code: int) -> None:
    with udp_endpoint() as node:
        node.udp.socket = FailingSocket(code)  # type: ignore[assignment]
        node.udp.reply((("10.0.0.1", 7), b"", b""), node.replica.status(0).as_reply(1))
        (noted,) = node.noted
        assert noted.startswith("send_errors: sending ")
        assert noted.endswith(f" bytes to 10.0.0.1:7: {os.strerror(code)}; {socket_errors.SENDING[code]}")


class FailingSocket:
    """Sends nothing."""

    def __init__(self, code: int) -> None:
        self._code = code

    def sendto(self, _datagram: bytes, _to: Address) -> None:
        raise OSError(self._code, os.strerror(self._code))
