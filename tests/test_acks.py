"""Writes that wait for copies, clients that count copies, and what peers confirm to each other."""

from random import Random
from typing import Any

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Answer
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, TIMEOUT
from gossip_counter.node.core.gossip.messages import Confirm, Confirmed, Delta, Gossip, Push, Syn
from gossip_counter.node.core.holdings import DigestEntry, Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Add, CopiesOk, CountCopies, ErrorReply, Written
from gossip_counter.node.core.replica import Replica
from tests.support.replica import (
    MS,
    WINDOW_NS,
    Effect,
    add,
    bare,
    commits,
    drain,
    messages,
    persisted,
    pushed,
    receive,
    refusal,
    replies,
    sends,
    settle,
    step,
    tick,
    two,
    wakes,
)

N1, N2 = Actor("n1.actor"), Actor("n2.actor")
NEVER = 2**63


def three(**settings: Any) -> Replica:
    """A node whose peers have shown that they hold no more of it than it does."""
    node = Replica(Config(name="n1", peers=("n2", "n3"), **settings), Random(1), 0, Recovered(N1))
    for peer in node.config.peers:
        step(node, Syn(peer, 1, {}))
    return node


def waiting(node: Replica, copies: int) -> list[Effect]:
    """Ask for an add that wants so many copies; it becomes durable here."""
    node.step(Add(1, 5, copies=copies), "c", 0)
    return settle(node)


def confirmed(node: Replica, peer: str, version: int, actor: Actor = N1) -> list[Effect]:
    return step(node, Confirmed(peer, 1, actor, version))


# Adds.


def test_an_add_is_answered_when_so_many_members_hold_it_durably() -> None:
    node = three()
    assert replies(waiting(node, 3)) == []
    assert replies(confirmed(node, "n2", 1)) == []
    assert bare(confirmed(node, "n3", 1)) == [Answer("c", Written(1, (), N1, 1))]
    assert not sends(drain(node, 10**9 - 1))[1:]  # after the push, nobody is asked anything


@pytest.mark.parametrize(
    "message",
    [
        Confirmed("n2", 1, N1, 0),
        Confirmed("nobody", 1, N1, 1),
        Confirmed("n2", 1, Actor("n1.other"), 1),
        Push("n2", 1, ()),
    ],
    ids=repr,
)
def test_nothing_less_than_a_members_word_counts_as_a_copy(message: Gossip) -> None:
    node = three()
    waiting(node, 2)
    for _ in range(3):
        assert replies(step(node, message)) == []


def test_a_member_that_confirms_twice_is_one_copy() -> None:
    node = three()
    waiting(node, 3)
    for _ in range(3):
        assert replies(confirmed(node, "n2", 1)) == []


def test_a_member_that_confirms_less_later_still_holds_what_it_confirmed() -> None:
    node = three()
    add(node, 1)
    waiting(node, 3)
    confirmed(node, "n2", 2)
    confirmed(node, "n2", 1)
    assert len(replies(confirmed(node, "n3", 2))) == 1


def test_peers_are_asked_after_the_push_and_again_until_they_confirm() -> None:
    node = three()
    effects = waiting(node, 2)
    (wake,) = wakes(effects)
    assert [type(each) for each in messages(effects)] == [Push]
    assert [type(each) for each in messages(drain(node, wake.at_ns))] == [Confirm]
    assert not sends(drain(node, wake.at_ns + node.config.retry_ms * MS - 1))
    again = sends(drain(node, wake.at_ns + node.config.retry_ms * MS))
    assert [(each.to, each.message) for each in again] == [(("n2", "n3"), Confirm("n1", node.state.fingerprint, N1, 1))]
    confirmed(node, "n3", 1)
    assert Confirm not in [type(each) for each in messages(drain(node, 10**9 - 1))]


def test_without_its_copies_an_add_ends_in_a_timeout_and_stays() -> None:
    node = three(wait_ms=100)
    waiting(node, 2)
    assert replies(drain(node, 99 * MS)) == []
    (error,) = replies(drain(node, 100 * MS))
    assert isinstance(error, ErrorReply)
    assert (error.in_reply_to, error.code) == (1, TIMEOUT)
    assert "it is counted and will spread" in error.text
    assert node.state.value("") == 5
    assert node.stats.timeouts == 1


def test_adds_that_want_unlike_numbers_of_copies_do_not_wait_for_each_other() -> None:
    node = three()
    node.step(Add(1, 5, copies=3), "c", 0)
    node.step(Add(2, 5, copies=2), "c", 0)
    settle(node)
    assert [each.in_reply_to for each in replies(confirmed(node, "n2", 1))] == [2]
    assert [each.in_reply_to for each in replies(confirmed(node, "n3", 1))] == [1]


def test_a_new_epoch_ends_the_wait_for_copies_of_the_former_actor() -> None:
    node = three()
    waiting(node, 2)
    (error,) = replies(step(node, pushed(N1, 0, ("", Row(100, 0, 50)))))
    assert isinstance(error, ErrorReply)
    assert error.code == TIMEOUT
    assert replies(confirmed(node, "n2", 50)) == []


