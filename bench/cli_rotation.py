"""The command `bench rotation`."""

from typing import Annotated

import typer

from gossip_counter.bench import options
from gossip_counter.bench import rotation as rotating
from gossip_counter.bench.options import Json
from gossip_counter.cluster.running import progress_line, run


def rotation(
    nodes: Annotated[int, typer.Option("-n", "--nodes", min=3, max=20, help="Nodes, of which one is down.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long gaps are measured at rest.")] = 3,
    as_json: Json = False,
) -> None:
    """Rotate the keys of a sealed cluster under load, with one node down; measure the longest gaps.

    Between two acknowledged adds at a node, and between two moments at which something of one node came to another:
    at rest, and in each of the three steps. No add may fail, be lost or be counted twice.
    """
    with progress_line() as show:
        show(f"starting {nodes} nodes")
        result = run(rotating.measure(nodes, seconds, show))
    options.show(result, as_json)
