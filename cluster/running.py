"""Run a coroutine until it ends or a signal asks it to: every cleanup in it is done, and no traceback is shown."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class InterruptedBySignal(Exception):  # noqa: N818 it is no error
    """The coroutine was ended by this signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`. On SIGINT, SIGTERM or SIGHUP it is cancelled, once, at its next `await`: between a process started
    and its pid written down there is none. Raises `InterruptedBySignal` when it was.
    """
    return asyncio.run(_supervised(main))


async def _supervised(main: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    seen: list[int] = []

    def interrupt(number: int) -> None:
        if not seen:  # a second Ctrl-C must not cut the cleanup short
            task.cancel()
        seen.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not seen:
            raise
        raise InterruptedBySignal(seen[0]) from None