def test_what_was_confirmed_of_the_former_actor_says_nothing_of_the_new_one() -> None:
    node = three()
    for _ in range(3):
        add(node, 1)
    confirmed(node, "n2", 3)
    receive(node, pushed(N1, 0, ("", Row(100, 0, 50))))
    assert waiting(node, 2) == []
    assert confirmed(node, "n3", 0, node.actor) == []
    assert replies(step(node, CountCopies(7, node.actor, 1, 1, NEVER), "d")) == []
    assert len(replies(confirmed(node, "n2", 3, node.actor))) == 2


def test_an_add_whose_actor_is_another_by_the_time_it_is_durable_has_no_copies() -> None:
    node = three()
    step(node, Add(1, 5, "x", copies=2))
    step(node, pushed(N1, 0, ("", Row(100, 0, 50))))
    assert refusal([each for each in persisted(node) if isinstance(each, Answer)]).code == TIMEOUT


def test_an_add_that_had_to_be_applied_again_waits_for_copies_of_that() -> None:
    node = three()
    step(node, Add(1, 5, copies=2))
    step(node, pushed(N1, 0, ("", Row(100, 0, 50))))
    assert replies(settle(node)) == []
    (answer,) = bare(confirmed(node, "n2", 1, node.actor))
    assert answer == Answer("c", Written(1, (), None, 1))


def test_a_peer_that_may_hold_a_former_lifes_writes_confirms_none_of_ours() -> None:
    node = Replica(Config(name="n1", peers=("n2", "n3")), Random(1), 0, Recovered(N1))
    waiting(node, 2)
    assert replies(confirmed(node, "n2", 1)) == []
    step(node, Syn("n2", 1, {N1: DigestEntry(1, 7, 0)}))
    assert len(replies(confirmed(node, "n2", 1))) == 1


def test_a_digest_that_says_nothing_of_our_actor_makes_no_peer_agree() -> None:
    node = Replica(Config(name="n1", peers=("n2", "n3")), Random(1), 0, Recovered(N1))
    waiting(node, 2)
    for out_of_range in (Syn("n2", 1, {}, above="n1.b"), Syn("n2", 1, {}, upto="n1")):
        step(node, out_of_range)
        assert replies(confirmed(node, "n2", 1)) == []


def test_of_a_new_actor_every_member_may_confirm_at_once() -> None:
    node = Replica(Config(name="n1", peers=("n2", "n3")), Random(1), 0)
    waiting(node, 2)
    assert len(replies(confirmed(node, "n2", 1, node.actor))) == 1


def test_a_peer_that_confirms_more_than_we_wrote_has_known_a_former_life() -> None:
    node = three()
    waiting(node, 2)
    (error,) = replies(confirmed(node, "n2", 8))
    assert isinstance(error, ErrorReply)
    assert error.code == TIMEOUT
    assert node.stats.new_epochs == 1


@pytest.mark.parametrize("copies", [4, 1001])
def test_more_copies_than_members_are_refused(copies: int) -> None:
    node = three()
    error = refusal(step(node, Add(1, 5, copies=copies)))
    assert (error.code, error.text) == (MALFORMED, "copies must be from 1 to 3, the members of this cluster")
    assert node.stats.adds == 0


def test_full_state_gossip_knows_no_copies() -> None:
    node = three(gossip="full")
    assert refusal(step(node, Add(1, 5, copies=2))).code == NOT_SUPPORTED
    assert replies(add(node, 5)) == [Written(1, (), N1, 1)]


# Counting copies of what was written before.


def count(
    node: Replica, members: int, client: str = "c", version: int = 1, deadline_ns: int = 100 * MS
) -> list[Effect]:
    return step(node, CountCopies(7, N1, version, members, deadline_ns), client)


def test_who_counts_copies_is_answered_as_soon_as_there_are_enough() -> None:
    node = three()
    add(node, 5)
    drain(node, WINDOW_NS)  # the push
    assert replies(count(node, 1, "one")) == replies(count(node, 2, "two")) == []
    assert confirmed(node, "n2", 0) == []
    assert confirmed(node, "n2", 1) == [Answer("one", CopiesOk(7, 1))]
    assert replies(drain(node, 100 * MS - 1)) == []
    assert replies(drain(node, 100 * MS)) == [CopiesOk(7, 1)]
    assert drain(node, 10**9) == []


def test_peers_are_asked_about_what_somebody_counts() -> None:
    node = three()
    add(node, 5)
    drain(node, WINDOW_NS)
    (wake,) = wakes(count(node, 1))
    (ask,) = sends(drain(node, wake.at_ns))
    assert (ask.to, ask.message) == (("n2", "n3"), Confirm("n1", node.state.fingerprint, N1, 1))
    confirmed(node, "n2", 1)
    assert not sends(drain(node, NEVER))


