"""The live table of a real cluster while a node is killed and recovers, recorded as an animated SVG for the README.

`make recording` runs it. It starts five nodes with the commands that the picture shows, counts at four of them, and
takes the live table as often as `cluster up` does. Nothing is left out or added: each frame is shown as long as it was.
The animation is CSS: a strip of all frames moves behind a window that shows one. A line that appears in several frames
is stored once.
"""

import asyncio
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from subprocess import PIPE
from typing import Annotated, NamedTuple

import typer
from rich.cells import cell_len
from rich.console import Console, Group
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from gossip_counter.cluster import dashboard
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.commands.lifecycle import DEFAULT_PORT
from gossip_counter.cluster.commands.live import INTERVAL_S
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import FILE, Member
from gossip_counter.cluster.monitor import DEAD, Monitor, Snapshot
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run

COLUMNS = 100
"""Width of the terminal. The less important columns are left out, so that the others can be read in a README."""
ADD_EVERY_S = 0.01
PHASE_S = 2.0
"""How long each part is shown at least."""
LIMIT_S = 60.0

CELL, LINE, FONT, MARGIN = 8.4, 17, 14, 14
"""Pixels: the width and height of a character's place, the size of the font, and what is around the text."""
GROUND = "#1f2328"


class Frame(NamedTuple):
    """What the terminal shows from a time on, in seconds since the first frame."""

    at_s: float
    lines: Sequence[Sequence[Segment]]


def animation(frames: Sequence[Frame]) -> str:
    """An endless SVG animation of at least one frame; the last one is shown for `INTERVAL_S`."""
    ids: dict[str, str] = {}
    strip, moves = [], []
    columns = max(_width(line) for frame in frames for line in frame.lines)
    height = LINE * max(len(frame.lines) for frame in frames)
    total_s = frames[-1].at_s + INTERVAL_S
    for i, (lines, same) in enumerate(groupby(frames, lambda frame: [_text(line) for line in frame.lines])):
        places = {row * LINE: ids.setdefault(text, f"t{len(ids)}") for row, text in enumerate(lines) if text}
        uses = "".join(f'<use href="#{name}" y="{y}"/>' for y, name in places.items())
        strip.append(f'<g transform="translate(0 {i * height})">{uses}</g>')
        moves.append(f"{next(same).at_s / total_s:.3%}{{transform:translateY({-i * height}px)}}")
    texts = "".join(text.replace("<text", f'<text id="{name}"', 1) for text, name in ids.items())
    width = round(columns * CELL)
    return _SVG.format(
        width=width + 2 * MARGIN,
        height=height + 2 * MARGIN,
        clip=f'x="{MARGIN}" y="{MARGIN}" width="{width}" height="{height}"',
        seconds=f"{total_s:.2f}",
        moves="".join(moves),
        texts=texts,
        strip="\n".join(strip),
        ground=GROUND,
        ink=SVG_EXPORT_THEME.foreground_color.hex,
        font=FONT,
    )


