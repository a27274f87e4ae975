"""The command `bench`, run in this process: an interpreter takes longer to start."""

import json
from typing import Any, NamedTuple

from typer.testing import CliRunner

from gossip_counter.bench.cli import app


class Done(NamedTuple):
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


def bench(*arguments: str) -> Done:
    """The command with these arguments. Raises what it does not turn into an exit code."""
    done = CliRunner().invoke(app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def figures(*arguments: str) -> dict[str, Any]:
    """What it prints as JSON. Fails unless the exit code is 0."""
    done = bench(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed
