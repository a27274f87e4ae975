"""Claim: an idle tick is one small datagram each way however many actors there are, and what differs is found."""

from collections import deque
from random import Random
from typing import Any

import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.gossip import ranges
from gossip_counter.node.core.gossip.deltas import DIGEST_DATAGRAMS
from gossip_counter.node.core.gossip.messages import Ack, Delta, Gossip, Push, Rival, Syn, SynAck
from gossip_counter.node.core.gossip.ranges import ALL, DigestRanges
from gossip_counter.node.core.holdings import DigestEntry, Part
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.limits import MAX_PARTS
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.state import State
from tests.support.replica import (
    CLUSTER_ID,
    MS,
    X,
    add,
    exchange,
    members,
    messages,
    packed,
    rows_in,
    sends,
    settle,
    step,
    tick,
    ticked,
    two,
)

N1, N2 = Actor("n1.actor"), Actor("n2.actor")


def former(number: int) -> Actor:
    """As long as those that are minted."""
    return Actor(f"n{number % 5 + 1}.{number:011}")


def store(node: Replica, actors: dict[Actor, int]) -> None:
    """Have a node store a row of each actor at this version."""
    for actor, version in actors.items():
        node.state.merge(actor, 0, (("c", Row(version, 0, version)),))


def level(count: int, **settings: Any) -> tuple[Replica, Replica]:
    """Two nodes that store the same of so many former actors, and know it."""
    first, second = two(push=False, max_actors=10_000, **settings)
    for node in (first, second):
        store(node, {former(number): 1 for number in range(count)})
    add(first, 1)
    add(second, 1)
    for _ in range(2):
        exchange(first, second)
        exchange(second, first)
    assert first.state.digest() == second.state.digest()
    return first, second


def sizes(sent: list[Gossip]) -> list[int]:
    return [len(datagram) for message in sent for datagram in packed(message, "f00dcafe")]


# What an idle tick, and one difference, cost.


@pytest.fixture(scope="module")
def thousands() -> tuple[Replica, Replica]:
    """Of 4000 former actors. A test that changes them makes them level again."""
    return level(4000)


def test_an_idle_tick_is_one_small_datagram_each_way_however_many_actors_there_are(
    thousands: tuple[Replica, Replica],
) -> None:
    first, second = thousands
    for node, other in ((first, second), (second, first), level(3)):
        sent = exchange(node, other)
        assert [type(each) for each in sent] == [Syn, SynAck]
        assert all(size < 80 for size in sizes(sent))
        assert len(sizes(sent)) == 2


def test_what_differs_of_one_actor_in_thousands_is_exchanged_at_once_in_small_messages(
    thousands: tuple[Replica, Replica],
) -> None:
    first, second = thousands
    for node, other, number in ((first, second, 1234), (second, first, 77)):
        store(node, {former(number): 2})
        sent = exchange(other, node)
        assert first.state.digest() == second.state.digest()
        assert len(sent) <= 6
        assert [size <= 1200 for size in sizes(sent)] == [True] * len(sent)
        assert sum(sizes(sent)) < 3000


def test_with_few_actors_a_difference_is_answered_by_all_entries() -> None:
    first, second = level(3)
    add(second, 5)
    root, entries, answer, rows = exchange(first, second)
    assert isinstance(root, Syn)
    assert isinstance(entries, Syn)
    assert (root.digest, entries.digest) == ({}, second.state.digest())
    assert isinstance(answer, SynAck)
    assert isinstance(rows, Ack)
    assert first.state.digest() == second.state.digest()


def test_two_digests_whose_rows_add_up_to_one_hash_are_different() -> None:
    unlike = [((1, 5, 7), (1, 7, 5)), ((1, 7, 5), (1, 5, 7)), ((1, 5, 5), (1, 7, 7)), ((2, 5, 7), (1, 7, 5))]
    found = set()
    for one, other in unlike:
        state = State()
        digest = {Actor("a"): DigestEntry(*one), Actor("b"): DigestEntry(*other)}
        state.digest = lambda digest=digest: digest  # type: ignore[method-assign,misc]
        found.add(DigestRanges(state).root)
    assert len(found) == len(unlike)


