"""Claim: requests end and delete counters, and keep them within bounds; what is refused changes nothing."""

from typing import Any, cast

import msgpack
import pytest

from gossip_counter.node.codec import requests
from gossip_counter.node.core.counts import EndingRow
from gossip_counter.node.core.errors import (
    MALFORMED,
    NOT_SUPPORTED,
    PRECONDITION_FAILED,
    TEMPORARILY_UNAVAILABLE,
    RequestError,
)
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.increases import Increase
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, Delete, DeleteOk, ErrorReply, Read, ReadOk, Reply, Request, Written
from gossip_counter.node.core.replica import Replica
from tests.support.replica import ME, MS, add, exchange, is_committing, replica, replies, settle, step, two
from tests.support.udp import asking, received, send, udp_endpoint

NOW_MS = 1_700_000_000_000


def at(node: Replica, ms: int) -> None:
    """It is so many milliseconds after NOW_MS."""
    node.set_clock(ms * MS, NOW_MS + ms)


def node(**settings: Any) -> Replica:
    made = replica(**settings)
    at(made, 0)
    return made


def parsed(**body: Any) -> Request:
    return requests.parse({"msg_id": 1} | cast(dict[object, object], body))


def adds(node: Replica, delta: int = 1, ms: int = 0, **terms: Any) -> Reply:
    """The reply to an add, once it is durable; the clock was last set `ms` or less after NOW_MS."""
    node.step(parsed(type="add", delta=delta, **terms), "c", ms * MS)
    (reply,) = replies(settle(node, ms * MS))
    return reply


def reads(node: Replica, ms: int = 0) -> tuple[int, int | None]:
    """Value, and when the counter ends, in milliseconds after NOW_MS."""
    node.step(Read(1), "c", ms * MS)
    (reply,) = replies(settle(node, ms * MS))
    assert isinstance(reply, ReadOk)
    return reply.value, reply.deadline and reply.deadline - NOW_MS


def deletes(node: Replica, ms: int = 0) -> Reply:
    node.step(Delete(1), "c", ms * MS)
    (reply,) = replies(settle(node, ms * MS))
    return reply


def refused(reply: Reply, code: int) -> str:
    assert isinstance(reply, ErrorReply)
    assert reply.code == code
    return reply.text


# Expiry.


def test_a_counter_ends_so_long_after_the_add_and_a_read_tells_when() -> None:
    n1 = node()
    assert reads(n1) == (0, None)
    assert isinstance(adds(n1, 5, expire_ms=1000), Written)
    assert reads(n1) == (5, 1000)
    at(n1, 999)
    assert reads(n1, 999) == (5, 1000)
    at(n1, 1000)
    assert reads(n1, 1000) == (0, None)


def test_a_deadline_counts_from_the_request_and_not_from_the_last_tick() -> None:
    n1 = node()
    adds(n1, ms=90, expire_ms=50)
    assert reads(n1, 90) == (1, 140)


def test_what_is_over_when_a_request_comes_is_not_added_to() -> None:
    n1 = node()
    adds(n1, 7, expire_ms=50)
    assert isinstance(adds(n1, 1, ms=60, upper=5, expire_ms=1000), Written)
    assert reads(n1, 60) == (1, 1060)


def test_an_add_with_an_expiry_is_one_commit() -> None:
    n1 = node()
    n1.step(Add(1, 1, terms=Increase(1, lasts_ms=10)), "c", 0)
    assert n1.ready(0)
    assert is_committing(n1)
    settle(n1)
    assert n1.stats.commits == 1


def test_the_last_deadline_holds_and_only_if_new_leaves_the_first() -> None:
    n1 = node()
    adds(n1, expire_ms=1000)
    adds(n1, expire_ms=3000, expire_if_new=True)
    assert reads(n1) == (2, 1000)
    adds(n1, expire_ms=2000)
    assert reads(n1) == (3, 2000)
    adds(n1)
    assert reads(n1) == (4, 2000)


def test_a_window_begins_anew_after_its_end() -> None:
    n1 = node()
    for ms in (0, 500, 1000, 1500):
        at(n1, ms)
        adds(n1, ms=ms, expire_ms=1000, expire_if_new=True)
    assert reads(n1, 1500) == (2, 2000)


def test_a_counter_that_was_there_gets_a_deadline_by_if_new_and_by_adding_nothing() -> None:
    n1 = node()
    adds(n1, 3)
    adds(n1, 0, expire_ms=1000, expire_if_new=True)
    assert reads(n1) == (3, 1000)
    adds(n1, 0, expire_ms=2000)
    assert reads(n1) == (3, 2000)


def test_adding_nothing_makes_no_counter_be_it_with_an_expiry() -> None:
    n1 = node()
    assert isinstance(adds(n1, 0, expire_ms=1000), Written)
    assert (len(n1.state.totals), n1.state.row_count, n1.stats.commits) == (0, 0, 0)


