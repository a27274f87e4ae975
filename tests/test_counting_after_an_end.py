"""Claim: what is counted after a deadline that was brought forward stays, whoever comes back with the later one."""

import pytest

from gossip_counter.node.core import lives
from gossip_counter.node.core.counts import Actor, EndingRow
from gossip_counter.node.core.lives import GRACE_MS, Lives
from tests.support.ending_replicas import RealCluster, nodes
from tests.support.lives_cluster import BrokenPromiseError
from tests.support.lives_model import MODES


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


def slightly_earlier_deadlines_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    overruled_ms = lives._overruled_ms
    patch.setattr(lives, "_overruled_ms", lambda *given: max(0, overruled_ms(*given) - 45_000))


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    MODES["counted after"](RealCluster(19))
    slightly_earlier_deadlines_are_not_remembered(monkeypatch)
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
