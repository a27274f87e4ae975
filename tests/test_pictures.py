"""Claim: a picture shows the figures that were measured, and nothing in it covers anything else."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gossip_counter.bench import against_redis, plot, recover, report, spread, throughput
from gossip_counter.bench.against_redis import CASES, Comparison, Pair
from gossip_counter.bench.plot import Span, Words
from gossip_counter.cluster.sim.network import Traffic
from gossip_counter.node.core.config import Config
from tests.support.bench import comparison_of_modes

WORDS = Words("What was measured, " * 6, "Dot: median. Line: least to most. More is better. " * 4, "milliseconds")


def texts(figure: Any) -> dict[Text, Bbox]:
    """All that is written in a picture, and where."""
    figure.draw_without_rendering()
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    written = [each for each in figure.findobj(Text) if each.get_text().strip() and each.get_visible()]
    boxes = {each: Text.get_window_extent(each, renderer) for each in written}
    axes = figure.axes[0].get_window_extent(renderer).expanded(1.01, 1.01)
    ticks = {each for which in (figure.axes[0].xaxis, figure.axes[0].yaxis) for each in which.get_ticklabels()}
    # Matplotlib keeps labels of ticks that are outside the axes, and does not draw them.
    return {each: box for each, box in boxes.items() if each not in ticks or _beside(box, axes)}


def _beside(box: Bbox, axes: Bbox) -> bool:
    middle_x, middle_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return bool(axes.x0 <= middle_x <= axes.x1 or axes.y0 <= middle_y <= axes.y1)


def is_readable(figure: Any) -> bool:
    """Whether no text covers another, and all of them are inside the picture."""
    found = texts(figure)
    for one, other in combinations(found, 2):
        assert not found[one].overlaps(found[other]), f"{one.get_text()!r} covers {other.get_text()!r}"
    for text, box in found.items():
        inside = figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        assert inside, f"{text.get_text()!r} is cut off"
    return True


def written(figure: Any) -> set[str]:
    return {text.get_text() for text in texts(figure)}


def drawn(figure: Any) -> list[list[float]]:
    """Where every line and dot is on the x axis, in the order in which they were drawn."""
    return [list(map(float, line.get_xdata())) for line in figure.axes[0].get_lines()]


# dots


@pytest.mark.parametrize("log", [False, True], ids=["linear", "logarithmic"])
@pytest.mark.parametrize("runs", [[2.0, 2.0], [0.0, 0.0], [1e-9, 1e15], [123_456.0, 9_345_678.0], []], ids=str)
def test_any_figures_can_be_drawn(runs: list[float], log: bool) -> None:
    rows = {"a heading": {"one": Span.of(runs), "another, with a long name": Span.of([1.0, 2.0, 9.0])}}
    assert is_readable(plot.dots(WORDS, rows, 2, log=log, beside="Redis"))
    assert is_readable(plot.dots(WORDS, {"": {"alone": Span.of(runs)}}, 1, log=log))


def test_no_rows_at_all_can_be_drawn() -> None:
    assert is_readable(plot.dots(WORDS, {}, 1))
    assert "no runs" in written(plot.dots(WORDS, {"": {"never": None}}, 1))


def test_many_rows_do_not_cover_each_other() -> None:
    rows = {f"group {group}": {f"row {i}": Span(i, i + 1, i + 3) for i in range(6)} for group in range(3)}
    assert is_readable(plot.dots(WORDS, rows, 0))


def test_dots_are_where_their_figures_are_and_written_beside() -> None:
    figure = plot.dots(WORDS, {"": {"a": Span.of([4.0, 1.0, 2.5]), "b": Span.of([7.0])}}, 1)
    assert drawn(figure) == [[1.0, 4.0], [2.5], [7.0, 7.0], [7.0]]
    assert {"a", "2.5  (1.0 to 4.0)", "b", "7.0"} <= written(figure)


def test_no_time_is_written_as_it_is_where_the_axis_has_no_zero() -> None:
    figure = plot.dots(WORDS, {"": {"at once": Span.of([0.0, 0.0])}}, 1, log=True)
    assert drawn(figure) == [[plot.LEAST, plot.LEAST], [plot.LEAST]]
    assert "0.0" in written(figure)


def test_what_is_slower_has_another_colour() -> None:
    rows = {"": {"slower": Span(0.5, 0.9, 1.5), "faster": Span(0.5, 1.0, 1.5)}}
    dots = [line.get_color() for line in plot.dots(WORDS, rows, 2, beside="Redis").axes[0].get_lines()][1::2]
    assert dots[:2] == [plot.ORANGE, plot.BLUE]


# lines


def test_curves_go_through_their_points_and_are_named_at_their_ends() -> None:
    curves = {"0% loss": [(5, 1.0), (10, 2.0)], "30% loss": [(5, 3.0), (10, 4.0)], "none": []}
    figure = plot.lines(WORDS, curves, "nodes", [(5, 8.0), (10, 9.0)])
    points = [list(map(tuple, line.get_xydata())) for line in figure.axes[0].get_lines()]
    assert points == [curves["0% loss"], curves["30% loss"], [(5, 8.0), (10, 9.0)]]
    assert {"0% loss", "30% loss", "ideal"} <= written(figure)


@pytest.mark.parametrize(("end", "many"), [(0.0, 2), (1.0, 12), (1e12, 12), (1.0, 1), (1.0, 0)])
def test_curves_that_end_together_have_names_apart(end: float, many: int) -> None:
    curves = {f"{i}% loss": [(5, 0.0), (1000, end)] for i in range(many)}
    assert is_readable(plot.lines(WORDS, curves, "nodes", [(5, end)]))


# What the experiments draw.


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pictures that are drawn, in place of their files."""
    kept: list[Any] = []
    monkeypatch.setattr(plot, "save", lambda figure, _: kept.append(figure))
    return kept


