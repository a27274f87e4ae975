"""Whom a node writes as: when it becomes another actor, and what is added again then."""

import asyncio
from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.effects import Answer, Commit
from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE
from gossip_counter.node.core.gossip.messages import Ack, Confirmed, Delta, Push, Syn, SynAck
from gossip_counter.node.core.holdings import DigestEntry, Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, Written
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.addresses import bind
from gossip_counter.node.endpoints.udp import UdpEndpoint
from gossip_counter.node.runtime.node import Node
from tests.support.replica import (
    CONFIG,
    ME,
    MS,
    add,
    begin,
    commits,
    drain,
    messages,
    persisted,
    push_of,
    pushed,
    receive,
    refusal,
    replica,
    replies,
    sends,
    settle,
    step,
    tick,
)


def former_life(p: int, n: int = 0, version: int = 50) -> Push:
    return pushed(ME, 0, ("", Row(p, n, version)))


# A former life shows up.


def test_rows_of_our_own_that_we_never_wrote_begin_a_new_epoch() -> None:
    node = replica()
    add(node, 3)
    step(node, former_life(100))
    add(node, 4)
    assert node.state.value("") == 107  # neither the 3 nor the 4 are in the 100
    assert (node.stats.reapplied, node.stats.new_epochs) == (3, 1)
    assert node.actor != ME
    step(node, former_life(100))
    assert node.stats.new_epochs == 1


def test_a_digest_that_claims_more_of_us_than_we_wrote_begins_a_new_epoch_and_asks_for_it() -> None:
    node = replica()
    add(node, 3)
    (answer,) = messages(step(node, Syn("n2", 1, {ME: DigestEntry(50, 7, 0)})))
    assert isinstance(answer, SynAck)
    assert answer.wants == {ME: 1}
    assert node.stats.future_digests == 1
    add(node, 4)
    step(node, Ack("n2", 1, (Delta(ME, 1, (("", Row(100, 0, 50)),)),)))
    assert node.state.value("") == 104
    assert node.stats.new_epochs == 1


def test_a_confirmation_of_more_than_we_wrote_begins_a_new_epoch() -> None:
    node = replica()
    add(node, 3)
    step(node, Confirmed("n2", 1, ME, 8))
    assert (node.stats.future_digests, node.stats.new_epochs) == (1, 1)


def test_an_echo_of_our_own_rows_is_no_former_life() -> None:
    node = replica()
    add(node, 3)
    echo = push_of(node, "n2")
    add(node, 4)
    receive(node, echo)
    assert (node.state.value(""), node.stats.new_epochs) == (7, 0)


def test_increments_and_decrements_of_a_former_life_are_told_apart() -> None:
    node = replica()
    add(node, 3)
    add(node, -2)
    receive(node, former_life(p=100, n=1))  # of the decrements, 1 may be an echo of ours
    assert node.state.value("") == 100 - 2 + 3


def test_an_actor_never_comes_from_the_seed() -> None:
    """Else a node that lost its journal, and is started with the same seed, would be its former life again."""

    async def actor() -> str:
        config = Config(name="n1")
        with bind(("127.0.0.1", 0)) as bound:
            node = Node(
                config, lambda made, log: UdpEndpoint(bound, {}, config, Random(7), made.stats, log.note), Random(7)
            )
            return node.replica.actor

    assert asyncio.run(actor()) != asyncio.run(actor())


def test_lives_do_not_share_an_actor() -> None:
    first, second = Replica(CONFIG, Random(1), 0), Replica(CONFIG, Random(2), 0)
    for life in (first, second):
        add(life, 1)
    receive(second, push_of(first, "n2"))
    assert second.state.value("") == 2


# What was absorbed is added again.


@pytest.mark.parametrize(("theirs", "total"), [(3, 13), (8, 21), (13, 26), (100, 113)])
def test_a_new_epoch_absorbs_nothing_that_was_being_committed(theirs: int, total: int) -> None:
    """We held 3 and are committing 5 more when a former life shows up that had counted on from our 3; 5 wait."""
    node = replica()
    add(node, 3)
    step(node, Add(2, 5), "c2")
    step(node, Add(3, 5), "c3")
    step(node, former_life(theirs))
    answered = [(each.to, each.reply.in_reply_to) for each in settle(node) if isinstance(each, Answer)]
    assert node.state.value("") == total
    assert answered == [("c2", 2), ("c3", 3)]


def test_what_a_former_life_absorbs_is_added_again_once_whatever_comes_later() -> None:
    node = replica()
    add(node, 3)
    for total in (100, 100, 200):
        receive(node, former_life(total))
    assert node.state.value("") == 203
    assert node.stats.reapplied == 3


