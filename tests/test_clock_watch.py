"""Claim: a peer's clock that stays off is logged, at first soon and then once in a while."""

import logging

import pytest

from gossip_counter.node.runtime.clock_watch import QUIET_NS, SETTLED_NS, ClockWatch


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records]
    caplog.clear()
    return found


def test_a_clock_that_stays_off_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    watch, off = ClockWatch(logging.getLogger("clocks")), {"n2": 1001, "n3": -90_000, "n4": 1000}
    watch.look(off, 0)
    watch.look(off, SETTLED_NS - 1)
    assert lines(caplog) == []
    watch.look(off, SETTLED_NS)
    ahead, behind = lines(caplog)
    assert ahead.startswith("the clock of n2 is 1.0 s ahead of this node's: ")
    assert behind.startswith("the clock of n3 is 90.0 s behind this node's: ")
    watch.look(off, SETTLED_NS + QUIET_NS - 1)
    assert lines(caplog) == []
    watch.look(off, SETTLED_NS + QUIET_NS)
    assert len(lines(caplog)) == 2


def test_one_that_is_off_for_a_moment_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """A process that was paused reads old messages first."""
    watch = ClockWatch(logging.getLogger("clocks"))
    for at_ns, skew_ms in ((0, -9000), (1, 0), (SETTLED_NS, -9000), (SETTLED_NS + 1, 5)):
        watch.look({"n2": skew_ms}, at_ns)
    assert lines(caplog) == []
