"""Other processes that have the journal open, such as SQLite tools."""

import os
from pathlib import Path

_LOCKS = range(120, 128)
"""The bytes of the file `-shm` that SQLite locks: the writer's, two of checkpoints and recovery, five of readers."""


def name(path: Path) -> str:
    """The other processes that read or write a database just now, as far as the system shows them."""
    pids = ", ".join(map(str, _pids(path)))
    return f"another process (pid {pids})" if pids else f"another process (find it with lsof {path})"


def _pids(path: Path) -> list[int]:
    pids = set()
    try:
        inode = str(path.with_name(f"{path.name}-shm").stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            pid, file, first = line.split()[-4:-1]  # of: 7: POSIX ADVISORY READ 4711 08:01:131090 123 123
            if file.rpartition(":")[2] == inode and int(first) in _LOCKS:
                pids.add(int(pid))
    except (OSError, ValueError):  # another system, or an entry of another form
        return []
    return sorted(pid for pid in pids if pid > 0 and pid != os.getpid())
