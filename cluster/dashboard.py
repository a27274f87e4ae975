"""The live table of a cluster, and the plain lines that replace it where there is no terminal.

Signs are ASCII, so that any terminal shows them: `?` is not known yet, or not now; `-` is what a dead node has not.
"""

import io
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from time import time

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gossip_counter.cluster.client import Status
from gossip_counter.cluster.monitor import DEAD, PAUSED, SILENT, UP, NodeView, Snapshot
from gossip_counter.cluster.wording import counted, duration, shown
from gossip_counter.node.core.membership import LARGE_SKEW_MS

BEHIND = "behind"
STYLES = {"level": "green", BEHIND: "yellow", SILENT: "bold yellow", PAUSED: "cyan", DEAD: "bold red"}

NOT_KNOWN, NOT_THERE = "?", "-"

PICTURE_WIDTH = 140

MOST_NAMED = 5
"""Nodes, and values, that the headline names; of more it gives the number."""

_Cell = Callable[[NodeView], str]
_Column = tuple[str, _Cell]


def table(snapshot: Snapshot, width: int, height: int | None = None) -> RenderableType:
    """One row per node and the headline, within `width` columns. Columns that do not fit are left out.

    Of more nodes than fit `height` lines (None: any number), those that are not level come first.
    """
    columns = _columns(snapshot.nodes, width)
    summary, clocks = headline(snapshot), _clocks(snapshot)
    shown, left_out = snapshot.nodes, Text()
    if height is not None:
        room = height - 1 - sum(len(textwrap.wrap(text.plain, width)) for text in (summary, clocks))
        lines_each = max(len(textwrap.wrap(_in_a_line(node), width)) for node in shown)
        shown = _most_urgent(shown, room - 4 if columns else room // lines_each)
        left_out = _left_out(snapshot.nodes, shown)
    drawn = _table(columns, shown) if columns else Text("\n".join(map(_in_a_line, shown)), overflow="fold")
    return Group(*([drawn] if shown else []), *([left_out] if left_out else []), *([clocks] if clocks else []), summary)


def _columns(nodes: Sequence[NodeView], width: int) -> list[_Column]:
    """The columns that there is something to say in and that fit: their contents decide how wide they are.

    None if not even those fit that are never left out.
    """
    widths = {title: 3 + max(cell_len(text) for text in (title, *map(cell, nodes))) for title, cell in _COLUMNS}
    kept = set(_NEVER_LEFT_OUT)
    room = width - 1 - sum(widths[title] for title in kept)
    if room < 0:
        return []
    empty = {title for title, shows in _IF_ANY.items() if not any(shows(node.status) for node in nodes)}
    for titles in _BY_IMPORTANCE:
        if titles <= empty:
            continue
        room -= sum(widths[title] for title in titles)
        if room < 0:
            break
        kept |= titles
    return [each for each in _COLUMNS if each[0] in kept]


def _most_urgent(nodes: Sequence[NodeView], most: int) -> list[NodeView]:
    """At most so many nodes, in their order: those that are not level, then the first of the others."""
    urgent = sorted(nodes, key=lambda node: condition(node) == "level")[: max(0, most)]
    names = {node.name for node in urgent}
    return [node for node in nodes if node.name in names]


def _left_out(nodes: Sequence[NodeView], shown: Sequence[NodeView]) -> Text:
    conditions = Counter(condition(node) for node in nodes) - Counter(condition(node) for node in shown)
    rest = ", ".join(f"{count} {name}" for name, count in conditions.items())
    return Text(f"and {len(nodes) - len(shown)} more: {rest}" if rest else "")


def _table(columns: Sequence[_Column], nodes: Sequence[NodeView]) -> Table:
    made = Table(expand=False, header_style="bold")
    for title, _ in columns:
        made.add_column(title, justify="left" if title in {"node", "state"} else "right", no_wrap=True)
    for node in nodes:
        made.add_row(*(Text(cell(node), style=_style(title, node)) for title, cell in columns))
    return made


def _in_a_line(node: NodeView) -> str:
    """For terminals that are too narrow for a table."""
    return " ".join(cell(node) for title, cell in _COLUMNS if title in _NEVER_LEFT_OUT)


def headline(snapshot: Snapshot) -> Text:
    """What matters most, in one line."""
    up = f"{len(snapshot.up)} of {len(snapshot.nodes)} nodes up"
    if snapshot.partition:
        up += f", cut into {'/'.join(','.join(group) for group in snapshot.partition)}"
    named = f"{shown(snapshot.counter)} = " if snapshot.counter else ""
    if snapshot.agreed:
        return Text(f"{up}, agreed on {named}{snapshot.value:,}", style="bold green")
    if snapshot.up and len({node.status["fingerprint"] for node in snapshot.up}) == 1:
        missing = _some(f"{node.name} {node.state}" for node in snapshot.nodes if node.state in {SILENT, PAUSED})
        return Text(f"{up}, not agreed while {missing}", style="bold yellow")
    return Text(f"{up}, not agreed ({named}{_values(snapshot.up) or 'none answers'})", style="bold yellow")


def _clocks(snapshot: Snapshot) -> Text:
    """Whose clock differs most from another's, if by more than a second."""
    skews = [(int(node.status.get("skew_ms") or 0), node) for node in snapshot.up]
    skew_ms, node = max(skews, key=lambda skew: abs(skew[0]), default=(0, None))
    if node is None or abs(skew_ms) <= LARGE_SKEW_MS:
        return Text()
    where = "ahead of" if skew_ms > 0 else "behind"
    return Text(
        f"the clock of {node.status['skewed_peer']} is {duration(abs(skew_ms))} {where} that of {node.name}",
        style="bold yellow",
    )


def _values(nodes: Sequence[NodeView]) -> str:
    """Who has which value; of many nodes, how many have it."""
    if len(nodes) <= MOST_NAMED:
        return ", ".join(f"{node.name}={node.status['local_value']:,}" for node in nodes)
    values = Counter(node.status["local_value"] for node in nodes)
    return _some(f"{counted(count, 'node')}={value:,}" for value, count in values.most_common())


def _some(words: Iterable[str]) -> str:
    """All of them, or the first ones and how many more there are."""
    rest = iter(words)
    named = ", ".join(islice(rest, MOST_NAMED))
    more = sum(1 for _ in rest)
    return f"{named} and {more} more" if more else named


def line(snapshot: Snapshot) -> str:
    """The headline, and every node that is not up."""
    not_up = [f"{node.name} {node.state}" for node in snapshot.nodes if node.state != UP]
    return ", ".join([headline(snapshot).plain, *not_up])


def save_picture(snapshot: Snapshot, path: Path) -> None:
    """Write the table as an SVG file. Raises `OSError`."""
    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(table(snapshot, console.width))
    # Without web fonts the picture looks the same without a network.
    picture = re.sub(r"@font-face {.*?}", "", console.export_svg(title="cluster"), flags=re.DOTALL)
    path.write_text(picture, encoding="utf-8")


def _style(title: str, node: NodeView) -> str:
    return STYLES[condition(node)] if title in {"node", "state"} else ""


def condition(node: NodeView) -> str:
    """A node in one word: level, behind, silent, paused or dead."""
    return node.state if node.state != UP else "level" if node.level else BEHIND


def _unknown(node: NodeView) -> str:
    """Instead of a figure that is not there."""
    return NOT_THERE if node.state == DEAD else NOT_KNOWN


def _field(name: str) -> _Cell:
    return lambda node: f"{node.status[name]:,}" if name in node.status else _unknown(node)


def _in_and_out(name: str, unit: float = 1) -> _Cell:
    """Two rates, each divided by `unit`."""

    def cell(node: NodeView) -> str:
        if not node.rates:
            return _unknown(node)
        return f"{node.rates[name + '_in'] / unit:,.0f} / {node.rates[name + '_out'] / unit:,.0f}"

    return cell


def _synced(node: NodeView) -> str:
    """How many peers are known to be in sync; not known while none of them was heard."""
    peers = node.status.get("members", 1) - 1
    return NOT_KNOWN if peers and node.status["peers_unheard"] == peers else _field("peers_synced")(node)


MISSED = ("suspect", "down")
"""States of members that are not up."""


def _not_up(node: NodeView) -> str:
    """Members that are suspect or down, as this node sees them; who left or was removed is no member."""
    by_state = node.status.get("members_by_state")
    if by_state is None:
        return _unknown(node)
    return ", ".join(f"{by_state[state]} {state}" for state in MISSED if by_state.get(state))


def _misses_members(status: Status) -> bool:
    by_state = status.get("members_by_state", {})
    return any(map(by_state.get, MISSED))


def _convergence(node: NodeView) -> str:
    took = node.status.get("convergence_ms")
    return _unknown(node) if took is None else f"{took:,.0f}"


def _left(node: NodeView) -> str:
    """How soon the counter ends."""
    deadline = node.status.get("deadline")
    return _unknown(node) if not node.status else "" if deadline is None else duration(deadline - time() * 1000)


_REFUSED = ("no_key", "unknown_key", "retired_key", "forged", "replayed")
"""Counts of datagrams that should not come."""


def _refused(node: NodeView) -> str:
    return f"{sum(node.status.get(each, 0) for each in _REFUSED):,}" if node.status else _unknown(node)


_COLUMNS: list[_Column] = [
    ("node", lambda node: node.name),
    ("pid", lambda node: NOT_THERE if node.state == DEAD else str(node.pid)),
    ("state", condition),
    ("port", lambda node: node.address.rpartition(":")[2]),
    ("value", _field("local_value")),
    ("left", _left),
    ("+", _field("increments")),
    ("-", _field("decrements")),
    ("rounds", _field("gossip_rounds")),
    ("synced", _synced),
    ("unheard", _field("peers_unheard")),
    ("not up", _not_up),
    ("refused", _refused),
    ("conv. ms", _convergence),
    ("dgrams/s in / out", _in_and_out("datagrams")),
    ("kB/s in / out", _in_and_out("bytes", 1000)),
    ("cpu %", lambda node: _unknown(node) if node.cpu is None else f"{node.cpu:.1f}"),
    ("MB", lambda node: _unknown(node) if node.memory is None else f"{node.memory / 1e6:.1f}"),
]
_IF_ANY: dict[str, Callable[[Status], object]] = {
    "unheard": lambda status: status.get("peers_unheard"),
    "left": lambda status: status.get("deadline"),
    "not up": _misses_members,
    "refused": lambda status: any(status.get(each) for each in _REFUSED),
}
"""Columns that are shown if any node's status has something to say in them."""
_NEVER_LEFT_OUT = {"node", "state", "port", "value"}
_BY_IMPORTANCE = (
    {"unheard"}, {"not up"}, {"refused"}, {"left"}, {"synced"}, {"pid"}, {"rounds"}, {"+", "-"}, {"dgrams/s in / out"},
    {"kB/s in / out"}, {"conv. ms"}, {"cpu %"}, {"MB"},
)  # fmt: skip
"""The other columns, those together that mean little alone. The last ones are left out first."""
