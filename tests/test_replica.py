"""The state machine by its exact effects: requests, commits, epochs, convergence."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.gossip import Send
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import (
    Ack,
    Add,
    AddOk,
    Delta,
    ErrorReply,
    GossipStatus,
    GossipStatusOk,
    Push,
    Read,
    ReadOk,
    Replicate,
    Syn,
    SynAck,
)
from gossip_counter.node.core.replica import Answer, Commit, Effect, Recovered, Replica, RunOk, Wake
from gossip_counter.node.core.state import Actor, Held, NamedRow, State, Stored

MS = 1_000_000
ME = Actor("n1.me")
CONFIG = Config(name="n1", peers=("n2", "n3", "n4", "n5"))


def replica(seed: int = 1, actor: str = ME, **settings: Any) -> Replica:
    return Replica(replace(CONFIG, **settings), Random(seed), 0, Recovered(Actor(actor)))


def add(node: Replica, delta: int, counter: str = "", msg_id: int = 1, now_ns: int = 0) -> list[Effect]:
    """Ask for an add and let it become durable at once; all effects but the commit."""
    return settled(node, node.handle(Add(msg_id, delta, counter), "c", now_ns), now_ns)


def settled(node: Replica, effects: list[Effect], now_ns: int = 0) -> list[Effect]:
    """Effects, and those of every commit that is due."""
    while node._committing or node.flush():
        effects = effects + node.committed(now_ns)
    return without_tokens(effects)


def without_tokens(effects: list[Effect]) -> list[Effect]:
    def bare(effect: Effect) -> Effect:
        if isinstance(effect, Answer) and isinstance(effect.reply, AddOk | ReadOk):
            return Answer(effect.to, replace(effect.reply, token=None))
        return effect

    return [bare(effect) for effect in effects]


def mine(version: int, *rows: NamedRow) -> Commit:
    return Commit(ME, (Stored(ME, version, version, dict(rows)),))


def status(node: Replica, counter: str = "") -> GossipStatusOk:
    (effect,) = node.handle(GossipStatus(1, counter), "c", 0)
    assert isinstance(effect, Answer)
    assert isinstance(effect.reply, GossipStatusOk)
    return effect.reply


def refusal(effects: list[Effect]) -> ErrorReply:
    (effect,) = effects
    assert isinstance(effect, Answer)
    assert isinstance(effect.reply, ErrorReply)
    return effect.reply


def told(node: Replica, sender: str) -> Push:
    """What `sender` would push if it held just what `node` holds."""
    deltas = tuple(Delta(actor, None, ((counter, row),)) for actor, counter, row in node.state)
    return Push(sender, node.state.fingerprint, deltas)


def test_an_add_is_answered_when_durable_and_not_before() -> None:
    node = replica()
    assert node.handle(Add(7, 5), "c", 0) == []
    assert node.flush() == [mine(1, ("", Row(5, 0, 1)))]
    assert node.state.value("") == 0
    assert without_tokens(node.handle(Read(8), "c", 0)) == [Answer("c", ReadOk(8, 0))]
    assert without_tokens(node.committed(3)) == [Answer("c", AddOk(7)), Wake(3 + CONFIG.push_window_us * 1000)]
    assert without_tokens(node.handle(Read(9), "c", 0)) == [Answer("c", ReadOk(9, 5))]


def test_while_one_commit_is_under_way_the_next_gathers() -> None:
    node = replica()
    node.handle(Add(1, 5), "c1", 0)
    (first,) = node.flush()
    assert node.handle(Add(2, -2), "c2", 0) == []
    assert node.handle(Add(3, 4, "x"), "c3", 0) == []
    assert node.handle(Add(4, 1), "c2", 0) == []
    assert node.flush() == []
    answer, _ = without_tokens(node.committed(0))
    assert (first, answer) == (mine(1, ("", Row(5, 0, 1))), Answer("c1", AddOk(1)))
    assert node.flush() == [mine(3, ("", Row(6, 2, 2)), ("x", Row(4, 0, 3)))]
    assert without_tokens(node.committed(0)) == [Answer("c2", AddOk(2)), Answer("c3", AddOk(3)), Answer("c2", AddOk(4))]
    assert (node.state.value(""), node.state.value("x"), node.state.version(ME)) == (4, 4, 3)


def test_nothing_is_gossiped_before_it_is_durable() -> None:
    node = replica()
    node.handle(Add(1, 5), "c", 0)
    tick, _ = node.tick(0)
    assert isinstance(tick, Send)
    assert tick.message == Syn("n1", 0, {})
    assert not [each for each in node.wake(MS) if isinstance(each, Send)]


def test_committed_without_a_commit_is_our_own_misuse() -> None:
    with pytest.raises(RuntimeError):
        replica().committed(0)


def test_a_journal_gives_back_the_rows_and_the_count_goes_on() -> None:
    rows = {"x": Row(3, 0, 1), "y": Row(9, 1, 4)}
    node = Replica(CONFIG, Random(1), 0, Recovered(ME, (Stored(ME, 4, 4, rows),)))
    assert node.state.value("y") == 8
    add(node, 1, "x")
    assert node.state.row(ME, "x") == Row(4, 0, 5)


def test_named_counters_do_not_mix() -> None:
    node = replica()
    add(node, 5, "a")
    add(node, 7, "b")
    assert [node.state.value(name) for name in ("a", "b", "")] == [5, 7, 0]


def test_add_of_nothing_is_answered_and_changes_nothing() -> None:
    node = replica()
    assert without_tokens(node.handle(Add(1, 0), "c", 5)) == [Answer("c", AddOk(1))]
    assert list(node.state) == []


def test_after_an_error_nothing_has_changed() -> None:
    node = replica()
    add(node, MAX_COUNT)
    before = list(node.state)
    error = refusal(node.handle(Add(2, 1), "c", 0))
    assert (error.code, error.in_reply_to) == (MALFORMED, 2)
    assert str(MAX_COUNT) in error.text
    assert list(node.state) == before
    assert node.stats.requests_refused == 1


def test_the_bound_of_a_count_holds_within_a_batch_too() -> None:
    node = replica()
    node.handle(Add(1, MAX_COUNT), "c", 0)
    node.flush()
    assert refusal(node.handle(Add(2, 1), "c", 0)).code == MALFORMED
    node.committed(0)
    assert node.state.value("") == MAX_COUNT


def test_same_seed_same_effects() -> None:
    def trace(seed: int) -> list[list[Effect]]:
        node = Replica(CONFIG, Random(seed), 0)
        add(node, 5)
        return [node.tick(0) for _ in range(20)]

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_convergence_runs_from_our_last_change_to_the_moment_all_are_known_to_agree() -> None:
    node = replica()
    add(node, 1, now_ns=10 * MS)
    for i, peer in enumerate(CONFIG.peers):
        assert (status(node).peers_synced, status(node).convergence_ms) == (i, None)
        node.handle(told(node, peer), peer, (20 + i) * MS)
    assert (status(node).peers_synced, status(node).convergence_ms) == (4, 13.0)
    node.handle(told(node, "n2"), "n2", 99 * MS)
    assert status(node).convergence_ms == 13.0
    add(node, 1, now_ns=100 * MS)
    assert (status(node).peers_synced, status(node).convergence_ms) == (0, None)


def test_a_peer_heard_to_hold_our_state_before_we_did_is_synced() -> None:
    node, other = replica(), replica(actor="n2.x")
    add(other, 1)
    node.handle(Push("n3", other.state.fingerprint, ()), "n3", 0)
    assert status(node).peers_synced == 0
    node.handle(told(other, "n2"), "n2", 0)
    assert status(node).peers_synced == 2


def test_equal_totals_of_unequal_states_are_not_synced() -> None:
    node, other = replica(), replica(actor="n2.x")
    add(node, 5)
    add(other, 5)
    node.handle(Push("n2", other.state.fingerprint, ()), "n2", 0)
    assert status(node).peers_synced == 0


def test_a_stranger_is_no_peer() -> None:
    node = replica()
    for i in range(100):
        node.handle(Push(f"stranger{i}", 5, (Delta(Actor("x"), None, (("", Row(1, 0, 1)),)),)), "?", 0)
        assert node.handle(Syn(f"stranger{i}", 5, {}), "?", 0) == []
    assert status(node).peers_synced == 0
    assert node.state.value("") == 1
    assert node.stats.strangers == 100


def test_without_peers_convergence_takes_no_time() -> None:
    node = replica(peers=())
    assert status(node).convergence_ms == 0
    add(node, 1, now_ns=5 * MS)
    assert status(node).convergence_ms == 0


def former_life(p: int, n: int = 0, version: int = 50) -> Push:
    return Push("n2", 1, (Delta(ME, 0, (("", Row(p, n, version)),)),))


def test_rows_of_our_own_that_we_never_wrote_begin_a_new_epoch() -> None:
    node = replica()
    add(node, 3)
    node.handle(former_life(100), "n2", 0)
    add(node, 4)
    settled(node, [])
    assert node.state.value("") == 107  # neither the 3 nor the 4 are in the 100
    assert node.stats.recounted == 3
    assert node.stats.new_epochs == 1
    node.handle(former_life(100), "n2", 0)
    assert node.stats.new_epochs == 1


def test_a_digest_that_claims_more_of_us_than_we_wrote_begins_a_new_epoch_and_asks_for_it() -> None:
    node = replica()
    add(node, 3)
    (answer,) = node.handle(Syn("n2", 1, {ME: Held(50, 7, 0)}), "n2", 0)
    assert isinstance(answer, Send)
    assert getattr(answer.message, "wants", None) == {ME: 1}
    add(node, 4)
    node.handle(Ack("n2", 1, (Delta(ME, 1, (("", Row(100, 0, 50)),)),)), "n2", 0)
    assert node.state.value("") == 104
    assert node.stats.new_epochs == 1


@pytest.mark.parametrize(("theirs", "total"), [(3, 13), (8, 21), (13, 26), (100, 113)])
def test_a_new_epoch_swallows_nothing_that_was_being_committed(theirs: int, total: int) -> None:
    """We held 3 and are committing 5 more when a former life shows up that had counted on from our 3; 5 wait."""
    node = replica()
    add(node, 3)
    node.handle(Add(2, 5), "c2", 0)
    node.flush()
    node.handle(Add(3, 5), "c3", 0)
    node.handle(former_life(theirs), "n2", 0)
    effects = settled(node, [])
    assert node.state.value("") == total
    assert [each for each in effects if isinstance(each, Answer)] == [Answer("c2", AddOk(2)), Answer("c3", AddOk(3))]


def test_what_a_former_life_swallows_is_counted_again_once_whatever_comes_later() -> None:
    node = replica()
    add(node, 3)
    for total in (100, 100, 200):
        node.handle(former_life(total), "n2", 0)
        settled(node, [])
    assert node.state.value("") == 203
    assert node.stats.recounted == 3


def test_an_echo_of_our_own_rows_is_no_former_life() -> None:
    node = replica()
    add(node, 3)
    echo = told(node, "n2")
    add(node, 4)
    node.handle(echo, "n2", 0)
    assert (node.state.value(""), node.stats.new_epochs) == (7, 0)


def test_increments_and_decrements_of_a_former_life_are_told_apart() -> None:
    node = replica()
    add(node, 3)
    add(node, -2)
    node.handle(former_life(p=100, n=1), "n2", 0)  # of the decrements, 1 may be an echo of ours
    settled(node, [])
    assert node.state.value("") == 100 - 2 + 3


def test_what_must_be_counted_again_does_not_fail_with_the_disk() -> None:
    node = replica()
    add(node, 3)
    node.handle(former_life(100), "n2", 0)
    assert node.flush()
    node.handle(Add(2, 5), "c", 0)
    error = refusal(node.not_committed("no room"))
    assert (error.in_reply_to, error.code) == (2, TEMPORARILY_UNAVAILABLE)
    assert node.flush() == []  # a disk that fails at once is not asked at once again
    settled(node, node.tick(0))
    assert node.state.value("") == 103


def test_a_new_epoch_whose_commit_failed_is_tried_again() -> None:
    node = replica()
    node.handle(Syn("n2", 1, {ME: Held(50, 7, 0)}), "n2", 0)
    assert node.flush()
    node.not_committed("no room")
    assert node.flush() == []
    node.tick(0)
    (commit,) = node.flush()
    assert isinstance(commit, Commit)
    assert commit.actor != ME


def test_what_no_row_has_room_for_is_told_and_everybody_is_answered() -> None:
    node = replica()
    node.handle(Add(1, MAX_COUNT), "c", 0)
    node.flush()
    node.handle(former_life(MAX_COUNT), "n2", 0)
    node.handle(Add(2, MAX_COUNT), "c", 0)
    effects = settled(node, [])
    assert {each.reply.in_reply_to for each in effects if isinstance(each, Answer)} == {1, 2}
    assert node.stats.uncounted == 1


def test_who_answers_late_does_not_keep_a_restarted_node_from_writing() -> None:
    """Each tick asks again; that must not begin the wait anew."""
    node = replica()
    node.begin(0)
    node.handle(Add(1, 5), "c", 0)
    for now in range(0, 200, 10):
        node.tick(now * MS)
        node.wake(now * MS)
        if node.flush():
            break
    assert now <= 100


def test_a_new_epoch_is_made_durable_though_nobody_waits() -> None:
    node = replica()
    node.handle(former_life(100), "n2", 0)
    (commit,) = node.flush()
    assert isinstance(commit, Commit)
    assert commit.actor != ME
    assert [(stored.actor, stored.version) for stored in commit.stored] == [(ME, 50)]


def test_a_node_that_ended_before_its_new_epoch_was_durable_is_not_the_former_life_again() -> None:
    """Its journal holds rows of its own actor beyond a gap, which it can only have learned."""
    stored = Stored(ME, 1, 1, {"a": Row(1, 0, 1), "b": Row(9, 0, 30)})
    node = Replica(CONFIG, Random(1), 0, Recovered(ME, (stored,)))
    add(node, 1)
    assert node.state.row(ME, "") == Row()
    assert node.state.value("") == 1


def test_nothing_is_written_on_top_of_a_journal_before_peers_had_a_chance_to_tell_it_is_old() -> None:
    node = replica()
    (syn, wake) = node.begin(0)
    assert isinstance(syn, Send)
    assert sorted(syn.to) == list(CONFIG.peers)
    assert isinstance(syn.message, Syn)
    node.handle(Add(1, 5), "c", 0)
    assert node.flush() == []
    for peer in ("n2", "n3", "n4"):
        node.handle(SynAck(peer, 0, (), {}), peer, 0)
    assert node.flush() == []
    node.handle(SynAck("n5", 0, (Delta(ME, 0, (("", Row(100, 0, 50)),)),), {}), "n5", 0)
    (commit,) = node.flush()
    assert isinstance(commit, Commit)
    assert commit.actor != ME
    assert isinstance(wake, Wake)


def test_peers_that_do_not_answer_hold_a_write_up_only_so_long() -> None:
    node = replica()
    effects = node.begin(0)
    node.handle(Add(1, 5), "c", 0)
    for _ in range(10):
        (wake,) = [each for each in effects if isinstance(each, Wake)]
        effects = node.wake(wake.at_ns)
        if node.flush():
            break
    assert wake.at_ns <= 100 * MS


def test_a_new_epoch_waits_for_nobody() -> None:
    node = Replica(CONFIG, Random(1), 0)
    node.begin(0)
    node.handle(Add(1, 5), "c", 0)
    assert node.flush()


def test_adds_of_a_commit_that_fails_are_refused_and_never_count() -> None:
    node = replica()
    add(node, 1)
    node.handle(Add(2, 5), "c", 0)
    (failed,) = node.flush()
    node.handle(Add(3, 7), "d", 0)  # gathers on top of what is about to fail
    first, gathered = (refusal([each]) for each in node.not_committed("no room"))
    assert (first.in_reply_to, first.code) == (2, TEMPORARILY_UNAVAILABLE)
    assert (gathered.in_reply_to, gathered.code) == (3, TEMPORARILY_UNAVAILABLE)
    assert "no room" in first.text
    node.handle(Add(4, 7, "x"), "d", 0)
    (commit,) = node.flush()
    assert isinstance(failed, Commit)
    assert isinstance(commit, Commit)
    # What the failed one may have left in the journal is overwritten, then comes what is new.
    assert commit.stored == (Stored(ME, 1, 1, {"": Row(1, 0, 1)}), Stored(ME, 2, 2, {"x": Row(7, 0, 2)}))
    assert without_tokens(node.committed(0))[0] == Answer("d", AddOk(4))
    assert (node.state.value(""), node.state.value("x")) == (1, 7)


def test_a_row_that_is_written_again_is_not_also_overwritten() -> None:
    node = replica()
    add(node, 1)
    node.handle(Add(2, 5), "c", 0)
    node.flush()
    node.not_committed("no room")
    node.handle(Add(3, 7), "c", 0)
    (commit,) = node.flush()
    assert isinstance(commit, Commit)
    assert [row for stored in commit.stored for row in stored.rows.items()] == [("", Row(8, 0, 2))]


def test_no_number_is_told_twice_though_a_commit_failed() -> None:
    """What a run is told stands on top of what waits for the disk before it."""
    node = replica()
    assert node.add_run("c", 1, [("", 5)]) == [5]
    node.flush()
    assert node.add_run("c", 2, [("", 1)]) == [6]
    assert [refusal([each]).in_reply_to for each in node.not_committed("ill")] == [1, 2]
    assert node.add_run("c", 3, [("", 1)]) == [1]
    node.flush()
    assert node.durable() == [RunOk("c", 3, ME, 1)]
    node.committed(0)
    assert node.state.value("") == 1


def test_runs_are_answered_by_number_whatever_became_of_those_before() -> None:
    """The first one is swallowed and counted again, and the commit that brings that fails once."""
    stored = Stored(ME, 1, 1, {"x": Row(3, 0, 1)})
    node = Replica(Config(name="n1", peers=("n2",)), Random(1), 0, Recovered(ME, (stored,)))
    node.add_run("door", 1, [("x", 5)])
    node.flush()
    node.handle(Push("n2", 1, (Delta(ME, 0, (("x", Row(100, 0, 50)),)),)), "n2", 0)  # what a former life wrote
    assert node.durable() == []
    assert not any(isinstance(each, RunOk) for each in node.committed(0))
    node.add_run("door", 2, [("y", 7)])
    node.flush()
    assert refusal(node.not_committed("disk full")).in_reply_to == 2
    node.tick(0)
    node.flush()
    answers = [*node.durable(), *node.committed(0)]
    assert [each.run for each in answers if isinstance(each, RunOk)] == [1]
    assert (node.state.value("x"), node.state.value("y")) == (105, 0)


def test_a_counter_that_only_a_failed_commit_wrote_is_overwritten_by_nothing() -> None:
    node = replica()
    node.handle(Add(2, 5, "x"), "c", 0)
    node.flush()
    node.not_committed("no room")
    node.tick(0)
    (commit,) = node.flush()
    assert isinstance(commit, Commit)
    assert commit.stored == (Stored(ME, 0, 0, {"x": Row()}),)


def test_peers_rows_are_stored_in_the_next_commit_or_at_the_next_tick() -> None:
    node = replica()
    node.handle(Push("n2", 1, (Delta(Actor("x"), 0, (("", Row(1, 0, 1)),)),)), "n2", 0)
    assert node.flush() == []
    assert status(node).unsaved == 1
    node.tick(0)
    assert node.flush() == [Commit(ME, (Stored(Actor("x"), 1, 1, {"": Row(1, 0, 1)}),))]
    assert status(node).unsaved == 1
    node.committed(0)
    assert status(node).unsaved == 0
    node.tick(0)
    assert node.flush() == []


def test_lives_do_not_share_an_actor() -> None:
    first, second = Replica(CONFIG, Random(1), 0), Replica(CONFIG, Random(2), 0)
    for life in (first, second):
        add(life, 1)
    second.handle(told(first, "n2"), "n2", 0)
    assert second.state.value("") == 2


def test_rows_are_bounded() -> None:
    node = replica(max_rows=2)
    add(node, 1, "a")
    flood = tuple(Delta(Actor(f"x{i}"), 0, (("b", Row(1, 0, 1)),)) for i in range(5))
    node.handle(Push("n2", 1, flood), "n2", 0)
    assert node.state.row_count == 2
    assert node.stats.rows_dropped == 4
    error = refusal(node.handle(Add(2, 1, "new"), "c", 0))
    assert error.code == TEMPORARILY_UNAVAILABLE
    assert "max_rows" in error.text
    assert add(node, 1, "a", msg_id=3)[0] == Answer("c", AddOk(3))


def test_a_run_of_adds_keeps_to_the_bound_of_rows_with_all_that_waits() -> None:
    node = replica(max_rows=10)
    node.add_run("c", 1, [(f"a{i}", 1) for i in range(5)])
    told = node.add_run("c", 2, [(f"b{i}", 1) for i in range(6)])
    assert told[:5] == [1] * 5
    assert "max_rows" in str(told[5])
    node.flush()
    assert refusal(node.handle(Add(1, 1, "new"), "c", 0)).code == TEMPORARILY_UNAVAILABLE
    settled(node, [])
    assert node.state.row_count == 10
    assert node.add_run("c", 3, [("a1", 3), (two := ("a1", -2)), two, (none := ("a1", 0)), none]) == [4, 2, 0, 0, 0]
    settled(node, [])
    assert node.state.value("a1") == 0


def test_at_the_bound_of_rows_a_run_costs_no_more_than_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows looked at: what waits for the disk is not gone through for each add that is refused."""
    node, looked, row = replica(max_rows=500), list[str](), State.row

    def noted(self: State, actor: Actor, counter: str) -> Row:
        looked.append(counter)
        return row(self, actor, counter)

    monkeypatch.setattr(State, "row", noted)
    told = node.add_run("c", 1, [(f"a{i}", 1) for i in range(1000)])
    assert sum(isinstance(each, RequestError) for each in told) == 500
    assert len(looked) < 5 * 1000


