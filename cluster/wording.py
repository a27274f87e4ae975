"""How names and numbers are written for people."""

import json


def shown(counter: str) -> str:
    """A counter's name. One that is empty, or that would change the terminal's state, is quoted."""
    return counter if counter and counter.isprintable() else json.dumps(counter)


def counted(number: int, what: str) -> str:
    """So many of something, such as 1 node or 1,000 nodes."""
    return f"{number:,} {what}{'s' * (number != 1)}"
