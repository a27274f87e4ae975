"""The parts of a digest as datagrams: their bytes are fixed, they come back as they were, and all junk is refused."""

import msgpack
import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip.messages import Syn
from gossip_counter.node.core.holdings import Part
from gossip_counter.node.core.limits import MAX_ACTOR_BYTES, MAX_PARTS
from tests.support.replica import packed, with_checksum


def test_the_bytes_of_parts_are_those_of_protocol_version_3() -> None:
    syn = Syn("n1", 7, {}, "n0", "n3", 1, 2, (Part("n1", 5), Part("n3", 2**64 - 1)), 3, 4)
    (datagram,) = packed(syn, "likes")
    assert datagram.hex() == (
        "9e0301a56c696b65730fa26e310701020304a26e30a26e339094a26e3105a26e33cfffffffffffffffffd93b11e9"
    )
    assert datagrams.unpack(datagram, "likes") == syn


@pytest.mark.parametrize("budget", [400, 512, 1200])
def test_parts_are_sent_in_ranges_that_leave_nothing_out(budget: int) -> None:
    names = [f"{number:02}" + number * "é" for number in range(MAX_PARTS - 1)]
    whole = (*(Part(name, 2**64 - number - 1) for number, name in enumerate(names)), Part(None, 5))
    received, above = list[Part](), ""
    for datagram in packed(Syn("n1", 7, {}, parts=whole), budget=budget):
        part = datagrams.unpack(datagram, "c")
        assert isinstance(part, Syn)
        assert len(datagram) <= budget
        assert (part.above, part.upto) == (above, part.parts[-1].upto)
        received += part.parts
        above = part.upto or ""
    assert tuple(received) == whole


GOOD = ["n2", 9, "n3", 5]
MANY = [each for number in range(MAX_PARTS) for each in (f"n2{number:02}", 5)]


@pytest.mark.parametrize(
    "parts",
    [
        *(None, ["n3"], ["n3", -1], ["n3", True], [5, 5], ["n" * (MAX_ACTOR_BYTES + 1), 5, "n3", 5]),
        *(["n2", 5], [None, 5], ["n2", 5, None, 5]),  # they do not end where the range does
        *(["n1", 5, "n3", 5], ["n3", 5, "n2", 5], ["n2", 5, "n2", 5, "n3", 5], [None, 5, "n3", 5]),  # out of order
        [*MANY, "n3", 5],
    ],
    ids=repr,
)
def test_parts_that_break_a_limit_are_refused(parts: object) -> None:
    def datagram(entries: list[object], parts: object) -> bytes:
        syn = [datagrams.VERSION, 1, "c", 14, "n1", 7, 1, 0, 1, 2**64 - 1, "n1", "n3", entries, parts]
        return with_checksum(msgpack.packb(syn))

    datagrams.unpack(datagram([], GOOD), "c")
    datagrams.unpack(datagram([], [*MANY[2:], "n3", 5]), "c")
    with pytest.raises(BadDatagramError):
        datagrams.unpack(datagram([], parts), "c")
    with pytest.raises(BadDatagramError):
        datagrams.unpack(datagram(["n2", 5, 9, 0], GOOD), "c")
