"""Pieces of msgpack: values are packed one by one, so that their sizes are known before a datagram is put together.

Pure. Lists of records are flat arrays: the records' fields one after the other, without an array around each record.
"""

from collections.abc import Iterator
from typing import Any

import msgpack

ARRAY_BYTES = 3
"""The most bytes in front of an array that fits a datagram."""

NAME_BYTES = 3
"""The most bytes in front of a name."""

COUNT_BYTES = 9
"""The most bytes of an integer."""

_packer = msgpack.Packer()


def pack(value: object) -> bytes:
    """One value. Raises `OverflowError` for an integer beyond 64 bits."""
    packed: bytes = _packer.pack(value)
    return packed


def array_header(length: int) -> bytes:
    """What stands in front of an array's values."""
    header: bytes = _packer.pack_array_header(length)
    return header


def flat(*values: object) -> bytes:
    """At most 15 values one after the other: an array without its header, which has one byte."""
    packed: bytes = _packer.pack(values)
    return packed[1:]


def flat_array(records: list[bytes], width: int) -> bytes:
    """A flat array of records that are packed already, of `width` fields each."""
    return b"".join([array_header(width * len(records)), *records])


def records(value: object, width: int, what: str) -> Iterator[tuple[Any, ...]]:
    """The records of a flat array, `width` fields each. Raises `ValueError`."""
    if type(value) is not tuple or len(value) % width:
        raise ValueError(f"{what} must be an array, {width} values each")
    return zip(*[iter(value)] * width, strict=True)
