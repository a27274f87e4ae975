"""Gossip by its exact messages: the exchange, the push, and what hostile messages come to."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip import DIGEST_ACTORS, PASS_ON_DELTAS, PUSH_FANOUT, RETRIES, SMALL_CLUSTER, Send
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Ack, Add, Carrier, Delta, Gossip, Push, Syn, SynAck
from gossip_counter.node.core.replica import Effect, Recovered, Replica, Wake
from gossip_counter.node.core.state import Actor, Held, NamedRow
from tests.test_replica import add

X = Actor("x")
WINDOW_NS = 1_000_000


def members(count: int, **settings: Any) -> dict[str, Replica]:
    """Replicas n1, n2, …, each with the others as peers, whose actors are named as they are."""
    names = [f"n{i}" for i in range(1, count + 1)]
    return {
        name: Replica(
            Config(name=name, peers=tuple(each for each in names if each != name), **settings),
            Random(seed),
            0,
            Recovered(Actor(f"{name}.actor")),
        )
        for seed, name in enumerate(names)
    }


def two(**settings: Any) -> tuple[Replica, Replica]:
    first, second = members(2, **settings).values()
    return first, second


def sends(effects: Iterable[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def messages(effects: Iterable[Effect]) -> list[Gossip]:
    return [send.message for send in sends(effects)]


def exchange(first: Replica, second: Replica) -> list[Gossip]:
    """One round begun by the first; every message, over the wire and within the bounds of an answer."""
    said: list[Gossip] = []
    under_way = [(second, first, message) for message in messages(first.tick(0))]
    while under_way:
        to, source, message = under_way.pop(0)
        said.append(message)
        config = source.config
        for datagram in wire.pack_gossip(message, config.cluster, config.datagram_bytes, config.exchange_datagrams):
            part = wire.unpack(datagram, config.cluster)
            assert isinstance(part, Gossip)
            under_way += [(source, to, answer) for answer in messages(to.handle(part, source.config.name, 0))]
    return said


def fill(node: Replica, counters: int) -> None:
    for i in range(counters):
        node.handle(Add(i, 1, f"c{i:05}"), "c", 0)
    while node.flush():
        node.committed(0)


def rows_in(message: Gossip) -> list[NamedRow]:
    return [named for delta in message.deltas for named in delta.rows] if isinstance(message, Carrier) else []


# Anti-entropy.


def test_an_exchange_brings_each_what_the_other_has() -> None:
    first, second = two(push=False)
    add(first, 5, "a")
    add(second, 7, "b")
    syn, syn_ack, ack = exchange(first, second)
    assert isinstance(syn, Syn)
    assert set(syn.digest) == {Actor("n1.actor")}
    assert isinstance(syn_ack, SynAck)
    assert syn_ack.deltas == (Delta(Actor("n2.actor"), 0, (("b", Row(7, 0, 1)),)),)
    assert syn_ack.wants == {Actor("n1.actor"): 0}
    assert isinstance(ack, Ack)
    assert ack.deltas == (Delta(Actor("n1.actor"), 0, (("a", Row(5, 0, 1)),)),)
    assert first.state.digest() == second.state.digest()


def test_when_states_are_equal_an_exchange_is_two_small_datagrams_and_no_rows() -> None:
    nodes = list(members(5, push=False, cluster="f00dcafe").values())
    for node in nodes:
        fill(node, 2000)
    first, second = nodes[:2]
    for other in nodes[1:]:
        while first.state.digest() != other.state.digest():
            exchange(first, other)
    while first.state.digest() != second.state.digest():
        exchange(first, second)
    syn, syn_ack = exchange(first, second)
    assert isinstance(syn_ack, SynAck)
    assert (syn_ack.deltas, syn_ack.wants) == ((), {})
    actors = [Actor(f"n{i}.{'e' * 11}") for i in range(1, 6)]  # as long as those that are minted
    digest = dict(zip(actors, first.state.digest().values(), strict=True))
    assert isinstance(syn, Syn)
    for message in (replace(syn, digest=digest), syn_ack):
        (datagram,) = wire.pack_gossip(message, "f00dcafe", 1200, 16)
        assert len(datagram) < 200


def test_one_change_costs_the_same_however_many_counters_there_are() -> None:
    sizes = set()
    for counters in (10, 3000):
        first, second = two(push=False)
        fill(first, counters)
        while first.state.digest() != second.state.digest():
            exchange(first, second)
        add(first, 1, "c00005")
        (ack,) = [each for each in exchange(first, second) if isinstance(each, Ack)]
        assert len(rows_in(ack)) == 1
        sizes.add(len(wire.pack_gossip(replace(ack, fingerprint=0), "c", 1200, 16)[0]))
    assert max(sizes) - min(sizes) <= 4  # versions and counts have more digits


def test_a_peer_far_behind_is_fed_steadily_within_the_bounds() -> None:
    first, second = two(push=False, exchange_datagrams=4)
    fill(first, 5000)
    rounds = 0
    while first.state.digest() != second.state.digest():
        before = second.state.version(Actor("n1.actor"))
        first.tick(0)
        exchange(second, first)
        rounds += 1
        assert second.state.version(Actor("n1.actor")) > before
        assert second.state.row_count == second.state.version(Actor("n1.actor"))
    assert 10 < rounds < 40


def test_what_a_peer_gets_between_two_ticks_is_bounded_however_often_it_asks() -> None:
    first, second = two(push=False)
    fill(first, 9000)
    sent = 0
    for _ in range(20):
        (syn,) = messages(second.tick(0))
        for message in messages(first.handle(syn, "n2", 0)):
            sent += len(wire.pack_gossip(message, "c", 1200, 16)[0]) + len(rows_in(message)) * 10
    assert sent < 20 * 100 + 2 * 16 * 1200


def test_a_large_digest_is_told_and_compared_range_by_range() -> None:
    first, second = two(push=False)
    for node, actors in ((first, range(0, 300)), (second, range(150, 450))):
        deltas = tuple(Delta(Actor(f"x{i:04}"), 0, (("c", Row(1, 0, 1)),)) for i in actors)
        node.handle(Push("n9", 1, deltas), "n9", 0)
    rounds = 0
    while first.state.digest() != second.state.digest():
        (syn, *_) = exchange(first, second)
        exchange(second, first)
        assert isinstance(syn, Syn)
        assert len(syn.digest) <= DIGEST_ACTORS
        rounds += 1
        assert rounds < 100
    assert first.state.actors == 450


def test_more_rows_ahead_than_an_answer_holds_all_spread() -> None:
    """A gap that nobody can close any more, with more beyond it on either side than fits one answer."""
    first, second = two(push=False)
    for node, rows in ((first, range(0, 2000)), (second, range(1000, 2100))):
        deltas = tuple((f"counter:{i:05}", Row(1, 0, 100 + i)) for i in rows)
        node.handle(Push("n9", 1, (Delta(X, 50, deltas),)), "n9", 0)
    rounds = 0
    while first.state.fingerprint != second.state.fingerprint:
        exchange(first, second)
        exchange(second, first)
        rounds += 1
        assert rounds < 60
    assert first.state.row_count == 2100


def test_equal_versions_with_unequal_hashes_are_mended_even_when_one_answer_is_too_small() -> None:
    """A hole at equal versions: more rows than an answer has room for, and only some of them are lacking."""
    first, second = two(push=False, exchange_datagrams=1)
    rows = tuple((f"c{i:05}", Row(1, 0, i + 1)) for i in range(2000))
    holed = tuple(named for named in rows if named[1].version not in (3, 1200, 1900))
    first.handle(Push("n9", 1, (Delta(X, 0, rows),)), "n9", 0)
    second.handle(Push("n9", 1, (Delta(X, 0, holed),)), "n9", 0)
    assert first.state.version(X) == second.state.version(X) == 2000
    for _ in range(60):
        exchange(first, second)
        exchange(second, first)
    assert second.state.digest() == first.state.digest()


def test_rows_ahead_spread_even_if_nobody_can_close_the_gap() -> None:
    first, second = two(push=False)
    first.handle(Push("n9", 1, (Delta(X, 4, (("c", Row(5, 0, 5)),)),)), "n9", 0)
    assert first.state.version(X) == 0
    exchange(first, second)
    assert second.state.value("c") == 5
    assert second.state.digest() == first.state.digest()
    assert [rows_in(message) for message in exchange(first, second)] == [[], []]


def test_anti_entropy_alone_brings_everyone_together() -> None:
    nodes = members(5, push=False)
    for i, node in enumerate(nodes.values()):
        add(node, i + 1)
    for _ in range(20):
        for name, node in nodes.items():
            for effect in sends(node.tick(0)):
                for peer in effect.to:
                    deliver(nodes, effect.message, name, peer)
    assert {node.state.value("") for node in nodes.values()} == {15}


def deliver(nodes: dict[str, Replica], message: Gossip, source: str, to: str) -> None:
    for effect in nodes[to].handle(message, source, 0):
        if isinstance(effect, Send):
            for peer in effect.to:
                deliver(nodes, effect.message, to, peer)


# Push.


def test_a_write_is_pushed_to_all_peers_of_a_small_cluster() -> None:
    nodes = members(SMALL_CLUSTER)
    first = nodes["n1"]
    assert Wake(1_000_000) in add(first, 5)
    (send,) = first.wake(1_000_000)
    assert isinstance(send, Send)
    assert set(send.to) == set(nodes) - {"n1"}
    assert rows_in(send.message) == [("", Row(5, 0, 1))]
    for peer in send.to:
        assert nodes[peer].handle(send.message, "n1", 0) == []  # nobody need pass it on
        assert nodes[peer].state.value("") == 5
    assert first.wake(2_000_000) == []


def test_writes_within_the_window_share_a_push_and_one_row() -> None:
    first, _ = two()
    assert len([each for each in add(first, 5) if isinstance(each, Wake)]) == 1
    assert not [each for each in add(first, 5) if isinstance(each, Wake)]
    (push,) = messages(first.wake(WINDOW_NS))
    assert rows_in(push) == [("", Row(10, 0, 2))]


def test_in_a_large_cluster_news_goes_to_a_few_who_pass_it_on_but_never_back() -> None:
    nodes = members(30)
    add(nodes["n1"], 5)
    (send,) = nodes["n1"].wake(WINDOW_NS)
    assert isinstance(send, Send)
    assert len(send.to) == PUSH_FANOUT
    second = nodes[send.to[0]]
    for _ in range(20):
        fresh = members(30)[second.config.name]
        (wake,) = fresh.handle(send.message, "n1", 0)
        assert isinstance(wake, Wake)
        (passed,) = fresh.wake(wake.at_ns)
        assert isinstance(passed, Send)
        assert "n1" not in passed.to
        assert rows_in(passed.message) == rows_in(send.message)
    assert second.handle(send.message, "n1", 0)
    second.wake(WINDOW_NS)
    assert second.handle(send.message, "n3", 0) == []  # no news the second time


def test_only_news_is_passed_on() -> None:
    node = members(30)["n1"]
    old, new = ("a", Row(1, 0, 1)), ("b", Row(1, 0, 2))
    node.handle(Push("n2", 1, (Delta(X, 0, (old,)),)), "n2", 0)
    node.wake(WINDOW_NS)
    node.handle(Push("n3", 1, (Delta(X, 0, (old, new)),)), "n3", 0)
    (push,) = messages(node.wake(WINDOW_NS))
    assert rows_in(push) == [new]
    assert isinstance(push, Push)
    assert push.deltas[0].since is None  # part of a delta claims nothing


def test_push_alone_brings_everyone_together_where_nothing_is_lost() -> None:
    nodes = members(5, gossip_fanout=0)
    for node in nodes.values():
        assert node.tick(0) == []
        add(node, 1)
        for effect in node.wake(WINDOW_NS):
            assert isinstance(effect, Send)
            for peer in effect.to:
                deliver(nodes, effect.message, node.config.name, peer)
    assert {node.state.fingerprint for node in nodes.values()} == {nodes["n1"].state.fingerprint}
    assert nodes["n3"].state.value("") == 5


def test_many_writes_are_pushed_in_several_windows() -> None:
    first, second = two()
    fill(first, 2000)
    pushes = 0
    wakes = [Wake(WINDOW_NS)]
    while wakes:
        effects = first.wake(wakes[0].at_ns)
        pushes += len(messages(effects))
        for message in messages(effects):
            second.handle(message, "n1", 0)
        wakes = [effect for effect in effects if isinstance(effect, Wake)]
    assert 1 < pushes < 10
    assert second.state.digest() == first.state.digest()


def test_a_lost_push_leaves_a_gap_that_the_next_exchange_fills() -> None:
    first, second = two()
    add(first, 1, "a")
    first.wake(WINDOW_NS)  # lost
    add(first, 1, "b")
    (push,) = messages(first.wake(WINDOW_NS))
    second.handle(push, "n1", 0)
    assert (second.state.value("a"), second.state.value("b")) == (0, 1)
    assert second.state.version(Actor("n1.actor")) == 0
    exchange(second, first)
    assert second.state.digest() == first.state.digest()


# Answers that do not come.


def test_an_exchange_without_an_answer_is_begun_again_a_few_times() -> None:
    first, _ = two(push=False)
    asked = sends(first.tick(0))
    now, again = 0, 0
    for _ in range(10):
        now += 20_000_000
        again += len(sends(first.wake(now)))
    assert (len(asked), again) == (1, RETRIES)


def test_an_exchange_that_was_answered_is_not_begun_again() -> None:
    first, second = two(push=False)
    add(second, 1)
    exchange(first, second)
    for now in range(0, 10**9, 10_000_000):
        assert sends(first.wake(now)) == sends(second.wake(now)) == []


def test_a_peer_that_answers_late_is_given_time() -> None:
    first, second = two(push=False)
    late_ns = 50_000_000
    for now in range(0, 10**9, 10**8):
        (syn,) = messages(first.tick(now))
        (syn_ack,) = messages(second.handle(syn, "n1", now))
        first.handle(syn_ack, "n2", now + late_ns)
    first.tick(10**9)
    assert sends(first.wake(10**9 + late_ns)) == []
    assert len(sends(first.wake(10**9 + 2 * late_ns))) == 1


def test_what_one_answer_brings_goes_on_to_the_other_peer_of_the_round() -> None:
    nodes = members(3, push=False)
    add(nodes["n2"], 5)
    (syn,) = messages(nodes["n1"].tick(0))
    from_second, from_third = (messages(nodes[each].handle(syn, "n1", 0))[0] for each in ("n2", "n3"))
    nodes["n1"].handle(from_second, "n2", 0)
    (ack,) = messages(nodes["n1"].handle(from_third, "n3", 0))
    nodes["n3"].handle(ack, "n1", 0)
    assert nodes["n3"].state.digest() == nodes["n2"].state.digest()


def test_timers_do_not_multiply() -> None:
    """A Wake takes the place of the one before, so there is never more than one to come."""
    node = members(5)["n1"]
    asked: int | None = None
    wakes = 0
    for now in range(0, 2 * 10**9, 500_000):
        effects: list[Effect] = []
        if asked is not None and now >= asked:
            asked = None
            wakes += 1
            effects += node.wake(now)
        if now % 2_000_000 == 0:
            effects += add(node, 1, now_ns=now)
        if now % 100_000_000 == 0:
            effects += node.tick(now)
        for effect in effects:
            if isinstance(effect, Wake):
                assert asked is None or effect.at_ns < asked
                asked = effect.at_ns
    assert wakes < 1300  # a thousand pushes, and retries


def test_a_full_node_still_learns_of_the_counters_it_holds() -> None:
    _, second = two(push=False, max_rows=10)
    wide, _ = two(push=False)
    add(wide, 1, "held")
    exchange(second, wide)
    fill(wide, 3000)
    add(wide, 41, "held")
    for _ in range(20):
        exchange(wide, second)
        second.tick(0)
    assert second.state.value("held") == 42
    assert second.state.row_count == 10


# What hostile or confused messages come to.


def test_rows_out_of_order_never_get_past_the_wire() -> None:
    (datagram,) = wire.pack_gossip(
        Push("n2", 1, (Delta(X, 0, (("b", Row(1, 0, 1)), ("a", Row(1, 0, 2)))),)), "c", 1200, 1
    )
    shuffled = datagram.replace(b"\xa1b\x01\x00\x01\xa1a\x01\x00\x02", b"\xa1a\x01\x00\x02\xa1b\x01\x00\x01")
    assert shuffled != datagram
    with pytest.raises(BadDatagramError, match="ascending"):
        wire.unpack(shuffled, "c")


def test_negative_counts_never_get_past_the_wire() -> None:
    (datagram,) = wire.pack_gossip(Push("n2", 1, (Delta(X, 0, (("a", Row(-1, 0, 1)),)),)), "c", 1200, 1)
    with pytest.raises(BadDatagramError, match="p must be an integer from 0"):
        wire.unpack(datagram, "c")


def test_since_above_its_rows_never_gets_past_the_wire() -> None:
    (datagram,) = wire.pack_gossip(Push("n2", 1, (Delta(X, 9, (("a", Row(1, 0, 9)),)),)), "c", 1200, 1)
    with pytest.raises(BadDatagramError, match="above since"):
        wire.unpack(datagram, "c")


def test_shrinking_counts_take_nothing_back() -> None:
    first, _ = two()
    first.handle(Push("n2", 1, (Delta(X, 0, (("a", Row(9, 3, 1)),)),)), "n2", 0)
    first.handle(Push("n2", 1, (Delta(X, 1, (("a", Row(2, 1, 2)),)),)), "n2", 0)
    assert first.state.value("a") == 6
    assert first.stats.shrinking_rows == 1


def test_versions_that_jump_do_not_keep_later_rows_out() -> None:
    first, second = two(push=False)
    first.handle(Push("n2", 1, (Delta(X, 0, (("a", Row(1, 0, MAX_COUNT)),)),)), "n2", 0)
    second.handle(Push("n1", 1, (Delta(X, 0, (("a", Row(1, 0, 1)), ("b", Row(4, 0, 2)))),)), "n1", 0)
    for _ in range(4):
        exchange(first, second)
        exchange(second, first)
    assert first.state.value("b") == second.state.value("b") == 4
    assert first.state.fingerprint == second.state.fingerprint


def test_versions_that_skip_some_count_as_a_gap() -> None:
    first, _ = two()
    first.handle(Push("n2", 1, (Delta(X, 7, (("a", Row(1, 0, 9)),)),)), "n2", 0)
    assert (first.stats.gaps, first.state.version(X), first.state.value("a")) == (1, 0, 1)


def test_a_digest_that_claims_our_own_future_is_counted() -> None:
    first, _ = two()
    first.handle(Syn("n2", 1, {Actor("n1.actor"): Held(MAX_COUNT, 1, 0)}), "n2", 0)
    assert (first.stats.future_digests, first.stats.new_epochs) == (1, 1)


def test_a_digest_that_claims_the_future_is_asked_for_it_and_believed_nothing() -> None:
    first, _ = two()
    (answer,) = messages(first.handle(Syn("n2", 1, {X: Held(MAX_COUNT, 1, 0)}), "n2", 0))
    assert isinstance(answer, SynAck)
    assert answer.wants == {X: 0}
    assert first.state.version(X) == 0
    assert X not in first.state


def test_digests_of_actors_nobody_knows_leave_nothing_behind() -> None:
    first, _ = two()
    for i in range(1000):
        first.handle(Syn("n2", 1, {Actor(f"x{i}"): Held(0, 5, 0), Actor(f"y{i}"): Held(7, 5, 3)}), "n2", 0)
    assert first._gossip._mending == {}
    assert first.state.actors == 0


def test_a_push_of_thousands_of_deltas_is_passed_on_in_part() -> None:
    node = members(30)["n1"]
    flood = tuple(Delta(Actor(f"x{i}"), 0, (("a", Row(1, 0, 1)),)) for i in range(3000))
    node.handle(Push("n2", 1, flood), "n2", 0)
    (push,) = messages(node.wake(WINDOW_NS))
    assert len(rows_in(push)) == PASS_ON_DELTAS


def test_what_a_full_node_has_seen_does_not_keep_it_from_mending() -> None:
    first, _ = two(max_rows=2)
    first.handle(Push("n2", 1, (Delta(X, 0, (("a", Row(1, 0, 1)), ("b", Row(1, 0, 2)))),)), "n2", 0)
    first.handle(Push("n2", 1, (Delta(X, 2, (("c", Row(1, 0, 500)),)),)), "n2", 0)
    assert first.stats.rows_dropped == 1
    (answer,) = messages(first.handle(Syn("n2", 1, {X: Held(2, 7, 0)}), "n2", 0))
    assert isinstance(answer, SynAck)
    assert answer.wants == {X: 0}  # above 500 nobody would have anything, and the hashes would differ for ever


def test_wants_of_what_we_never_had_are_answered_with_silence() -> None:
    first, _ = two()
    wants = {Actor(f"x{i}"): 0 for i in range(1000)} | {Actor("n1.actor"): MAX_COUNT}
    assert first.handle(SynAck("n2", 1, (), wants), "n2", 0) == []


def test_a_counter_named_twice_in_a_delta_counts_once() -> None:
    first, _ = two()
    first.handle(Push("n2", 1, (Delta(X, 0, (("a", Row(1, 0, 1)), ("a", Row(3, 0, 2)))),)), "n2", 0)
    assert (first.state.value("a"), first.state.row_count) == (3, 1)
