"""Adds that wait for copies and reads that wait for what their token stands for, by their exact effects."""

from random import Random
from typing import Any

import pytest

from gossip_counter.node.core import tokens as token
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, TIMEOUT
from gossip_counter.node.core.messages import (
    Add,
    AddOk,
    Confirm,
    Confirmed,
    Delta,
    ErrorReply,
    Gossip,
    Push,
    Read,
    ReadOk,
    Syn,
)
from gossip_counter.node.core.replica import Answer, Effect, Recovered, Replica, Wake
from gossip_counter.node.core.state import Actor, Held, State, Stored
from gossip_counter.node.core.waiting import MOST_READS, NEVER, Copies
from tests.test_gossip import messages, sends, two
from tests.test_replica import add, settled

MS = 1_000_000
N1, N2 = Actor("n1.actor"), Actor("n2.actor")


def answers(effects: list[Effect]) -> list[Any]:
    return [effect.reply for effect in effects if isinstance(effect, Answer)]


def three(**settings: Any) -> Replica:
    """A node whose peers have shown that they hold no more of it than it does."""
    node = Replica(Config(name="n1", peers=("n2", "n3"), **settings), Random(1), 0, Recovered(N1))
    for peer in node.config.peers:
        node.handle(Syn(peer, 1, {}), peer, 0)
    return node


def includes(state: State, given: str | None) -> bool:
    assert given is not None
    return token.includes(token.reach(state), token.parse(given))


def waiting(node: Replica, copies: int) -> list[Effect]:
    return settled(node, node.handle(Add(1, 5, copies=copies), "c", 0))


def test_an_add_is_answered_when_so_many_members_hold_it_durably() -> None:
    node = three()
    assert answers(waiting(node, 3)) == []
    assert answers(node.handle(Confirmed("n2", 1, N1, 1), "n2", 0)) == []
    (answer,) = answers(node.handle(Confirmed("n3", 1, N1, 1), "n3", 0))
    assert isinstance(answer, AddOk)
    assert answer.in_reply_to == 1
    assert node._copies.due_ns is None


@pytest.mark.parametrize(
    "told",
    [
        Confirmed("n2", 1, N1, 0),
        Confirmed("stranger", 1, N1, 1),
        Confirmed("n2", 1, Actor("n1.other"), 1),
        Push("n2", 1, ()),
    ],
    ids=repr,
)
def test_nothing_less_than_a_members_word_counts_as_a_copy(told: Gossip) -> None:
    node = three()
    waiting(node, 2)
    for _ in range(3):
        assert answers(node.handle(told, "?", 0)) == []


def test_a_member_that_confirms_twice_is_one_copy() -> None:
    node = three()
    waiting(node, 3)
    for _ in range(3):
        assert answers(node.handle(Confirmed("n2", 1, N1, 1), "n2", 0)) == []


def test_peers_are_asked_with_the_push_and_again_until_they_confirm() -> None:
    node = three()
    (wake,) = [each for each in waiting(node, 2) if isinstance(each, Wake)]
    assert [type(each) for each in messages(node.wake(wake.at_ns))] == [Push, Confirm]
    again = sends(node.wake(wake.at_ns + node.config.retry_ms * MS))
    assert [(each.to, each.message) for each in again] == [(("n2", "n3"), Confirm("n1", node.state.fingerprint, N1, 1))]
    node.handle(Confirmed("n3", 1, N1, 1), "n3", 0)
    assert Confirm not in [type(each) for each in messages(node.wake(10**9 - 1))]


def test_without_its_copies_an_add_ends_in_a_timeout_and_stays() -> None:
    node = three(wait_ms=100)
    waiting(node, 2)
    assert answers(node.wake(99 * MS)) == []
    (error,) = answers(node.wake(100 * MS))
    assert isinstance(error, ErrorReply)
    assert (error.in_reply_to, error.code) == (1, TIMEOUT)
    assert "the increment stays" in error.text
    assert node.state.value("") == 5
    assert node.stats.timeouts == 1


def test_a_peer_confirms_when_its_own_disk_holds_every_write_and_not_before() -> None:
    first, second = two()
    add(first, 5)
    asked = Confirm("n1", 1, N1, 1)
    (ask,) = messages(second.handle(asked, "n1", 0))
    assert isinstance(ask, Syn)  # it has nothing of it yet
    delta = Delta(N1, 0, (("", Row(5, 0, 1)),))
    assert messages(second.handle(Push("n1", 1, (delta,)), "n1", 0)) == []
    assert second.flush()
    assert messages(second.handle(asked, "n1", 0)) == []
    assert messages(second.committed(0)) == [Confirmed("n2", second.state.fingerprint, N1, 1)]


