"""Pictures of what was measured, with matplotlib, which is an extra: pip install 'gossip-counter[plot]'."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Points = Sequence[tuple[float, float]]


class PlotError(Exception):
    """Why there is no picture, in one line."""


def check(path: Path) -> None:
    """Whether a picture can be drawn there, before anything is measured.

    Raises `ValueError` if a picture can't have this path, `PlotError` if there is no matplotlib.
    """
    if path.suffix not in {".svg", ".png", ".pdf"}:
        raise ValueError(f"{path} must end in .svg, .png or .pdf")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{path} can't be a file: choose a name in a folder that exists")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{path} can't be written: no permission")
    _figure(1)


LEAST_MS = 0.01
"""Where runs that took no time are drawn: nodes can agree before the last acknowledgement arrives. The axis is
logarithmic, so it has no zero.
"""


def distributions(path: Path, figures: Mapping[str, Sequence[float]], label: str) -> None:
    """For each name, the share of runs that took at most so long."""
    figure, (axes,) = _figure(1)
    for name, each in figures.items():
        ordered = sorted(max(LEAST_MS, value) for value in each)
        axes.step(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))], where="post", label=name)
    axes.set(xlabel=label, ylabel="share of runs", xscale="log", ylim=(0, 1.02))
    _finish(figure, [axes], path)


def spread(path: Path, reached: Mapping[str, list[list[float]]], sizes: Mapping[str, Points]) -> None:
    """On the left, the share of nodes that hold the update, over time (median of runs); on the right, time by size."""
    figure, (left, right) = _figure(2)
    for name, runs in reached.items():
        nodes = len(runs[0])
        times = [median(run[i] for run in runs) for i in range(nodes)]
        left.step(times, [(i + 1) / nodes for i in range(nodes)], where="post", label=name)
    left.set(xlabel="ms after the write", ylabel="share of nodes that hold it", ylim=(0, 1.02))
    for name, points in sizes.items():
        right.plot([size for size, _ in points], [took for _, took in points], marker="o", label=name)
    right.set(xlabel="nodes", ylabel="mean ms until all hold it", xscale="log")
    _finish(figure, [left, right], path)


def bars(path: Path, figures: Mapping[str, Sequence[float]], label: str) -> None:
    """For each name, the median of its figures, and a line from the least to the most."""
    figure, (axes,) = _figure(1)
    names = list(figures)
    middle = [median(each) for each in figures.values()]
    below = [at - min(each) for at, each in zip(middle, figures.values(), strict=True)]
    above = [max(each) - at for at, each in zip(middle, figures.values(), strict=True)]
    axes.barh(names, middle, xerr=[below, above], label="median, least to most")
    axes.invert_yaxis()
    axes.set(xlabel=label, xscale="log")
    axes.tick_params(axis="y", labelsize="x-small")
    _finish(figure, [axes], path)


def _figure(columns: int) -> tuple[Any, list[Any]]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 an extra, and slow to import
    except ImportError:
        raise PlotError("pictures need matplotlib: pip install 'gossip-counter[plot]'") from None
    figure = Figure(figsize=(6 * columns, 4), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _finish(figure: Any, all_axes: list[Any], path: Path) -> None:
    for axes in all_axes:
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise PlotError(f"can't write {path}: {error.strerror}") from None
