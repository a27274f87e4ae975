"""Options that several commands of `cluster` and `bench` share."""

import asyncio
import contextlib
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gossip_counter.cluster import counters
from gossip_counter.cluster.client import ClientError, NoAnswerError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Manifest
from gossip_counter.node import encodings

DEFAULT_DIRECTORY = Path(".counter")

MOST_COMPLETED = 100
"""Names of counters that the shell is given to complete."""


def complete_node(context: typer.Context, incomplete: str) -> list[str]:
    """The names of the nodes of the cluster that is up, for the shell's completion."""
    directory = Path(context.params.get("directory") or DEFAULT_DIRECTORY)
    with contextlib.suppress(ClusterError):
        return [name for name in Manifest.load_up(directory).members if name.startswith(incomplete)]
    return []


def complete_counter(context: typer.Context, incomplete: str) -> list[str]:
    """The names of counters at a node that runs, for the shell's completion."""
    directory = Path(context.params.get("directory") or DEFAULT_DIRECTORY)
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", incomplete) + counters.EVERY
    with contextlib.suppress(ClusterError, ClientError):
        for member in Manifest.load_up(directory).members.values():
            with contextlib.suppress(NoAnswerError):  # this one is dead: another one knows
                found = asyncio.run(counters.first(member.address, pattern, MOST_COMPLETED)).counters
                return [each.name for each in found if each.name]
    return []


class GossipMode(StrEnum):
    """How nodes gossip (`gossip` of `node.core.config`)."""

    DELTA = "delta"
    FULL = "full"


class LogLevel(StrEnum):
    """How much nodes log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Directory = Annotated[
    Path,
    typer.Option("--dir", envvar="COUNTER_DIR", help="Where the cluster keeps its data, logs and list of processes."),
]
NodeName = Annotated[
    str, typer.Argument(metavar="NODE", help="A node's name, such as n3.", autocompletion=complete_node)
]
AtNode = Annotated[
    str | None,
    typer.Option("--node", help="The node to ask; without it, one that is up.", autocompletion=complete_node),
]
CounterName = Annotated[
    str,
    typer.Option(
        "--counter",
        metavar="NAME",
        parser=encodings.name,
        help="The counter's name, at most 255 bytes; without it, the default counter.",
        autocompletion=complete_counter,
    ),
]
Push = Annotated[
    bool | None,
    typer.Option("--push/--no-push", help="Send new rows at once (delta gossip only).  [default: push]"),
]


def pushes(push: bool | None, gossip: GossipMode) -> bool:
    """Whether nodes push, by these options. Raises `ClusterError` if --push is set where nodes can't push."""
    if push and gossip is GossipMode.FULL:
        raise ClusterError("--push is for delta gossip only: leave it out, or leave out --gossip full")
    return push is not False
