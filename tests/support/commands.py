"""The commands `cluster`, `bench` and `counter-node`, run in this process: an interpreter takes longer to start."""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from gossip_counter.cluster.cli import app as cluster_app
from gossip_counter.cluster.monitor import Monitor, Snapshot
from gossip_counter.cluster.processes import Cluster
from gossip_counter.node.__main__ import main as counter_node
from gossip_counter.node.runtime.signals import ending


class Done(NamedTuple):
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


def invoke(app: typer.Typer, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    """Run a Typer command in this process. Raises what the command itself does not turn into an exit code."""
    result = CliRunner().invoke(app, arguments, env=env)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def node_refuses(*arguments: str) -> str:
    """What `counter-node` writes on stderr about options that it refuses with exit code 2."""
    stderr = io.StringIO()
    with ending(lambda _: None), redirect_stderr(stderr), pytest.raises(SystemExit) as exited:
        counter_node(arguments)
    assert exited.value.code == 2
    return stderr.getvalue()


class Commands:
    """The command `cluster` in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {"COUNTER_DIR": str(directory)}

    def popen(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """The command as a process of its own, for tests of signals, terminals and outputs."""
        command = [sys.executable, "-m", "gossip_counter.cluster", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, env=os.environ | self.environment, **(pipes | options))

    def run(self, *arguments: str) -> Done:
        return invoke(cluster_app, *arguments, env=self.environment)

    def ok(self, *arguments: str) -> str:
        """What it prints. Fails unless the exit code is 0."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Its one line on stderr. Fails unless the exit code is 1 and nothing else is printed."""
        done = self.run(*arguments)
        assert done.exit_code == 1, done
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr

    def misused(self, *arguments: str) -> str:
        """What it says of options that make no sense. Fails unless the exit code is 2."""
        done = self.run(*arguments)
        assert done.exit_code == 2, done
        return done.stderr

    def up(self, nodes: int, *arguments: str) -> None:
        """Start a cluster on free ports and leave it running."""
        self.ok("up", "--detach", "--base-port=0", f"-n{nodes}", *arguments)

    def status(self) -> dict[str, Any]:
        """What `cluster status --json` prints."""
        status: dict[str, Any] = json.loads(json.dumps(self._snapshot().as_json()))
        return status

    def nodes(self) -> list[dict[str, Any]]:
        """By node, what `cluster status --json` prints of it."""
        nodes: list[dict[str, Any]] = self.status()["nodes"]
        return nodes

    def pids(self) -> list[int]:
        return [member.pid for member in Cluster.load(self.directory).members.values()]

    def agreed_on(self, value: int, nodes: int) -> Callable[[], bool]:
        """A condition: so many nodes are up, hold equal state, and the default counter has this value."""

        def met() -> bool:
            snapshot = self._snapshot()
            return snapshot.agreed and snapshot.value == value and len(snapshot.up) == nodes

        return met

    def _snapshot(self) -> Snapshot:
        async def look() -> Snapshot:
            with closing(Monitor()) as monitor:
                return await monitor.look(Cluster.load_up(self.directory))

        return asyncio.run(look())
