"""Pictures of what was measured, with matplotlib, which is an extra: pip install 'gossip-counter[plot]'.

There are two kinds, in one style: `dots` shows one figure per row with the range of its runs, `lines` shows a figure
against the size of the cluster. Every picture has a title that says what was measured, a caption that says which way
is better, and names and figures where they are drawn: there are no legends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any, NamedTuple, Self

Points = Sequence[tuple[float, float]]

INK, PALE, GRID = "#1f2328", "#59636e", "#d8dee4"
BLUE, ORANGE = "#0072b2", "#d55e00"
"""Okabe and Ito's, which colour-blind people tell apart. A picture has a white ground of its own, on any page."""
STYLE: Any = {
    "font.size": 10.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.color": INK,
    "axes.labelcolor": PALE,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "axes.edgecolor": GRID,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "svg.hashsalt": "gossip-counter",  # the same figures give the same file
}
WIDTH, ROW = 8.0, 0.3
AROUND, TITLE_LINE, CAPTION_LINE = 1.6, 0.22, 0.18
"""Inches: of a picture, of a row in it; what is around the rows, a line of the title and one of the caption."""
LEAST = 0.01
"""Where zero is drawn on a logarithmic axis: nodes can agree before the last acknowledgement arrives."""
HUGE = 1e9
"""Figures from here on are written with a power of ten: there is no room for all their digits."""
TITLE_COLUMNS, CAPTION_COLUMNS = 70, 118


class PlotError(Exception):
    """Why there is no picture, in one line."""


@dataclass(frozen=True, slots=True)
class Words:
    """What stands around a picture: what is measured, which way is better, and the unit of the axis."""

    title: str
    caption: str
    axis: str


class Span(NamedTuple):
    """The figures of one row."""

    least: float
    middle: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float], middle: Callable[[Sequence[float]], float] = median) -> Self | None:
        """Of all runs; None if there are none. `middle` is the same as in the table beside the picture."""
        return cls(min(figures), middle(figures), max(figures)) if figures else None

    def text(self, digits: int) -> str:
        """As it is written beside the row."""
        least, middle, most = (_plain(each) if each >= HUGE else f"{each:,.{digits}f}" for each in self)
        return middle if least == most else f"{middle}  ({least} to {most})"


class _Slot(NamedTuple):
    """A row, a heading, or the space above one."""

    label: str = ""
    span: Span | None = None
    is_heading: bool = False

    def figures(self, digits: int) -> str:
        """What is written beside it."""
        if self.span:
            return self.span.text(digits)
        return "no runs" if self.label and not self.is_heading else ""


Rows = Mapping[str, Mapping[str, Span | None]]
"""By heading, which may be empty, the rows by name."""


def check(path: Path) -> None:
    """Whether a picture can be drawn there, before anything is measured. Raises `PlotError`."""
    _figure(1, Words("", "", ""))
    if not path.parent.is_dir():
        raise PlotError(f"there is no folder {path.parent}")
    if path.suffix not in {".svg", ".png", ".pdf"}:
        raise PlotError(f"{path} should end in .svg, .png or .pdf")


def save(figure: Any, path: Path) -> None:
    """Write a picture. Raises `PlotError`."""
    from matplotlib import rc_context  # noqa: PLC0415 `_figure` has found that it is there

    try:
        with rc_context(STYLE):
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise PlotError(f"can't write {path}: {error.strerror}") from None


def dots(words: Words, rows: Rows, digits: int, *, log: bool = False, beside: str = "") -> Any:
    """For each row a dot at its middle, a line from the least to the most, and the figures with so many digits.

    With `beside` the figures are ratios to what has that name: a line marks 1, and what is below it has another colour.
    Raises `PlotError`.
    """
    slots = [_Slot()] * bool(beside) + list(_slots(rows))
    figure, axes = _figure(ROW * len(slots), words)
    _scale(axes, "x", [each for slot in slots for each in slot.span or ()] + [1.0] * bool(beside), log)
    for at, (_, span, _) in enumerate(slots):
        if span:
            least, middle, most = (max(LEAST, each) if log else each for each in span)
            colour = ORANGE if beside and middle < 1 else BLUE
            axes.plot([least, most], [at, at], color=colour, linewidth=2, alpha=0.45, solid_capstyle="round")
            axes.plot(middle, at, "o", color=colour, markersize=8)
    if beside:
        _mark_equal(axes, beside)
    _label(axes, [slot.label for slot in slots])
    right = axes.twinx()
    right.set_frame_on(False)
    _label(right, [slot.figures(digits) for slot in slots])
    for label, slot in zip(axes.get_yticklabels(), slots, strict=True):
        label.set_fontweight("bold" if slot.is_heading else "normal")
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.set_xlabel(f"{words.axis} (logarithmic)" if log else words.axis)
    return figure