def test_beside_redis_is_one_ratio_for_each_case(pictures: list[Any]) -> None:
    pairs = [Pair(90, 100), Pair(300, 200), Pair(120, 100)]
    cases = dict.fromkeys(CASES, pairs)
    Comparison(3, {"durable": cases, "in memory": cases}).plot(Path("x.svg"))
    assert is_readable(pictures[0])
    assert {"durable", "in memory", "1.20  (0.90 to 1.50)", "slower than Redis"} <= written(pictures[0])
    assert drawn(pictures[0])[:2] == [[0.9, 1.5], [1.2]]
    assert len(drawn(pictures[0])) == 2 * 8 + 1


def test_cases_are_described_in_words() -> None:
    assert against_redis.describe("-c 1 -P 1") == "1 client, no pipeline"
    assert against_redis.describe("-c 50 -P 16 -r 10000") == "50 clients, pipelines of 16, 10,000 counters"


def test_adds_a_second_of_each_mode(pictures: list[Any]) -> None:
    rates = [throughput.Rate(rate, 1, 2, 3) for rate in (39_361.2, 33_031.0, 258_409.0)]
    throughput.NodeRates(throughput.Load(), 1, {"udp, durable": rates, "resp, in memory": rates}).plot(Path("x.svg"))
    assert is_readable(pictures[0])
    assert "39,361  (33,031 to 258,409)" in written(pictures[0])


def test_agreement_counts_runs_that_never_agreed(pictures: list[Any]) -> None:
    comparison_of_modes([1.0, None, 3.0], [100.0, 200.0, 400.0]).plot(Path("x.svg"))
    assert is_readable(pictures[0])
    assert {"1.0  (1.0 to 3.0)", "200.0  (100.0 to 400.0)"} <= written(pictures[0])
    assert any("1 run did not" in each for each in written(pictures[0]))


def test_recovery_shows_both_times_of_its_table(pictures: list[Any]) -> None:
    runs = [recover.Recovery(answers_s, 0.5, 100, 1, [], []) for answers_s in (0.1, 0.2, 0.3, 0.4)]
    recover.Recoveries(5, recover.Load(10_000, 0), 4, dict.fromkeys(recover.Death, runs)).plot(Path("x.svg"))
    assert is_readable(pictures[0])
    p50 = report.distribution([each.answers_s for each in runs])["p50"]
    assert {f"{p50:.2f}  (0.10 to 0.40)", "0.50"} <= written(pictures[0])


def spreads(*sizes: int) -> spread.Spreads:
    """Two runs of each size, without loss and with it."""
    return spread.Spreads(2, 1, [
        spread.Spread(
            spread.Setting(nodes=nodes, loss=loss, config=Config(name="?")),
            [spread.Outcome(took_ms, Traffic(), Traffic()) for took_ms in (nodes * 1.0, nodes * 3.0)],
            nodes / 2,
        )
        for nodes in sizes
        for loss in (0, 0.3)
    ])  # fmt: skip


def test_spreading_has_a_curve_for_each_loss(pictures: list[Any]) -> None:
    spreads(5, 1000).plot(Path("x.svg"))
    assert is_readable(pictures[0])
    points = [list(map(tuple, line.get_xydata())) for line in pictures[0].axes[0].get_lines()]
    assert points == [[(5, 10), (1000, 2000)], [(5, 10), (1000, 2000)], [(5, 2.5), (1000, 500)]]


def test_spreading_in_one_size_has_a_row_for_each_loss(pictures: list[Any]) -> None:
    spreads(5).plot(Path("x.svg"))
    assert is_readable(pictures[0])
    assert drawn(pictures[0]) == [[5, 15], [10], [5, 15], [10], [2.5, 2.5], [2.5]]
    assert {"0% loss", "30% loss", "ideal", "10.0  (5.0 to 15.0)", "2.5"} <= written(pictures[0])


# Files.


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plot.save(plot.dots(WORDS, {"": {"row": Span(1, 2, 3)}}, 1), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(plot.PlotError, match=f"can't write {tmp_path}/no/x.svg: No such file"):
        plot.save(plot.dots(WORDS, {}, 1), tmp_path / "no" / "x.svg")
