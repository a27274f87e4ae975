"""Commands that end cleanly: on a signal every cleanup is done, and every expected error is one line."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import psutil
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from gossip_counter.cluster.client import ClientError
from gossip_counter.cluster.errors import ClusterError, reason
from gossip_counter.cluster.options import naming
from gossip_counter.node import encodings
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.runtime import signals

P = ParamSpec("P")
T = TypeVar("T")

QUIET_S = 5.0
"""Seconds between two lines of progress where there is no terminal."""


class InterruptedBySignal(Exception):  # noqa: N818 a user who stops a command makes no error
    """A command was ended by this signal. `exit_code` is 128 and the signal's number, as shells report it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`. A signal that ends cancels it, once, at its next `await`.

    Raises `InterruptedBySignal` if one came, also if `main` has done all its work before it could be cancelled.
    """
    return asyncio.run(_supervised(main))


async def _supervised(main: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    seen: list[int] = []

    def interrupt(number: int) -> None:
        if not seen:  # a second Ctrl-C must not interrupt the cleanup
            loop.call_soon_threadsafe(task.cancel)
        seen.append(number)

    with signals.ending(interrupt):
        try:
            result = await task
        except asyncio.CancelledError:
            if not seen:
                raise
    if seen:
        raise InterruptedBySignal(seen[0])
    return result


def _interrupt(number: int) -> None:
    raise InterruptedBySignal(number)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Something to call with a line of progress. A terminal shows the latest one on stderr, until the end.

    Elsewhere there is at most one line in `QUIET_S`, and none before.
    """
    err = Console(stderr=True)
    if err.is_terminal:
        with Live(console=err, transient=True) as live:
            yield lambda line: live.update(Text(line, no_wrap=True, overflow="ellipsis"))
        return
    shown_s = monotonic()

    def show(line: str) -> None:
        nonlocal shown_s
        if monotonic() - shown_s >= QUIET_S:
            typer.echo(line, err=True)
            shown_s = monotonic()

    yield show


def in_one_line(program: str, *expected: type[Exception]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator of commands: expected errors are one line on stderr and exit code 1, signals 128 and their number."""
    errors: tuple[type[Exception], ...] = (ClusterError, ClientError, ConfigError, OSError, psutil.Error, *expected)

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @wraps(command)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                with signals.ending(_interrupt):
                    return command(*args, **kwargs)
            except errors as error:
                typer.echo(f"{program}: {_one_line(error, kwargs.get('directory'))}", err=True)
                raise typer.Exit(1) from None
            except InterruptedBySignal as interrupted:
                typer.echo(f"{program}: stopped ({interrupted})", err=True)
                raise typer.Exit(interrupted.exit_code) from None

        return guarded

    return decorate


def _one_line(error: Exception, directory: object) -> str:
    """What went wrong, and what to do about it in the directory that the command was given."""
    text = str(error)
    if isinstance(error, BrokenPipeError):
        text = "the output was closed before all of it was written"
    elif isinstance(error, OSError):
        text = f"{error.filename}: {reason(error)}" if error.filename else reason(error)
    elif isinstance(error, psutil.AccessDenied):
        text = f"process {error.pid} is another user's: be the user who started the cluster"
    return encodings.in_one_line(naming(directory, text) if isinstance(directory, Path) else text)
