"""Datagrams about members: their bytes are fixed, they come back as they were, and what breaks a limit is refused."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip.messages import Gossip, Join, Members
from gossip_counter.node.core.limits import MAX_COUNT, MAX_NAME_BYTES, MAX_VERSION
from gossip_counter.node.core.paths import NARROW_BYTES
from gossip_counter.node.core.roster import MemberRecord
from tests.support.replica import packed, with_checksum

RECORD = MemberRecord("n6", 2**62, 3, False, 2**32 - 1, ("10.0.0.6:7100", "[::1]:7100"), "0.3.0", "ab12cd34")
GOLDEN: list[tuple[Gossip, int, int, list[str]]] = [
    (
        Join("n6", 7, 5, RECORD), 100, 16,
        [
            "990308a56c696b65730fa26e3607059aa26e36cf400000000000000003c2ceffffffff92ad31302e302e302e363a37313030"
            "aa5b3a3a315d3a37313030a5302e332e30a861623132636433340000c40f000000000000000000000000000000931478f9",
        ],
    ),
    (
        Members("n1", 7, (RECORD, MemberRecord("n2", 1, 2, removed=3)), 5, True, "10.0.0.6:7100"), 1200, 16,
        [
            "9a0309a56c696b65730fa26e310705c3ad31302e302e302e363a37313030dc0014a26e36cf400000000000000003c2ceffff"
            "ffff92ad31302e302e302e363a37313030aa5b3a3a315d3a37313030a5302e332e30a861623132636433340000a26e320102"
            "c20090a0a00300558577eb",
        ],
    ),
    (
        Members("n1", 7, (RECORD, MemberRecord("n2", 1, 2, removed=3))), 60, 16,
        [
            "9a0309a56c696b65730fa26e310700c2a09aa26e36cf400000000000000003c2ceffffffff92ad31302e302e302e363a3731"
            "3030aa5b3a3a315d3a37313030a5302e332e30a86162313263643334000021496747",
            "9a0309a56c696b65730fa26e310700c2a09aa26e320102c20090a0a003004dfa760a",
        ],
    ),
]  # fmt: skip
"""Messages, the budget of bytes, the most datagrams, and the datagrams that version 3 of the protocol has for them."""


@pytest.mark.parametrize(("message", "budget", "most", "expected"), GOLDEN, ids=lambda each: type(each).__name__)
def test_the_bytes_of_gossip_about_members_are_those_of_protocol_version_3(
    message: Gossip, budget: int, most: int, expected: list[str]
) -> None:
    assert [datagram.hex() for datagram in packed(message, "likes", budget, most)] == expected


text = st.text("aé:1", min_size=1, max_size=9)
records = st.builds(
    MemberRecord, text, st.integers(0, MAX_COUNT), st.integers(0, MAX_VERSION), st.booleans(),
    st.integers(0, 2**32 - 1), st.lists(text, max_size=4).map(tuple), text, text, st.integers(0, MAX_COUNT),
    st.integers(0, MAX_COUNT),
)  # fmt: skip


@given(st.lists(records, max_size=9).map(tuple), st.integers(0, 2**32 - 1), st.booleans(), st.text("a:1", max_size=50))
def test_records_come_back_as_they_were_and_fit(
    sent: tuple[MemberRecord, ...], boot: int, is_taken: bool, to: str
) -> None:
    datagrams = packed(Members("n1", 7, sent, boot, is_taken, to), budget=400, most=99)
    assert all(len(each) <= 400 for each in datagrams)
    parts = [wire.unpack(each, "c") for each in datagrams]
    assert [part for part in parts if not isinstance(part, Members)] == []
    assert tuple(record for part in parts for record in part.records) == sent  # type: ignore[union-attr]
    carried = {(part.boot, part.is_taken, part.sent_to) for part in parts}  # type: ignore[union-attr]
    assert carried == {(boot, is_taken, to)}


@given(records, st.sampled_from([100, 400, 513, 1200]))
def test_a_join_is_as_long_as_its_answer_may_be(record: MemberRecord, budget: int) -> None:
    (datagram,) = packed(Join("n6", 7, 5, record), budget=budget)
    length = min(budget, NARROW_BYTES)
    assert length - 1 <= len(datagram) <= length or len(datagram) > budget == 100
    assert wire.unpack(datagram, "c") == Join("n6", 7, 5, record)


MEMBERS = [wire.VERSION, 9, "c", 14, "n1", 7, 1, False, "10.0.0.6:7", list(RECORD)]
BAD_FIELDS: list[tuple[int, Any]] = [
    *((0, bad) for bad in ("", 5, "n" * (MAX_NAME_BYTES + 1))),
    *((field, bad) for field in (1, 2, 8) for bad in (-1, 2**63, True, "1", None)),
    *((3, bad) for bad in (0, 1, None)),
    *((4, bad) for bad in (-1, 2**32, "1")),
    *((5, bad) for bad in ("a:1", [5], [""], ["a"] * 5, ["a" * 301])),
    *((field, bad) for field in (6, 7) for bad in (5, None, "x" * 41)),
]


def changed(message: list[Any], index: int, value: object) -> list[Any]:
    return [*message[:index], value, *message[index + 1 :]]


def test_a_well_formed_record_is_accepted() -> None:
    wire.unpack(with_checksum(msgpack.packb(MEMBERS)), "c")


@pytest.mark.parametrize(
    "value",
    [
        *(changed(MEMBERS, 6, bad) for bad in (-1, 2**32, True, 1.0, "1", None)),
        *(changed(MEMBERS, 7, bad) for bad in (None, 0, 1)),
        *(changed(MEMBERS, 8, bad) for bad in (None, 5, "x" * 301, b"x")),
        *(changed(MEMBERS, 9, bad) for bad in (None, 5, RECORD[:-1], [*RECORD, *RECORD, 1])),
        *(changed(MEMBERS, 9, changed(list(RECORD), field, bad)) for field, bad in BAD_FIELDS),
        *([wire.VERSION, 8, "c", 14, "n1", 7, 1, times * list(RECORD), b""] for times in (0, 2)),
        *([wire.VERSION, 8, "c", 14, "n1", 7, 1, list(RECORD), bad] for bad in (None, 0, "")),
    ],
    ids=repr,
)
def test_what_breaks_a_limit_is_refused(value: object) -> None:
    with pytest.raises(BadDatagramError):
        wire.unpack(with_checksum(msgpack.packb(value)), "c")
