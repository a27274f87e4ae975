"""The live table of a cluster, and the plain lines that replace it where there is no terminal."""

import re
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from gossip_counter.cluster.monitor import DEAD, PAUSED, SILENT, UP, NodeView, Snapshot

BEHIND = "behind"
STYLES = {"level": "green", BEHIND: "yellow", SILENT: "bold yellow", PAUSED: "cyan", DEAD: "bold red"}

WIDE = 140
"""On a terminal of fewer columns, the less important columns are left out."""

_Cell = Callable[[NodeView], str]


def table(snapshot: Snapshot, width: int) -> Group:
    """One row per node and the headline, for a terminal of `width` columns."""
    shown = Table(expand=False, header_style="bold", title_justify="left")
    columns = [each for each in _COLUMNS if width >= WIDE or each[0] not in _LEFT_OUT]
    for title, _ in columns:
        shown.add_column(title, justify="left" if title in {"node", "state"} else "right", no_wrap=True)
    for node in snapshot.nodes:
        shown.add_row(*(Text(cell(node), style=_style(title, node)) for title, cell in columns))
    return Group(shown, headline(snapshot))


def headline(snapshot: Snapshot) -> Text:
    """What matters most, in one line."""
    up = f"{len(snapshot.up)} of {len(snapshot.nodes)} nodes up"
    if snapshot.partition:
        up += f", cut into {'/'.join(','.join(group) for group in snapshot.partition)}"
    if snapshot.agreed:
        return Text(f"{up}, agreed on {snapshot.value:,}", style="bold green")
    if snapshot.up and len({node.status["fingerprint"] for node in snapshot.up}) == 1:
        missing = ", ".join(f"{node.name} {node.state}" for node in snapshot.nodes if node.state in {SILENT, PAUSED})
        return Text(f"{up}, not agreed while {missing}", style="bold yellow")
    values = ", ".join(f"{node.name}={node.status['local_value']:,}" for node in snapshot.up)
    return Text(f"{up}, not agreed ({values or 'none answers'})", style="bold yellow")


def line(snapshot: Snapshot) -> str:
    """The headline, and every node that is not up."""
    not_up = [f"{node.name} {node.state}" for node in snapshot.nodes if node.state != UP]
    return ", ".join([headline(snapshot).plain, *not_up])


def save_picture(snapshot: Snapshot, path: Path) -> None:
    """Write the table as an SVG file. Raises `OSError`."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDE, file=nowhere)
        console.print(table(snapshot, console.width))
    # Without web fonts the picture looks the same without a network.
    path.write_text(re.sub(r"@font-face {.*?}", "", console.export_svg(title="cluster"), flags=re.DOTALL))


def _style(title: str, node: NodeView) -> str:
    return STYLES[condition(node)] if title in {"node", "state"} else ""


def condition(node: NodeView) -> str:
    """A node in one word: level, behind, silent, paused or dead."""
    return node.state if node.state != UP else "level" if node.level else BEHIND


def _field(name: str) -> _Cell:
    return lambda node: f"{node.status[name]:,}" if name in node.status else ""


def _in_and_out(name: str, unit: float = 1) -> _Cell:
    """Two rates, each divided by `unit`."""

    def cell(node: NodeView) -> str:
        if not node.rates:
            return ""
        return f"{node.rates[name + '_in'] / unit:,.0f} / {node.rates[name + '_out'] / unit:,.0f}"

    return cell


def _convergence(node: NodeView) -> str:
    took = node.status.get("convergence_ms")
    return "" if not node.status else "…" if took is None else f"{took:,.0f}"


_COLUMNS: list[tuple[str, _Cell]] = [
    ("node", lambda node: node.name),
    ("pid", lambda node: str(node.pid)),
    ("state", condition),
    ("port", lambda node: node.address.rpartition(":")[2]),
    ("value", _field("local_value")),
    ("+", _field("increments")),
    ("−", _field("decrements")),  # noqa: RUF001 the minus sign
    ("rounds", _field("gossip_rounds")),
    ("synced", _field("peers_synced")),
    ("conv. ms", _convergence),
    ("dgrams/s in / out", _in_and_out("datagrams")),
    ("kB/s in / out", _in_and_out("bytes", 1000)),
    ("cpu %", lambda node: "" if node.cpu is None else f"{node.cpu:.1f}"),
    ("MB", lambda node: "" if node.memory is None else f"{node.memory / 1e6:.1f}"),
]
_LEFT_OUT = {"pid", "rounds", "dgrams/s in / out", "kB/s in / out"}
