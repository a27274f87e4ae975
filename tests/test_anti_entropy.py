"""The exchange of digests and deltas by its exact messages, and what it costs; answers that do not arrive."""

from dataclasses import replace

import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.gossip.anti_entropy import RETRIES
from gossip_counter.node.core.gossip.deltas import DIGEST_DATAGRAMS
from gossip_counter.node.core.gossip.messages import Ack, Delta, Push, Replicate, Syn, SynAck
from gossip_counter.node.core.gossip.pulls import FAR
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.replica import Replica
from tests.support.replica import (
    MS,
    X,
    add,
    deliver,
    drain,
    exchange,
    fill,
    members,
    messages,
    packed,
    pushed,
    receive,
    rows_in,
    sends,
    settle,
    step,
    tick,
    ticked,
    two,
)

N1, N2 = Actor("n1.actor"), Actor("n2.actor")


def exchange_until_equal(first: Replica, second: Replica, most: int = 100) -> int:
    """How many rounds it took."""
    for rounds in range(most):
        if first.state.digest() == second.state.digest():
            return rounds
        exchange(first, second)
        exchange(second, first)
    raise AssertionError("states stay unequal")


# What an exchange brings.


def test_one_answer_brings_the_rows_of_all_actors_that_are_lacking() -> None:
    first, second = two(push=False)
    add(second, 7, "b")
    receive(second, pushed(X, 0, ("c", Row(2, 0, 1)), sender="n1"))
    _, syn_ack, *_ = exchange(first, second)
    assert isinstance(syn_ack, SynAck)
    assert {delta.actor for delta in syn_ack.deltas} == {N2, X}


def test_an_exchange_brings_each_what_the_other_has() -> None:
    first, second = two(push=False)
    add(first, 5, "a")
    add(second, 7, "b")
    syn, syn_ack, ack = exchange(first, second)
    assert isinstance(syn, Syn)
    assert set(syn.digest) == {N1}
    assert isinstance(syn_ack, SynAck)
    assert syn_ack.deltas == (Delta(N2, 0, (("b", Row(7, 0, 1)),)),)
    assert syn_ack.wants == {N1: 0}
    assert isinstance(ack, Ack)
    assert ack.deltas == (Delta(N1, 0, (("a", Row(5, 0, 1)),)),)
    assert first.state.digest() == second.state.digest()


def test_when_states_are_equal_an_exchange_is_two_small_datagrams_and_no_rows() -> None:
    nodes = list(members(5, push=False, cluster="f00dcafe").values())
    for node in nodes:
        fill(node, 500)
    first, second = nodes[:2]
    for other in (*nodes[1:], second):
        exchange_until_equal(first, other)
    syn = next(each for each in messages(ticked(second)) if isinstance(each, Syn))
    (syn_ack,) = messages(receive(first, syn))
    assert isinstance(syn_ack, SynAck)
    assert (syn_ack.deltas, syn_ack.wants) == ((), {})
    actors = [Actor(f"n{i}.{'e' * 11}") for i in range(1, 6)]  # as long as those that are minted
    digest = dict(zip(actors, first.state.digest().values(), strict=True))
    for message in (replace(syn, digest=digest, parts=()), syn_ack):
        (datagram,) = datagrams.pack_gossip(message, "f00dcafe", 1200, 16)
        assert len(datagram) < 200


def test_one_change_costs_the_same_however_many_counters_there_are() -> None:
    sizes = set()
    for counters in (10, 3000):
        first, second = two(push=False)
        fill(first, counters)
        exchange_until_equal(first, second)
        add(first, 1, "c00005")
        (ack,) = [each for each in exchange(first, second) if isinstance(each, Ack)]
        assert len(rows_in(ack)) == 1
        sizes.add(len(datagrams.pack_gossip(replace(ack, fingerprint=0), "c", 1200, 16)[0]))
    assert max(sizes) - min(sizes) <= 4  # versions and counts have more digits


def test_a_delta_that_was_cut_short_says_of_what_state_it_was_cut() -> None:
    first, second = two(push=False, exchange_datagrams=1)
    fill(first, FAR)
    (answer,) = messages(step(first, Syn("n2", 1, {}), client="n2"))
    assert isinstance(answer, SynAck)
    (delta,) = answer.deltas
    assert len(delta.rows) < FAR
    assert delta.source_version == FAR
    receive(second, Push("n1", 1, (delta,)))
    assert (second.state.version(N1), second.state.complete_version(N1)) == (len(delta.rows), 0)
    ticked(first)
    (rest,) = (each for each in exchange(second, first) if isinstance(each, SynAck))
    assert rest.deltas[0].since == len(delta.rows)


