"""Datagrams: every message comes back as it was, within its budget; junk of any kind is refused and nothing else."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import wire
from node.counter import Row
from node.errors import BadDatagramError
from node.limits import MAX_COUNT, MAX_NAME_BYTES
from node.messages import Replicate
from node.state import Actor

BUDGET = 1200
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
counts = st.integers(0, MAX_COUNT)
gossip_rows = st.lists(
    st.tuples(names.filter(bool).map(Actor), names, st.builds(Row, counts, counts, counts)), max_size=80
)


@given(names.filter(bool), gossip_rows, st.integers(0, 2**64 - 1))
def test_gossip_comes_back_as_it_was_and_fits(
    sender: str, rows: list[tuple[Actor, str, Row]], fingerprint: int
) -> None:
    datagrams = list(wire.pack_gossip(Replicate(sender, tuple(rows), fingerprint), "c", BUDGET))
    assert all(len(datagram) <= BUDGET for datagram in datagrams)
    back: list[tuple[Actor, str, Row]] = []
    for datagram in datagrams:
        part = wire.unpack(datagram, "c")
        assert isinstance(part, Replicate)
        assert (part.sender, part.fingerprint) == (sender, fingerprint)
        back += part.rows
    assert back == rows


def test_an_empty_state_is_told_too() -> None:
    assert len(list(wire.pack_gossip(Replicate("n1", (), 0), "c", BUDGET))) == 1


@given(st.binary(max_size=200))
def test_junk_is_refused(junk: bytes) -> None:
    try:
        value = wire.unpack(junk, "c")
    except BadDatagramError:
        return
    assert isinstance(value, dict)


@given(st.data())
def test_damaged_gossip_is_refused_or_still_gossip(data: st.DataObject) -> None:
    rows = ((Actor("n1.1"), "likes", Row(3, 2, 1)), (Actor("n2.1"), "", Row(1, 0, 1)))
    (datagram,) = wire.pack_gossip(Replicate("n1", rows, 7), "c", BUDGET)
    damaged = bytearray(datagram)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        value = wire.unpack(cut, "c")
    except BadDatagramError:
        return
    assert isinstance(value, dict | Replicate)


GOOD = [wire.VERSION, 1, "c", "n1", 7, ["n1.1", "likes", 3, 2, 1]]


def changed(index: int, value: object) -> list[object]:
    return [*GOOD[:index], value, *GOOD[index + 1 :]]


def row_with(index: int, value: object) -> list[object]:
    rows = ["n1.1", "likes", 3, 2, 1]
    return changed(5, [*rows[:index], value, *rows[index + 1 :]])


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 7, 1.5, "text", b"bytes", []),
        *(GOOD[:5], [*GOOD, 1], changed(0, 2), changed(0, True and "1"), changed(1, 99)),
        *(changed(3, ""), changed(3, "n" * (MAX_NAME_BYTES + 1)), changed(3, b"n1")),
        *(changed(4, -1), changed(4, True), changed(4, None), changed(4, 1.0)),
        *(changed(5, {}), changed(5, ["n1.1", "likes", 3, 2]), changed(5, None)),
        *(row_with(0, ""), row_with(0, 5), row_with(1, None), row_with(1, "é" * 128)),
        *(row_with(i, bad) for i in (2, 3, 4) for bad in (-1, MAX_COUNT + 1, True, 1.0, "1", None)),
    ],
    ids=repr,
)
def test_gossip_that_breaks_a_limit_is_refused(value: object) -> None:
    with pytest.raises(BadDatagramError):
        wire.unpack(msgpack.packb(value), "c")


def test_trailing_bytes_are_refused() -> None:
    assert wire.unpack(msgpack.packb(GOOD), "c")
    with pytest.raises(BadDatagramError):
        wire.unpack(msgpack.packb(GOOD) + b"\x00", "c")


def test_gossip_of_another_cluster_is_told_apart() -> None:
    with pytest.raises(wire.OtherClusterError):
        wire.unpack(msgpack.packb(GOOD), "d")


def test_deep_nesting_and_false_lengths_are_refused_without_allocating() -> None:
    for datagram in (b"\x91" * 60_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(BadDatagramError):
            wire.unpack(datagram, "c")
