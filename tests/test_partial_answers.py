"""A node whose disk was put back to an older state learns so from each answer that comes in parts, or in several."""

from random import Random

import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.gossip.messages import SynAck
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.replica import Replica
from tests.support.replica import ME, add, begin, members, messages, settle, step, tick

CONFIG = Config(name="n1", peers=("n2",))


def exchanged(node: Replica, peer: Replica) -> None:
    """Some rounds in which nothing is lost."""
    for _ in range(20):
        for first, other in ((node, peer), (peer, node)):
            names = {node: "n1", peer: "n2"}
            for syn in messages(tick(first)):
                for answer in messages(step(other, syn, names[first])):
                    for ack in messages(step(first, answer, names[other])):
                        step(other, ack, names[first])
            settle(first)
            settle(other)


@pytest.mark.parametrize("others_rows", [300, 3000])
def test_what_a_former_life_added_survives_an_answer_without_its_rows(others_rows: int) -> None:
    """The part of the answer that has the actor's rows is lost, or there is no room for them in the first answer."""
    peer, other = members(2)["n2"], Actor("n0.AAAAAAAAAAA")
    peer.state.merge(ME, 0, [("x", Row(136, 0, 3))])
    peer.state.merge(other, 0, [(f"counter-{i}", Row(1, 0, i + 1)) for i in range(others_rows)])
    node = Replica(CONFIG, Random(9), 0, Recovered(ME, (Stored(ME, 1, 1, {"x": Row(10, 0, 1)}),)))
    (syn,) = messages(begin(node))
    (answer,) = messages(step(peer, syn, ("10.0.0.1", 1)))
    parts = [datagrams.unpack(part, "c") for part in datagrams.pack_gossip(answer, "c", 1200, 16)]
    arrived = [part for part in parts if isinstance(part, SynAck) and all(each.actor != ME for each in part.deltas)]
    assert len(arrived) < len(parts) or others_rows > 1000
    for part in arrived:
        step(node, part, "n2")
    add(node, 200, "x")
    settle(node)
    exchanged(node, peer)
    assert node.state.value("x") == peer.state.value("x") == 136 + 200
