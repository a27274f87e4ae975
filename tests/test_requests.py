"""Bodies and lines: each bad input is refused with the right code and a text that names the field and the limit."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.codec import datagrams, json_lines, requests
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, ProtocolError, RequestError
from gossip_counter.node.core.gossip.messages import Delta, Replicate
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, ErrorReply, GossipStatus, InitOk, Read, ReadOk, Reply, Written

ME = Actor("n1.me")


def refusal(body: dict[Any, Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        requests.parse(body)
    return caught.value


def test_good_requests() -> None:
    assert requests.parse({"type": "add", "msg_id": 1, "delta": -5}) == Add(1, -5, "")
    assert requests.parse({"type": "add", "msg_id": 1, "delta": MAX_COUNT, "counter": "a", "odd": 1}) == Add(
        1, MAX_COUNT, "a"
    )
    assert requests.parse({"type": "read", "msg_id": 0}) == Read(0)
    assert requests.parse({"type": "gossip_status", "msg_id": MAX_COUNT}) == GossipStatus(MAX_COUNT)


@pytest.mark.parametrize("delta", [None, True, False, 1.0, "1", b"1", [], {}, MAX_COUNT + 1, -MAX_COUNT - 1, 10**40])
def test_a_bad_delta_is_malformed(delta: object) -> None:
    error = refusal({"type": "add", "msg_id": 9, "delta": delta})
    assert (error.code, error.msg_id) == (MALFORMED, 9)
    assert "delta" in error.text
    assert str(MAX_COUNT) in error.text


def test_a_missing_delta_is_malformed() -> None:
    error = refusal({"type": "add", "msg_id": 9})
    assert (error.code, error.text) == (MALFORMED, "delta is missing")


@pytest.mark.parametrize("request_type", ["add", "read", "gossip_status"])
@pytest.mark.parametrize("counter", [None, 1, True, b"name", "n" * 256, "é" * 128, "\ud800", []])
def test_a_bad_counter_name_is_malformed(request_type: str, counter: object) -> None:
    error = refusal({"type": request_type, "msg_id": 9, "delta": 1, "counter": counter})
    assert (error.code, error.msg_id) == (MALFORMED, 9)
    assert "counter" in error.text


def test_a_name_of_255_bytes_is_good() -> None:
    assert requests.parse({"type": "read", "msg_id": 9, "counter": "é" * 127 + "n"}) == Read(9, "é" * 127 + "n")


@pytest.mark.parametrize("kind", ["init_ok", "", "ADD", "x" * 1000])
def test_an_unknown_type_is_not_supported(kind: str) -> None:
    error = refusal({"type": kind, "msg_id": 9})
    assert (error.code, error.msg_id) == (NOT_SUPPORTED, 9)
    assert len(error.text) < 100


@pytest.mark.parametrize("kind", [None, 1, True, [], b"add"])
def test_a_type_that_is_no_string_is_malformed(kind: object) -> None:
    assert refusal({"type": kind, "msg_id": 9}).code == MALFORMED
    assert refusal({"msg_id": 9}).code == MALFORMED


@pytest.mark.parametrize("msg_id", [None, True, 1.0, "1", -1, MAX_COUNT + 1, []])
def test_without_a_usable_msg_id_nobody_can_be_answered(msg_id: object) -> None:
    error = refusal({"type": "add", "delta": 1, "msg_id": msg_id})
    assert (error.code, error.msg_id) == (MALFORMED, None)


@pytest.mark.parametrize("reply", [{"type": "error"}, {"type": "read_ok", "value": 5}, {"type": "add", "delta": 1}])
def test_a_reply_is_never_answered(reply: dict[str, object]) -> None:
    """Two nodes that answered each other's replies would never stop."""
    error = refusal({"in_reply_to": 3, "msg_id": 9} | reply)
    assert (error.code, error.msg_id) == (MALFORMED, None)


def replicate(**fields: object) -> Replicate:
    body: dict[object, object] = {"type": "replicate", "p_counters": {}, "n_counters": {}}
    body.update(fields)
    return requests.parse_replicate(body, "n2")


def test_replicate_has_a_row_for_each_node() -> None:
    message = replicate(p_counters={"n1": 4, "n9": 7}, n_counters={"n1": 2}, extra="ignored")
    assert set(message.deltas) == {delta("n1", "", Row(4, 2)), delta("n9", "", Row(7, 0))}


