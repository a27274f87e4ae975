"""Simulated runs on all processors."""

import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")


def for_each_seed(run: Callable[[int], T], seeds: Iterable[int]) -> Iterator[T]:
    """What `run` returns for each seed, in order. Whatever ends the caller ends the worker processes."""
    # Spawned, not forked: a worker that inherited our signal handlers could not be ended.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with get_context("spawn").Pool(initializer=signal.signal, initargs=ignore) as pool:
        yield from pool.imap(run, seeds)