def test_a_commit_that_fails_confirms_nothing() -> None:
    _, second = two()
    second.handle(Push("n1", 1, (Delta(N1, 0, (("", Row(5, 0, 1)),)),)), "n1", 0)
    second.handle(Confirm("n1", 1, N1, 1), "n1", 0)
    assert second.flush()
    assert messages(second.not_committed("no room")) == []
    assert second.unsaved == 1
    second.tick(0)  # the next try
    assert second.flush()
    assert Confirmed("n2", second.state.fingerprint, N1, 1) in messages(second.committed(0))


def test_a_delta_that_was_cut_short_confirms_nothing() -> None:
    """The write of version 3 was rewritten at 7: who holds all up to 5 may not hold it."""
    _, second = two()
    second.handle(Push("n1", 1, (Delta(N1, 0, (("b", Row(5, 0, 5)),), 7),)), "n1", 0)
    second.handle(Confirm("n1", 1, N1, 3), "n1", 0)
    second.tick(0)
    assert second.flush()
    assert not [each for each in messages(second.committed(0)) if isinstance(each, Confirmed)]


def test_what_a_journal_gave_back_is_confirmed_at_once() -> None:
    config = Config(name="n2", peers=("n1",))
    node = Replica(config, Random(1), 0, Recovered(N2, (Stored(N1, 4, 4, {"": Row(5, 0, 4)}),)))
    assert messages(node.handle(Confirm("n1", 1, N1, 4), "n1", 0)) == [Confirmed("n2", node.state.fingerprint, N1, 4)]


def test_a_new_epoch_ends_the_wait_for_copies_of_the_former_actor() -> None:
    node = three()
    waiting(node, 2)
    effects = node.handle(Push("n2", 1, (Delta(N1, 0, (("", Row(100, 0, 50)),)),)), "n2", 0)
    (error,) = answers(effects)
    assert error.code == TIMEOUT
    assert answers(node.handle(Confirmed("n2", 1, N1, 50), "n2", 0)) == []


def test_an_add_whose_actor_is_another_by_the_time_it_is_durable_has_no_copies() -> None:
    node = three()
    node.handle(Add(1, 5, "x", copies=2), "c", 0)
    assert node.flush()
    node.handle(Push("n2", 1, (Delta(N1, 0, (("", Row(100, 0, 50)),)),)), "n2", 0)
    (error,) = answers(node.committed(0))
    assert error.code == TIMEOUT


def test_a_peer_that_may_hold_a_former_lifes_writes_confirms_none_of_ours() -> None:
    node = Replica(Config(name="n1", peers=("n2", "n3")), Random(1), 0, Recovered(N1))
    waiting(node, 2)
    assert answers(node.handle(Confirmed("n2", 1, N1, 1), "n2", 0)) == []
    node.handle(Syn("n2", 1, {N1: Held(1, 7, 0)}), "n2", 0)
    assert len(answers(node.handle(Confirmed("n2", 1, N1, 1), "n2", 0))) == 1


def test_a_peer_that_confirms_more_than_we_wrote_has_known_a_former_life() -> None:
    node = three()
    waiting(node, 2)
    (error,) = answers(node.handle(Confirmed("n2", 1, N1, 8), "n2", 0))
    assert error.code == TIMEOUT
    assert node.stats.new_epochs == 1


def test_what_a_peer_asked_about_is_forgotten_in_time() -> None:
    _, second = two(wait_ms=100)
    second.handle(Confirm("n1", 1, N1, 99), "n1", 0)
    second.handle(Push("n1", 1, (Delta(N1, 0, (("", Row(5, 0, 1)),)),)), "n1", 0)
    assert second.flush()
    second.committed(0)
    second.wake(100 * MS)
    second.handle(Push("n1", 1, (Delta(N1, 1, (("", Row(6, 0, 2)),)),)), "n1", 0)
    assert second.flush() == []


@pytest.mark.parametrize(("copies", "code"), [(4, MALFORMED), (1001, MALFORMED)])
def test_more_copies_than_members_are_refused(copies: int, code: int) -> None:
    node = three()
    (error,) = answers(node.handle(Add(1, 5, copies=copies), "c", 0))
    assert (error.code, error.text) == (code, "copies must be from 1 to 3, the members of this cluster")
    assert not node.flush()


def test_full_state_gossip_knows_no_copies_and_no_tokens() -> None:
    node = three(gossip="full")
    assert answers(node.handle(Add(1, 5, copies=2), "c", 0))[0].code == NOT_SUPPORTED
    (added,) = answers([*node.handle(Add(1, 5), "c", 0), *node.flush()] and node.committed(0))
    assert added == AddOk(1, None)
    elsewhere = State()
    elsewhere.merge(N2, 0, [("", Row(1, 0, 1))])
    (error,) = answers(node.handle(Read(1, "", token.parse(token.issue(elsewhere))), "c", 0))
    assert error.code == NOT_SUPPORTED


# Tokens.


