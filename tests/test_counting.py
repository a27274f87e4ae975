"""Nothing is lost and nothing counted twice: two replicas against a plain integer."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.replica import Replica
from tests.support.replica import add, exchange


class AgainstAPlainInteger(RuleBasedStateMachine):
    """Two replicas that write and gossip as they please, and a dictionary that counts along."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [
            Replica(Config(name=name, peers=(peer,)), Random(seed), 0)
            for seed, (name, peer) in enumerate([("n1", "n2"), ("n2", "n1")])
        ]
        self.expected = {"": 0, "x": 0}

    @rule(which=st.integers(0, 1), counter=st.sampled_from(["", "x"]), delta=st.integers(-9, 9))
    def write(self, which: int, counter: str, delta: int) -> None:
        add(self.nodes[which], delta, counter)
        self.expected[counter] += delta

    @rule(which=st.integers(0, 1))
    def exchange(self, which: int) -> None:
        exchange(self.nodes[which], self.nodes[1 - which])
        for node in self.nodes:
            assert {name: node.state.value(name) for name in self.expected} == self.expected

    @invariant()
    def no_node_makes_anything_up(self) -> None:
        for counter in self.expected:
            rows = {(actor, name) for node in self.nodes for actor, name, _ in node.state if name == counter}
            own = [node.state.row(node.actor, counter) for node in self.nodes]
            assert sum(row.p - row.n for row in own) == self.expected[counter]
            assert len(rows) <= 2


TestAgainstAPlainInteger = AgainstAPlainInteger.TestCase
TestAgainstAPlainInteger.settings = settings(max_examples=40, stateful_step_count=30)
