"""Reads, and the tokens that carry from one node to another what a read must include."""

from collections.abc import Iterator
from typing import Any

import pytest

from gossip_counter.node.core import reads, tokens
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Answer
from gossip_counter.node.core.errors import NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE
from gossip_counter.node.core.gossip.messages import Delta, Push, Syn
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, Read, ReadOk, Written
from gossip_counter.node.core.state import State
from gossip_counter.node.core.tokens import Token
from tests.support.replica import (
    MS,
    Wake,
    X,
    add,
    bare,
    drain,
    pushed,
    receive,
    refusal,
    replica,
    replies,
    settle,
    step,
    two,
)

N1, N2 = Actor("n1.actor"), Actor("n2.actor")


def includes(state: State, text: str | None) -> bool:
    assert text is not None
    return tokens.includes(state, tokens.parse(text))


def token_of(state: State) -> Token:
    return tokens.parse(tokens.issue(state))


# Values.


def test_named_counters_do_not_mix() -> None:
    node = replica()
    add(node, 5, "a")
    add(node, 7, "b")
    assert [node.state.value(name) for name in ("a", "b", "")] == [5, 7, 0]
    assert bare(step(node, Read(1, "b"))) == [Answer("c", ReadOk(1, 7))]


def test_a_counter_that_nobody_wrote_has_no_value_and_reads_as_0() -> None:
    node = replica()
    assert node.value("x") is None
    assert bare(step(node, Read(1, "x"))) == [Answer("c", ReadOk(1, 0))]
    add(node, 5, "x")
    add(node, -5, "x")
    assert node.value("x") == 0
    assert node.stats.reads == 3


def test_a_value_beyond_64_bits_is_read_as_it_is() -> None:
    node = replica()
    add(node, MAX_COUNT)
    receive(node, pushed(X, 0, ("", Row(MAX_COUNT, 0, 1))))
    assert bare(step(node, Read(1))) == [Answer("c", ReadOk(1, 2 * MAX_COUNT))]


# Reads that wait.


def test_a_read_with_a_token_waits_for_what_it_stands_for() -> None:
    first, second = two()
    add(first, 5)
    token = token_of(first.state)
    assert replies(step(second, Read(7, "", token))) == []
    arrived = step(second, Push("n1", 1, (Delta(N1, 0, (("", Row(5, 0, 1)),)),)))
    assert bare(arrived)[0] == Answer("c", ReadOk(7, 5))
    assert bare(step(second, Read(8, "", token))) == [Answer("c", ReadOk(8, 5))]


def test_a_read_waits_for_what_this_node_is_committing() -> None:
    node, _ = two()
    step(node, Add(1, 5))
    elsewhere = State()
    elsewhere.merge(N1, 0, [("", Row(5, 0, 1))])
    assert replies(step(node, Read(7, "", token_of(elsewhere)))) == []
    added, read = replies(settle(node))
    assert (added, read) == (Written(1, (), N1, 1), ReadOk(7, 5))


def test_a_read_that_waits_too_long_is_refused_and_changes_nothing() -> None:
    first, second = two(wait_ms=50)
    add(first, 5)
    assert step(second, Read(7, "", token_of(first.state))) == [Wake(50 * MS)]
    assert drain(second, 50 * MS - 1) == []
    error = refusal(drain(second, 50 * MS))
    assert (error.in_reply_to, error.code) == (7, TEMPORARILY_UNAVAILABLE)
    assert "after 50 ms" in error.text
    assert second.stats.timeouts == 1


def test_reads_that_wait_are_bounded() -> None:
    first, second = two()
    add(first, 5)
    token = token_of(first.state)
    for i in range(reads.MAX_WAITING):
        assert replies(step(second, Read(i, "", token))) == []
    assert refusal(step(second, Read(1, "", token))).code == TEMPORARILY_UNAVAILABLE


