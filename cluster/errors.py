"""The error that every command of this package reports, and texts that several of them need."""

import errno
from pathlib import Path


class ClusterError(Exception):
    """Something a user must know. The text is one line: what is wrong, and what to do next."""


def reason(error: OSError) -> str:
    """Why the system refused, in its words, and what helps where that is plain."""
    why = error.strerror or str(error)
    return f"{why}: allow more with 'ulimit -n'" if error.errno == errno.EMFILE else why


def unusable(directory: Path, error: OSError) -> str:
    """The text where the system does not let us use a cluster's directory."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{directory} is a file, or in one: choose a directory with --dir"
    if isinstance(error, PermissionError):
        return f"no permission to use {directory}: be the user who started the cluster, or choose another --dir"
    return f"can't use the directory {directory}: {reason(error)}; choose another with --dir"