def delta(actor: str, counter: str, row: Row) -> Delta:
    return Delta(Actor(actor), None, ((counter, row),))


BAD_VECTORS: list[Any] = [
    None,
    [],
    5,
    "x",
    {"n1": -1},
    {"n1": True},
    {"n1": 1.0},
    {"n1": 2**63},
    {"": 1},
    {"n" * 256: 1},
]
BAD_COUNTERS: list[Any] = [None, [], {"likes": 5}, {"likes": {"p_counters": {}}}, {"n" * 256: {}}]


@pytest.mark.parametrize(
    "fields",
    [
        *({field: bad} for field in ("p_counters", "n_counters") for bad in BAD_VECTORS),
        *({"counters": bad} for bad in BAD_COUNTERS),
    ],
    ids=repr,
)
def test_a_bad_replicate_is_malformed(fields: dict[str, object]) -> None:
    with pytest.raises(RequestError) as caught:
        replicate(**fields)
    assert caught.value.code == MALFORMED


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
positive = st.integers(1, MAX_COUNT)


keys = st.tuples(names, st.one_of(st.just(""), names))


@given(st.dictionaries(keys, st.builds(Row, positive, positive, st.just(0)), max_size=20))
def test_replicate_comes_back_as_it_was(rows: dict[tuple[str, str], Row]) -> None:
    message = Replicate("n1", None, tuple(delta(*names, row) for names, row in rows.items()))
    body = json.loads(json.dumps(requests.replicate_body(message)))
    assert set(requests.parse_replicate(body, "n1").deltas) == set(message.deltas)


def test_reply_fields_stand_in_the_order_of_the_protocol() -> None:
    assert list(requests.reply_body(ReadOk(3, 8), 5).items()) == [
        ("type", "read_ok"), ("in_reply_to", 3), ("value", 8), ("msg_id", 5),
    ]  # fmt: skip
    assert list(requests.reply_body(Written(3, [4], ME, 1), 5)) == ["type", "in_reply_to", "msg_id"]
    assert list(requests.reply_body(ErrorReply(3, 12, "why"), 5)) == ["type", "in_reply_to", "code", "text", "msg_id"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (InitOk(1), "83a474797065a7696e69745f6f6bab696e5f7265706c795f746f01a66d73675f6964cd012c"),
        (Written(3, [4], ME, 1), "83a474797065a66164645f6f6bab696e5f7265706c795f746f03a66d73675f6964cd012c"),
        (
            Written(3, [4], ME, 1, "t"),
            "84a474797065a66164645f6f6bab696e5f7265706c795f746f03a5746f6b656ea174a66d73675f6964cd012c",
        ),
        (ReadOk(4, -5), "84a474797065a7726561645f6f6bab696e5f7265706c795f746f04a576616c7565fba66d73675f6964cd012c"),
    ],
    ids=repr,
)
def test_the_bytes_of_replies_are_fixed(reply: Reply, expected: str) -> None:
    assert datagrams.pack_reply(requests.reply_body(reply, 300)).hex() == expected


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30])
def test_what_msgpack_cannot_hold_is_a_string_of_digits_and_in_json_a_number(value: int) -> None:
    body = requests.reply_body(ReadOk(4, value), 5)
    assert datagrams.unpack(datagrams.pack_reply(body), "") == body | {"value": str(value)}
    assert json_lines.unpack(json_lines.pack("n1", "c", body)).body["value"] == value
    near = requests.reply_body(ReadOk(4, 2**64 - 1), 5)
    assert datagrams.unpack(datagrams.pack_reply(near), "") == near


def test_a_line_of_json_comes_back_as_it_was() -> None:
    line = json_lines.pack("n1", "c\né", {"type": "read_ok", "value": 2**70})
    assert (
        line == b'{"src": "n1", "dest": "c\\n\\u00e9", "body": {"type": "read_ok", "value": 1180591620717411303424}}\n'
    )
    assert json_lines.unpack(line) == ("n1", "c\né", {"type": "read_ok", "value": 2**70})


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b"{}", b'{"src": 1, "body": {}}', b'{"src": "c", "body": []}', b"\xff", b"[" * 10**5]
)
def test_a_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        json_lines.unpack(line)


@pytest.mark.parametrize("destination", [b"", b', "dest": 7', b', "dest": null'])
def test_a_line_need_not_say_to_whom_it_is_sent(destination: bytes) -> None:
    assert json_lines.unpack(b'{"src": "c1"' + destination + b', "body": {}}').destination == ""
