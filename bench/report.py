"""Distributions of figures, and how they are shown."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table


def percentile(figures: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the least figure that at least `share` (0 to 1) of them do not exceed."""
    return sorted(figures)[max(0, math.ceil(share * len(figures)) - 1)]


def distribution(figures: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max of at least one figure."""
    return {
        "p50": round(percentile(figures, 0.50), 3),
        "p99": round(percentile(figures, 0.99), 3),
        "max": round(max(figures), 3),
    }


def table(title: str, rows: Mapping[str, Sequence[float]], unit: str, digits: int = 1) -> Table:
    """One row a figure: p50, p99 and max over all it was measured at."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    shown.add_column("")
    for each in ("p50", "p99", "max"):
        shown.add_column(f"{each} {unit}".strip(), justify="right")
    for name, figures in rows.items():
        shown.add_row(name, *(f"{figure:,.{digits}f}" for figure in distribution(figures).values()))
    return shown
