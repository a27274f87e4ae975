"""An input as bytes: items one after the other, so that any bytes are an input.

Pure. An item is a byte that determines how it is taken (each target has its own meaning for it), its length in two
bytes, and its content. The last one may be cut short.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

HEAD_BYTES = 3
MAX_CONTENT = 2**16 - 1


class Item(NamedTuple):
    """One item."""

    control: int
    content: bytes


def split(data: bytes) -> Iterator[Item]:
    """The items of an input."""
    at = 0
    while at + HEAD_BYTES <= len(data):
        end = at + HEAD_BYTES + int.from_bytes(data[at + 1 : at + HEAD_BYTES], "big")
        yield Item(data[at], data[at + HEAD_BYTES : end])
        at = end


def join(items: Iterable[Item]) -> bytes:
    """The input that has these items. Contents that are too long are cut."""
    return b"".join(
        bytes([control]) + len(content[:MAX_CONTENT]).to_bytes(2, "big") + content[:MAX_CONTENT]
        for control, content in items
    )