def test_what_a_peer_gets_between_two_ticks_is_bounded_however_often_it_asks() -> None:
    first, second = two(push=False)
    fill(first, 9000)
    sent = 0
    for _ in range(20):
        (syn,) = messages(tick(second))
        for message in messages(step(first, syn)):
            sent += len(datagrams.pack_gossip(message, "c", 1200, 16)[0]) + len(rows_in(message)) * 10
    assert sent < 20 * 100 + 2 * 16 * 1200


def test_a_large_digest_is_sent_and_compared_range_by_range() -> None:
    first, second = two(push=False)
    for node, actors in ((first, range(0, 300)), (second, range(150, 450))):
        deltas = tuple(Delta(Actor(f"x{i:04}"), 0, (("c", Row(1, 0, 1)),)) for i in actors)
        (peer,) = node.config.peers
        receive(node, Push(peer, 1, deltas))
    rounds = 0
    while first.state.digest() != second.state.digest():
        (syn, *_) = exchange(first, second)
        exchange(second, first)
        assert isinstance(syn, Syn)
        assert len(packed(syn)) <= DIGEST_DATAGRAMS
        rounds += 1
        assert rounds < 100
    assert first.state.actors == 450


def test_a_digest_is_bounded_in_bytes_whatever_the_names_of_actors() -> None:
    first, second = two(push=False)
    for i in range(210):
        receive(first, Push("n2", 1, (Delta(Actor(f"{i:03}" * 100), 0, (("c", Row(1, 0, 1)),)),)))
    for _ in range(400):
        (syn,) = (each for each in messages(tick(first)) if isinstance(each, Syn))
        assert len(packed(syn)) <= 2 * DIGEST_DATAGRAMS
        exchange(first, second)
        exchange(second, first)
        if first.state.digest() == second.state.digest():
            return
    raise AssertionError("they never came to one state")


def test_anti_entropy_alone_brings_everyone_together() -> None:
    nodes = members(5, push=False)
    for i, node in enumerate(nodes.values()):
        add(node, i + 1)
    for _ in range(20):
        for node in nodes.values():
            for send in sends(ticked(node)):
                for peer in send.to:
                    deliver(nodes, send.message, peer)
    assert {node.state.value("") for node in nodes.values()} == {15}


def test_what_one_answer_brings_goes_on_to_the_other_peer_of_the_round() -> None:
    nodes = members(3, push=False)
    add(nodes["n2"], 5)
    (syn,) = messages(tick(nodes["n1"]))
    from_second, from_third = (messages(step(nodes[each], syn))[0] for each in ("n2", "n3"))
    step(nodes["n1"], from_second)
    (ack,) = messages(step(nodes["n1"], from_third))
    step(nodes["n3"], ack)
    assert nodes["n3"].state.digest() == nodes["n2"].state.digest()


def test_same_seed_same_effects() -> None:
    def trace(seed: int) -> list[object]:
        node = list(members(seed + 5).values())[seed]
        add(node, 5)
        return [ticked(node, now * 100 * MS) for now in range(20)]

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


# Unequal states at equal versions, and rows past a gap.


def test_equal_versions_with_unequal_hashes_are_repaired_even_when_one_answer_is_too_small() -> None:
    """A hole at equal versions: more rows than an answer has room for, and only some of them are lacking."""
    first, second = two(push=False, exchange_datagrams=1)
    rows = tuple((f"c{i:05}", Row(1, 0, i + 1)) for i in range(2000))
    holed = tuple(named for named in rows if named[1].version not in (3, 1200, 1900))
    receive(first, pushed(X, 0, *rows))
    receive(second, pushed(X, 0, *holed, sender="n1"))
    assert first.state.version(X) == second.state.version(X) == 2000
    assert exchange_until_equal(first, second, 60) > 10


def test_detached_rows_spread_even_if_nobody_can_close_the_gap() -> None:
    first, second = two(push=False)
    receive(first, pushed(X, 4, ("c", Row(5, 0, 5))))
    assert first.state.version(X) == 0
    exchange(first, second)
    assert second.state.value("c") == 5
    assert second.state.digest() == first.state.digest()
    assert [rows_in(message) for message in exchange(first, second)] == [[], []]


