"""Timers of the event loop, on a loop and a clock of the test."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from gossip_counter.node.runtime import timers
from gossip_counter.node.runtime.timers import Alarm, Ticker

MS = 1_000_000


class Loop:
    """Notes what it is asked to call, and when; `advance` calls it, as early as an event loop may."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.calls: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now_ns / 1e9

    def call_later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> "Handle":
        return self.call_at(self.time() + delay_s, call, *arguments)

    def call_at(self, due_s: float, call: Callable[..., None], *arguments: Any) -> "Handle":
        entry = (round(due_s * 1e9), call, arguments)
        self.calls.append(entry)
        return Handle(self, entry)

    def advance(self, now_ns: int, early_ns: int = 0) -> None:
        self.now_ns = now_ns
        for entry in [each for each in self.calls if each[0] <= now_ns + early_ns]:
            if entry in self.calls:
                self.calls.remove(entry)
                entry[1](*entry[2])


class Handle:
    def __init__(self, loop: Loop, entry: Any) -> None:
        self.loop, self.entry = loop, entry

    def cancel(self) -> None:
        if self.entry in self.loop.calls:
            self.loop.calls.remove(self.entry)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(timers, "monotonic_ns", lambda: made.now_ns)
    return made


def test_an_alarm_that_the_loop_calls_early_says_when_it_was_due(loop: Loop) -> None:
    rung: list[int] = []
    alarm = Alarm(cast(Any, loop), rung.append)
    alarm.set(5 * MS)
    loop.advance(4 * MS + MS // 2, early_ns=MS)
    assert rung == [5 * MS]
    assert not loop.calls


def test_an_alarm_that_is_set_again_rings_once_at_the_new_time(loop: Loop) -> None:
    rung: list[int] = []
    alarm = Alarm(cast(Any, loop), rung.append)
    alarm.set(9 * MS)
    alarm.set(3 * MS)
    for now in range(0, 12 * MS, MS):
        loop.advance(now)
    assert rung == [3 * MS]


def test_ticks_that_a_starved_process_missed_are_not_made_up_for(loop: Loop) -> None:
    ticks: list[int] = []
    ticker = Ticker(cast(Any, loop), 0.1, lambda: ticks.append(loop.now_ns))
    ticker.start(0.05)
    for now in (50, 150, 990, 1000, 1090):
        loop.advance(now * MS)
    assert [tick // MS for tick in ticks] == [50, 150, 990, 1000, 1090]  # and not those of 250 to 850
    ticker.stop()
    loop.advance(5000 * MS)
    assert len(ticks) == 5
