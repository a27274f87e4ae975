"""Nodes that run on though the file of their cluster is gone, because somebody deleted it or the whole directory.

Their logs show where they belong: the system shows where an open file is now, or where it was when it was deleted.
"""

import contextlib
import os
from pathlib import Path

import psutil

MARK = "gossip-counter="
"""Begins what only nodes of clusters have on their command lines, as an option -X of Python."""


def of(directory: Path) -> list[psutil.Process]:
    """The nodes whose logs are in a directory, or were until it was deleted. None on systems without /proc."""
    logs = os.path.join(os.path.realpath(directory), "logs")  # noqa: PTH118 a Path raises where links form a circle
    return [process for process in psutil.process_iter() if _logs_to(process) == logs]


def _logs_to(process: psutil.Process) -> str | None:
    """The directory of a node's log; None for what is no node of any cluster."""
    with contextlib.suppress(psutil.Error, OSError):
        if any(word.startswith(f"-X{MARK}") for word in process.cmdline()):
            return str(Path(f"/proc/{process.pid}/fd/1").readlink().parent)
    return None


def no_cluster(directory: Path) -> str:
    """The text where a command needs a cluster and there is none."""
    if left := of(directory):
        pids = ", ".join(str(process.pid) for process in left)
        return f"cluster.json is gone from {directory}, and nodes still run (pids {pids}): 'cluster down' ends them"
    return f"no cluster is up in {directory}: start one with 'cluster up'"
