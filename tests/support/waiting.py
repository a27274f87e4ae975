"""Wait for something to become true, instead of for some time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 20.0
"""No single step of a test takes longer, on the slowest machine."""


def until(condition: Callable[[], T | None], limit_s: float = LIMIT_S) -> T:
    """The first true value of `condition`, which is called every 10 ms. Fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (met := condition()):
        assert time.monotonic() < deadline, f"not so after {limit_s} s: {condition}"
        time.sleep(0.01)
    return met