def lines(words: Words, curves: Mapping[str, Points], sizes: str, ideal: Points = ()) -> Any:
    """A curve over sizes (an axis of this name) for each name, from light to dark; the ideal is a dashed line.

    Raises `PlotError`.
    """
    shades = dict(zip(curves, _shades(len(curves)), strict=True)) | {"ideal": PALE}
    named = {name: points for name, points in {**curves, "ideal": ideal}.items() if points}
    inches = max(2.8, 0.25 * len(named))
    figure, axes = _figure(inches, words)
    _scale(axes, "x", [size for points in named.values() for size, _ in points], log=True)
    _scale(axes, "y", [value for points in named.values() for _, value in points], log=False)
    for name, points in named.items():
        form: dict[str, Any] = {"linestyle": "--"} if name == "ideal" else {"marker": "o", "markersize": 5}
        axes.plot(*zip(*points, strict=True), color=shades[name], linewidth=2, **form)
    ends = {name: points[-1] for name, points in named.items()}
    _name_ends(axes, ends, shades, inches)
    axes.grid()
    axes.tick_params(length=0)
    axes.set(xlabel=f"{sizes} (logarithmic)", ylabel=words.axis)
    return figure


def _figure(inches: float, words: Words) -> tuple[Any, Any]:
    """A picture and its axes, which are so high."""
    try:
        from matplotlib import rc_context  # noqa: PLC0415 an extra, and slow to import
        from matplotlib.figure import Figure  # noqa: PLC0415
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415
    except ImportError:
        raise PlotError("pictures need matplotlib: pip install 'gossip-counter[plot]'") from None
    title, caption = fill(words.title, TITLE_COLUMNS), fill(words.caption, CAPTION_COLUMNS)
    around = AROUND + TITLE_LINE * title.count("\n") + CAPTION_LINE * caption.count("\n")
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Figure(figsize=(WIDTH, around + inches), layout=layout)
        axes = figure.subplots()
        figure.suptitle(title, x=0.015, ha="left", fontsize=13, fontweight="bold")
        figure.supxlabel(caption, x=0.015, ha="left", fontsize=9.5, color=PALE)
    return figure, axes


def _slots(rows: Rows) -> Iterator[_Slot]:
    for i, (heading, named) in enumerate(rows.items()):
        if heading:
            yield from [_Slot()] * bool(i)
            yield _Slot(heading, is_heading=True)
        yield from (_Slot(name, span) for name, span in named.items())


def _label(axes: Any, texts: Sequence[str]) -> None:
    """Write these beside the rows, from the top."""
    axes.set_ylim(len(texts) - 0.4, -0.6)
    axes.set_yticks(range(len(texts)), texts, color=INK)
    axes.tick_params(axis="y", length=0)


def _mark_equal(axes: Any, beside: str) -> None:
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.annotate(
        f"slower than {beside}", (1, 0), (-6, 0), textcoords="offset points", ha="right", va="center", color=ORANGE
    )
    axes.annotate(
        f"faster than {beside}", (1, 0), (6, 0), textcoords="offset points", ha="left", va="center", color=BLUE
    )


def _scale(axes: Any, which: str, values: Sequence[float], log: bool) -> None:
    """An axis, "x" or "y", that has room for these values: from zero, or logarithmic. Its ticks are plain numbers."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator  # noqa: PLC0415

    least, most = (max(LEAST, pick(values, default=1.0)) for pick in (min, max))
    axis = getattr(axes, f"{which}axis")
    if log:
        axes.set(**{f"{which}scale": "log", f"{which}lim": (least / 1.4, most * 1.4)})
        span = most / least
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 10 else (1, 3) if span < 100 else (1,), numticks=5))
        axis.set_minor_locator(NullLocator())
    else:
        axes.set(**{f"{which}lim": (-0.02 * most, 1.05 * most)})
        axis.set_major_locator(MaxNLocator(4 if which == "x" else 6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda value, _: _plain(value))


def _plain(value: float) -> str:
    """A round number as people write it."""
    if value >= HUGE:
        return f"{value:.3g}".replace("e+", "e")
    return f"{value / 1e6:,g} million" if value >= 1e6 else f"{value:,g}"


def _name_ends(axes: Any, ends: Mapping[str, tuple[float, float]], shades: Mapping[str, Any], inches: float) -> None:
    """Write each name to the right of its curve's last point. `inches`: the height of the axes."""
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][1])
    places = _apart([(ends[name][1] - low) / (high - low) for name in names], 0.22 / inches)
    for name, place in zip(names, places, strict=True):
        leader = {"arrowstyle": "-", "color": shades[name], "relpos": (0, 0.5)}
        axes.annotate(
            name,
            ends[name],
            (1.03, place),
            textcoords="axes fraction",
            va="center",
            arrowprops=leader,
        )


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places from 0 to 1 near the wanted ones, which ascend, no two nearer to each other than the gap."""
    places: list[float] = []
    for each in wanted:
        places.append(max(each, places[-1] + gap) if places else each)
    limit = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def _shades(many: int) -> list[Any]:
    from matplotlib import colormaps  # noqa: PLC0415

    return [colormaps["plasma"](0.72 * (1 - i / max(1, many - 1))) for i in range(many)]
