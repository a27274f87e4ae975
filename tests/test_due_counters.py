"""Claim: each counter is looked at when the clock changes it, and what waits for its time costs little."""

from random import Random
from typing import Any

import pytest

from gossip_counter.node.core.counts import Actor, EndingRow, Seen, Taken, as_ending
from gossip_counter.node.core.ends import LEAST_SWEEP, Ends
from gossip_counter.node.core.lives import FORGET_MS, GRACE_MS
from gossip_counter.node.core.state import State
from tests.support.lives_cluster import START

X = Actor("x")
DAY_MS = FORGET_MS
WAITS_MS = (1, 50, 2_000, 60_000, 3_600_000, DAY_MS)


class Windows:
    """A state into which rows of an actor come, of counters that end."""

    def __init__(self) -> None:
        self.state = State()
        self.state.advance(START)
        self.deadlines = dict[str, int]()
        self._version = 0

    def put(self, counter: str, wait_ms: int) -> None:
        self._version += 1
        now_ms = self.state.ends.now_ms
        row = EndingRow(self._version, 0, self._version, START, now_ms + wait_ms, now_ms + self._version)
        self.state.merge(X, self._version - 1, [(counter, row)])
        self.deadlines[counter] = row.deadline

    def check(self) -> None:
        state = self.state
        living = {counter for counter, deadline in self.deadlines.items() if deadline > state.ends.now_ms}
        assert state.totals.keys() == living
        assert state.ends.expiring == len(living)
        assert state.ends._waiting == len(state.ends._near) + sum(map(len, state.ends._slots.values()))
        if living:
            assert state.ends.due_ms is not None
            assert state.ends.now_ms < state.ends.due_ms <= min(self.deadlines[counter] for counter in living)


@pytest.mark.parametrize("seed", range(20))
def test_no_counter_ends_late_or_early(seed: int) -> None:
    rng, windows = Random(seed), Windows()
    for number in range(300):
        if rng.random() < 0.5:
            windows.put(f"{number}", rng.randint(1, rng.choice(WAITS_MS)))
        windows.state.advance(windows.state.ends.now_ms + rng.randint(0, rng.choice(WAITS_MS[:-1])))
        windows.check()


def test_a_wake_up_is_never_missed() -> None:
    rng, windows = Random(1), Windows()
    for number in range(200):
        windows.put(f"{number}", rng.randint(1, DAY_MS))
    wake_ups = 0
    while windows.state.totals:
        assert windows.state.ends.due_ms
        windows.state.advance(windows.state.ends.due_ms)
        windows.check()
        wake_ups += 1
    assert wake_ups < 10 * 200


def test_a_counter_waits_in_few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, wait = list[str](), Ends._wait

    def counted(ends: Ends, *rest: Any) -> None:
        waits.append(rest[1])
        wait(ends, *rest)

    monkeypatch.setattr(Ends, "_wait", counted)
    windows = Windows()
    windows.put("a", DAY_MS - 1)
    while windows.state.totals:
        windows.state.advance(windows.state.ends.due_ms or 0)
    assert 3 < waits.count("a") <= 8


def test_counters_of_one_window_share_a_slot() -> None:
    windows = Windows()
    for number in range(1000):
        windows.put(f"{number}", 3_600_000 + number)
    assert len(windows.state.ends._slots) <= 2
    assert not windows.state.ends._near


def test_deadlines_that_are_moved_leave_nothing_behind() -> None:
    windows, ends_ms = Windows(), range(3_600_000, 10_000, -500)
    assert len(ends_ms) > 2 * LEAST_SWEEP
    for wait_ms in ends_ms:
        windows.put("a", wait_ms)
    ends = windows.state.ends
    assert ends._waiting <= LEAST_SWEEP + 2
    assert len(ends._openings) == len(ends._slots)
    windows.check()


def test_a_row_does_not_go_on_before_it_says_what_a_delete_took() -> None:
    windows = Windows()
    windows.state.owner = X
    windows.put("a", 60_000)
    windows.put("a", 60_000)
    own = as_ending(windows.state.row(X, "a"))
    assert windows.state.ends.goes_on("a", own)
    marker = Taken(seen=(Seen(X, 0, 1, 0),), forget_at=START + DAY_MS)
    windows.state.merge(Actor("y"), 0, [("a", EndingRow(2, 0, 1, START, own.deadline, own.stamp, 0, marker))])
    assert windows.state.value("a") == 3
    assert not windows.state.ends.goes_on("a", own)


def test_a_row_goes_on_though_it_remembers_a_later_deadline_until_that_may_be_left_out() -> None:
    windows = Windows()
    windows.state.owner = X
    windows.put("a", DAY_MS)
    own = as_ending(windows.state.row(X, "a"))
    own = own._replace(version=2, taken=Taken(forget_at=START + 60_000))
    windows.state.merge(X, 1, [("a", own)])
    for wait_ms, goes_on in (0, True), (60_000 + GRACE_MS - 1, True), (60_000 + GRACE_MS, False):
        windows.state.advance(START + wait_ms)
        assert windows.state.ends.goes_on("a", own) == goes_on


def test_a_clock_that_is_set_back_brings_lives_back() -> None:
    windows = Windows()
    windows.put("a", 5_000)
    windows.put("b", 3_600_000)
    windows.state.advance(START + 10_000)
    windows.check()
    windows.state.advance(START)
    windows.check()
    windows.state.advance(START + 3_700_000)
    windows.check()
