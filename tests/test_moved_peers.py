"""Claim: a peer that comes back at another address is found there, if it is listed by a name; look-ups never end."""

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from threading import Event
from time import monotonic
from typing import Any, cast

import pytest

from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.endpoints.addresses import Address, Found
from gossip_counter.node.endpoints.peer_addresses import SILENT_ROUNDS, PeerAddresses
from gossip_counter.node.runtime import peer_finder
from gossip_counter.node.runtime.diagnostics import Diagnostics
from gossip_counter.node.runtime.peer_finder import PeerFinder
from gossip_counter.node.runtime.roster_watch import RosterWatch
from tests.support import waiting
from tests.support.finding import FIRST, NO_NAME, SECOND, V4, V6, finding
from tests.support.udp import UdpNode, udp_endpoint


class NameServer:
    """Each look-up takes the next answer, and the last one stays."""

    def __init__(self, *answers: list[Found] | OSError) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.at_s: list[float] = []

    def look_up(self, listed: Address) -> list[Found]:
        self.asked.append(listed[0])
        self.at_s.append(monotonic())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


def silent(peers: PeerAddresses, rounds: int = SILENT_ROUNDS + 1, name: str = "n2") -> None:
    for _ in range(rounds):
        peers.round_begins(name)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_finder, "FIRST_PAUSE_S", 0.002)


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(waiting.until, condition)


def test_a_silent_peer_is_looked_up_again_and_found_where_it_is_now(caplog: pytest.LogCaptureFixture) -> None:
    peers, names = (
        PeerAddresses({"n2": ("n2.example", 1)}),
        NameServer([(V4, FIRST)], NO_NAME, [(V4, FIRST)], [(V4, SECOND)]),
    )

    async def move(_: PeerFinder) -> None:
        assert peers.current("n2") == FIRST
        silent(peers)
        await until(lambda: peers.current("n2") == SECOND)

    with caplog.at_level(logging.INFO):
        noted = finding(peers, names.look_up, move)
    assert caplog.messages == ["n2 is at 10.0.0.2:1 now"]
    assert noted == [
        "unresolved_names: n2 (n2.example:1) is silent at 10.0.0.1:1 and found nowhere else: Name or service not known"
    ]
    assert not peers.silent


@pytest.mark.parametrize("answer", [NO_NAME, [], [(V6, ("::1", 1, 0, 0))]])
def test_a_look_up_in_vain_takes_no_known_address_away(answer: Any) -> None:
    peers, names = PeerAddresses({"n2": ("n2.example", 1)}), NameServer([(V4, FIRST)], answer)

    async def look_up_thrice(_: PeerFinder) -> None:
        silent(peers)
        await until(lambda: len(names.asked) > 3)

    assert len(finding(peers, names.look_up, look_up_thrice)) >= 2
    assert peers.current("n2") == FIRST


def test_look_ups_stop_when_a_peer_is_heard_again() -> None:
    peers, names = PeerAddresses({"n2": ("n2.example", 1), "n3": ("n3.example", 1)}), NameServer([(V4, FIRST)])

    async def be_heard(finder: PeerFinder) -> None:
        silent(peers, SILENT_ROUNDS)
        assert finder.sought == {}
        silent(peers, 1)
        await until(lambda: len(names.asked) > 3)
        peers.heard_from("n2", FIRST, True)
        assert finder.sought == {}

    assert finding(peers, names.look_up, be_heard) == []
    assert names.asked.count("n3.example") == 1


def test_each_silent_peer_has_pauses_of_its_own_that_double() -> None:
    peers, names = PeerAddresses({"n2": ("n2.example", 1)}), NameServer([(V4, FIRST)])

    async def be_silent(_: PeerFinder) -> None:
        silent(peers)
        await until(lambda: len(names.asked) == 6)

    finding(peers, names.look_up, be_silent)
    pauses = [later - earlier for earlier, later in pairwise(names.at_s[1:])]
    assert all(pause >= 0.002 * 2**number for number, pause in enumerate(pauses))


def test_a_peer_that_is_listed_by_a_number_is_not_looked_up() -> None:
    peers, names = PeerAddresses({"n2": FIRST}), NameServer([(V4, SECOND)])

    async def be_silent(finder: PeerFinder) -> None:
        silent(peers)
        assert finder.sought == {}

    finding(peers, names.look_up, be_silent)
    assert (names.asked, peers.current("n2")) == ([], FIRST)


def test_of_the_addresses_found_anew_those_that_were_not_tried_come_first() -> None:
    peers = PeerAddresses({"n2": ("n2", 1)})
    peers.found("n2", [FIRST])
    assert peers.found("n2", [FIRST, SECOND])
    assert peers.current("n2") == SECOND
    assert not peers.found("n2", [FIRST, SECOND])


# Members that records name.


def watched(node: UdpNode, finder: PeerFinder) -> RosterWatch:
    return RosterWatch(node.replica, node.udp, finder, cast(Diagnostics, None), {})


