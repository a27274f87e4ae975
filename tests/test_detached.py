"""Claim: rows that no version claims are merged, claimed and sent on at a cost that does not grow with them."""

from collections.abc import Callable
from random import Random
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.detached import DetachedRows
from gossip_counter.node.core.gossip.messages import Syn
from gossip_counter.node.core.replica import Replica
from tests.support.replica import X, pushed, receive, rows_in, sends, step, two

STEPS = st.lists(st.tuples(st.sampled_from(["put", "take out", "take up to"]), st.integers(0, 9), st.integers(1, 40)))


@given(STEPS, st.integers(0, 12))
def test_rows_are_taken_out_in_order_and_sampled_as_from_a_plain_dict(
    steps: list[tuple[str, int, int]], most: int
) -> None:
    rows, plain = DetachedRows(), dict[str, Row]()
    for kind, counter, version in steps:
        name = f"c{counter}"
        if kind == "put":
            plain[name] = Row(1, 0, max(version, plain.get(name, Row()).version))
            rows.put(name, plain[name])
        elif kind == "take out":
            assert rows.take_out(name) == plain.pop(name, Row())
        else:
            taken = list(rows.take_upto(version))
            assert sorted(taken) == sorted(named for named in plain.items() if named[1].version <= version)
            assert [row.version for _, row in taken] == sorted(row.version for _, row in taken)
            plain = {name: row for name, row in plain.items() if row.version > version}
        assert rows == plain
        assert rows.version >= max((row.version for row in plain.values()), default=0)
        assert all(rows.ties(at) == sum(row.version == at for row in plain.values()) for at in range(1, 41))
    sample = rows.sample(most, Random(1))
    assert set(sample) <= set(plain.items())
    assert len(dict(sample)) == len(sample) <= most
    assert bool(sample) == bool(plain and most)


def test_an_answer_brings_other_detached_rows_each_time() -> None:
    first, _ = two()
    receive(first, pushed(X, None, *((f"c{i:04}", Row(1, 0, i + 9)) for i in range(8000))))
    named = set[str]()
    for _ in range(20):
        first.tick(0)
        (answer,) = (each.message for each in sends(step(first, Syn("n2", 1, {}))) if rows_in(each.message))
        named |= {counter for counter, _ in rows_in(answer)}
    assert len(named) > 7500


def cost_s(act: Callable[..., object], *arguments: object) -> float:
    """Of the quickest of some runs."""
    took = []
    for _ in range(5):
        began = process_time()
        act(*arguments)
        took.append(process_time() - began)
    return min(took)


def with_detached(count: int) -> Replica:
    node, _ = two()
    for at in range(0, count, 5_000):
        receive(node, pushed(X, None, *((f"c{i}", Row(1, 0, i + 1000)) for i in range(at, at + 5_000))))
    return node


def test_a_push_and_a_digest_cost_the_same_however_many_rows_are_detached() -> None:
    few, many = with_detached(5_000), with_detached(40_000)
    syn, news = Syn("n2", 1, {}), [pushed(X, at, ("new", Row(at + 1, 0, at + 1))) for at in range(3)]
    costs = [(min(cost_s(step, node, push) for push in news), cost_s(step, node, syn)) for node in (few, many)]
    (push, digest), (large_push, large_digest) = costs
    assert large_push < 3 * push + 0.001
    assert large_digest < 3 * digest + 0.002
    covering = cost_s(many.state.covering_version, X)
    assert covering < 0.001
