"""The command `bench`, run in this process: an interpreter takes longer to start."""

import json
from typing import Any

from gossip_counter.bench.cli import app
from tests.support.commands import Done, invoke


def bench(*arguments: str) -> Done:
    """The command with these arguments."""
    return invoke(app, *arguments)


def figures(*arguments: str) -> dict[str, Any]:
    """What it prints as JSON. Fails unless the exit code is 0."""
    done = bench(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed
