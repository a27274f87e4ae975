"""Claim: peers between whom large datagrams are lost, without a word, come to one state all the same."""

from collections import deque

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Send
from gossip_counter.node.core.gossip.messages import Delta, Gossip, Push, Syn
from gossip_counter.node.core.paths import ANSWERS, NARROW_BYTES, NARROW_NS, STUCK_NS, Paths
from gossip_counter.node.core.replica import Replica
from tests.support.replica import MS, add, fill, receive, sends, settle, step, two
from tests.support.wire import Wire

MTU = 600


class Path:
    """Two nodes, between whom nothing that is larger than `mtu` gets through; ticks of both come every 100 ms."""

    def __init__(self, first: Replica, second: Replica, mtu: int = MTU) -> None:
        self.nodes = {"n1": first, "n2": second}
        self.mtu = mtu
        self.now_ns = 0
        self.largest = 0
        self.datagrams = 0

    def carry(self, node: Replica, effects: list[Send]) -> None:
        under_way = deque((node, send) for send in effects)
        while under_way:
            source, send = under_way.popleft()
            packed = datagrams.pack_gossip(send.message, source.config.cluster, *send.bounds(source.config))
            self.largest = max(self.largest, *map(len, packed))
            self.datagrams += len(packed)
            for datagram in (each for each in packed if len(each) <= self.mtu):
                message = datagrams.unpack(datagram, source.config.cluster)
                assert isinstance(message, Gossip)
                to = self.nodes[str(send.to[0])]
                to.step(message, message.sender, self.now_ns)
                under_way += [(to, each) for each in sends(settle(to, self.now_ns))]

    def tick(self) -> None:
        for node in self.nodes.values():
            for wait_ms in (0, 20, 20, 20):
                self.now_ns += wait_ms * MS
                if wait_ms:
                    node.wake(self.now_ns)
                else:
                    node.tick(self.now_ns)
                self.carry(node, sends(settle(node, self.now_ns)))
        self.now_ns += 40 * MS

    def ticks_until_level(self) -> int:
        first, second = self.nodes.values()
        for ticks in range(100):
            if first.state.digest() == second.state.digest():
                return ticks
            self.tick()
        raise AssertionError("they never came to one state")


def test_a_node_that_lost_its_disk_gets_level_over_a_path_with_a_small_mtu() -> None:
    first, second = two()
    fill(first, 2000)
    path = Path(first, second)
    assert path.ticks_until_level() < 20
    assert path.largest > MTU
    path.largest = 0
    fill(first, 200)
    assert path.ticks_until_level() < 10
    assert path.largest <= NARROW_BYTES, "it is tried anew each time"


def test_a_digest_that_is_larger_than_the_path_takes_is_not_asked_in_vain_for_ever() -> None:
    first, second = two(push=False)
    for i in range(60):
        receive(first, Push("n2", 1, (Delta(Actor(f"former-life-of-a-node.{i}"), 0, (("c", Row(1, 0, 1)),)),)))
    fill(second, 1)
    assert Path(first, second).ticks_until_level() < 30


def test_a_node_that_writes_meanwhile_gets_level_over_a_path_with_a_small_mtu_too() -> None:
    first, second = two(push=False)
    fill(first, 3000)
    wire = Wire(first, second)
    wire.mtu = MTU

    def write(name: str) -> None:
        if name == "n2":
            add(second, 1, f"at {wire.now_ns}", now_ns=wire.now_ns)

    wire.run(2000 * MS, write)
    assert second.state.version(Actor("n1.actor")) == 3000


def test_where_all_gets_through_nothing_is_sent_in_small_datagrams() -> None:
    first, second = two()
    fill(first, 5000)
    path = Path(first, second, mtu=1200)
    path.ticks_until_level()
    assert path.datagrams < 5000 * 16 / 1000 * 1.5


def test_a_peer_that_is_only_slow_gets_large_datagrams() -> None:
    paths = Paths()
    for _ in range(10):
        paths.answered("n2", "this much", STUCK_NS - 1)
    assert paths.narrow(("n2",), is_question=False) == ()


def test_large_datagrams_are_tried_again_after_a_while() -> None:
    paths = Paths()
    for at_ns in range(0, (ANSWERS + 1) * STUCK_NS, STUCK_NS):
        paths.answered("n2", "this much", at_ns)
    assert paths.narrow(("n1", "n2"), is_question=False) == ("n2",)
    paths.at(at_ns + NARROW_NS)
    assert paths.narrow(("n1", "n2"), is_question=True) == ()


def test_each_time_in_vain_large_datagrams_are_tried_again_later() -> None:
    paths, at_ns, waits = Paths(), 0, []
    for _ in range(3):
        while not paths.narrow(("n2",), is_question=False):
            paths.answered("n2", "this much", at_ns)
            at_ns += STUCK_NS
            paths.at(at_ns)
        began_ns = at_ns
        while paths.narrow(("n2",), is_question=False):
            at_ns += STUCK_NS
            paths.at(at_ns)
        waits.append(at_ns - began_ns + STUCK_NS)
    assert waits == [NARROW_NS, 2 * NARROW_NS, 4 * NARROW_NS]


def test_a_peer_that_pulls_and_is_answered_in_exchanges_too_is_stuck_all_the_same() -> None:
    paths = Paths()
    for at_ns in range(0, (ANSWERS + 1) * STUCK_NS, STUCK_NS):
        paths.answered("n2", f"more, at {at_ns}", at_ns)
        paths.answered("n2", "this much", at_ns, is_pull=True)
    assert paths.narrow(("n2",), is_question=False) == ("n2",)


def test_one_message_goes_to_each_peer_in_datagrams_of_its_size() -> None:
    node, _ = two()
    fill(node, 100)
    for number in range(ANSWERS + 2):
        answers = sends(step(node, Syn("n2", number, {}), now_ns=number * STUCK_NS))
    assert [(each.to, each.is_narrow, each.bounds(node.config)) for each in answers] == [(("n2",), True, (512, 37))]
