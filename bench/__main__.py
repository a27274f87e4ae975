"""The command `bench`, also as `python -m gossip_counter.bench`."""

import os

try:
    from gossip_counter.node.runtime import signals
except KeyboardInterrupt:  # no handler is installed yet
    os._exit(130)


def main() -> None:
    """Run the command `bench`."""
    # First of all: imports take a good part of a second, and an exception could be lost in the import system.
    signals.on_ending(lambda number: os._exit(128 + number))
    from gossip_counter.bench.cli import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
