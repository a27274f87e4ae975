"""What hostile or confused messages of members come to."""

from time import process_time

import msgpack
import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip.messages import Confirm, Delta, Pull, Push, Syn, SynAck
from gossip_counter.node.core.gossip.repair import RepairCursors
from gossip_counter.node.core.holdings import DigestEntry, Stored
from gossip_counter.node.core.limits import MAX_COUNT, MAX_OWN_VERSION, MAX_TIES, MAX_VERSION
from gossip_counter.node.core.messages import Add
from tests.support.replica import (
    ME,
    X,
    add,
    exchange,
    messages,
    packed,
    persisted,
    pushed,
    receive,
    replica,
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
    receive(first, pushed(X, 0, ("a", Row(1, 0, MAX_VERSION))))
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
    pull, answer = messages(step(first, Syn("n2", 1, {X: DigestEntry(MAX_COUNT, 1, 0)})))
    assert isinstance(pull, Pull)
    assert isinstance(answer, SynAck)
    assert (pull.wants, answer.wants) == ({X: 0}, {})
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
    """What it sends has no counts that are new to us, so it is no former life, and its version is none of ours."""
    node, other = two(push_window_us=0)
    add(node, 5, "a")
    step(node, Add(2, 1, "a"))
    step(node, pushed(N1, 1, ("a", Row(5, 0, 6))))
    assert rows_in(messages(persisted(node))[0]) == [("a", Row(6, 0, 2))]
    assert (node.state.version(N1), node.state.newer(N1, 0, 9)) == (2, (("a", Row(6, 0, 2)),))
    assert node.stats.new_epochs == 0
    add(node, 1, "b")
    exchange(node, other)
    assert other.state.digest() == node.state.digest() != {}


# Versions that nobody wrote.


@pytest.mark.parametrize("field", ["version", "source_version", "upto"])
def test_a_peer_cannot_have_our_versions_run_out(field: str) -> None:
    node, other = two()
    add(node, 5, "a")
    version, source_version, upto = (
        MAX_VERSION if name == field else 1 for name in ("version", "source_version", "upto")
    )
    receive(node, Push("n2", 1, (Delta(N1, 0, (("a", Row(5, 0, version)),), source_version, upto),)))
    assert (node.state.version(N1), node.state.source_version(N1), node.stats.future_versions) == (1, 1, 1)
    assert node.stats.new_epochs == 0
    add(node, 1, "b")
    exchange(node, other)
    assert (other.state.value("b"), other.state.digest()) == (1, node.state.digest())


def test_versions_that_no_actor_reaches_never_get_past_the_wire() -> None:
    push = pushed(X, 0, ("a", Row(1, 0, MAX_VERSION + 1)))
    for message in (push, Syn("n2", 1, {X: DigestEntry(MAX_VERSION + 1, 1, 0)}), Confirm("n2", 1, X, MAX_VERSION + 1)):
        with pytest.raises(BadDatagramError, match=f"to {MAX_VERSION}"):
            datagrams.unpack(packed(message)[0], "c")


@pytest.mark.parametrize("version", [MAX_OWN_VERSION, MAX_COUNT])
def test_a_life_whose_versions_were_spent_goes_on_as_another_actor(version: int) -> None:
    """A journal of before may hold such a version: nobody took what was written on top of it."""
    node = replica(stored=(Stored(ME, version, version, {"a": (5, 0, version)}),), peers=("n2",))
    assert (node.actor != ME, node.state.value("a")) == (True, 5)
    add(node, 1, "a")
    other = replica(actor="n2.actor", name="n2", peers=("n1",))
    for _ in range(3):
        exchange(node, other)
        exchange(other, node)
    assert other.state.value("a") == 6


# Rows that share a version.


def test_many_rows_of_one_version_never_get_past_the_wire() -> None:
    rows = [(f"c{i:03}", Row(1, 0, 7)) for i in range(MAX_TIES + 1)]
    (datagram,) = packed(pushed(X, 0, *rows[:-1]))
    assert datagrams.unpack(datagram, "c")
    with pytest.raises(BadDatagramError, match=f"at most {MAX_TIES} at one"):
        datagrams.unpack(packed(pushed(X, 0, *rows))[0], "c")


@pytest.mark.parametrize("since", [6, None])
def test_many_rows_of_one_version_do_not_keep_nodes_from_level(since: int | None) -> None:
    """They come one by one: with what goes before them, or detached."""
    first, second = two(push=False)
    receive(first, pushed(X, 0, *((f"a{i}", Row(1, 0, i)) for i in range(1, 7))))
    for i in range(300):
        receive(first, pushed(X, since, ("x" * 200 + str(i), Row(1, 0, 7))))
    receive(first, pushed(X, 6, ("b", Row(1, 0, 8))))
    assert len(first.state.newer(X, 6, 1)) <= MAX_TIES
    assert first.stats.rows_dropped == 300 - MAX_TIES
    for _ in range(4):
        exchange(first, second)
        exchange(second, first)
    assert first.state.digest() == second.state.digest()
    assert second.state.version(X) == 8


def test_rows_that_go_on_can_share_a_version_with_detached_ones() -> None:
    first, _ = two()
    receive(first, pushed(X, 6, *((f"d{i}", Row(1, 0, 7)) for i in range(MAX_TIES))))
    assert first.state.has_detached(X, 7)
    assert not first.state.has_detached(X, 6)
    receive(first, pushed(X, 0, ("a", Row(1, 0, 6)), ("b", Row(1, 0, 7))))
    assert first.stats.rows_dropped == 1
    assert len(first.state.newer(X, 6, 1)) <= MAX_TIES


# Bytes that cost more than their number.


def colliding(depth: int, count: int) -> list[object]:
    """Tuples of one hash: that of a tuple changes little with an order of -1 and -2, which hash alike."""
    keys: list[object] = []
    for number in range(count):
        key: object = tuple(-1 - (number >> bit & 1) for bit in range(depth))
        keys.append(key)
    return keys


def test_keys_of_maps_that_collide_never_get_past_the_wire() -> None:
    keys = colliding(12, 3000)
    assert len({hash(key) for key in keys}) == 1
    datagram = msgpack.Packer().pack_map_pairs([(key, 0) for key in keys])
    assert len(datagram) < datagrams.MAX_DATAGRAM_BYTES
    began = process_time()
    with pytest.raises(BadDatagramError):
        datagrams.unpack(datagram, "c")
    assert process_time() - began < 0.02