_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>
text {{ font: {font}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: {ink}; \
white-space: pre }}
#strip {{ animation: play {seconds}s step-end infinite }}
@keyframes play {{ {moves} }}
@media (prefers-reduced-motion: reduce) {{ #strip {{ animation: none }} }}
</style>
<defs>{texts}</defs>
<rect width="{width}" height="{height}" rx="8" fill="{ground}"/>
<svg {clip} overflow="hidden"><g id="strip">
{strip}
</g></svg>
</svg>
"""


def _width(line: Sequence[Segment]) -> int:
    return cell_len("".join(segment.text for segment in line).rstrip())


def _text(line: Sequence[Segment]) -> str:
    """A line as a text element that is as wide in every font; "" if there is nothing in it."""
    width = _width(line)
    spans = []
    for style, segments in groupby(Segment.adjust_line_length(list(line), width), lambda segment: segment.style):
        text = escape("".join(segment.text for segment in segments), quote=False)
        looks = _looks(style or Style.null())
        spans.append(f"<tspan{looks}>{text}</tspan>" if looks else text)
    if not width:
        return ""
    return f'<text y="{FONT}" textLength="{width * CELL:.1f}" xml:space="preserve">{"".join(spans)}</text>'


def _looks(style: Style) -> str:
    colour = f' fill="{style.color.get_truecolor(SVG_EXPORT_THEME).hex}"' if style.color else ""
    return colour + ' font-weight="bold"' * bool(style.bold)


def lines_of(snapshot: Snapshot, command: str, remark: str) -> list[list[Segment]]:
    """What a terminal shows of a snapshot, below the last command that was given."""
    console = Console(width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    prompt = Text.assemble((f"$ {command}", "bold"), (f"   # {remark}", "bright_black"))
    return console.render_lines(Group(prompt, "", dashboard.table(snapshot, COLUMNS)), pad=False)


class Recorder:
    """Gives commands to the cluster in a directory, and takes frames meanwhile."""

    def __init__(self, directory: Path, monitor: Monitor) -> None:
        self.frames: list[Frame] = []
        self.remark = ""
        self._directory = directory
        self._monitor = monitor
        self._command = ""
        self._began_s = 0.0

    async def command(self, *arguments: str) -> None:
        """Run a command of `cluster`, and take frames until it has ended. Raises `ClusterError`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gossip_counter.cluster", *arguments),
            env=os.environ | {"COUNTER_DIR": str(self._directory)},
            stdout=PIPE,
            stderr=PIPE,
        )
        ended = asyncio.create_task(process.communicate())
        self._command = " ".join(("cluster", *arguments))
        if self.frames:
            await self.film(0, lambda _: ended.done())
        _, stderr = await ended
        if process.returncode:
            raise ClusterError(f"{self._command} failed: {stderr.decode().strip()}")

    async def film(self, least_s: float, until: Callable[[Snapshot], bool]) -> None:
        """Take frames for so long, and until a snapshot is as wanted. Raises `ClusterError`."""
        began_s = _now_s()
        while True:
            snapshot = await self._monitor.look(Cluster.load_up(self._directory))
            self._began_s = self._began_s or _now_s()
            self.frames.append(Frame(_now_s() - self._began_s, lines_of(snapshot, self._command, self.remark)))
            took_s = _now_s() - began_s
            if took_s >= least_s and until(snapshot):
                return
            if took_s > LIMIT_S:
                raise ClusterError(f"this has not ended after {LIMIT_S:g} s: {self.remark}. Try again")
            await asyncio.sleep(INTERVAL_S)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def record(base_port: int) -> list[Frame]:
    """Kill and restart one of five nodes while the others count. Raises `ClusterError`, `ClientError`."""
    with tempfile.TemporaryDirectory(prefix="counter-recording-") as name, contextlib.closing(Monitor()) as monitor:
        directory = Path(name)
        recorder = Recorder(directory, monitor)
        port = [] if base_port == DEFAULT_PORT else [f"--base-port={base_port}"]
        try:
            await recorder.command("up", "-n", "5", "--detach", *port)
            await _scenes(recorder, list(Cluster.load_up(directory).members.values()))
        finally:
            if (directory / FILE).exists():
                Cluster.load(directory).stop_all()
    return recorder.frames


async def _scenes(recorder: Recorder, members: Sequence[Member]) -> None:
    recorder.remark = "five nodes, all level"
    await recorder.film(PHASE_S, lambda snapshot: snapshot.agreed)
    async with _adding([member for member in members if member.name != "n3"]):
        recorder.remark = "clients count at n1, n2, n4 and n5"
        await recorder.film(PHASE_S, lambda _: True)
        await recorder.command("kill", "n3")
        recorder.remark = "the others go on counting"
        await recorder.film(PHASE_S, lambda snapshot: snapshot.nodes[2].state == DEAD)
        await recorder.command("restart", "n3")
        recorder.remark = "it gets what it missed from the others"
        await recorder.film(PHASE_S, lambda snapshot: snapshot.nodes[2].level)
    recorder.remark = "the clients have stopped"
    await recorder.film(PHASE_S, lambda snapshot: snapshot.agreed and len(snapshot.up) == len(members))


@contextlib.asynccontextmanager
async def _adding(members: Sequence[Member]) -> AsyncIterator[None]:
    """Count at each of these nodes meanwhile."""
    stop = asyncio.Event()

    async def count(member: Member) -> None:
        async with await Client.connect(member.address) as client:
            while not stop.is_set():
                await client.add(1)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), ADD_EVERY_S)

    counting = [asyncio.create_task(count(member)) for member in members]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*counting)


@in_one_line("recording")
def main(
    file: Annotated[Path, typer.Argument(help="The SVG file to write.")],
    base_port: Annotated[
        int, typer.Option(min=0, max=65_000, help="Port of the first node; 0: free ones.")
    ] = DEFAULT_PORT,
) -> None:
    """Record the live table while a node is killed and recovers."""
    file.write_text(animation(run(record(base_port))), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
