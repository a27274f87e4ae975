"""Real processes for the tests: in temporary directories, on free ports, and gone afterwards."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from gossip_counter.cluster.client import Client
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.runtime.node import Address

LIMIT_S = 20.0


def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition; its value once true. Fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (met := condition()):
        assert time.monotonic() < deadline, f"not so after {limit_s} s: {condition}"
        time.sleep(0.01)
    return met


class Commands:
    """The command `cluster` in one directory, as a user runs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = os.environ | {"COUNTER_DIR": str(directory)}

    def popen(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "gossip_counter.cluster", *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment, **options
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        with self.popen(*arguments) as process:
            stdout, stderr = process.communicate(timeout=60)
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """One clear line on stderr, a non-zero exit code, nothing else."""
        done = self.run(*arguments)
        assert done.returncode != 0
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.ok("status", "--json"))
        return told

    def agreed_on(self, value: int, nodes: int) -> Callable[[], bool]:
        def met() -> bool:
            told = self.status()
            up = [node for node in told["nodes"] if node["state"] == "up"]
            return told["agreed"] and told["value"] == value and len(up) == nodes

        return met


def processes_in(directory: Path) -> list[int]:
    """The pids of living processes that hold a file in this directory open, as every node does its log."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(Path(each.path).is_relative_to(directory) for each in process.open_files()):
                found.append(process.pid)
    return found


@contextmanager
def node_process(*arguments: str, program: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A `counter-node` process, or a Python `program`, killed at the end if it still runs."""
    command = [sys.executable, *(["-c", program] if program else ["-m", "gossip_counter.node", *arguments])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def udp_node(*arguments: str, data: Path | None = None) -> Iterator[tuple["subprocess.Popen[str]", Address]]:
    """One node without peers that listens, its journal in `data`, if anywhere."""
    address = ("127.0.0.1", free_ports(1)[0])
    keeping = f"--data={data}" if data else "--ephemeral"
    with node_process("--name=n1", f"--bind=127.0.0.1:{address[1]}", keeping, *arguments) as process:
        assert process.stderr
        assert "listens" in process.stderr.readline()
        yield process, address


def ask(address: Address, request: Callable[[Client], Any]) -> Any:
    """What one request to a node comes to."""

    async def asking() -> Any:
        async with await Client.connect(address, timeout_s=5) as client:
            return await request(client)

    return asyncio.run(asking())
