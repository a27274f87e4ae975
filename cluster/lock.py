"""The lock of a cluster's directory: one command at a time starts or stops nodes."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from gossip_counter.cluster.errors import ClusterError, unusable
from gossip_counter.cluster.orphans import no_cluster

LOCK_S = 30.0
"""How long to wait for another command on the same cluster."""
POLL_S = 0.02


@contextlib.asynccontextmanager
async def changing(directory: Path, make: bool = False) -> AsyncIterator[None]:
    """Keep every other command from starting or stopping nodes in `directory`, which is created if `make` is set.

    Raises `ClusterError` if the directory can't be used, or if another command holds the lock for `LOCK_S`.
    """
    handle = _open(directory, make)
    try:
        await _acquire(handle, directory)
        yield
    finally:
        os.close(handle)


def _open(directory: Path, make: bool) -> int:
    try:
        if make:
            _make(directory)
        return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        raise ClusterError(no_cluster(directory)) from None
    except OSError as error:
        raise ClusterError(unusable(directory, error)) from None


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # also a file not found: some file systems, as /proc, take no directories
        raise ClusterError(unusable(directory, error)) from None


async def _acquire(handle: int, directory: Path) -> None:
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"another command is starting or stopping nodes in {directory}: try again when it is done"
                ) from None
            await asyncio.sleep(POLL_S)
        else:
            return
