"""Claim: the experiments with counters that end measure real nodes, and show what they found."""

import asyncio

import pytest

from gossip_counter.bench import against_redis, ends, limiter, week, windows
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.node.core.lives import Lives


def test_deletes_and_deadlines_are_timed_at_all_nodes() -> None:
    lines: list[str] = []
    found = asyncio.run(ends.measure(2, 2, lines.append))
    shown = found.as_json()
    assert (shown["nodes"], shown["runs"], len(lines)) == (2, 2, 2)
    assert all(0 <= each < ends.LIMIT_NS / 1e6 for each in (*found.added_ms, *found.deleted_ms))
    assert all(0 < each < ends.LIMIT_NS / 1e6 for each in found.round_ms)
    assert all(late >= -1 for late in found.late_ms)  # a millisecond of rounding, and never before the deadline
    assert found.table().row_count == 5


def test_nothing_is_kept_of_windows_that_were_over_long_ago() -> None:
    lines: list[str] = []
    found = week.measure(0.01, 60, 2, lines.append)
    *while_calls, last = found.as_json()["looks"]
    assert all(0 < look["rows"] <= 3 * 60 for look in while_calls)
    assert (last["rows"], last["stored"], last["calls"], found.refused) == (0, 0, 860, 0)
    assert len(lines) == week.LOOKS
    assert found.table().renderables


def test_a_node_that_keeps_what_is_over_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lives, "forgotten", lambda _: iter(()))
    with pytest.raises(ClusterError, match="of windows that are over"):
        week.measure(0.01, 60, 2, lambda _: None)


def test_a_bound_is_passed_by_what_nodes_did_not_know_and_no_more() -> None:
    found = asyncio.run(windows.overshoot(2, 100, 2, lambda _: None))
    assert all(100 <= each <= 100 + windows.DEPTH * 2 for each in found.counted)
    assert found.as_json()["runs"] == 2


def test_windows_are_counted_beside_a_real_redis() -> None:
    if program := against_redis.missing():
        pytest.skip(f"{program.upper()} IS NOT INSTALLED: apt-get install redis-server redis-tools")
    found = asyncio.run(limiter.measure(1, 1000, lambda _: None))
    assert all(len(rates) == 1 and rates[0] > 0 for rates in found.rates.values())
    assert found.as_json()["ratio"] == pytest.approx(found.ratios[0], abs=0.001)
    assert found.table().row_count == 4


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_nothing_stays_of_windows_that_ended() -> None:
    found = asyncio.run(windows.measure(windows.Plan(nodes=2, windows=200, ttl_s=0.2, per_second=200), lambda _: None))
    assert found.refused == 0
    assert found.looks[-1].rows == 0 < max(look.rows for look in found.looks)
