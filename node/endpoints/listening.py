"""Why the system does not let a node listen at an address."""

import errno
import os

_HINTS = {
    errno.EADDRINUSE: "stop what uses it, or choose another port",
    errno.EACCES: "ports below 1024 need privileges, choose a higher one",
    errno.EADDRNOTAVAIL: "this machine does not have it, choose one that it has, or 0.0.0.0 for all",
}


def why_not(error: OSError | UnicodeError) -> str:
    """The reason, and what to do where that is known."""
    if isinstance(error, UnicodeError):
        return "that can't be the name of a host"
    if error.errno in _HINTS:  # asyncio puts the address into its texts a second time
        return f"{os.strerror(error.errno)}; {_HINTS[error.errno]}"
    return error.strerror or str(error)
