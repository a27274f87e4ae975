"""Real node processes: in temporary directories, on free ports, and gone after the test."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from gossip_counter.cluster.client import Client
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.endpoints.addresses import Address

T = TypeVar("T")


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
    """A node without peers that is ready for requests. Its journal is in `data`; None: it keeps counts in memory."""
    address = ("127.0.0.1", free_ports(1)[0])
    storage = f"--data={data}" if data else "--ephemeral"
    with node_process("--name=n1", f"--bind=127.0.0.1:{address[1]}", storage, *arguments) as process:
        assert process.stderr
        assert "listens" in process.stderr.readline()
        yield process, address


def ask(address: Address, request: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """The result of a request to a node, made by a new client."""

    async def asking() -> T:
        async with await Client.connect(address, timeout_s=5) as client:
            return await request(client)

    return asyncio.run(asking())


def processes_in(directory: Path) -> list[int]:
    """The pids of running processes that have a file in this directory open. Every node has its log open."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(Path(each.path).is_relative_to(directory) for each in process.open_files()):
                found.append(process.pid)
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also if nobody has reaped it yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
