"""What goes wrong is counted each time and logged once in a while: junk must not flood the log as well."""

import logging
from time import monotonic

from gossip_counter.node.core.stats import Stats

QUIET_S = 5.0
"""Seconds between two log lines of one kind."""


class Diagnostics:
    """Counts into `stats`, logs to `log`."""

    def __init__(self, log: logging.Logger, stats: Stats) -> None:
        self._log = log
        self._stats = stats
        self._due: dict[str, float] = {}
        self._logged: dict[str, int] = {}

    def note(self, kind: str, text: str, *args: object) -> None:
        """One more of `kind`, a field of Stats; `text` and `args` as for `logging`."""
        setattr(self._stats, kind, getattr(self._stats, kind) + 1)
        self.warn(kind, text, *args)

    def note_once(self, kind: str, text: str, *args: object) -> None:
        """The same, logged whatever came before: for those who do not repeat themselves."""
        self._due.pop(kind, None)
        self.note(kind, text, *args)

    def warn(self, kind: str, text: str, *args: object) -> None:
        """Log what is counted as `kind` elsewhere."""
        if self._is_due(kind):
            self._log.warning(f"{kind} (%d so far): {text}", getattr(self._stats, kind), *args)

    def warn_if_grown(self, kind: str, text: str) -> None:
        """Log what is counted as `kind` elsewhere, if it is more than when this last did."""
        count = getattr(self._stats, kind)
        if count > self._logged.get(kind, 0) and self._is_due(kind):
            self._logged[kind] = count
            self._log.warning(f"{kind} (%d so far): {text}", count)

    def unexpected(self, error: BaseException) -> None:
        """An error of our own, which no input should be able to cause: its traceback is logged."""
        self._stats.internal_errors += 1
        if self._is_due("internal_errors"):
            self._log.error("internal_errors (%d so far)", self._stats.internal_errors, exc_info=error)

    def _is_due(self, kind: str) -> bool:
        now = monotonic()
        if now < self._due.get(kind, 0.0):
            return False
        self._due[kind] = now + QUIET_S
        return True
