"""What hostile or confused messages of members come to."""

import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip.repair import RepairCursors
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, Push, Syn, SynAck
from tests.support.replica import (
    X,
    add,
    exchange,
    messages,
    packed,
    persisted,
    pushed,
    receive,
    rows_in,
    step,
    two,
    with_checksum,
)

N1 = Actor("n1.actor")


def datagram_of(push: Push) -> bytes:
    (datagram,) = packed(push)
    return datagram


def test_rows_out_of_order_never_get_past_the_wire() -> None:
    datagram = datagram_of(pushed(X, 0, ("b", Row(1, 0, 1)), ("a", Row(1, 0, 2))))
    content = datagram[:-4]
    shuffled = content.replace(b"\xa1b\x01\x00\x01\xa1a\x01\x00\x02", b"\xa1a\x01\x00\x02\xa1b\x01\x00\x01")
    assert shuffled != content
    with pytest.raises(BadDatagramError, match="ascending"):
        datagrams.unpack(with_checksum(shuffled), "c")


def test_negative_counts_never_get_past_the_wire() -> None:
    with pytest.raises(BadDatagramError, match="p must be an integer from 0"):
        datagrams.unpack(datagram_of(pushed(X, 0, ("a", Row(-1, 0, 1)))), "c")


def test_since_above_its_rows_never_gets_past_the_wire() -> None:
    with pytest.raises(BadDatagramError, match="above since"):
        datagrams.unpack(datagram_of(pushed(X, 9, ("a", Row(1, 0, 9)))), "c")


def test_shrinking_counts_take_nothing_back() -> None:
    first, _ = two()
    step(first, pushed(X, 0, ("a", Row(9, 3, 1))))
    step(first, pushed(X, 1, ("a", Row(2, 1, 2))))
    assert first.state.value("a") == 6
    assert first.stats.shrinking_rows == 1


def test_versions_that_jump_do_not_keep_later_rows_out() -> None:
    first, second = two(push=False)
    receive(first, pushed(X, 0, ("a", Row(1, 0, MAX_COUNT))))
    receive(second, pushed(X, 0, ("a", Row(1, 0, 1)), ("b", Row(4, 0, 2)), sender="n1"))
    for _ in range(4):
        exchange(first, second)
        exchange(second, first)
    assert first.state.value("b") == second.state.value("b") == 4
    assert first.state.fingerprint == second.state.fingerprint


def test_a_digest_that_claims_our_own_future_is_counted() -> None:
    first, _ = two()
    step(first, Syn("n2", 1, {N1: DigestEntry(MAX_COUNT, 1, 0)}))
    assert (first.stats.future_digests, first.stats.new_epochs) == (1, 1)


def test_a_digest_that_claims_the_future_is_asked_for_it_and_believed_nothing() -> None:
    first, _ = two()
    (answer,) = messages(step(first, Syn("n2", 1, {X: DigestEntry(MAX_COUNT, 1, 0)})))
    assert isinstance(answer, SynAck)
    assert answer.wants == {X: 0}
    assert first.state.version(X) == 0
    assert X not in first.state


def test_digests_of_actors_nobody_knows_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    for name in ("compare", "skip"):  # what keeps a cursor
        monkeypatch.setattr(RepairCursors, name, lambda *arguments: kept.append(arguments))
    first, _ = two()
    for i in range(1000):
        step(first, Syn("n2", 1, {Actor(f"x{i}"): DigestEntry(0, 5, 0), Actor(f"y{i}"): DigestEntry(7, 5, 3)}))
    assert kept == []
    assert first.state.actors == 0


def test_wants_of_what_we_never_had_are_answered_with_silence() -> None:
    first, _ = two()
    wants = {Actor(f"x{i}"): 0 for i in range(1000)} | {N1: MAX_COUNT}
    assert step(first, SynAck("n2", 1, (), wants)) == []


def test_a_counter_named_twice_in_a_delta_counts_once() -> None:
    first, _ = two()
    step(first, pushed(X, 0, ("a", Row(1, 0, 1)), ("a", Row(3, 0, 2))))
    assert (first.state.value("a"), first.state.row_count) == (3, 1)
    assert list(first.state.names) == ["a"]


def test_a_later_row_of_ours_past_a_gap_does_no_harm() -> None:
    node, other = two()
    add(node, 5, "a")
    receive(node, pushed(N1, 7, ("a", Row(5, 0, 9))))
    add(node, 1, "a")
    assert (node.state.value("a"), node.state.row(N1, "a").p, node.stats.new_epochs) == (6, 6, 0)
    exchange(node, other)
    exchange(other, node)
    assert other.state.fingerprint == node.state.fingerprint
    assert other.state.value("a") == 6


def test_a_peer_that_raises_a_version_of_ours_while_we_write_does_no_harm() -> None:
    """What it sends has no counts that are new to us, so it is no former life."""
    node, other = two(push_window_us=0)
    add(node, 5, "a")
    step(node, Add(2, 1, "a"))
    step(node, pushed(N1, 1, ("a", Row(5, 0, 6))))
    assert rows_in(messages(persisted(node))[0]) == [("a", Row(6, 0, 6))]
    assert (node.state.version(N1), node.state.newer(N1, 0, 9)) == (6, (("a", Row(6, 0, 6)),))
    assert node.stats.new_epochs == 0
    add(node, 1, "b")
    exchange(node, other)
    assert other.state.digest() == node.state.digest() != {}
