"""Claim: a node that is far behind asks for rows as fast as it takes them, and asks no two peers for the same ones."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise

import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.counts import Actor, EndingRow, Row, Seen, Taken
from gossip_counter.node.core.gossip.deltas import MOST_ANSWERS
from gossip_counter.node.core.gossip.messages import Delta, Gossip, Pull, Pulled, Push, Syn, SynAck
from gossip_counter.node.core.gossip.pulls import FAR, PERIOD_BYTES, PERIOD_NS, SILENCES, WINDOW_EXCHANGES
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.messages import Remove
from gossip_counter.node.core.paths import NARROW_BYTES
from gossip_counter.node.core.replica import Replica
from tests.support.replica import (
    MS,
    X,
    fill,
    members,
    messages,
    receive,
    rows_in,
    settle,
    step,
    two,
)
from tests.support.wire import Wire

N1 = Actor("n1.actor")
STEP_BYTES = 16 * 1200
"""What an exchange brings, with the default settings."""
DAY_NS = 86_400_000 * MS


def is_level(first: Replica, second: Replica) -> bool:
    return first.state.digest() == second.state.digest()


def first_pull(node: Replica) -> Pull:
    """What a node sends to n1, which has shown that it has many rows."""
    (pull,) = messages(step(node, Push("n1", 1, (Delta(N1, 0, (("c00000", Row(1, 0, 1)),), 3000),)), "n1"))
    assert isinstance(pull, Pull)
    return pull


def parts_lost(*numbers: int) -> Callable[[Gossip], bool]:
    """Loses these of the datagrams that answer pulls, counted from 0."""
    seen = count()
    return lambda message: isinstance(message, Pulled) and next(seen) in numbers


# Being fed.


def test_a_node_that_is_far_behind_is_level_before_the_next_tick() -> None:
    first, second = two(push=False)
    fill(first, 5000)
    wire = Wire(first, second)
    wire.tick("n2")
    assert is_level(first, second)
    assert wire.rows_brought("n2") < 5000 + 2 * 1000, "an answer to the first digest, and what was pulled meanwhile"
    windows = [each.window for each in wire.pulls]
    assert windows == [min(STEP_BYTES * number, STEP_BYTES * WINDOW_EXCHANGES) for number in range(1, len(windows) + 1)]


def test_it_pulls_from_whoever_asks_it_too() -> None:
    first, second = two(push=False)
    fill(first, 5000)
    wire = Wire(first, second)
    wire.is_lost = lambda message: isinstance(message, SynAck) and message.sender == "n1"
    wire.tick("n1")
    assert is_level(first, second)
    assert wire.pulls


def test_who_is_a_little_behind_does_not_pull() -> None:
    first, second = two(push=False)
    fill(first, FAR)
    wire = Wire(first, second)
    wire.tick("n2")
    assert is_level(first, second)
    assert not wire.pulls


def test_rows_of_thousands_of_actors_are_pulled_too() -> None:
    first, second = two(push=False)
    for number in range(200):
        rows = tuple((f"c{version}", Row(1, 0, version)) for version in range(1, 31))
        receive(first, Push("n2", 1, (Delta(Actor(f"former.{number:03}"), 0, rows),)))
    wire = Wire(first, second)
    for name in ("n2", "n1") * 5:
        wire.tick(name)
    assert is_level(first, second)
    assert wire.pulls


@pytest.mark.parametrize("lost", [0, 1, 5, 15, 30])
def test_what_is_lost_is_asked_for_again_with_a_smaller_window_and_leaves_no_gap(lost: int) -> None:
    first, second = two(push=False)
    fill(first, 5000)
    wire = Wire(first, second)
    wire.is_lost = parts_lost(lost)
    wire.tick("n2")
    assert is_level(first, second)
    windows = [each.window for each in wire.pulls]
    assert sum(later < earlier for earlier, later in pairwise(windows)) == 1
    assert second.stats.pulls_lost == 1
    assert second.stats.gaps == 0


def test_a_network_that_doubles_everything_loses_nothing() -> None:
    first, second = two(push=False)
    fill(first, 5000)
    wire = Wire(first, second)
    wire.copies = 2
    wire.tick("n2")
    assert is_level(first, second)
    assert second.stats.pulls_lost == 0
    assert wire.rows_brought("n2") <= 4 * 5000, "each pull, and each answer to it"


def test_a_peer_whose_answers_all_are_lost_is_given_up_until_its_next_digest() -> None:
    first, second = two(push=False)
    fill(first, 5000)
    wire = Wire(first, second)
    wire.is_lost = lambda message: isinstance(message, Pulled)
    wire.tick("n2")
    assert len(wire.pulls) == SILENCES + 1
    assert not is_level(first, second)
    wire.is_lost = lambda _: False
    wire.tick("n2")
    assert is_level(first, second)


def test_no_two_peers_are_asked_for_the_same_rows() -> None:
    first, second, third = members(3, push=False).values()
    fill(first, 5000)
    wire = Wire(first, third)
    wire.tick("n3")
    assert is_level(first, third)
    wire = Wire(first, second, third)
    wire.tick("n2")
    assert is_level(first, second)
    assert len({to for to, message in wire.arrived if isinstance(message, Pull)}) == 1


def test_of_two_peers_each_is_asked_for_other_actors() -> None:
    first, second, third = members(3, push=False).values()
    fill(first, 5000)
    fill(third, 5000)
    wire = Wire(first, third)
    wire.tick("n3")
    wire = Wire(first, second, third)
    wire.tick("n2")
    assert is_level(second, first)
    assert {to for to, message in wire.arrived if isinstance(message, Pull)} == {"n1", "n3"}
    assert wire.rows_brought("n2") < 11_000


def test_what_a_peer_is_pulled_for_no_other_is_asked_for_in_an_exchange() -> None:
    first, second, _ = members(3, push=False).values()
    fill(first, 3000)
    first_pull(second)
    (answer,) = messages(step(second, Syn("n3", 1, {N1: first.state.entry(N1)}, boot=1), "n3"))
    assert isinstance(answer, SynAck)
    assert answer.wants == {}


def test_who_is_pulled_from_is_asked_for_little_else() -> None:
    _, second = two(push=False)
    far, near = Actor("n3.far"), Actor("n4.near")
    versions = {N1: 5000, far: FAR + 1, near: FAR}
    entries = {actor: DigestEntry(version, 1, 0) for actor, version in versions.items()}
    pull, answer = messages(step(second, Syn("n1", 1, entries, boot=1), "n1"))
    assert isinstance(pull, Pull)
    assert pull.wants == {N1: 0}
    assert isinstance(answer, SynAck)
    assert answer.wants == {far: 0, near: 0}, "until something has come"
    step(second, Pulled("n1", 1, pull.number, (Delta(N1, 0, (("a", Row(1, 0, 1)),), 5000),)), "n1")
    (answer,) = messages(step(second, Syn("n1", 1, entries, boot=1), "n1"))
    assert isinstance(answer, SynAck)
    assert answer.wants == {near: 0}, "what is far ahead is pulled next, and another peer may have it meanwhile"


def test_what_can_not_be_taken_in_keeps_nothing_else_from_coming() -> None:
    """There is no room for the rows of an actor, which is pulled first again and again."""
    first, second = two(push=False, max_rows=300)
    object.__setattr__(first.config, "max_rows", 10_000)
    full, other = Actor("a.x"), Actor("b.x")
    known = Delta(other, 0, tuple((f"b{at}", Row(1, 0, at)) for at in range(1, 301)))
    receive(first, Push("n2", 1, (known,)))
    receive(second, Push("n1", 1, (known,)))
    grown = tuple((f"b{at - 300}", Row(2, 0, at)) for at in range(301, 601))
    receive(first, Push("n2", 1, (Delta(other, 300, grown),)))
    receive(first, Push("n2", 1, (Delta(full, 0, tuple((f"a{at}", Row(1, 0, at)) for at in range(1, 5001))),)))
    wire = Wire(first, second)
    wire.is_checked = False
    for _ in range(10):
        for name in ("n1", "n2"):
            wire.tick(name)
            wire.now_ns += 100 * MS
    assert second.state.version(other) == 600


def test_a_pull_fits_a_small_datagram_whatever_the_names_of_actors() -> None:
    _, second = two(push=False)
    entries = {Actor(f"{number:02}" + "é" * 40): DigestEntry(100, 1, 0) for number in range(16)}
    pull, answer = messages(step(second, Syn("n1", 1, entries, boot=1), "n1"))
    assert isinstance(pull, Pull)
    (datagram,) = datagrams.pack_gossip(pull, "counter", NARROW_BYTES, 16)
    assert datagrams.unpack(datagram, "counter") == pull
    assert isinstance(answer, SynAck)
    assert {*pull.wants, *answer.wants} == set(entries), "the others are asked for in the exchange"


def test_a_peer_is_asked_for_one_thing_after_the_other() -> None:
    first, second = two(push=False)
    fill(first, 3000)
    pull = first_pull(second)
    assert messages(step(second, Push("n1", 1, (Delta(X, 0, (("c", Row(1, 0, 1)),), 3000),)), "n1")) == []
    (answer,) = messages(step(first, pull, "n2"))
    assert {*map(type, messages(step(second, answer, "n1")))} == {Pull}


def test_a_part_that_comes_once_more_later_is_no_loss() -> None:
    first, second = two(push=False)
    fill(first, 3000)
    (answer,) = messages(step(first, first_pull(second), "n2"))
    parts = [datagrams.unpack(each, "counter") for each in datagrams.pack_gossip(answer, "counter", 1200, 16)]
    assert len(parts) > 3
    for part in (*parts[:3], parts[0], *parts[3:]):
        assert isinstance(part, Pulled)
        step(second, part, "n1")
    assert second.stats.pulls_lost == 0


def test_rows_with_long_markers_are_no_more_bytes_than_asked_for() -> None:
    first, _ = two(push=False)
    taken = Taken(1, 0, tuple(Seen(Actor(f"{number:03}" + "x" * 250), 0, 1, 0) for number in range(90)), DAY_NS)
    rows = tuple((f"c{version}", EndingRow(1, 0, version, taken=taken)) for version in range(1, 21))
    receive(first, Push("n2", 1, (Delta(X, 0, rows),)))
    (answer,) = messages(step(first, Pull("n2", 1, 7, 2 * STEP_BYTES, {X: 0}), "n2"))
    size = sum(map(len, datagrams.pack_gossip(answer, "counter", 1200, 16)))
    assert STEP_BYTES < size < 3 * STEP_BYTES


def test_a_node_that_has_no_room_stops_asking() -> None:
    (first, _), (_, second) = two(push=False), two(push=False, max_rows=1000)
    fill(first, 5000)
    wire = Wire(first, second)
    wire.tick("n2")
    assert second.state.row_count == 1000
    pulls = len(wire.pulls)
    assert pulls < 20
    wire.tick("n2")
    wire.tick("n1")
    assert len(wire.pulls) == pulls


def test_rows_at_one_version_are_pulled_together() -> None:
    first, second = two(push=False)
    rows = tuple((f"c{number:05}", Row(1, 0, 1 + number // 16)) for number in range(16 * FAR * 2))
    receive(first, Push("n2", 1, (Delta(N1, 0, rows),)))
    wire = Wire(first, second)
    wire.is_checked = False
    wire.tick("n2")
    assert is_level(first, second)


def test_two_nodes_without_a_place_for_what_the_other_has_do_not_ask_for_ever() -> None:
    first, second = two(push=False, max_actors=1)
    for node, actor, sender in ((first, "old.a", "n2"), (second, "old.b", "n1")):
        rows = tuple((f"c{number}", Row(number, 0, 100 * number)) for number in range(1, 11))
        receive(node, Push(sender, 1, (Delta(Actor(actor), 0, rows),)))
    fill(first, 1)
    fill(second, 1)
    wire = Wire(first, second)
    wire.is_checked = False
    wire.tick("n1")
    wire.tick("n2")
    assert len(wire.pulls) <= 2
    assert len(wire.arrived) < 30


def test_rows_behind_a_gap_are_no_reason_to_pull() -> None:
    _, second = two(push=False)
    assert messages(step(second, Push("n1", 1, (Delta(N1, 50, (("c", Row(1, 0, 51)),), 3000),)), "n1")) == []


# What others send.


def test_a_claim_is_not_believed_only_asked_about() -> None:
    first, second = two(push=False)
    fill(first, 10)
    (pull,) = messages(step(second, Push("n1", 1, (Delta(N1, 0, (("c00000", Row(1, 0, 1)),), 2**60),)), "n1"))
    assert isinstance(pull, Pull)
    assert pull.wants == {N1: 1}
    (answer,) = messages(step(first, pull, "n2"))
    (again,) = messages(step(second, answer, "n1"))
    assert second.state.version(N1) == 10
    (nothing,) = messages(step(first, again, "n2"))
    assert messages(step(second, nothing, "n1")) == []
    assert second.state.version(N1) == 10


def test_an_answer_that_brings_nothing_and_claims_more_is_not_asked_about() -> None:
    _, second = two(push=False)
    pull, old = first_pull(second), Delta(N1, 0, (("c00000", Row(1, 0, 1)),), 3000)
    assert messages(step(second, Pulled("n1", 1, pull.number, (old,)), "n1")) == []


def test_an_answer_with_another_number_brings_rows_and_no_further_pull() -> None:
    first, second = two(push=False)
    fill(first, 3000)
    pull = first_pull(second)
    (answer,) = messages(step(first, pull, "n2"))
    assert isinstance(answer, Pulled)
    assert messages(step(second, replace(answer, number=answer.number ^ 1), "n1")) == []
    assert second.state.version(N1) > 1
    assert [type(each) for each in messages(step(second, answer, "n1"))] == [Pull]


def test_an_answer_that_nobody_asked_for_brings_nothing() -> None:
    first, second = two(push=False)
    fill(first, 3000)
    (answer,) = messages(step(first, Pull("n2", 1, 7, 10_000, {N1: 0}), "n2"))
    assert rows_in(answer)
    assert messages(step(second, answer, "n1")) == []
    assert second.state.row_count == 0


def test_answers_are_bounded_in_a_period_whoever_asks_and_however_often() -> None:
    first, _ = two(push=False)
    fill(first, 20_000)
    pull = Pull("n2", 1, 7, 2**62, {N1: 0})
    answers = [each for _ in range(1000) for each in messages(step(first, pull, "n2"))]
    size = sum(len(rows_in(each)) for each in answers) * (len("c00000") + 4)
    assert len(answers) <= MOST_ANSWERS
    assert size < PERIOD_BYTES + MOST_ANSWERS * 1200
    first.tick(PERIOD_NS)
    assert messages(step(first, pull, "n2", PERIOD_NS))


def test_who_is_no_member_is_not_answered() -> None:
    first, _ = two(push=False)
    fill(first, 1000)
    assert messages(step(first, Pull("n9", 1, 7, 10_000, {N1: 0}), "n9")) == []


def test_a_member_that_was_removed_is_not_asked_any_more() -> None:
    first, second, _ = members(3, push=False).values()
    fill(first, 3000)
    first_pull(second)
    settle(second, DAY_NS)
    second.step(Remove(1, "n1"), "c", DAY_NS)
    settle(second, DAY_NS)
    assert "n1" not in second.membership
    second.wake(DAY_NS + 1000 * MS)
    assert not any(isinstance(each, Pull) for each in messages(settle(second, DAY_NS + 1000 * MS)))
