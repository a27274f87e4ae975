"""Commands that end cleanly: on a signal every cleanup is done, and every expected error is one line."""

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
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.node.core.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignal(Exception):  # noqa: N818 a user who stops a command makes no error
    """A command was ended by this signal. `exit_code` is 128 and the signal's number, as shells report it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`. SIGINT, SIGTERM and SIGHUP cancel it, once, at its next `await`.

    `Cluster.start` has no `await` between a process started and its pid saved, so no process is lost. Raises
    `InterruptedBySignal` if a signal came.
    """
    return asyncio.run(_supervised(main))


async def _supervised(main: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    seen: list[int] = []

    def interrupt(number: int) -> None:
        if not seen:  # a second Ctrl-C must not interrupt the cleanup
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
    """For code that is no coroutine: a signal raises `InterruptedBySignal` wherever it is."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise InterruptedBySignal(number)

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_one_line(program: str, *expected: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator of commands: expected errors are one line on stderr and exit code 1, signals 128 and their number."""
    errors: tuple[type[Exception], ...] = (ClusterError, ClientError, ConfigError, OSError, psutil.Error, *expected)

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @wraps(command)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return command(*args, **kwargs)
            except errors as error:
                typer.echo(f"{program}: {error}", err=True)
                raise typer.Exit(1) from None
            except InterruptedBySignal as interrupted:
                typer.echo(f"{program}: stopped ({interrupted})", err=True)
                raise typer.Exit(interrupted.exit_code) from None

        return guarded

    return decorate