class CountingToken(tuple[Any, ...]):
    """A token that counts how often anybody looks at one of its parts."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            type(self).looks += 1
            yield each

    def __getitem__(self, at: Any) -> Any:
        type(self).looks += 1
        return super().__getitem__(at)


def test_a_message_costs_only_the_reads_that_it_makes_ready() -> None:
    node, other = replica(), Actor("n9.other")
    for i in range(1, reads.MAX_WAITING + 1):
        elsewhere = State()
        elsewhere.merge(X, 0, [("", Row(1, 0, i))])
        step(node, Read(i, "", CountingToken(token_of(elsewhere))))  # type: ignore[arg-type]
    CountingToken.looks = 0
    assert replies(receive(node, pushed(other, 0, ("", Row(1, 0, 1))))) == []
    assert CountingToken.looks == 0
    arrived = replies(receive(node, pushed(X, 0, ("", Row(1, 0, 3)))))
    assert arrived == [ReadOk(i, 2) for i in (1, 2, 3)]
    assert CountingToken.looks <= 60  # among them those of two binary searches for each read


def test_a_read_waits_for_one_actor_after_the_other_and_for_its_deadline() -> None:
    elsewhere = State()
    for actor in (N1, N2, X):
        elsewhere.merge(actor, 0, [("", Row(1, 0, 1))])
    node = replica(wait_ms=50)
    for msg_id, now_ms in ((1, 0), (2, 20)):
        step(node, Read(msg_id, "", token_of(elsewhere)), now_ns=now_ms * MS)
    for actor in (X, N1):
        assert replies(receive(node, pushed(actor, 0, ("", Row(1, 0, 1))), now_ns=30 * MS)) == []
    error, wake = drain(node, 50 * MS)
    assert (refusal([error]).in_reply_to, wake) == (1, Wake(70 * MS))
    assert replies(receive(node, pushed(N2, 0, ("", Row(1, 0, 1))), now_ns=60 * MS)) == [ReadOk(2, 3)]
    assert drain(node, 100 * MS) == []


def test_a_read_waits_for_the_same_rows_where_no_version_can_ever_be_complete() -> None:
    elsewhere = State()
    elsewhere.merge(X, 3, [("", Row(1, 0, 9)), ("x", Row(1, 0, 12))])
    node = replica()
    for msg_id in (1, 2):
        assert replies(step(node, Read(msg_id, "", token_of(elsewhere)))) == []
    assert replies(receive(node, pushed(X, 3, ("", Row(1, 0, 9))))) == []
    assert replies(receive(node, pushed(X, 3, ("x", Row(1, 0, 12))))) == [ReadOk(1, 1), ReadOk(2, 1)]


def test_full_state_gossip_knows_no_tokens() -> None:
    node = replica(gossip="full")
    node.step(Add(1, 5), "c", 0)
    settle(node)
    assert step(node, Read(2)) == [Answer("c", ReadOk(2, 5, None))]
    elsewhere = State()
    elsewhere.merge(N2, 0, [("", Row(1, 0, 1))])
    assert refusal(step(node, Read(3, "", token_of(elsewhere)))).code == NOT_SUPPORTED


# Tokens.


def test_the_token_of_an_add_stands_for_it_and_grows_with_the_state() -> None:
    node, other = two()
    step(node, Add(1, 5))
    node.persisted()
    (added,) = replies(drain(node))
    assert isinstance(added, Written)
    assert includes(node.state, added.token)
    assert not includes(other.state, added.token)
    add(node, 1)
    (read,) = replies(step(node, Read(2)))
    assert isinstance(read, ReadOk)
    assert read.token != added.token


def test_adds_that_share_a_commit_share_a_token_which_stands_for_all_of_it() -> None:
    node, _ = two()
    step(node, Add(1, 1))
    step(node, Add(2, 5))
    step(node, Add(3, 5, "x"))
    node.persisted()
    drain(node)
    node.persisted()
    second, third = replies(drain(node))
    assert isinstance(second, Written)
    assert isinstance(third, Written)
    assert second.token == third.token == tokens.issue(node.state)


def test_a_write_of_many_adds_has_no_token() -> None:
    node, _ = two()
    node.submit("c", 1, [("", 5)])
    drain(node)
    node.persisted()
    assert replies(drain(node)) == [Written(1, [5], N1, 1, None)]


def test_nor_has_one_that_a_new_epoch_overtook() -> None:
    node, _ = two()
    node.submit("c", 1, [("", 5)])
    drain(node)
    step(node, Syn("n2", 1, {N1: DigestEntry(50, 7, 0)}))
    node.persisted()
    assert replies(drain(node)) == [Written(1, [5], N1, 1, None)]


@pytest.mark.parametrize("text", [None, "%", "nonsense", "gA==", 5, b"x", "a" * 100_000, "kgE", "kv8B", "3f____8"])
def test_what_is_no_token_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="token"):
        tokens.parse(text)


def test_a_token_includes_detached_rows() -> None:
    state, other = State(), State()
    state.merge(N1, 3, [("", Row(1, 0, 9))])
    other.merge(N1, 0, [("x", Row(1, 0, 4))])
    token = tokens.issue(state)
    assert not includes(other, token)
    other.merge(N1, 4, [("", Row(1, 0, 9))])
    assert includes(other, token)


def test_a_token_for_what_can_never_be_complete_is_good_where_the_same_is_held() -> None:
    """Its writer is gone, and nobody has what goes before the row: a read must not wait for ever."""
    state, other = State(), State()
    for each in (state, other):
        each.merge(N1, 3, [("", Row(1, 0, 9))])
    token = tokens.issue(state)
    assert includes(state, token)
    assert includes(other, token)
    other.merge(N1, 3, [("x", Row(1, 0, 8))])
    assert not includes(other, token)


def test_where_too_many_have_written_replies_carry_no_token() -> None:
    state = State()
    for i in range(tokens.MOST_ACTORS + 1):
        assert tokens.issue(state) is not None
        state.merge(Actor(f"n{i}"), 0, [("", Row(1, 0, 2**40))])
    assert tokens.issue(state) is None
