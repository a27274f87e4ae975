"""Claim: the recording in the README shows what a real table showed, in one picture that needs nothing else."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.segment import Segment

from gossip_counter.bench import recording
from gossip_counter.bench.recording import Frame, animation, lines_of
from gossip_counter.cluster.monitor import DEAD, UP, NodeView, Snapshot
from tests.support.documents import ROOT

RECORDING = ROOT / "docs" / "recording.svg"
MOST_BYTES = 200_000
SVG = "{http://www.w3.org/2000/svg}"


def typed(*lines: str) -> list[list[Segment]]:
    return [[Segment(line)] for line in lines]


def shown(svg: str) -> list[list[str]]:
    """By frame, the lines from the top."""
    root = ElementTree.fromstring(svg)
    texts = {each.get("id"): "".join(each.itertext()) for each in root.iter(f"{SVG}text")}
    strip = next(each for each in root.iter(f"{SVG}g") if each.get("id") == "strip")
    return [[texts[use.get("href", "")[1:]] for use in frame.iter(f"{SVG}use")] for frame in strip]


def moves(svg: str) -> list[tuple[float, int]]:
    """When the strip moves, in percent of the whole, and to where."""
    return [(float(at), int(to)) for at, to in re.findall(r"([\d.]+)%{transform:translateY\((-?\d+)px\)}", svg)]


def test_each_frame_is_shown_from_its_time_on() -> None:
    svg = animation([Frame(0.0, typed("a")), Frame(1.0, typed("b")), Frame(2.75, typed("b", "c"))])
    assert shown(svg) == [["a"], ["b"], ["b", "c"]]
    assert "play 3.00s step-end infinite" in svg
    height = 2 * recording.LINE
    assert moves(svg) == [(0, 0), (33.333, -height), (91.667, -2 * height)]


def test_frames_that_are_alike_are_one_and_lines_are_stored_once() -> None:
    svg = animation([Frame(at_s, typed("head", "", line)) for at_s, line in enumerate(["x", "x", "y", "x"])])
    assert shown(svg) == [["head", "x"], ["head", "y"], ["head", "x"]]
    assert svg.count("head") == 1
    assert [round(at * 3.25 / 100) for at, _ in moves(svg)] == [0, 2, 3]


def test_a_line_below_another_is_below_it() -> None:
    uses = re.findall(r'<use href="#(\w+)" y="(\d+)"/>', animation([Frame(0.0, typed("a", "", "b", "a"))]))
    assert uses == [("t0", "0"), ("t1", str(2 * recording.LINE)), ("t0", str(3 * recording.LINE))]


@pytest.mark.parametrize("line", ["<&\"'>]]>", "a  b   ", "…−│", "{0}", ""])  # noqa: RUF001 the minus sign
def test_any_text_stays_as_it_is(line: str) -> None:
    assert shown(animation([Frame(0.0, typed(line, "end"))])) == [[line.rstrip(), "end"] if line else ["end"]]


def test_the_frame_of_a_snapshot_is_its_table_with_its_colours() -> None:
    status = {"local_value": 1234, "fingerprint": "aa", "counted": 1234}
    alive = NodeView("n1", 1, UP, "127.0.0.1:7101", level=True, status=status)
    dead = NodeView("n2", 2, DEAD, "127.0.0.1:7102")
    svg = animation([Frame(0.0, lines_of(Snapshot([alive, dead]), "cluster kill n2", "why"))])
    (lines,) = shown(svg)
    assert lines[0] == "$ cluster kill n2   # why"
    assert any("n1" in line and "level" in line and "1,234" in line for line in lines)
    assert any("n2" in line and "dead" in line for line in lines)
    assert lines[-1] == "1 of 2 nodes up, agreed on 1,234"
    colours = dict(re.findall(r'fill="(#\w+)"[^>]*> ?(n[12])', svg))
    assert len(colours) == 2, "a dead node looks unlike the others"


# The file in the tree.


def test_the_recording_needs_nothing_else_and_is_small() -> None:
    svg = RECORDING.read_text()
    assert len(svg.encode()) < MOST_BYTES
    assert not re.findall(r"<script|<image|<foreignObject|@import|url\(|\bon\w+=", svg)
    assert set(re.findall(r'href="(.)', svg)) == {"#"}
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_the_recording_shows_a_kill_and_a_recovery() -> None:
    frames = shown(RECORDING.read_text())
    story = ["5 of 5 nodes up, agreed on 0", "4 of 5 nodes up", "5 of 5 nodes up, agreed on"]
    last_lines = iter([frame[-1] for frame in frames])
    assert all(any(line.startswith(part) for line in last_lines) for part in story)
    assert frames[-1][-1].startswith(story[-1])
    assert any("dead" in line for frame in frames for line in frame)


@pytest.mark.soak
def test_a_recording_is_made_from_real_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "PHASE_S", 0.3)
    recording.main(tmp_path / "x.svg", base_port=0)
    frames = shown((tmp_path / "x.svg").read_text())
    assert any("dead" in line for frame in frames for line in frame)
    assert re.match("5 of 5 nodes up, agreed on [1-9]", frames[-1][-1])