def test_a_read_with_a_token_waits_for_what_it_stands_for() -> None:
    first, second = two()
    add(first, 5)
    given = token.parse(token.issue(first.state))
    assert answers(second.handle(Read(7, "", given), "c", 0)) == []
    told = second.handle(Push("n1", 1, (Delta(N1, 0, (("", Row(5, 0, 1)),)),)), "n1", 0)
    (answer,) = answers(told)
    assert isinstance(answer, ReadOk)
    assert (answer.in_reply_to, answer.value) == (7, 5)
    (at_once,) = answers(second.handle(Read(8, "", given), "c", 0))
    assert at_once.value == 5


def test_a_read_that_waits_too_long_is_refused_and_changes_nothing() -> None:
    first, second = two(wait_ms=50)
    add(first, 5)
    (wake,) = second.handle(Read(7, "", token.parse(token.issue(first.state))), "c", 0)
    assert wake == Wake(50 * MS)
    (error,) = answers(second.wake(50 * MS))
    assert (error.in_reply_to, error.code) == (7, TEMPORARILY_UNAVAILABLE)


def test_reads_that_wait_are_bounded() -> None:
    first, second = two()
    add(first, 5)
    given = token.parse(token.issue(first.state))
    for i in range(MOST_READS):
        assert answers(second.handle(Read(i, "", given), "c", 0)) == []
    (error,) = answers(second.handle(Read(1, "", given), "c", 0))
    assert error.code == TEMPORARILY_UNAVAILABLE


def test_the_token_of_an_add_stands_for_it_and_grows_with_the_state() -> None:
    node, other = two()
    node.handle(Add(1, 5), "c", 0)
    node.flush()
    (added,) = answers(node.committed(0))
    assert includes(node.state, added.token)
    assert not includes(other.state, added.token)
    add(node, 1)
    (told,) = answers(node.handle(Read(2), "c", 0))
    assert told.token != added.token


@pytest.mark.parametrize("text", ["", "%", "nonsense", "gA==", 5, b"x", "a" * 100_000, "kgE", "kv8B", "3f____8"])
def test_what_is_no_token_is_refused(text: Any) -> None:
    if text == "":
        text = None
    with pytest.raises(ValueError, match="token"):
        token.parse(text)


def test_a_token_includes_rows_ahead_of_a_gap() -> None:
    state, other = State(), State()
    state.merge(N1, 3, [("", Row(1, 0, 9))])
    other.merge(N1, 0, [("x", Row(1, 0, 4))])
    given = token.issue(state)
    assert not includes(other, given)
    other.merge(N1, 4, [("", Row(1, 0, 9))])
    assert includes(other, given)


def test_a_token_for_what_can_never_be_whole_is_good_where_the_same_is_held() -> None:
    """Its writer is gone, and nobody has what goes before the row: a read must not wait for ever."""
    state, other = State(), State()
    for each in (state, other):
        each.merge(N1, 3, [("", Row(1, 0, 9))])
    given = token.issue(state)
    assert includes(state, given)
    assert includes(other, given)
    other.merge(N1, 3, [("x", Row(1, 0, 8))])
    assert not includes(other, given)


def test_where_too_many_have_written_answers_carry_no_token() -> None:
    state = State()
    for i in range(token.MOST_ACTORS + 1):
        assert token.issue(state) is not None
        state.merge(Actor(f"n{i}"), 0, [("", Row(1, 0, 2**40))])
    assert token.issue(state) is None


def test_those_who_count_copies_are_told_as_soon_as_there_are_enough() -> None:
    copies = Copies(("a", "b"), wait_ns=10, first_ask_ns=1, ask_ns=5)
    copies.wait_count("one", 5, 1, deadline_ns=100, now_ns=0)
    copies.wait_count("two", 5, 2, deadline_ns=100, now_ns=0)
    assert copies.due_ns == 1
    assert copies.to_ask(1) == (("a", "b"), 5)
    assert copies.counted() == []
    assert list(copies.confirmed("a", 4)) == []
    assert copies.counted() == []
    assert list(copies.confirmed("a", 5)) == []
    assert copies.counted() == [("one", 1)]
    assert copies.counted(99) == []
    assert copies.counted(100) == [("two", 1)]
    assert copies.due_ns is None


def test_those_who_count_copies_of_a_former_epoch_are_told_of_none() -> None:
    copies = Copies(("a",), wait_ns=10, first_ask_ns=1, ask_ns=5)
    copies.wait_count("client", 5, 1, deadline_ns=100, now_ns=0)
    assert copies.begin_epoch() == ([], ["client"])
    assert copies.due_ns is None
    assert copies.counted(100) == []


def test_clients_that_are_gone_wait_for_nothing() -> None:
    copies = Copies(("a",), wait_ns=10, first_ask_ns=1, ask_ns=5)
    client = object()
    copies.wait_count(client, 5, 1, NEVER, now_ns=0)
    copies.forget(client)
    assert copies.due_ns is None
