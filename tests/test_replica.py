"""The state machine by its exact effects."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from node.config import Config
from node.counter import Row
from node.errors import MALFORMED, TEMPORARILY_UNAVAILABLE
from node.limits import MAX_COUNT
from node.messages import Add, AddOk, ErrorReply, GossipStatus, GossipStatusOk, Read, ReadOk, Replicate
from node.replica import Answer, Effect, Replica, Send
from node.state import Actor

MS = 1_000_000
CONFIG = Config(name="n1", peers=("n2", "n3", "n4", "n5"))


def replica(seed: int = 1, actor: str = "me", **settings: Any) -> Replica:
    return Replica(replace(CONFIG, **settings), Random(seed), 0, Actor(actor))


def status(node: Replica, counter: str = "") -> GossipStatusOk:
    (effect,) = node.handle(GossipStatus(1, counter), "c", 0)
    assert isinstance(effect, Answer)
    assert isinstance(effect.reply, GossipStatusOk)
    return effect.reply


def told(node: Replica, sender: str) -> Replicate:
    """What `sender` would gossip if it held just what `node` holds."""
    return Replicate(sender, tuple(node.state), node.state.fingerprint)


def test_add_and_read() -> None:
    node = replica()
    assert node.handle(Add(7, 5), "c", 0) == [Answer("c", AddOk(7))]
    assert node.handle(Add(8, -2), "c", 0) == [Answer("c", AddOk(8))]
    assert node.handle(Read(9), "c", 0) == [Answer("c", ReadOk(9, 3))]
    assert node.handle(Read(10, "other"), "c", 0) == [Answer("c", ReadOk(10, 0))]
    assert list(node.state) == [(Actor("me"), "", Row(5, 2, 2))]


def test_named_counters_do_not_mix() -> None:
    node = replica()
    node.handle(Add(1, 5, "a"), "c", 0)
    node.handle(Add(2, 7, "b"), "c", 0)
    assert [node.state.value(name) for name in ("a", "b", "")] == [5, 7, 0]


def test_add_of_nothing_is_answered_and_changes_nothing() -> None:
    node = replica()
    assert node.handle(Add(1, 0), "c", 5) == [Answer("c", AddOk(1))]
    assert list(node.state) == []


def test_after_an_error_nothing_has_changed() -> None:
    node = replica()
    node.handle(Add(1, MAX_COUNT), "c", 0)
    before = list(node.state)
    (effect,) = node.handle(Add(2, 1), "c", 0)
    assert isinstance(effect, Answer)
    assert isinstance(effect.reply, ErrorReply)
    assert (effect.reply.code, effect.reply.in_reply_to) == (MALFORMED, 2)
    assert str(MAX_COUNT) in effect.reply.text
    assert list(node.state) == before
    assert node.stats.requests_refused == 1


def test_tick_sends_the_whole_state_to_distinct_random_peers() -> None:
    node = replica()
    node.handle(Add(1, 5), "c", 0)
    node.handle(Add(2, 1, "likes"), "c", 0)
    spoken_to = set()
    for _ in range(50):
        (effect,) = node.tick(0)
        assert isinstance(effect, Send)
        assert len(set(effect.to)) == 2
        assert effect.message == Replicate("n1", tuple(node.state), node.state.fingerprint)
        spoken_to |= set(effect.to)
    assert spoken_to == set(CONFIG.peers)
    assert status(node).gossip_rounds == 50


@pytest.mark.parametrize(("fanout", "peers", "expected"), [(9, 4, 4), (0, 4, 0), (2, 1, 1), (2, 0, 0)])
def test_fanout_is_bounded_by_the_peers_there_are(fanout: int, peers: int, expected: int) -> None:
    node = replica(gossip_fanout=fanout, peers=CONFIG.peers[:peers])
    assert sum(len(effect.to) for effect in node.tick(0) if isinstance(effect, Send)) == expected


def test_same_seed_same_effects() -> None:
    def trace(seed: int) -> list[list[Effect]]:
        node = Replica(CONFIG, Random(seed), 0)
        node.handle(Add(1, 5), "c", 0)
        return [node.tick(0) for _ in range(20)]

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_gossip_is_merged_and_counted_once_however_often_it_comes() -> None:
    node, other = replica(), replica(actor="other")
    other.handle(Add(1, 10), "c", 0)
    for _ in range(3):
        assert node.handle(told(other, "n2"), "n2", 0) == []
    assert node.state.value("") == 10


def test_late_gossip_takes_nothing_back() -> None:
    node, other = replica(), replica(actor="other")
    other.handle(Add(1, 10), "c", 0)
    old = told(other, "n2")
    other.handle(Add(2, 10), "c", 0)
    node.handle(told(other, "n2"), "n2", 0)
    node.handle(old, "n2", 0)
    assert node.state.value("") == 20


def test_convergence_runs_from_our_last_change_to_the_moment_all_are_known_to_agree() -> None:
    node = replica()
    node.handle(Add(1, 1), "c", 10 * MS)
    for i, peer in enumerate(CONFIG.peers):
        assert (status(node).peers_synced, status(node).convergence_ms) == (i, None)
        node.handle(told(node, peer), peer, (20 + i) * MS)
    assert (status(node).peers_synced, status(node).convergence_ms) == (4, 13.0)
    node.handle(told(node, "n2"), "n2", 99 * MS)
    assert status(node).convergence_ms == 13.0
    node.handle(Add(2, 1), "c", 100 * MS)
    assert (status(node).peers_synced, status(node).convergence_ms) == (0, None)


def test_equal_totals_of_unequal_states_are_not_synced() -> None:
    node, other = replica(), replica(actor="other")
    node.handle(Add(1, 5), "c", 0)
    other.handle(Add(1, 5), "c", 0)
    node.handle(Replicate("n2", (), other.state.fingerprint), "n2", 0)
    assert status(node).peers_synced == 0


def test_a_stranger_is_no_peer() -> None:
    node = replica()
    for i in range(100):
        node.handle(Replicate(f"stranger{i}", ((Actor("x"), "", Row(1, 0, 1)),), 5), "?", 0)
    assert status(node).peers_synced == 0
    assert node.state.value("") == 1


def test_without_peers_convergence_takes_no_time() -> None:
    node = replica(peers=())
    assert status(node).convergence_ms == 0
    node.handle(Add(1, 1), "c", 5 * MS)
    assert status(node).convergence_ms == 0


def test_rows_of_our_own_that_we_never_wrote_begin_a_new_epoch() -> None:
    node = replica(actor="n1.old")
    node.handle(Add(1, 3), "c", 0)
    former_life = Replicate("n2", ((Actor("n1.old"), "", Row(100, 0, 50)),), 1)
    node.handle(former_life, "n2", 0)
    node.handle(Add(2, 4), "c", 0)
    assert node.state.value("") == 104  # 3 were counted in the 100; the 4 were not
    assert node.stats.own_rows_returned == 1
    node.handle(former_life, "n2", 0)
    assert node.stats.own_rows_returned == 1


def test_lives_do_not_share_an_actor() -> None:
    first, second = Replica(CONFIG, Random(1), 0), Replica(CONFIG, Random(2), 0)
    for life in (first, second):
        life.handle(Add(1, 1), "c", 0)
    second.handle(told(first, "n1"), "n2", 0)
    assert second.state.value("") == 2


def test_rows_are_bounded() -> None:
    node = replica(max_rows=2)
    node.handle(Add(1, 1, "a"), "c", 0)
    flood = tuple((Actor(f"x{i}"), "b", Row(1, 0, 1)) for i in range(5))
    node.handle(Replicate("n2", flood, 1), "n2", 0)
    assert node.state.row_count == 2
    assert node.stats.rows_dropped == 4
    (effect,) = node.handle(Add(2, 1, "new"), "c", 0)
    assert isinstance(effect, Answer)
    assert isinstance(effect.reply, ErrorReply)
    assert effect.reply.code == TEMPORARILY_UNAVAILABLE
    assert node.handle(Add(3, 1, "a"), "c", 0) == [Answer("c", AddOk(3))]