def test_copies_that_are_there_already_are_told_at_once() -> None:
    node = three()
    waiting(node, 2)
    confirmed(node, "n2", 1)
    assert count(node, 1) == [Answer("c", CopiesOk(7, 1))]
    assert count(node, 0, version=9) == [Answer("c", CopiesOk(7, 0))]


def test_of_a_former_epoch_no_copies_are_known() -> None:
    node = three()
    add(node, 5)
    count(node, 1)
    first = step(node, pushed(N1, 0, ("", Row(100, 0, 50))))
    assert replies(first) == [CopiesOk(7, 0)]
    assert count(node, 1) == [Answer("c", CopiesOk(7, 0))]


def test_clients_that_are_gone_wait_for_nothing() -> None:
    node = three()
    add(node, 5)
    drain(node, WINDOW_NS)
    client = object()
    step(node, CountCopies(7, N1, 1, 1, NEVER), client)
    node.forget(client)
    assert sends(drain(node, 10**12)) == []
    assert replies(confirmed(node, "n2", 1)) == []


# What peers ask of us.


def test_a_peer_confirms_when_its_own_disk_holds_every_write_and_not_before() -> None:
    first, second = two()
    add(first, 5)
    asked = Confirm("n1", 1, N1, 1)
    (ask,) = messages(step(second, asked))
    assert isinstance(ask, Syn)  # it has nothing of it yet
    arrived = step(second, pushed(N1, 0, ("", Row(5, 0, 1)), sender="n1"))
    assert messages(arrived) == []
    assert len(commits(arrived)) == 1
    assert messages(step(second, asked)) == []
    assert messages(persisted(second)) == [Confirmed("n2", second.state.fingerprint, N1, 1)]


def test_what_is_held_but_not_durable_is_made_durable_when_a_peer_asks() -> None:
    _, second = two()
    assert step(second, pushed(N1, 0, ("", Row(5, 0, 1)), sender="n1")) == []
    asked = step(second, Confirm("n1", 1, N1, 1))
    assert messages(asked) == []
    assert len(commits(asked)) == 1


def test_a_commit_that_fails_confirms_nothing() -> None:
    _, second = two()
    step(second, pushed(N1, 0, ("", Row(5, 0, 1)), sender="n1"))
    assert commits(step(second, Confirm("n1", 1, N1, 1)))
    assert persisted(second, "no room") == []
    assert second.status(0).dirty_rows == 1
    assert commits(tick(second))  # the next try
    assert Confirmed("n2", second.state.fingerprint, N1, 1) in messages(persisted(second))


def test_a_delta_that_was_cut_short_confirms_nothing() -> None:
    """The write of version 3 was rewritten at 7: who holds all up to 5 may not hold it."""
    _, second = two()
    step(second, pushed(N1, 0, ("b", Row(5, 0, 5)), sender="n1", source_version=7))
    step(second, Confirm("n1", 1, N1, 3))
    assert commits(tick(second))
    assert not [each for each in messages(persisted(second)) if isinstance(each, Confirmed)]


def test_what_a_journal_gave_back_is_confirmed_at_once() -> None:
    recovered = Recovered(N2, (Stored(N1, 4, 4, {"": Row(5, 0, 4)}),))
    node = Replica(Config(name="n2", peers=("n1",)), Random(1), 0, recovered)
    assert messages(step(node, Confirm("n1", 1, N1, 4))) == [Confirmed("n2", node.state.fingerprint, N1, 4)]


def test_what_a_node_wrote_itself_it_confirms_too() -> None:
    """To a peer that knows of it from an earlier life of its own."""
    _, second = two()
    add(second, 5)
    assert messages(step(second, Confirm("n1", 1, N2, 1))) == [Confirmed("n2", second.state.fingerprint, N2, 1)]


def test_a_confirmation_is_given_once_each_time_it_is_asked_for() -> None:
    _, second = two(push=False)
    add(second, 5)
    for _ in range(2):
        assert len(messages(step(second, Confirm("n1", 1, N2, 1)))) == 1
        assert not messages(add(second, 1))


def test_what_a_peer_asked_about_is_forgotten_in_time() -> None:
    _, second = two(wait_ms=100)
    step(second, Confirm("n1", 1, N1, 99))
    receive(second, pushed(N1, 0, ("", Row(5, 0, 1)), sender="n1"))
    drain(second, 100 * MS)
    assert not commits(step(second, pushed(N1, 1, ("", Row(6, 0, 2)), sender="n1"), now_ns=100 * MS))


def test_the_rows_that_a_peer_waits_for_are_made_durable_as_they_arrive() -> None:
    _, second = two()
    step(second, Confirm("n1", 1, N1, 2))
    for version in (1, 2):
        delta = Delta(N1, version - 1, (("", Row(5 * version, 0, version)),))
        effects = step(second, Push("n1", 1, (delta,)))
        assert len(commits(effects)) == 1
        confirmations = [each for each in messages(persisted(second)) if isinstance(each, Confirmed)]
        assert len(confirmations) == version - 1
