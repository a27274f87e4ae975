"""The error that every command of this package reports, and texts that several of them need."""

from pathlib import Path


class ClusterError(Exception):
    """Something a user must know. The text is one line: what is wrong, and what to do next."""


def reason(error: OSError) -> str:
    """Why the system refused, in its words."""
    return error.strerror or str(error)


def no_cluster(directory: Path) -> str:
    """The text where a command needs a cluster and there is none."""
    return f"no cluster is up in {directory}: start one with 'cluster up'"


def unusable(directory: Path, error: OSError) -> str:
    """The text where the system does not let us use a cluster's directory."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{directory} is a file, or in one: choose a directory with --dir"
    if isinstance(error, PermissionError):
        return f"no permission to use {directory}: be the user who started the cluster, or choose another --dir"
    return f"can't use the directory {directory}: {reason(error)}; choose another with --dir"
