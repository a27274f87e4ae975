"""Claim: what is counted after a deadline that was brought forward stays, whoever comes back with the later one."""

import pytest

from gossip_counter.node.core import lives
from gossip_counter.node.core.counts import Actor, EndingRow
from gossip_counter.node.core.lives import GRACE_MS, LIKE_MS, Lives
from tests.support.ending_replicas import RealCluster, nodes
from tests.support.lives_cluster import BrokenPromiseError
from tests.support.lives_model import MODES


def later_deadlines_are_remembered_for_less(patch: pytest.MonkeyPatch, ms: int) -> None:
    """Those that are less than that later are not remembered at all."""
    overruled_ms = lives._overruled_ms
    patch.setattr(lives, "_overruled_ms", lambda *given: max(0, overruled_ms(*given) - ms))


@pytest.mark.parametrize("sooner_ms", [1, 37_000, 110_000])
@pytest.mark.parametrize("back_ms", [GRACE_MS + 1000, 2 * GRACE_MS - 1, 2 * GRACE_MS + 1])
def test_a_node_that_knows_only_of_the_later_deadline_takes_nothing_with_it(sooner_ms: int, back_ms: int) -> None:
    cluster, (n1, n2, n3) = nodes(3)
    n1.add("a", 1, 120_000)
    cluster.settle()
    cluster.away = n3  # type: ignore[assignment]
    n3.add("a", 5)  # nobody else knows of this, nor of its deadline
    n1.expire("a", 120_000 - sooner_ms)
    cluster.settle()
    cluster.pass_time(120_000 - sooner_ms)
    n2.add("a", 7)
    cluster.settle()
    cluster.pass_time(back_ms)
    cluster.away = None
    for later_ms in (0, 120_000, 2 * GRACE_MS):
        cluster.pass_time(later_ms)
        cluster.settle()
        assert [node.value("a") for node in (n1, n2, n3)] == [7, 7, 7]


def values_once_one_is_back_whose_clock_is_behind() -> list[int]:
    """At each node; it comes back when the others, by their clocks, have not had its rows for seconds."""
    cluster, (n1, n2, n3) = nodes(3)
    n3.skew = -5000
    cluster.pass_time(0)
    n1.add("a", 1, 120_000)
    cluster.settle()
    cluster.away = n3  # type: ignore[assignment]
    n3.add("a", 5)
    n1.expire("a", 30_000)
    cluster.settle()
    cluster.pass_time(31_000)
    n2.add("a", 7)
    cluster.settle()
    cluster.pass_time(89_000 + GRACE_MS + 3000)
    cluster.away = None
    cluster.settle()
    return [node.value("a") for node in (n1, n2, n3)]


def test_the_later_deadline_is_remembered_for_longer_than_a_clock_may_be_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert values_once_one_is_back_whose_clock_is_behind() == [7, 7, 7]
    later_deadlines_are_remembered_for_less(monkeypatch, LIKE_MS)
    assert values_once_one_is_back_whose_clock_is_behind() == [0, 0, 0]


def values_once_one_is_back_though_the_later_deadline_was_left() -> list[int]:
    """At each node; who had set it counts on in another life, and whoever ended the first did not know of it."""
    cluster, (n1, n2, n3) = nodes(3)
    n2.add("a", 1)
    cluster.settle()
    cluster.away = n2  # type: ignore[assignment]
    n1.add("a", 1, 120_000)
    cluster.settle()
    cluster.away = n3  # type: ignore[assignment]
    n3.add("a", 5)
    cluster.pass_time(1000)
    n2.expire("a", 1000)
    cluster.settle()
    cluster.pass_time(1000)
    for _ in range(2):
        n1.add("a", 7)
        cluster.settle()
        cluster.pass_time(GRACE_MS + 1000)
    cluster.away = None
    cluster.settle()
    return [node.value("a") for node in (n1, n2, n3)]


def test_the_later_deadline_is_remembered_by_whoever_set_it_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values_once_one_is_back_though_the_later_deadline_was_left() == [14, 14, 14]
    taken_on = Lives._taken_on
    monkeypatch.setattr(Lives, "_taken_on", lambda lives, me, row: taken_on(lives, me, row)._replace(forget_at=0))
    assert values_once_one_is_back_though_the_later_deadline_was_left() == [0, 0, 0]


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    MODES["counted after"](RealCluster(19))
    later_deadlines_are_remembered_for_less(monkeypatch, 45_000)
    with pytest.raises(BrokenPromiseError):
        MODES["counted after"](RealCluster(19))


def test_a_row_that_others_forgot_stays_if_another_life_would_end_with_it() -> None:
    n1, n2, n3 = Actor("n1"), Actor("n2"), Actor("n3")
    later, earlier = EndingRow(1, 0, 1, 100, 120_000, 100), EndingRow(1, 0, 1, 400, 100_000, 400)
    after = EndingRow(7, 0, 2, 101_000)
    without = Lives({n1: later, n3: after}, 180_000)
    assert (without.value, without.goes_on(n1)) == (None, False)
    held = Lives({n1: later, n2: earlier, n3: after}, 180_000)
    assert (held.value, held.goes_on(n1), held.goes_on(n2)) == (7, False, True)
