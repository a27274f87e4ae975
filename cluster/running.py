"""Run a coroutine until it ends or a signal asks it to: every cleanup in it is done, and no traceback is shown."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import psutil
import typer

from gossip_counter.cluster.client import ClientError
from gossip_counter.cluster.launcher import LaunchError
from gossip_counter.node.core.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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

    for number in ENDING:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not seen:
            raise
        raise InterruptedBySignal(seen[0]) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Code that awaits nothing is interrupted where it stands. Raises `InterruptedBySignal`."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise InterruptedBySignal(number)

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_one_line(program: str, *expected: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """What goes wrong in a command is told in one line on stderr: exit code 1, or 128 and the signal that ended it."""
    errors: tuple[type[Exception], ...] = (LaunchError, ClientError, ConfigError, OSError, psutil.Error, *expected)

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @wraps(command)
        def told(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return command(*args, **kwargs)
            except errors as error:
                typer.echo(f"{program}: {error}", err=True)
                raise typer.Exit(1) from None
            except InterruptedBySignal as interrupted:
                typer.echo(f"{program}: stopped ({interrupted})", err=True)
                raise typer.Exit(interrupted.exit_code) from None

        return told

    return decorate
