"""Options that several commands of `cluster` and `bench` share."""

import asyncio
import contextlib
import os
import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gossip_counter.cluster import counters
from gossip_counter.cluster.client import ClientError, NoAnswerError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Manifest
from gossip_counter.node import encodings
from gossip_counter.node.core import limits

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
    """The names of counters at a node that runs, for the shell's completion: those that mean nothing else to a shell.

    Whoever may count chooses them, and what is offered here ends up on a command line.
    """
    directory = Path(context.params.get("directory") or DEFAULT_DIRECTORY)
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", incomplete) + counters.EVERY
    with contextlib.suppress(ClusterError, ClientError):
        for member in Manifest.load_up(directory).members.values():
            with contextlib.suppress(NoAnswerError):  # this one is dead: another one knows
                found = asyncio.run(counters.first(member.address, pattern, MOST_COMPLETED)).counters
                return [each.name for each in found if is_plain_word(each.name)]
    return []


def is_plain_word(text: str) -> bool:
    """Whether every shell takes a text for one word, and for nothing but this word."""
    return text[:1].isalnum() and all(each.isalnum() or each in "_.:/@%+,-" for each in text)


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


def _directory(text: str) -> Path:
    if not text:
        raise typer.BadParameter("name a directory, or leave it out for .counter")
    return Path(text)


def counter_name(text: str) -> str:
    """A counter's name. Raises `BadParameter`."""
    try:
        return limits.name(encodings.name(text), "it")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Directory = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="COUNTER_DIR",
        metavar="DIR",
        parser=_directory,
        help="Where the cluster keeps its data, logs and list of processes.",
    ),
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
        parser=counter_name,
        help="The counter's name, at most 255 bytes; without it, the default counter.",
        autocompletion=complete_counter,
    ),
]
CounterNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME",
        parser=counter_name,
        help="Names, or globs as in 'page:*'; quote those. '' is the default counter.",
        autocompletion=complete_counter,
    ),
]
Push = Annotated[
    bool | None,
    typer.Option("--push/--no-push", help="Send new rows at once (delta gossip only).  [default: push]"),
]


def dir_option(directory: Path) -> str:
    """What commands about this directory need on their command lines; nothing if they find it without."""
    is_found = directory == Path(os.environ.get("COUNTER_DIR") or DEFAULT_DIRECTORY)
    return "" if is_found else f" --dir {shlex.quote(str(directory))}"


def naming(directory: Path, text: str) -> str:
    """A text for people, in which every command in quotes finds this directory."""
    return re.sub("'(cluster [^']+)'", lambda found: f"'{found[1]}{dir_option(directory)}'", text)


def pushes(push: bool | None, gossip: GossipMode) -> bool:
    """Whether nodes push, by these options. Raises `BadParameter` if --push is set where nodes can't push."""
    if push and gossip is GossipMode.FULL:
        raise typer.BadParameter("it is for delta gossip only: leave out --gossip full", param_hint="--push")
    return push is not False
