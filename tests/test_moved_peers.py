"""Claim: a peer that comes back at another address is found there, if it is listed by a name."""

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from gossip_counter.node.endpoints.addresses import Address, Found
from gossip_counter.node.endpoints.peer_addresses import SILENT_ROUNDS, PeerAddresses
from gossip_counter.node.runtime import peer_finder
from gossip_counter.node.runtime.peer_finder import PeerFinder
from tests.support import waiting
from tests.support.finding import FIRST, NO_NAME, SECOND, V4, V6, finding


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


def silent(peers: PeerAddresses, rounds: int = SILENT_ROUNDS + 1) -> None:
    for _ in range(rounds):
        peers.round_begins("n2")


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