def test_other_nodes_tell_the_same_deadline() -> None:
    n1, n2 = two()
    for each in (n1, n2):
        at(each, 0)
    adds(n1, 5, expire_ms=1000)
    exchange(n2, n1)
    assert reads(n2) == (5, 1000)
    at(n2, 1000)
    assert reads(n2, 1000) == (0, None)


# Bounds.


@pytest.mark.parametrize(
    ("delta", "bounds", "text"),
    [
        (6, {"upper": 10}, "not counted: the value would be 11, and upper is 10"),
        (-6, {"lower": 0}, "not counted: the value would be -1, and lower is 0"),
        (1, {"lower": 7, "upper": 9}, "not counted: the value would be 6, and lower is 7"),
        (0, {"upper": 4}, "not counted: the value would be 5, and upper is 4"),
        (MAX_COUNT, {"upper": MAX_COUNT}, f"not counted: the value would be {MAX_COUNT + 5}, and upper is {MAX_COUNT}"),
    ],
)
def test_an_add_that_would_leave_its_bounds_changes_nothing(delta: int, bounds: dict[str, int], text: str) -> None:
    n1 = node()
    adds(n1, 5, expire_ms=1000)
    assert refused(adds(n1, delta, expire_ms=9000, **bounds), PRECONDITION_FAILED) == text
    assert reads(n1) == (5, 1000)
    assert n1.stats.requests_refused == 1


def test_a_value_may_reach_its_bounds() -> None:
    n1 = node()
    adds(n1, 10, lower=10, upper=10)
    adds(n1, -10, lower=0, upper=0)
    assert reads(n1)[0] == 0


def test_bounds_hold_for_what_waits_in_the_batch_and_in_the_commit_under_way() -> None:
    n1 = node()
    for _ in range(2):
        n1.step(Add(1, 2, terms=Increase(2, upper=4)), "c", 0)
        assert n1.ready(0) is not None or n1.stats.adds == 2
    n1.step(Add(2, 1, terms=Increase(1, upper=4)), "c", 0)
    assert [type(each) for each in replies(settle(n1))] == [ErrorReply, Written, Written]
    assert reads(n1) == (4, None)


def test_bounds_hold_for_what_came_from_peers() -> None:
    n1, n2 = two()
    add(n2, 5)
    exchange(n1, n2)
    refused(adds(n1, upper=5), PRECONDITION_FAILED)
    assert isinstance(adds(n1, upper=6), Written)


# Deletes.


def test_a_counter_is_deleted_and_can_be_counted_again() -> None:
    n1 = node()
    adds(n1, 5, expire_ms=1000)
    assert deletes(n1) == DeleteOk(1, True)
    assert reads(n1) == (0, None)
    adds(n1, 2)
    assert reads(n1) == (2, None)


def test_a_counter_that_is_not_there_is_not_deleted_and_nothing_is_written() -> None:
    n1 = node()
    assert deletes(n1) == DeleteOk(1, False)
    assert (n1.stats.commits, n1.state.row_count) == (0, 0)


def test_a_delete_is_answered_once_it_is_durable_and_so_is_that_there_was_nothing_any_more() -> None:
    n1 = node()
    adds(n1, 5)
    for msg_id in (1, 2):
        n1.step(Delete(msg_id), "c", 0)
        ready = n1.ready(0)
        assert ready is None or not ready.replies
    assert n1.value("") == 5
    assert replies(settle(n1)) == [DeleteOk(1, True), DeleteOk(2, False)]


def test_a_delete_that_cannot_be_made_durable_is_refused() -> None:
    n1 = node()
    adds(n1, 5)
    n1.step(Delete(1), "c", 0)
    assert n1.ready(0)
    n1.step(Delete(2), "c", 0)
    n1.persisted("the disk is full")
    found = replies(settle(n1))
    assert [refused(each, TEMPORARILY_UNAVAILABLE)[:11] for each in found] == ["not counted"] * 2
    assert reads(n1) == (5, None)


def test_a_delete_takes_what_its_node_knew_and_no_add_it_had_not_heard_of() -> None:
    n1, n2 = two()
    for each in (n1, n2):
        at(each, 0)
    adds(n1, 5)
    exchange(n2, n1)
    adds(n1, 2)
    assert deletes(n2) == DeleteOk(1, True)
    exchange(n2, n1)
    exchange(n1, n2)
    assert reads(n1) == reads(n2) == (2, None)


def test_a_read_with_the_token_of_a_delete_sees_it() -> None:
    n1, n2 = two()
    adds(n1, 5)
    exchange(n2, n1)
    n1.step(Delete(1), "c", 0)
    n1.ready(0)
    n1.persisted()
    ready = n1.ready(0)
    assert ready
    (answer,) = ready.replies
    assert isinstance(answer.reply, DeleteOk)
    assert replies(step(n2, parsed(type="read", token=answer.reply.token))) == []
    exchange(n2, n1)
    assert reads(n2) == (0, None)