def test_what_a_former_life_absorbs_of_several_counters_is_all_added_again() -> None:
    node = replica()
    add(node, 3, "x")
    add(node, 4, "y")
    receive(node, pushed(ME, 0, ("x", Row(100, 0, 50)), ("y", Row(200, 0, 51))))
    assert (node.state.value("x"), node.state.value("y")) == (103, 204)


def test_a_write_that_was_absorbed_in_part_has_no_single_actor() -> None:
    node = replica()
    node.submit("c", 1, [("", 5)])
    drain(node)
    step(node, former_life(100))
    (commit,) = persisted(node)
    assert isinstance(commit, Commit)
    assert commit.actor == node.actor
    assert persisted(node)[0] == Answer("c", Written(1, [5], None, 1))
    assert node.state.value("") == 105


def test_what_must_be_added_again_does_not_fail_with_the_disk() -> None:
    node = replica()
    add(node, 3)
    assert commits(step(node, former_life(100)))
    step(node, Add(2, 5))
    (*refused,) = persisted(node, "no room")  # and a disk that fails at once is not asked at once again
    assert (refusal(refused).in_reply_to, refusal(refused).code) == (2, TEMPORARILY_UNAVAILABLE)
    tick(node)
    settle(node)
    assert node.state.value("") == 103


def test_what_no_row_has_room_for_is_counted_and_everybody_is_answered() -> None:
    node = replica()
    step(node, Add(1, MAX_COUNT))
    step(node, former_life(MAX_COUNT))
    node.step(Add(2, MAX_COUNT), "c", 0)
    answered = {each.reply.in_reply_to for each in settle(node) if isinstance(each, Answer)}
    assert answered == {1, 2}
    assert node.stats.not_reapplied == 1


# Replies, when what they answer had to be added again.


def absorbed(node: Replica) -> None:
    """Increment 5 as request 1, and let a former life absorb it while it is being committed."""
    node.submit("c", 1, [("", 5)])
    drain(node)
    step(node, former_life(100))
    assert len(commits(persisted(node))) == 1


def test_replies_keep_their_order_though_a_write_had_to_be_added_again() -> None:
    node = replica()
    absorbed(node)
    node.submit("c", 2, [("", 7)])
    answered = [each.reply.in_reply_to for each in settle(node) if isinstance(each, Answer)]
    assert answered == [1, 2]
    assert node.state.value("") == 112


def test_a_write_that_was_durable_once_stays_though_the_next_commit_fails() -> None:
    node = replica()
    absorbed(node)
    node.submit("d", 2, [("x", 7)])
    assert refusal(persisted(node, "disk full")).in_reply_to == 2  # of another client, which waits for nobody
    tick(node)
    assert [each.in_reply_to for each in replies(persisted(node))] == [1]
    assert (node.state.value(""), node.state.value("x")) == (105, 0)


def test_a_refusal_waits_for_the_replies_before_it_to_the_same_client() -> None:
    node = replica()
    absorbed(node)
    node.submit("c", 2, [("x", 7)])
    node.submit("d", 3, [("x", 7)])
    assert [each.in_reply_to for each in replies(persisted(node, "disk full"))] == [3]
    tick(node)
    node.submit("c", 4, [("y", 1)])
    first, refused, last = replies(settle(node))
    assert first == Written(1, [5], None, 1)
    assert refusal([Answer("c", refused)]).in_reply_to == 2
    assert last == Written(4, [1], node.actor, 2)
    assert (node.state.value(""), node.state.value("x"), node.state.value("y")) == (105, 0, 1)


def test_a_refusal_that_waits_is_counted_once_whatever_fails_later() -> None:
    node = replica()
    absorbed(node)
    node.submit("c", 2, [("x", 7)])
    for why in ("disk full", "disk gone"):
        assert replies(persisted(node, why)) == []
        tick(node)
    _, refused = replies(settle(node))
    assert "disk full" in refusal([Answer("c", refused)]).text
    assert node.stats.requests_refused == 1


def test_a_disk_that_fails_at_once_is_not_asked_at_once_again_by_who_waits_for_it() -> None:
    node = replica()
    absorbed(node)
    node.submit("c", 2, [("x", 7)])
    assert persisted(node, "disk full") == []
    assert drain(node, 50 * MS) == []
    assert len(commits(tick(node, 100 * MS))) == 1


# The new epoch becomes durable.


def test_a_new_epoch_is_made_durable_though_nobody_waits() -> None:
    node = replica()
    (commit,) = commits(step(node, former_life(100)))
    assert commit.actor == node.actor != ME
    assert [(stored.actor, stored.version) for stored in commit.stored] == [(ME, 50)]


