"""What every experiment's result offers, and how distributions of figures are shown."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import RenderableType
from rich.table import Table


class Result(Protocol):
    """What an experiment measured, for programs and for people."""

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints: the settings, and every figure with its unit in its name."""

    def table(self) -> RenderableType:
        """The same figures for a terminal."""


class Plottable(Result, Protocol):
    """A result that can be drawn as well."""

    def plot(self, path: Path) -> None:
        """Draw it into a file. Raises `PlotError`."""


def percentile(figures: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the least figure that at least `share` (0 to 1) of them do not exceed."""
    return sorted(figures)[max(0, math.ceil(share * len(figures)) - 1)]


def p50(figures: Sequence[float]) -> float:
    """Their median by nearest rank, which is one of them."""
    return percentile(figures, 0.50)


def distribution(figures: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max of at least one figure."""
    return {
        "p50": round(p50(figures), 3),
        "p99": round(percentile(figures, 0.99), 3),
        "max": round(max(figures), 3),
    }


def table(title: str, rows: Mapping[str, Sequence[float]], unit: str, digits: int = 1, zero: str = "") -> Table:
    """One row per figure: its p50, p99 and max. `zero`, if it is a word, stands for figures that are 0."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    shown.add_column("")
    for each in ("p50", "p99", "max"):
        shown.add_column(f"{each} {unit}".strip(), justify="right")
    for name, figures in rows.items():
        cells = (f"{figure:,.{digits}f}" if figure or not zero else zero for figure in distribution(figures).values())
        shown.add_row(name, *cells)
    return shown


def table_of(title: str, columns: Sequence[str], left: int = 1) -> Table:
    """An empty table; its first `left` columns hold text, the others numbers."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    for i, column in enumerate(columns):
        shown.add_column(column, justify="left" if i < left else "right")
    return shown
