"""Arguments of commands: bytes to values, with the limits and error texts of Redis.

Pure.
"""

from collections.abc import Iterator
from typing import TypeVar

from gossip_counter.node.core import limits
from gossip_counter.node.endpoints.redis.replies import Error

T = TypeVar("T")

LEAST = -(2**63)
"""The one integer of Redis that can't be negated."""

_MAX_SHOWN_BYTES = 128
"""How much of a client's input an error repeats."""


def integer(text: bytes) -> int:
    """An integer of at most 2**63 - 1 either way, as Redis takes it: no spaces, no plus, no leading zeros.

    Raises `ValueError`.
    """
    value = int(text)
    if b"%d" % value != text or abs(value) > limits.MAX_COUNT:
        raise ValueError("not in the canonical form of an integer, or beyond 64 bits")
    return value


def int64(text: bytes) -> int:
    """The same, or the least integer of 64 bits, which can't be negated. Raises `ValueError`."""
    return LEAST if text == b"%d" % LEAST else integer(text)


def counter(key: bytes) -> str:
    """The name of the counter at a key. Raises `ValueError` with a text that names the limit."""
    if len(key) > limits.MAX_NAME_BYTES:
        raise ValueError(f"a key must be at most {limits.MAX_NAME_BYTES} bytes, not {len(key)}")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise ValueError("a key must be UTF-8") from None


def shown(word: bytes) -> str:
    """A word of the client as an error repeats it."""
    return word[:_MAX_SHOWN_BYTES].decode(errors="replace")


def listed(words: list[bytes]) -> str:
    """The first of some words, each in quotes, until they are as long as an error repeats them."""
    text = ""
    for word in words:
        if len(text) >= _MAX_SHOWN_BYTES:
            break
        text += f"'{shown(word)}' "
    return text


def wrong_arity(command: bytes) -> Error:
    """The error for too few or too many arguments."""
    return Error(f"ERR wrong number of arguments for '{shown(command).lower()}' command")


def fits(arity: int, words: int) -> bool:
    """Whether a command of this arity takes so many words, its name included; negative: at least so many."""
    return words == arity if arity > 0 else words >= -arity


def in_steps(items: list[T], most: int) -> Iterator[list[T]]:
    """All items in order, at most so many at a time."""
    return (items[at : at + most] for at in range(0, len(items), most))
