"""What `counter-node` does once its signal handlers are installed."""

import argparse
import logging
import os
import resource
import sys
from collections.abc import Sequence
from random import Random

import uvloop

from gossip_counter.node import encodings, settings
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.redis.server import OTHER_FILES
from gossip_counter.node.runtime import node, signals, stdio


def run(arguments: Sequence[str] | None) -> None:
    """Run the node that the command line asks for. Raises `SystemExit`."""
    # Until the node's own handlers are installed, and on stdin and stdout always.
    signals.on_ending(_exit)
    encodings.tolerate_any_encoding()
    encodings.log_in_utf8()
    options = settings.parser().parse_args(arguments)
    name = encodings.in_one_line(options.name or "stdio").replace("%", "%%")
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format=f"%(asctime)s %(levelname)s {name} %(message)s",
    )
    try:
        _serve(options)
    except ConfigError as error:
        print(f"counter-node: {encodings.in_one_line(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(settings.USAGE_ERROR)


def _exit(_number: int) -> None:
    # Others that follow must not raise once more, or at a time when Python has given up its handlers.
    signals.ignore_ending()
    sys.exit(0)


def _check_files() -> None:
    """Raises `ConfigError` if this process may open too few files: later, the event loop itself would fail."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < OTHER_FILES:
        raise ConfigError(
            f"this process may open {files} files, and a node needs {OTHER_FILES}: allow more with 'ulimit -n'"
        )


def _serve(options: argparse.Namespace) -> None:
    rng = Random(options.seed if options.seed is not None else os.urandom(16))
    if options.stdio:
        stdio.serve(settings.of_stdio_node(options), rng)
        return
    chosen = settings.of_udp_node(options, rng)
    _check_files()
    uvloop.run(
        node.serve(
            chosen.config,
            chosen.bind,
            chosen.peers,
            rng,
            chosen.data,
            chosen.faults,
            chosen.listeners,
            chosen.keys,
            chosen.place,
        )
    )
