"""The real Redis, to compare with: its replies as bytes."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.redis import command
from tests.support.waiting import LIMIT_S, until

_HEADS = {b"*": 1, b"~": 1, b">": 1, b"%": 2}
"""By first byte of a reply that has parts, how many there are for each one that is announced."""


class Connection:
    """One client of a Redis."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(str(path))
        self._replies = self._socket.makefile("rb")

    def asks(self, *words: bytes | str) -> bytes:
        """The reply to a command; nothing where the connection ended."""
        self._socket.sendall(command(*words))
        return one_reply(self._replies)

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def one_reply(replies: BinaryIO) -> bytes:
    """The bytes of the next reply."""
    line = replies.readline()
    kind, rest = line[:1], line[1:-2]
    if kind in _HEADS and rest != b"-1":
        return line + b"".join(one_reply(replies) for _ in range(_HEADS[kind] * int(rest)))
    if kind in (b"$", b"=") and rest != b"-1":
        return line + replies.read(int(rest) + 2)
    return line


class RealRedis:
    """A redis-server of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> Connection:
        return Connection(self._path)

    def reply(self, line: str) -> bytes:
        """All that is answered to a command, on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(LIMIT_S)
            raw.connect(str(self._path))
            raw.sendall(command(*line.split()))
            raw.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: raw.recv(65_536), b""))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as raw:
        return raw.connect_ex(str(path)) == 0


@contextmanager
def real_redis(directory: Path) -> Iterator[RealRedis]:
    """A redis-server in this directory. Where there is none, the test is skipped."""
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("REDIS-SERVER IS NOT INSTALLED, so replies are not compared with its own: apt-get install redis")
    options = ["--port", "0", "--unixsocket", str(directory / "socket"), "--save", "", "--dir", str(directory)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _accepts(directory / "socket"))
            yield RealRedis(directory / "socket")
        finally:
            process.terminate()
