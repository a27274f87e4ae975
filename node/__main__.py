"""The command `counter-node`: one node, on UDP or on stdin and stdout."""

import os
from collections.abc import Sequence

from gossip_counter.node.runtime import signals


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one node until SIGTERM, SIGINT, SIGHUP or, with --stdio, the end of input."""
    # First of all: imports take a good part of a second. Nothing is open yet, so nothing needs to be closed; an
    # exception could be lost in the import system.
    signals.on_ending(lambda _: os._exit(0))
    try:
        from gossip_counter.node import command  # noqa: PLC0415

        command.run(arguments)
    finally:
        signals.ignore_ending()


if __name__ == "__main__":
    main()
