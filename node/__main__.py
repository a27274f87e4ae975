"""The command `counter-node`: one node, on UDP or on stdin and stdout."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from random import Random
from types import FrameType

import uvloop

from gossip_counter.node import encodings, settings
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.runtime import node, stdio


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one node until SIGTERM, SIGINT or, with --stdio, the end of input."""
    encodings.tolerate_any_encoding()
    encodings.log_in_utf8()
    options = settings.parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format=f"%(asctime)s %(levelname)s {options.name or 'stdio'} %(message)s",
    )
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    try:
        run(options)
    except ConfigError as error:
        print(f"counter-node: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(settings.USAGE_ERROR)


def run(options: argparse.Namespace) -> None:
    """Run the node that the options ask for. Raises `ConfigError`."""
    rng = Random(options.seed if options.seed is not None else os.urandom(16))
    if options.stdio:
        stdio.serve(settings.of_stdio_node(options), rng)
        return
    chosen = settings.of_udp_node(options, rng)
    uvloop.run(node.serve(chosen.config, chosen.bind, chosen.peers, rng, chosen.data, chosen.faults, chosen.listeners))


def _exit(_number: int, _frame: FrameType | None) -> None:
    # Until the node's own handlers are installed, and on stdin and stdout always, a signal ends the process cleanly.
    raise SystemExit(0)


if __name__ == "__main__":
    main()
