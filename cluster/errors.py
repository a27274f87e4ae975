"""The error that every command of this package reports."""


class ClusterError(Exception):
    """Something a user must know. The text is one line: what is wrong, and what to do next."""


def reason(error: OSError) -> str:
    """Why the system refused, in its words."""
    return error.strerror or str(error)
