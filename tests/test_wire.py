"""Datagrams: their bytes are fixed, every message comes back as it was, within its budget, and all junk is refused."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.counts import Actor, NamedRow, Row
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip.messages import (
    Ack,
    Carrier,
    Confirm,
    Confirmed,
    Delta,
    Gossip,
    Push,
    Replicate,
    Rival,
    Syn,
    SynAck,
)
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.limits import MAX_ACTOR_BYTES, MAX_COUNT, MAX_NAME_BYTES, MAX_TIES, MAX_VERSION
from gossip_counter.node.core.state import State
from tests.support.replica import packed, with_checksum

BUDGET = 1200
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
senders = names.filter(bool)
actors = senders.map(Actor)
hashes = st.integers(0, 2**64 - 1)
counts = st.integers(0, MAX_COUNT)
versions = st.integers(0, MAX_VERSION)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    counters = draw(st.lists(names, max_size=40, unique=True))
    if draw(st.booleans()):
        loose = [(each, Row(draw(counts), draw(counts), draw(st.integers(1, MAX_VERSION)))) for each in counters]
        return Delta(draw(actors), None, tuple(loose))
    since = draw(st.integers(0, 2**40))
    steps = draw(st.lists(st.integers(1, 2**40), min_size=len(counters), max_size=len(counters), unique=True))
    ascending = sorted(since + each for each in steps)
    named = [
        (each, Row(draw(counts), draw(counts), version)) for each, version in zip(counters, ascending, strict=True)
    ]
    cut = bool(ascending) and draw(st.booleans())
    source_version = ascending[-1] + draw(st.integers(1, 2**40)) if cut else 0
    return Delta(draw(actors), since, tuple(named), source_version)


many = st.lists(deltas(), max_size=4).map(tuple)
digests = st.dictionaries(actors, st.builds(DigestEntry, versions, hashes, hashes), max_size=100)
wants = st.dictionaries(actors, versions, max_size=8)
messages = st.one_of(
    st.builds(Replicate, senders, hashes, many),
    st.builds(Syn, senders, hashes, digests),
    st.builds(SynAck, senders, hashes, many, wants),
    st.builds(Ack, senders, hashes, many),
    st.builds(Push, senders, hashes, many),
    st.builds(Confirm, senders, hashes, actors, versions, hashes),
    st.builds(Confirmed, senders, hashes, actors, versions, hashes),
    st.builds(Rival, senders, hashes, st.integers(0, 2**32 - 1), wants),
)


def pack(message: Gossip, budget: int = BUDGET, most: int = 10**6) -> list[bytes]:
    return packed(message, "c", budget, most)


def unpack(datagram: bytes) -> Gossip:
    message = wire.unpack(datagram, "c")
    assert isinstance(message, Gossip)
    return message


def rows_of(parts: list[Gossip]) -> list[tuple[Actor, NamedRow]]:
    return [
        (delta.actor, named)
        for part in parts
        if isinstance(part, Carrier)
        for delta in part.deltas
        for named in delta.rows
    ]


A, B = Actor("n1.AAAAAAAAAAE"), Actor("n2.BBBBBBBBBBQ")
ROWS = (("", Row(1, 0, 5)), ("likes", Row(MAX_COUNT, 300, 70_000)), ("é\0", Row(0, 70_000, 2**40)))
SAME_VERSION = tuple((f"c{i}", Row(1, 0, 1)) for i in range(3))
LOOSE = (("b", Row(3, 2, 9)), ("a", Row(1, 0, 4)))
DELTAS = (Delta(A, 4, ROWS, 2**40 + 9), Delta(B, None, LOOSE), Delta(B, 0, ()))
DIGEST = {B: DigestEntry(MAX_VERSION, 2**64 - 1, 0), A: DigestEntry(5, 9, 1)}
MANY_ACTORS = {Actor(f"n{i}"): DigestEntry(i, i, 0) for i in range(4)}
GOLDEN: list[tuple[Gossip, int, int, list[str]]] = [
    (
        Replicate("n1", 7, (Delta(A, None, ROWS),)), 1200, 16,
        [
            "970300a56c696b65730fa26e31079194ae6e312e4141414141414141414145c0009ca0010005a56c696b6573cf7fffffffffff"
            "ffffcd012cce00011170a3c3a90000ce00011170cf0000010000000000487885ba",
        ],
    ),
    (
        Replicate("n1", 0, ()), 1200, 16,
        [
            "970300a56c696b65730fa26e310090c36c377f",
        ],
    ),
    (
        Syn("n1", 2**64 - 1, DIGEST), 1200, 16,
        [
            "9e0301a56c696b65730fa26e31cfffffffffffffffff00000000a0c098ae6e312e4141414141414141414145050901ae6e322e"
            "4242424242424242424251cf4000000000000000cfffffffffffffffff00903329e79b",
        ],
    ),
    (
        Syn("n1", 7, {A: DIGEST[A]}, "n0", "n1.z", 2**32 - 1, 10**12, members=2**64 - 1), 1200, 16,
        [
            "9e0301a56c696b65730fa26e3107ceffffffffcf000000e8d4a5100000cfffffffffffffffffa26e30a46e312e7a94ae6e312e"
            "41414141414141414141450509019035ea00ec",
        ],
    ),
    (
        Syn("n1", 7, MANY_ACTORS), 76, 16,
        [
            "9e0301a56c696b65730fa26e310700000000a0a26e3198a26e30000000a26e3101010090bef47c8f",
            "9e0301a56c696b65730fa26e310700000000a26e31c098a26e32020200a26e3303030090df43811f",
        ],
    ),
    (
        SynAck("n1", 7, DELTAS, {A: 5, B: 0}), 1200, 16,
        [
            "990302a56c696b65730fa26e31070094ae6e312e414141414141414141414505ae6e322e4242424242424242424251009294ae"
            "6e312e414141414141414141414504099ca0010001a56c696b6573cf7fffffffffffffffcd012cce0001116ca3c3a90000ce00"
            "011170cf000000fffffffffc94ae6e322e4242424242424242424251c00098a162030209a1610100044adeeddc",
        ],
    ),
    (
        SynAck("n1", 7, DELTAS[:1], {A: 5}), 99, 16,
        [
            "990302a56c696b65730fa26e31070092ae6e312e4141414141414141414145059194ae6e312e414141414141414141414504cf"
            "000000fffffeee9998a0010001a56c696b6573cf7fffffffffffffffcd012cce0001116c72569941",
            "990302a56c696b65730fa26e310700909194ae6e312e4141414141414141414145ce000111700994a3c3a90000ce00011170cf"
            "000000fffffeee908e27d1ee",
        ],
    ),
    (
        Ack("n1", 7, DELTAS), 1200, 16,
        [
            "970303a56c696b65730fa26e31079294ae6e312e414141414141414141414504099ca0010001a56c696b6573cf7fffffffffff"
            "ffffcd012cce0001116ca3c3a90000ce00011170cf000000fffffffffc94ae6e322e4242424242424242424251c00098a16203"
            "0209a161010004e8843520",
        ],
    ),
    (
        Push("n1", 7, (Delta(A, 4, ROWS[:1]),)), 1200, 16,
        [
            "970304a56c696b65730fa26e31079194ae6e312e4141414141414141414145040094a001000141dc6043",
        ],
    ),
    (
        Push("n1", 7, DELTAS), 75, 1,
        [
            "970304a56c696b65730fa26e31079194ae6e312e414141414141414141414504cf000001000000000494a0010001e2579ea8",
        ],
    ),
    (
        Push("n1", 7, (Delta(A, 0, SAME_VERSION),)), 50, 16,
        [
            "970304a56c696b65730fa26e31079194ae6e312e414141414141414141414500009ca26330010001a26331010001a263320100"
            "01f45c1d5f",
        ],
    ),
    (
        Confirm("n1", 7, A, 2**40, 2**63), 1200, 16,
        [
            "990305a56c696b65730fa26e3107ae6e312e4141414141414141414145cf0000010000000000cf8000000000000000436e73ef",
        ],
    ),
    (
        Confirmed("n1", 7, A, 0), 1200, 16,
        [
            "990306a56c696b65730fa26e3107ae6e312e4141414141414141414145000048ad0cbd",
        ],
    ),
    (
        Rival("n1", 7, 2**31, {A: 5, B: 0}), 1200, 16,
        [
            "980307a56c696b65730fa26e3107ce8000000094ae6e312e414141414141414141414505ae6e322e4242424242424242424251"
            "00a382a7e3",
        ],
    ),
]  # fmt: skip
"""Messages, the budget of bytes, the most datagrams, and the datagrams that version 3 of the protocol has for them."""


@pytest.mark.parametrize(("message", "budget", "most", "expected"), GOLDEN, ids=lambda each: type(each).__name__)
def test_the_bytes_of_each_kind_of_gossip_are_those_of_protocol_version_3(
    message: Gossip, budget: int, most: int, expected: list[str]
) -> None:
    assert [datagram.hex() for datagram in packed(message, "likes", budget, most)] == expected


def test_every_kind_of_gossip_about_rows_has_golden_bytes() -> None:
    assert {Replicate, Syn, SynAck, Ack, Push, Confirm, Confirmed, Rival} == {type(message) for message, *_ in GOLDEN}


@given(messages)
def test_gossip_comes_back_as_it_was_and_fits(message: Gossip) -> None:
    datagrams = pack(message)
    assert all(len(datagram) <= BUDGET for datagram in datagrams)
    parts = [unpack(datagram) for datagram in datagrams]
    assert {(type(part), part.sender, part.fingerprint) for part in parts} == {
        (type(message), message.sender, message.fingerprint)
    }
    assert rows_of(parts) == rows_of([message])
    if isinstance(message, SynAck):
        assert [part.wants for part in parts if isinstance(part, SynAck)][1:] == [{}] * (len(parts) - 1)


@given(digests)
def test_a_large_digest_is_sent_in_ranges_that_leave_nothing_out(digest: dict[Actor, DigestEntry]) -> None:
    parts = [unpack(datagram) for datagram in pack(Syn("n1", 7, digest))]
    received: dict[Actor, DigestEntry] = {}
    above: str | None = ""
    for part in parts:
        assert isinstance(part, Syn)
        assert part.above == above
        assert all(actor > part.above and (part.upto is None or actor <= part.upto) for actor in part.digest)
        received |= part.digest
        above = part.upto
    assert above is None
    assert received == digest


@given(many)
def test_a_delta_that_is_cut_goes_on_where_it_was_cut(given: tuple[Delta, ...]) -> None:
    """Whoever receives all of its datagrams stores the same state as whoever receives the rows at once."""
    at_once, in_parts = State(), State()
    for delta in given:
        at_once.merge(delta.actor, delta.since, delta.rows, delta.source_version)
    for datagram in pack(Ack("n1", 7, given), budget=600):
        part = unpack(datagram)
        assert isinstance(part, Ack)
        for delta in part.deltas:
            in_parts.merge(delta.actor, delta.since, delta.rows, delta.source_version)
    assert in_parts.digest() == at_once.digest()


def test_rows_of_one_version_are_never_separated() -> None:
    rows = tuple((f"c{i:04}", Row(1, 0, 1 + i // 3)) for i in range(300))
    for datagram in pack(Ack("n1", 7, (Delta(Actor("a"), 0, rows),)), budget=512):
        part = unpack(datagram)
        assert isinstance(part, Ack)
        assert all(len(delta.rows) % 3 == 0 for delta in part.deltas)


def test_rows_of_one_version_that_exceed_a_datagram_go_alone_and_are_claimed() -> None:
    rows = tuple((f"{i:02}" * 100, Row(1, 0, 1 + i // MAX_TIES)) for i in range(3 * MAX_TIES))
    datagrams = pack(Ack("n1", 7, (Delta(Actor("a"), 0, rows),)))
    parts = [unpack(datagram) for datagram in datagrams]
    assert rows_of(parts) == [(Actor("a"), named) for named in rows]
    assert [delta.since for part in parts if isinstance(part, Ack) for delta in part.deltas] == [0, 1, 2]


def test_an_answer_has_at_most_so_many_datagrams() -> None:
    rows = tuple((f"c{i:04}", Row(1, 0, i)) for i in range(1, 2000))
    for message in (Ack("n1", 7, (Delta(Actor("a"), 0, rows),)), SynAck("n1", 7, (Delta(Actor("a"), 0, rows),), {})):
        assert len(pack(message, most=3)) == 3


def test_wants_leave_room_for_rows() -> None:
    wanted = {Actor(f"{i:04}" * 60): 1 for i in range(50)}
    datagrams = pack(SynAck("n1", 7, (Delta(Actor("a"), 0, (("x", Row(1, 0, 1)),)),), wanted))
    assert all(len(datagram) <= BUDGET for datagram in datagrams)
    first = unpack(datagrams[0])
    assert isinstance(first, SynAck)
    assert 0 < len(first.wants) < 50


def test_an_empty_state_is_sent_too() -> None:
    assert len(pack(Replicate("n1", 0, ()))) == len(pack(Syn("n1", 0, {}))) == 1


@given(st.binary(max_size=200))
def test_junk_is_refused(junk: bytes) -> None:
    try:
        value = wire.unpack(junk, "c")
    except BadDatagramError:
        return
    assert isinstance(value, dict)


@pytest.mark.parametrize(("message", "budget", "most", "expected"), GOLDEN, ids=lambda each: type(each).__name__)
def test_one_flipped_bit_is_never_taken(message: Gossip, budget: int, most: int, expected: list[str]) -> None:
    for datagram in packed(message, "likes", budget, most):
        for bit in range(8 * len(datagram)):
            flipped = bytearray(datagram)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(BadDatagramError):
                wire.unpack(bytes(flipped), "likes")


@given(messages, st.data())
def test_damaged_gossip_is_refused(message: Gossip, data: st.DataObject) -> None:
    whole = pack(message)[0]
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    if cut != whole:
        with pytest.raises(BadDatagramError):
            wire.unpack(cut, "c")


DELTA = ["n1.1", 5, 0, ["likes", 3, 2, 1, "x", 1, 0, 2]]
PUSH = [wire.VERSION, 4, "c", 14, "n1", 7, [DELTA]]
SYN = [wire.VERSION, 1, "c", 14, "n1", 7, 1, 0, 1, 0, "", None, ["n1.1", 5, 9, 0], []]
CONFIRM = [wire.VERSION, 5, "c", 14, "n1", 7, "n1.1", 5, 0]
BAD_WANTS: list[Any] = [None, ["n1.1"], [5, 5], ["n1.1", -1], ["n1.1", MAX_COUNT + 1]]
RIVAL = [wire.VERSION, 7, "c", 14, "n1", 7, 1, ["n1.1", 5]]
SYN_ACK = [wire.VERSION, 2, "c", 14, "n1", 7, 1, ["n1.1", 5], [DELTA]]


def changed(message: list[Any], index: int, value: object) -> list[Any]:
    return [*message[:index], value, *message[index + 1 :]]


def delta(index: int, value: object) -> list[Any]:
    return changed(PUSH, 6, [changed(DELTA, index, value)])


def row(index: int, value: object) -> list[Any]:
    return delta(3, changed(DELTA[3], index, value))  # type: ignore[arg-type]


BAD_DELTAS: tuple[Any, ...] = ({}, None, [5], [[]], [["n1.1", 5, ["likes", 3, 2, 1]]])
BAD_ROWS: tuple[Any, ...] = ({}, None, ["likes"], ["likes", 3, 2, 1, "x"])
BAD_ENTRIES: tuple[Any, ...] = (None, ["n1"], ["", 1, 1, 1], ["n1", -1, 1, 1], ["n1", 1, -1, 1], ["n1", 1, 1, None])
NOT_COUNTS: tuple[Any, ...] = (-1, MAX_COUNT + 1, True, 1.0, "1", None)


def test_well_formed_gossip_is_accepted() -> None:
    for good in (PUSH, SYN, SYN_ACK, RIVAL, CONFIRM, changed(CONFIRM, 1, 6), delta(1, None), delta(2, 4)):
        unpack(with_checksum(msgpack.packb(good)))
    no_write = changed(PUSH, 6, [["n1.1", None, 0, ["likes", 3, 2, 0]]])  # a write has a version above 0
    with pytest.raises(BadDatagramError):
        unpack(with_checksum(msgpack.packb(no_write)))


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 7, 1.5, "text", b"bytes", []),
        *(PUSH[:6], [*PUSH, 1], changed(PUSH, 0, 1), changed(PUSH, 0, "2"), changed(PUSH, 1, 99), changed(PUSH, 1, [])),
        *(changed(PUSH, 4, ""), changed(PUSH, 4, "n" * (MAX_NAME_BYTES + 1)), changed(PUSH, 4, b"n1")),
        *(changed(PUSH, 3, bad) for bad in (-1, True, None, 1.0, "1", b"\x0e")),
        *(changed(PUSH, 5, bad) for bad in (-1, True, None, 1.0, 2**63 + 0.5)),
        *(changed(PUSH, 6, bad) for bad in BAD_DELTAS),
        *(delta(0, bad) for bad in ("", 5, "n" * (MAX_ACTOR_BYTES + 1))),
        *(delta(1, bad) for bad in (-1, MAX_COUNT + 1, True, "5")),
        *(delta(2, bad) for bad in NOT_COUNTS),
        *(delta(3, bad) for bad in BAD_ROWS),
        *(row(0, bad) for bad in (None, 5, b"x", "é" * 128)),
        *(row(i, bad) for i in (1, 2, 3) for bad in NOT_COUNTS),
        *(row(3, 0), row(3, 3), row(3, MAX_COUNT)),  # not above since; out of order; beyond every version
        *(changed(each, 6, bad) for each in (SYN, SYN_ACK, RIVAL) for bad in (-1, 2**32, True, 1.0, "1", None)),
        *(changed(SYN, 7, bad) for bad in NOT_COUNTS),
        *(changed(SYN, 9, bad) for bad in (-1, 2**63 + 0.5, None, "1")),
        *(changed(SYN, 10, bad) for bad in (None, 5, "n" * (MAX_ACTOR_BYTES + 1))),
        *(changed(SYN, 12, bad) for bad in BAD_ENTRIES),
        *(changed(CONFIRM, 6, bad) for bad in ("", None, 5)),
        *(changed(SYN_ACK, 7, bad) for bad in BAD_WANTS),
        *(changed(RIVAL, 7, bad) for bad in BAD_WANTS),
    ],
    ids=repr,
)  # fmt: skip
def test_gossip_that_breaks_a_limit_is_refused(value: object) -> None:
    with pytest.raises(BadDatagramError):
        wire.unpack(with_checksum(msgpack.packb(value)), "c")


def test_trailing_bytes_are_refused() -> None:
    for datagram in (with_checksum(msgpack.packb(PUSH)) + b"\x00", with_checksum(msgpack.packb(PUSH) + b"\x00")):
        with pytest.raises(BadDatagramError):
            wire.unpack(datagram, "c")


def test_gossip_of_another_cluster_has_an_error_of_its_own() -> None:
    with pytest.raises(wire.OtherClusterError):
        wire.unpack(with_checksum(msgpack.packb(PUSH)), "d")


def test_deep_nesting_and_false_lengths_are_refused_without_allocating() -> None:
    for datagram in (b"\x91" * 60_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(BadDatagramError):
            wire.unpack(datagram, "c")