def test_a_new_epoch_whose_commit_failed_is_tried_again() -> None:
    node = replica()
    assert commits(step(node, Syn("n2", 1, {ME: DigestEntry(50, 7, 0)})))
    assert persisted(node, "no room") == []
    (commit,) = commits(tick(node))
    assert commit.actor == node.actor != ME


def test_a_node_that_ended_before_its_new_epoch_was_durable_is_not_the_former_life_again() -> None:
    """Its journal holds rows of its own actor beyond a gap, which only a peer can have sent."""
    stored = Stored(ME, 1, 1, {"a": Row(1, 0, 1), "b": Row(9, 0, 30)})
    node = Replica(CONFIG, Random(1), 0, Recovered(ME, (stored,)))
    add(node, 1)
    assert node.state.row(ME, "") == Row()
    assert node.state.value("") == 1


# The start.


def test_nothing_is_written_on_top_of_a_journal_before_peers_could_show_that_it_is_old() -> None:
    node = replica()
    (syn,) = sends(begin(node))
    assert sorted(map(str, syn.to)) == list(CONFIG.peers)
    assert isinstance(syn.message, Syn)
    assert not node.is_ready
    assert not commits(step(node, Add(1, 5)))
    for peer in ("n2", "n3", "n4"):
        assert not commits(step(node, SynAck(peer, 0, (), {}, syn.message.boot)))
    (commit,) = commits(step(node, SynAck("n5", 0, (Delta(ME, 0, (("", Row(100, 0, 50)),)),), {}, syn.message.boot)))
    assert commit.actor != ME
    assert node.is_ready


def asked(node: Replica) -> int:
    """Let a node begin; the boot id with which it asks its peers."""
    (syn,) = messages(begin(node))
    assert isinstance(syn, Syn)
    return syn.boot


def commit_after_ticks(node: Replica) -> tuple[int, Commit]:
    """In which millisecond a restarted node makes an add durable, and how. Ticks never begin the wait anew."""
    step(node, Add(1, 5))
    for now in range(0, 1000, 10):
        if made := commits(tick(node, now * MS)):
            return now, made[0]
    raise AssertionError("never")


def test_peers_that_do_not_answer_hold_a_write_up_only_so_long() -> None:
    node = replica()
    boot = asked(node)
    step(node, SynAck("n2", 0, (), {}, boot))
    now, commit = commit_after_ticks(node)
    assert (now, commit.actor) == (80, ME)


def test_where_nobody_answers_a_write_waits_a_little_longer_and_is_a_new_actors() -> None:
    """A whole disk may have been put back, twice in a row, or this life be a copy: nobody can tell."""
    node = replica(stored=(Stored(ME, 1, 1, {"": Row(5, 0, 1)}),))
    begin(node)
    now, commit = commit_after_ticks(node)
    assert now == 500
    assert commit.actor not in (ME, "")
    assert node.state.value("") == 5
    settle(node, now * MS)
    assert (node.state.value(""), node.state.row(ME, "")) == (10, Row(5, 0, 1))


def test_who_answers_after_the_others_were_given_up_is_waited_for_no_longer() -> None:
    node = replica()
    boot = asked(node)
    step(node, Add(1, 5))
    for now in range(0, 300, 10):
        assert not commits(tick(node, now * MS))
    (commit,) = commits(step(node, SynAck("n2", 0, (), {}, boot), now_ns=300 * MS))
    assert commit.actor == ME


def test_an_answer_to_another_process_of_the_same_name_is_none() -> None:
    node = replica()
    boot = asked(node)
    for peer in CONFIG.peers:
        step(node, SynAck(peer, 0, (), {}, boot ^ 1))
    now, commit = commit_after_ticks(node)
    assert now == 500
    assert commit.actor != ME


def test_a_peer_that_starts_later_is_asked_as_soon_as_it_speaks() -> None:
    node = replica()
    begin(node)
    (answer, question) = messages(step(node, Syn("n2", 1, {}), client="n2"))
    assert (type(answer), type(question)) == (SynAck, Syn)


def test_without_peers_nobody_is_waited_for() -> None:
    node = Replica(Config(name="n1"), Random(1), 0, Recovered(ME))
    begin(node)
    (commit,) = commits(step(node, Add(1, 5)))
    assert commit.actor == ME


def test_a_new_epoch_waits_for_nobody() -> None:
    node = Replica(CONFIG, Random(1), 0)
    begin(node)
    assert commits(step(node, Add(1, 5)))