def test_who_moves_to_another_name_is_looked_up_there() -> None:
    names = {"old.example": FIRST, "new.example": SECOND}
    with udp_endpoint() as node:

        async def move(finder: PeerFinder) -> None:
            watch, peers = watched(node, finder), node.udp.peers
            for version, (name, address) in enumerate(names.items()):
                node.replica.roster.merge([MemberRecord("n4", 5, version, addresses=(f"{name}:1",))])
                watch.follow()
                if version:
                    assert peers.current("n4") == FIRST  # until another is found
                await until(lambda address=address: peers.current("n4") == address)  # type: ignore[misc]

        finding(node.udp.peers, lambda listed: [(V4, names[listed[0]])], move)


def test_what_people_listed_is_not_replaced_by_a_record() -> None:
    with udp_endpoint(n4=FIRST) as node:

        async def move(finder: PeerFinder) -> None:
            node.replica.roster.merge([MemberRecord("n4", 5, 1, addresses=("new.example:1",))])
            watched(node, finder).follow()
            assert node.udp.peers.listed["n4"] == FIRST
            assert node.udp.peers.current("n4") == FIRST

        finding(node.udp.peers, lambda _: [], move)


def test_a_late_answer_for_a_former_name_is_not_taken() -> None:
    peers, gate = PeerAddresses({"n2": ("old.example", 1)}), Event()

    def look_up(listed: Address) -> list[Found]:
        if listed[0] == "new.example":
            return [(V4, SECOND)]
        gate.wait(2)
        return [(V4, FIRST)]

    async def move(finder: PeerFinder) -> None:
        finder.look_for("n2", ("new.example", 1))
        gate.set()
        used = list[Any]()
        await until(lambda: used.append(peers.current("n2")) or used[-1] is not None)  # type: ignore[func-returns-value]
        assert used[-1] == SECOND

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer_finder, "START_S", 0.01)
        finding(peers, look_up, move)


def test_a_silent_member_without_an_address_does_not_end_all_look_ups() -> None:
    names = NameServer(NO_NAME)
    with udp_endpoint(n2=("n2.example", 1)) as node:

        async def be_silent(finder: PeerFinder) -> None:
            watch, roster = watched(node, finder), node.replica.roster
            roster.merge([MemberRecord("n4", 5, 1)])
            watch.follow()
            silent(node.udp.peers, name="n4")
            before = len(names.asked)
            await until(lambda: len(names.asked) > before + 1)
            others = [f"n{number}" for number in (5, 6, 7)]
            roster.merge([MemberRecord(name, 5, 1, addresses=(f"10.0.0.{name[1]}:1",)) for name in others])
            watch.follow()
            assert all(map(node.udp.peers.current, others))

        finding(node.udp.peers, names.look_up, be_silent)


def test_one_that_leaves_while_it_is_looked_up_does_not_end_all_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_finder, "START_S", 0.01)
    peers = PeerAddresses({"n2": ("n2.example", 1), "n3": ("n3.example", 1)})
    gate, names = Event(), NameServer(NO_NAME)

    def look_up(listed: Address) -> list[Found]:
        if listed[0] == "n3.example":
            gate.wait(2)
        return names.look_up(listed)

    async def leave(finder: PeerFinder) -> None:
        await until(lambda: "n2" in finder._failed)
        peers.forget("n2")
        gate.set()
        await until(lambda: names.asked.count("n3.example") > 1)

    finding(peers, look_up, leave)


def test_the_list_of_members_is_followed_to_its_end_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with udp_endpoint() as node:

        async def follow(finder: PeerFinder) -> None:
            watch = watched(node, finder)
            node.replica.roster.merge([MemberRecord("n4", 5, 1, addresses=("10.0.0.4:1",))])
            with monkeypatch.context() as patch:
                patch.setattr(finder, "look_for", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    watch.follow()
            watch.follow()
            assert node.udp.peers.current("n4") == ("10.0.0.4", 1)

        finding(node.udp.peers, lambda _: [], follow)


def test_nothing_is_kept_of_members_that_are_gone(caplog: pytest.LogCaptureFixture) -> None:
    """One has left, one was removed, and the record of one that left is forgotten already."""
    with udp_endpoint() as node:

        async def come_and_go(finder: PeerFinder) -> None:
            watch, roster, peers = watched(node, finder), node.replica.roster, node.udp.peers
            watch.follow()
            joined = [MemberRecord(f"n{at}", 5, 1, addresses=(f"10.0.0.{at}:1",)) for at in (4, 5, 6)]
            roster.merge([*joined, MemberRecord("n7", 5, 1, addresses=("n7.example:1",))])
            watch.follow()
            watch.look(0)
            assert peers.current("n4")
            roster.merge([MemberRecord(f"n{at}", 5, 2, has_left=True) for at in (4, 6, 7)])
            roster.remove("n5", 0)
            del roster.records["n6"]
            caplog.clear()
            for _ in range(2):
                watch.follow()
            await until(lambda: not finder._awaited)
            kept = [value for each in (watch, finder, peers) for value in vars(each).values()]
            assert not [each for each in kept if isinstance(each, dict | set) and {"n4", "n5", "n6", "n7"} & {*each}]

        with caplog.at_level(logging.INFO):
            finding(node.udp.peers, lambda _: [], come_and_go)
    assert sorted(caplog.messages) == [
        "n4 has left the cluster",
        "n5 was removed from the cluster",
        "n6 is no member any more",
        "n7 has left the cluster",
    ]
