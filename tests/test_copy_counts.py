"""Claim: however many clients count copies, a confirmation costs only those that it makes ready; none is forgotten."""

from typing import Any

from gossip_counter.node.core.copy_counts import CopyCounts
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.gossip.messages import Confirmed, Syn
from gossip_counter.node.core.messages import CopiesOk, CountCopies
from gossip_counter.node.core.replica import Replica
from tests.support.replica import MS, add, drain, replies, step, two

N1 = Actor("n1.actor")
NEVER = 2**63


def first_of_two() -> Replica:
    """A node whose peer has shown that it holds no more of it than the node does."""
    node, _ = two()
    step(node, Syn("n2", 1, {}))
    return node


class Looked(CountCopies):
    """Counts how often anybody looks at its version or deadline."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("version", "deadline_ns"):
            Looked.looks += 1
        return super().__getattribute__(name)


def test_a_confirmation_costs_only_the_clients_that_it_makes_ready() -> None:
    node = first_of_two()
    for client in range(500):
        step(node, Looked(client, N1, 10 + client, 1 + client % 3, NEVER), client)
    Looked.looks = 0
    node.step(Confirmed("n2", 1, N1, 0), "n2", 0)
    assert Looked.looks == 0


def test_of_clients_that_wait_no_more_little_is_left() -> None:
    counts = CopyCounts(4)
    for i in range(10_000):
        counts.put(i, CountCopies(i, N1, i, i % 7, NEVER + i))
        counts.put("same", CountCopies(i, N1, i, 1, NEVER - i))
        counts.forget(i)
    assert len(counts) == 1
    assert sum(map(len, [counts._by_deadline, *counts._by_version.values()])) < 300
    assert [client for client, _ in counts.take_overdue(NEVER)] == ["same"]
    assert (counts.due_ns, counts.take_all()) == (None, [])


def test_more_members_than_there_are_are_waited_for_until_the_deadline() -> None:
    node = first_of_two()
    add(node, 5)
    step(node, CountCopies(7, N1, 1, 9, 50 * MS), "w")
    assert replies(step(node, Confirmed("n2", 1, N1, 1))) == []
    assert CopiesOk(7, 1) in replies(drain(node, 50 * MS))
