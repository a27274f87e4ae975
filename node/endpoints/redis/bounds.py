"""Every bound on what Redis clients may have buffered or in flight, and on how long one keeps others waiting."""

from typing import NamedTuple


class Bounds(NamedTuple):
    """The bounds of one scheduler. Times are in nanoseconds."""

    quantum_bytes: int = 32_768
    """Bytes of one client's commands that are executed before other clients have theirs executed."""
    quantum_ns: int = 1_000_000
    """After so long, the rest of a client's commands waits until others had a quantum."""
    chunk_bytes: int = 4096
    """Bytes that are parsed together: words take several times the memory. Known adds are not parsed, and need none."""
    max_chunks: int = 32
    """Chunks or reads with adds that a client may have in flight before it is read and executed again."""
    batch_adds: int = 10_000
    """So many adds are submitted without waiting for more: a batch holds up everybody else for some milliseconds."""
    gather_rounds: int = 8
    """Rounds of the event loop for which a batch gathers, at most."""
    max_adds: int = 500_000
    """Adds of all clients that are in flight. Beyond that, the next ones wait in their clients' buffers."""
    max_behind_wait_bytes: int = 2**20
    """What a client may send while a WAIT is under way before it is not read any more, and its end not noticed."""
    max_queued_bytes: int = 128 * 2**20
    """Buffered bytes of all clients that are going to be executed. Beyond that, no client is read."""
    max_stuck_bytes: int = 64 * 2**20
    """Buffered bytes of all clients that only the clients themselves can move on: incomplete commands, and commands
    behind a WAIT or behind replies that are not read. Beyond that, whoever adds to them is disconnected.
    """


DEFAULT_BOUNDS = Bounds()
