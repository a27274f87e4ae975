"""Where a cluster is shown live: a table drawn again and again on a terminal, else a line for each change.

Whatever goes wrong in showing it is counted and reported, and never ends the cluster that is shown.
"""

import contextlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from gossip_counter.cluster import dashboard
from gossip_counter.cluster.monitor import Snapshot


class Screen:
    """A terminal or a file, from `with` to its end. Then, what went wrong is reported on stderr."""

    def __init__(self, console: Console) -> None:
        self.failures = 0
        """How often something could not be looked at or drawn."""
        self._failure = ""
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last = ""

    def show(self, snapshot: Snapshot, lines: Iterable[str] = ()) -> None:
        """Show a snapshot, and lines that stay above it. Raises whatever the terminal does."""
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)
        if self._live:
            # One line stays free: else a terminal scrolls when the cursor goes below the last one.
            height = self._console.height - 1 - bool(self.failures)
            table = dashboard.table(snapshot, self._console.width, height)
            self._live.update(Group(table, Text(self._report)) if self.failures else table, refresh=True)
        elif (line := dashboard.line(snapshot)) != self._last:
            self._last = line
            typer.echo(line)

    def failed(self, error: Exception) -> None:
        """Note that something could not be shown."""
        self.failures += 1
        self._failure = f"{type(error).__name__}: {error}"

    @property
    def _report(self) -> str:
        times = "once" if self.failures == 1 else f"{self.failures:,} times"
        return f"the cluster could not be shown {times}, and went on; last because of {self._failure}"

    def __enter__(self) -> Self:
        with self._noted():
            if self._live:
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._noted():
            if self._live:
                self._live.stop()
        if self.failures:
            typer.echo(self._report, err=True)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 reported at the end
            self.failed(error)