def test_a_delete_that_arrives_twice_takes_nothing_that_was_added_between() -> None:
    with udp_endpoint() as n1, asking(n1.udp.address) as client:
        for msg_id, body in ((1, {}), (2, {"type": "delete"}), (3, {})):
            send(client, msg_id, **body)
            n1.receive()
            n1.persisted()
        send(client, 2, type="delete")
        n1.receive()
        found = [msgpack.unpackb(each) for each in received(client)]
        assert [each["type"] for each in found] == ["add_ok", "delete_ok", "add_ok", "delete_ok"]
        assert found[1] == found[3]
        assert (n1.replica.value(""), n1.replica.stats.repeated_adds) == (5, 1)


# Bad input.


def malformed(**body: Any) -> str:
    with pytest.raises(RequestError) as caught:
        parsed(**{"type": "add", "msg_id": 9, "delta": 1} | body)
    assert (caught.value.code, caught.value.msg_id) == (MALFORMED, 9)
    return caught.value.text


@pytest.mark.parametrize("bad", [0, -1, 1.0, 1.5, True, False, None, "60", 2**63, 10**30, [], {}])
def test_a_bad_expiry_is_malformed(bad: object) -> None:
    assert malformed(expire_ms=bad).startswith(f"expire_ms must be an integer from 1 to {MAX_COUNT}, not ")


@pytest.mark.parametrize("name", ["lower", "upper"])
@pytest.mark.parametrize("bad", [1.0, True, None, "5", 2**63, -(2**63), []])
def test_a_bad_bound_is_malformed(name: str, bad: object) -> None:
    assert malformed(**{name: bad}).startswith(f"{name} must be an integer from -{MAX_COUNT} to {MAX_COUNT}, not ")


@pytest.mark.parametrize("bad", [0, 1, None, "yes", []])
def test_a_bad_if_new_is_malformed(bad: object) -> None:
    assert "expire_if_new must be a boolean" in malformed(expire_ms=5, expire_if_new=bad)


def test_terms_that_make_no_sense_together_are_malformed() -> None:
    assert malformed(lower=6, upper=5) == "lower (6) must not be above upper (5)"
    assert malformed(expire_if_new=True) == "expire_if_new needs expire_ms"
    assert parsed(type="add", delta=1, expire_if_new=False) == Add(1, 1, terms=Increase(1))


def test_a_deadline_beyond_64_bits_is_malformed_and_nothing_is_counted() -> None:
    n1 = node()
    most = MAX_COUNT - NOW_MS
    text = refused(adds(n1, expire_ms=most + 1), MALFORMED)
    assert text == f"expire_ms must be at most {most}: a deadline is below 2**63"
    assert (n1.state.row_count, n1.stats.commits) == (0, 0)
    adds(n1, expire_ms=most)
    assert reads(n1) == (1, most)


def test_full_state_gossip_refuses_expiry_and_deletes_and_keeps_bounds() -> None:
    n1 = node(gossip="full")
    adds(n1, 5)
    for reply in (adds(n1, expire_ms=1000), adds(n1, 0, expire_ms=1000), deletes(n1)):
        why = refused(reply, NOT_SUPPORTED)
        assert why == "full-state gossip can't end counters: start the nodes with delta gossip"
    refused(adds(n1, upper=5), PRECONDITION_FAILED)
    assert reads(n1) == (5, None)


@pytest.mark.parametrize("delta", [1, Increase()])
def test_full_state_gossip_refuses_adds_to_a_counter_that_a_former_start_let_end(delta: int | Increase) -> None:
    row = EndingRow(5, 0, 1, NOW_MS, NOW_MS + 9000, NOW_MS)
    n1 = node(gossip="full", stored=(Stored(ME, 1, 1, {"a": row}),))
    at(n1, -2000)  # has it look at the counter again: from now on adds could go the short way
    assert n1.state.ends.goes_on("a", row)
    n1.submit("c", 1, [("a", delta)])
    ((refusal,),) = (reply.values for reply in replies(settle(n1, -2000 * MS)) if isinstance(reply, Written))
    assert isinstance(refusal, RequestError)
    assert refusal.code == NOT_SUPPORTED
    assert n1.value("a") == 5


def test_replies_on_the_wire() -> None:
    assert requests.reply_body(ReadOk(1, 5, None, 99), 2) == {
        "type": "read_ok", "in_reply_to": 1, "value": 5, "deadline": 99, "msg_id": 2,
    }  # fmt: skip
    assert list(requests.reply_body(ReadOk(1, 5, "t"), 2)) == ["type", "in_reply_to", "value", "token", "msg_id"]
    assert requests.reply_body(DeleteOk(1, True), 2) == {
        "type": "delete_ok", "in_reply_to": 1, "existed": True, "msg_id": 2,
    }  # fmt: skip