# The search itself.


def holding(actors: dict[int, int]) -> DigestRanges:
    state = State()
    for number, version in actors.items():
        state.merge(former(number), 0, (("c", Row(1, 0, version)),))
    return DigestRanges(state)


@pytest.mark.parametrize("seed", range(30))
def test_a_search_ends_and_finds_what_differs_and_little_else(seed: int) -> None:
    """Without limits on what is sent: everything that differs is named by entries."""
    rng = Random(seed)
    base = dict.fromkeys(rng.sample(range(200), rng.choice([0, 1, 30, 150])), 1)
    changes = dict.fromkeys(rng.sample(range(200), rng.choice([0, 1, 3, 150])), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "MAX_PARTS", rng.randrange(2, MAX_PARTS))
        one, other = holding(base), holding(base | changes)
        unlike = {each for each in {*one.entries(ALL), *other.entries(ALL)} if entry(one, each) != entry(other, each)}
        named, steps = set[Actor](), 0
        asked = deque([(one, other, ALL, one.root)])
        while asked:
            _, to, about, parts = asked.popleft()
            sender = one if to is other else other
            steps += 1
            for each in to.differing(about.above, parts):
                _, finer = to.describe(each)
                if finer:
                    assert each != about or len(finer) > len(parts)
                    asked.append((to, sender, each, finer))
                else:
                    named |= {actor for actor in unlike if actor in each}
        assert named == unlike
        assert steps <= 1 + len(unlike) * 12


def entry(held: DigestRanges, actor: Actor) -> DigestEntry | None:
    return held.entries(ALL).get(actor)


# Everything that may happen to messages.