def test_unknown_actors_by_the_thousand_are_bounded() -> None:
    node = replica(max_actors=10)
    flood = tuple(Delta(Actor(f"x{i}"), 0, (("b", Row(1, 0, 1)),)) for i in range(5000))
    node.handle(Push("n2", 1, flood), "n2", 0)
    assert node.state.actors == 10
    assert node.stats.actors_dropped == 4990
    assert add(node, 1, "mine")[0] == Answer("c", AddOk(1))


def test_full_state_mode_tells_everything_and_nothing_else() -> None:
    node = replica(gossip="full")
    assert add(node, 5) == [Answer("c", AddOk(1))]
    (tick,) = node.tick(0)
    assert isinstance(tick, Send)
    assert tick.message == Replicate("n1", node.state.fingerprint, (Delta(ME, None, (("", Row(5, 0, 1)),)),))
    other = replica(actor="n2.x", gossip="full")
    for _ in range(3):
        assert other.handle(replace(tick.message, sender="n2"), "n2", 0) == []
    assert other.state.value("") == 5
    assert status(other).peers_synced == 1


class AgainstAPlainInteger(RuleBasedStateMachine):
    """Two replicas that write and gossip as they please, and a dictionary that counts along."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [
            Replica(Config(name=name, peers=(peer,)), Random(seed), 0)
            for seed, (name, peer) in enumerate([("n1", "n2"), ("n2", "n1")])
        ]
        self.expected = {"": 0, "x": 0}

    @rule(which=st.integers(0, 1), counter=st.sampled_from(["", "x"]), delta=st.integers(-9, 9))
    def write(self, which: int, counter: str, delta: int) -> None:
        add(self.nodes[which], delta, counter)
        self.expected[counter] += delta

    @rule(which=st.integers(0, 1))
    def exchange(self, which: int) -> None:
        under_way = [(self.nodes[1 - which], each) for each in self.nodes[which].tick(0) if isinstance(each, Send)]
        while under_way:
            to, effect = under_way.pop()
            answers = to.handle(effect.message, effect.message.sender, 0)
            back = self.nodes[0] if to is self.nodes[1] else self.nodes[1]
            under_way += [(back, each) for each in answers if isinstance(each, Send)]
        assert [node.state.value("") for node in self.nodes] == [self.expected[""]] * 2

    @invariant()
    def no_node_makes_anything_up(self) -> None:
        for counter in self.expected:
            rows = {(actor, name): row for node in self.nodes for actor, name, row in node.state if name == counter}
            own = [node.state.row(node._actor, counter) for node in self.nodes]
            assert sum(row.p - row.n for row in own) == self.expected[counter]
            assert len(rows) <= 2


TestAgainstAPlainInteger = AgainstAPlainInteger.TestCase
