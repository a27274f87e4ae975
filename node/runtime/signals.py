"""The signals that end a process: SIGINT, SIGTERM and SIGHUP. Imports little: handlers come before all else."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_ending(act: Callable[[int], object]) -> None:
    """From now on, call `act` with the number of each signal that ends, wherever the main thread is.

    A signal that was ignored when the process began, as by `nohup`, stays ignored.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: act(number))


@contextmanager
def ending(act: Callable[[int], object]) -> Iterator[None]:
    """As `on_ending`, until the end of the block; then what was before."""
    before = {number: signal.getsignal(number) for number in ENDING}
    on_ending(act)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_ending() -> None:
    """Ignore these signals from now on: the process is about to exit."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