def test_more_detached_rows_than_an_answer_has_room_for_all_spread() -> None:
    """A gap that nobody can close any more, with more beyond it on either side than fits one answer."""
    first, second = two(push=False)
    for node, numbers in ((first, range(0, 2000)), (second, range(1000, 2100))):
        rows = tuple((f"counter:{i:05}", Row(1, 0, 100 + i)) for i in numbers)
        (peer,) = node.config.peers
        receive(node, pushed(X, 50, *rows, sender=peer))
    assert exchange_until_equal(first, second, 60) > 1
    assert first.state.row_count == 2100


def test_versions_that_skip_some_count_as_a_gap() -> None:
    first, _ = two()
    step(first, pushed(X, 7, ("a", Row(1, 0, 9))))
    assert (first.stats.gaps, first.state.version(X), first.state.value("a")) == (1, 0, 1)


def test_a_full_node_still_learns_of_the_counters_it_holds() -> None:
    _, second = two(push=False, max_rows=10)
    wide, _ = two(push=False)
    add(wide, 1, "held")
    exchange(second, wide)
    fill(wide, 2000)
    add(wide, 41, "held")
    for _ in range(20):
        exchange(wide, second)
        ticked(second)
    assert second.state.value("held") == 42
    assert second.state.row_count == 10


def test_what_a_full_node_has_seen_does_not_keep_it_from_being_repaired() -> None:
    first, _ = two(max_rows=2)
    step(first, pushed(X, 0, ("a", Row(1, 0, 1)), ("b", Row(1, 0, 2))))
    step(first, pushed(X, 2, ("c", Row(1, 0, 500))))
    assert first.stats.rows_dropped == 1
    (answer,) = messages(step(first, Syn("n2", 1, {X: DigestEntry(2, 7, 0)})))
    assert isinstance(answer, SynAck)
    assert answer.wants == {X: 0}  # above 500 nobody would have anything, and the hashes would differ for ever


# Answers that do not arrive.


def test_an_exchange_without_an_answer_is_begun_again_a_few_times() -> None:
    first, _ = two(push=False)
    assert len(sends(tick(first))) == 1
    again = [now for now in range(1, 1000) if sends(drain(first, now * MS))]
    assert again == [20, 40]
    assert len(again) == RETRIES


def test_an_exchange_that_was_answered_is_not_begun_again() -> None:
    first, second = two(push=False)
    add(second, 1)
    exchange(first, second)
    for now in range(0, 10**9, 10_000_000):
        assert sends(drain(first, now)) == sends(drain(second, now)) == []


def test_a_peer_that_answers_late_is_given_time() -> None:
    first, second = two(push=False)
    late_ns = 50 * MS
    for now in range(0, 10**9, 10**8):
        (syn,) = messages(tick(first, now))
        (syn_ack,) = messages(step(second, syn, now_ns=now))
        step(first, syn_ack, now_ns=now + late_ns)
    tick(first, 10**9)
    assert sends(drain(first, 10**9 + late_ns)) == []
    assert len(sends(drain(first, 10**9 + 2 * late_ns))) == 1


# Full-state gossip.


def test_full_state_gossip_sends_everything_and_nothing_else() -> None:
    node, other = two(gossip="full")
    assert not sends(add(node, 5))
    node.begin(0)
    assert drain(node) == []
    (send,) = sends(tick(node))
    assert send.message == Replicate("n1", node.state.fingerprint, (Delta(N1, None, (("", Row(5, 0, 1)),)),))
    for _ in range(3):
        assert step(other, send.message) == []
    assert other.state.value("") == 5
    assert other.status(0).peers_synced == 1
    assert settle(other) == []


def test_a_replicate_without_a_fingerprint_stands_for_just_its_rows() -> None:
    node, _ = two(gossip="full")
    deltas = (Delta(N2, None, (("", Row(5, 0, 1)), ("x", Row(1, 0, 2)))),)
    step(node, Replicate("n2", None, deltas))
    assert node.status(0).peers_synced == 1
    add(node, 1)
    step(node, Replicate("n2", None, deltas))
    assert node.status(0).peers_synced == 0


@pytest.mark.parametrize("other", ["delta", "full"])
def test_nodes_of_either_gossip_come_to_one_state(other: str) -> None:
    nodes = members(3, gossip="full") | {"n3": members(3, gossip=other)["n3"]}
    for i, node in enumerate(nodes.values()):
        add(node, i + 1)
    for now in range(10):
        for node in nodes.values():
            for send in sends(ticked(node, now * 100 * MS)):
                for peer in send.to:
                    deliver(nodes, send.message, peer)
    assert {node.state.fingerprint for node in nodes.values()} == {nodes["n1"].state.fingerprint}
    assert nodes["n1"].state.value("") == 6
