"""What a session is to its connection: what it needs of it, and how many bytes are kept on its account.

Pure.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol


class BufferedBytes(NamedTuple):
    """Bytes that are kept for a client: commands that will be executed, and what only the client can move on."""

    queued: int = 0
    blocked: int = 0
    """Commands that wait for the client, replies that it has not received, and what a reply under way is made of."""


class Outlet(Protocol):
    """What a session needs of its connection."""

    @property
    def send(self) -> Callable[[bytes], object]:
        """Send bytes to the client."""

    @property
    def unsent(self) -> int:
        """How many bytes were sent that the system has not taken yet."""

    def update(self) -> None:
        """Look at the session: whether it is to be read (`wants_input`), and whether it is open (`state`)."""

    def schedule(self) -> None:
        """Let the scheduler give this session a quantum soon."""