class Network:
    """Replicas whose messages are lost, doubled, late and out of order, until it is calm."""

    def __init__(self, seed: int, **settings: Any) -> None:
        self.rng = Random(seed)
        self.nodes = members(3, max_actors=10_000, **settings)
        self.now_ns = 0
        self.under_way: list[tuple[int, str, bytes]] = []
        self.largest = 0

    def carry_out(self, node: Replica, loss: float) -> None:
        for send in sends(settle(node, self.now_ns)):
            parts = datagrams.pack_gossip(send.message, "c", 1200, 16)
            for to in map(str, send.to):
                for datagram in parts:
                    self.largest = max(self.largest, len(datagram))
                    copies = 0 if self.rng.random() < loss else 1 + (self.rng.random() < loss)
                    for _ in range(copies):
                        late_ns = self.rng.randrange(1, 2000 if self.rng.random() < loss / 3 else 30) * MS
                        self.under_way.append((self.now_ns + late_ns, to, datagram))

    def pass_time(self, ms: int, loss: float) -> None:
        """One node ticks every 100 ms; a step is 5 ms."""
        for _ in range(ms // 5):
            self.now_ns += 5 * MS
            arrived = [each for each in self.under_way if each[0] <= self.now_ns]
            self.under_way = [each for each in self.under_way if each[0] > self.now_ns]
            self.rng.shuffle(arrived)
            for _, to, datagram in arrived:
                message = datagrams.unpack(datagram, "c")
                assert isinstance(message, Gossip)
                self.nodes[to].step(message, message.sender, self.now_ns)
                self.carry_out(self.nodes[to], loss)
            for number, node in enumerate(self.nodes.values()):
                if (self.now_ns // MS + 35 * number) % 100 == 0:
                    node.tick(self.now_ns)
                node.wake(self.now_ns)
                self.carry_out(node, loss)

    def restart(self, name: str) -> None:
        """Another process goes on as the same node, with all that was durable."""
        old = self.nodes[name]
        node = Replica(old.config, Random(self.rng.random()), self.now_ns, Recovered(None, cluster_id=CLUSTER_ID))
        for actor, counter, row in old.state:
            node.state.merge(actor, None, ((counter, row),))
        self.nodes[name] = node
        node.begin(self.now_ns)

    @property
    def is_level(self) -> bool:
        first, *others = (node.state.digest() for node in self.nodes.values())
        return all(each == first for each in others)


@pytest.mark.parametrize("seed", range(6))
def test_all_nodes_come_to_one_digest_whatever_happens_to_messages(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "MAX_PARTS", 2 + seed % 3)
    network = Network(seed, push=seed % 2 == 0)
    rng = network.rng
    for node in network.nodes.values():
        store(node, {former(each): rng.randrange(1, 3) for each in rng.sample(range(40), rng.choice([1, 20, 38]))})
    for _ in range(4):
        name, node = rng.choice(list(network.nodes.items()))
        node.submit("c", 1, [(f"c{rng.randrange(5)}", 1)])
        if rng.random() < 0.3:
            network.restart(name)
        network.pass_time(rng.choice([20, 250]), loss=0.4)
    network.pass_time(2000, loss=0)  # what is late arrives
    assert network.is_level
    assert len({node.value("c0") for node in network.nodes.values()}) == 1
    assert network.largest <= 1200


def test_a_lost_detail_is_asked_for_again() -> None:
    first, second = level(300)
    store(second, {former(7): 2})
    (root,) = messages(tick(first, 0))
    (detail,) = messages(step(second, root, now_ns=0))
    assert isinstance(detail, Syn)
    assert len(detail.parts) == MAX_PARTS  # and is lost
    again = [each for node in (first, second) for each in messages(settle(node, 25 * MS))]
    assert [type(each) for each in again] == [Syn, Syn]
    assert any(not each.parts or each.parts[0].upto for each in again if isinstance(each, Syn))


def test_rows_that_come_while_a_part_is_asked_about_are_not_sent_with_a_gap() -> None:
    """An answer about a part proves nothing of other actors: the peer may hold less of them than we did."""
    first, second = level(40)
    store(second, {former(7): 2, X: 3})
    (root,) = messages(tick(first))
    assert isinstance(root, Syn)
    detail = messages(step(second, root))
    assert all(isinstance(each, Syn) and each.parts for each in detail)
    store(second, {X: 4})
    (finer, *_) = (each for each in detail if isinstance(each, Syn))
    assert messages(step(second, SynAck("n1", 1, (), {}, finer.boot))) == []


# What others than gossip learn from digests.


def test_hashes_that_are_equal_show_that_a_peer_stores_our_rows() -> None:
    first, second = level(40)
    fresh = Replica(
        Config(name="n2", peers=("n1",), max_actors=10_000), Random(5), 0, Recovered(N2, cluster_id=CLUSTER_ID)
    )
    for actor, counter, row in second.state:
        fresh.state.merge(actor, 0, ((counter, row),))
    exchanges = fresh._gossip.anti_entropy
    (root,) = messages(tick(first))
    assert isinstance(root, Syn)
    assert not exchanges.agreeing
    assert not fresh._gossip._places.are_known_at("n1")
    step(fresh, root)
    assert exchanges.agreeing == {"n1"}
    assert fresh._gossip._places.are_known_at("n1")
    unlike = Syn("n1", 1, {}, parts=(Part(None, 1),))
    exchanges.agreeing.clear()
    step(fresh, unlike)
    assert not exchanges.agreeing, "nothing is known of a part that differs"


def test_a_node_whose_actor_finds_no_place_learns_so_however_many_actors_there_are() -> None:
    names = ("n1", "n2")
    full, other = (
        Replica(Config(name=name, peers=(peer,), max_actors=most, push=False), Random(1), 0, recovered(name))
        for name, peer, most in zip(names, reversed(names), (100, 10_000), strict=True)
    )
    store(full, {Actor(f"n2.{number}"): 1 for number in range(100)})
    store(other, {Actor(f"n2.{number}"): 1 for number in range(100)})
    other.step(Push("n1", 1, (Delta(Actor("x"), 0, (("c", Row(1, 0, 1)),)),)), "c", 0)
    add(other, 1)
    for _ in range(3):
        exchange(other, full)
    assert other._gossip._places.have_none


def recovered(name: str) -> Recovered:
    return Recovered(Actor(f"{name}.actor"), cluster_id=CLUSTER_ID)


def test_rows_of_a_second_process_count_however_many_actors_there_are() -> None:
    node, _ = two(push=False)
    clone = Replica(Config(name="n2", peers=("n1",)), Random(2), 0, Recovered(None, cluster_id=CLUSTER_ID))
    for each in (node, clone):
        store(each, {former(number): 1 for number in range(40)})
    add(clone, 5, "x")
    step(node, Syn("n2", 1, {}, boot=1), ("10.0.0.1", 7101))
    for syn in messages(tick(clone)):
        for answer in messages(step(node, syn, ("10.0.0.9", 7101))):
            if isinstance(answer, Rival):
                for ack in messages(step(clone, answer, "n1")):
                    step(node, ack, ("10.0.0.9", 7101))
    assert node.state.value("x") == 5


def test_more_of_our_own_actor_than_we_wrote_is_found_among_hundreds() -> None:
    first, second = level(300)
    second.step(Push("n1", 1, (Delta(N1, 1, (("lost", Row(9, 0, 2)),)),)), "c", 0)
    settle(second)
    assert first.stats.new_epochs == 0
    exchange(second, first)
    assert first.stats.new_epochs == 1
    assert first.state.value("lost") == 9


def test_a_peer_is_no_longer_behind_once_its_hash_is_ours() -> None:
    first, second = level(40)
    first.membership.versions_behind["n2"] = 7
    exchange(second, first)
    assert first.membership.versions_behind["n2"] == 0


def test_an_answer_to_our_hashes_counts_as_one_only_in_this_life() -> None:
    first, second = level(40)
    for answered, is_asked in ((0, True), (1, True), (None, False)):
        (syn,) = messages(ticked(first))
        assert isinstance(syn, Syn)
        answer = Syn("n2", 1, second.state.digest(), answered=syn.boot if answered is None else answered)
        step(first, answer)
        assert first._gossip.anti_entropy.is_asking("n2") == is_asked


# Bounds.


def test_detail_that_one_peer_gets_between_two_ticks_is_bounded_whatever_it_asks() -> None:
    first, _ = two(push=False, max_actors=10_000)
    store(first, {Actor(f"{number:05}" * 55): 1 for number in range(640)})
    bounds = [Actor(f"{number:05}" * 55) for number in range(40, 640, 40)]
    forged = Syn("n2", 1, {}, parts=(*(Part(bound, 1) for bound in bounds), Part(None, 1)), boot=1)
    described = set[str]()
    for _ in range(300):
        ticked(first)
        sent = [each for _ in range(10) for each in messages(step(first, forged))]
        if described == {"", *bounds}:
            break
        assert 0 < sum(sizes(sent)) <= DIGEST_DATAGRAMS * 1200 * 1.5
        described |= {each.above for each in sent if isinstance(each, Syn)}
    else:
        pytest.fail("some are never described")
    assert first.stats.answers_withheld > 0


def test_nothing_but_a_hash_differs_for_ever_without_growing() -> None:
    first, second = level(200)
    for number in range(50):
        forged = Syn("n2", number, {}, parts=(Part(None, number),), boot=1)
        sent = messages(step(first, forged))
        assert len(sent) <= 1
        if number % 10 == 9:
            ticked(first)
    assert len(first._gossip.anti_entropy._asked) <= 1
    exchange(second, first)
    assert first.state.digest() == second.state.digest()


def test_everything_differs_and_is_exchanged_as_fast_as_rows_are() -> None:
    first, second = two(push=False)
    store(first, {former(number): 1 for number in range(1200)})
    store(second, {former(number): 1 for number in Random(3).sample(range(1200), 300)})
    rounds = 0
    while first.state.digest() != second.state.digest():
        sent = exchange(second, first)
        exchange(first, second)
        assert sum(len(packed(each)) for each in sent if not rows_in(each)) < 8 * DIGEST_DATAGRAMS
        rounds += 1
        assert rounds < 12
