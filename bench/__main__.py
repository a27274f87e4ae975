"""The command `bench`, also as `python -m gossip_counter.bench`."""

import io
import os
import sys

from gossip_counter.node.runtime import signals


def main() -> None:
    """Run the command `bench`."""
    # First of all: imports take a good part of a second, and an exception could be lost in the import system.
    signals.on_ending(lambda number: os._exit(128 + number))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: no encoding makes a command fail
    from gossip_counter.bench.cli import app  # noqa: PLC0415

    app()


if __name__ == "__main__":
    main()
