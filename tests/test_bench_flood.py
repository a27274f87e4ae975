"""Claim: `bench flood` sends what it counts, and counts what comes back."""

import socket

import pytest
from msgpack import unpackb

from gossip_counter.bench import flood
from gossip_counter.bench.flood import Kind, datagram_of
from gossip_counter.node.core.cluster_id import ClusterId
from tests.support.bench import figures
from tests.support.waiting import LIMIT_S


@pytest.mark.parametrize("is_cut_by_the_kernel", [True, False])
def test_a_flood_is_sent_as_single_datagrams_and_its_adds_differ(
    monkeypatch: pytest.MonkeyPatch, is_cut_by_the_kernel: bool
) -> None:
    if not is_cut_by_the_kernel:
        monkeypatch.setattr(flood, "UDP_SEGMENT", -1)  # as on a kernel that does not know it
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.bind(("127.0.0.1", 0))
        node.settimeout(LIMIT_S)
        sent = flood.send(datagram_of(Kind.ADD, "", ClusterId(1, True)), node.getsockname(), 1000, 0.1)
        received = [unpackb(node.recv(65_536)) for _ in range(sent.datagrams)]
    assert {each["type"] for each in received} == {"add"}
    assert len({each["msg_id"] for each in received}) == sent.datagrams > 1


def test_flood_counts_what_is_sent_and_what_comes_back() -> None:
    result = figures("flood", "--kind=junk", "--kind=read", "--seconds=0.4", "--rate=2000")
    assert set(result["floods"]) == {"junk", "read"}
    for phase in (result["quiet"], *result["floods"].values()):
        assert 0 < phase["sent"]["datagrams"] <= 800
        assert phase["adds"] > 0
        assert set(phase["rounds"]) == {"n1", "n2", "n3"}
    assert result["quiet"]["dropped"]["bad_input"] == result["quiet"]["bytes_back_per_byte"] == 0
    junk, read = result["floods"]["junk"], result["floods"]["read"]
    assert junk["dropped"]["bad_input"] + junk["dropped"]["worthless_dropped"] == junk["sent"]["datagrams"]
    assert (junk["bytes_back_per_byte"], read["bytes_back_per_byte"] > 1) == (0, True)
    assert "bytes back" not in junk["broken"]
