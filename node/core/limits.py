"""The bounds that every endpoint and every datagram must keep, and the checks that say which one was broken.

Pure. Each check returns the value, now typed, or raises `ValueError` with a text that names the field and its limit.
A boolean is no integer here, although Python says that it is.
"""

MAX_COUNT = 2**63 - 1
MAX_VERSION = 2**62
"""What a peer may name as a version. No actor writes so often: a version near 2**63 is forged, and could be no base."""
MAX_OWN_VERSION = 2**61
"""Whoever has written so often goes on as another actor: versions never run out."""
MAX_TIES = 16
"""Rows of one actor at one version. There is one, but where several processes wrote as the actor: one of each."""
MAX_NAME_BYTES = 255
MAX_COPIES = 1001
"""Members that may be asked for; a cluster has fewer, and then that is the bound."""
MAX_ACTOR_BYTES = 300
"""A node's name and the epoch of one of its lives."""
MAX_PARTS = 16
"""Parts into which a digest divides a range of actors."""
MAX_TOKEN_BYTES = 10_000
"""It grows with the actors held, of which it names at most 256."""


def whole(value: object, field: str, low: int, high: int) -> int:
    """An integer in [low, high]."""
    if type(value) is not int:
        raise ValueError(f"{field} must be an integer from {low} to {high}, not {kind(value)}")
    if not low <= value <= high:
        raise ValueError(f"{field} must be an integer from {low} to {high}, not one beyond it")
    return value


def count(value: object, field: str) -> int:
    """A total of increments or decrements: 0 <= value < 2**63."""
    if type(value) is int and 0 <= value <= MAX_COUNT:  # one call fewer where every row is checked
        return value
    return whole(value, field, 0, MAX_COUNT)


def version(value: object, field: str) -> int:
    """A version that a peer names: 0 <= value <= 2**62."""
    if type(value) is int and 0 <= value <= MAX_VERSION:
        return value
    return whole(value, field, 0, MAX_VERSION)


def name(value: object, field: str, most: int = MAX_NAME_BYTES) -> str:
    """A string of at most `most` bytes of UTF-8; it may be empty."""
    if type(value) is not str:
        raise ValueError(f"{field} must be a string of at most {most} bytes of UTF-8, not {kind(value)}")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{field} must be a string that UTF-8 can hold; this one has a lone surrogate") from None
    if size > most:
        raise ValueError(f"{field} must be at most {most} bytes of UTF-8, not {size}")
    return value


def nonempty_name(value: object, field: str, most: int = MAX_NAME_BYTES) -> str:
    """A name of at least one byte."""
    named = name(value, field, most)
    if not named:
        raise ValueError(f"{field} must not be empty")
    return named


def kind(value: object) -> str:
    """What a value is, in the words of JSON and msgpack."""
    words = {type(None): "null", bool: "a boolean", int: "an integer", float: "a float", str: "a string",
             bytes: "bytes", dict: "a map", list: "an array", tuple: "an array"}  # fmt: skip
    return words.get(type(value), f"a {type(value).__name__}")
