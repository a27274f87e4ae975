"""What a sealed datagram looks like from outside. It is apart from `sealing`, so that plain nodes load no cryptography.

Pure.

    magic    1 byte, 0xc1, which begins no msgpack value
    version  1
    key id   4
    boot     16, random, of the sender's process
    counter  8, of the datagrams that this process has sealed
    sealed   8 + 8 + any + 16: what is sealed, and its tag
"""

from struct import Struct
from typing import NamedTuple

MAGIC = b"\xc1"
VERSION = 1
KEY_ID_BYTES = 4
BOOT_BYTES = 16
BINDING_BYTES = 8
TAG_BYTES = 16

_FORM = Struct(f">cB{KEY_ID_BYTES}s{BOOT_BYTES}sQ")
HEADER_BYTES = _FORM.size
OVERHEAD = HEADER_BYTES + 2 * BINDING_BYTES + TAG_BYTES
"""Bytes that a sealed datagram has more than the plain one; with nothing in it, it has no other."""


class Header(NamedTuple):
    """What stands before the sealed part, readable by all and covered by the tag."""

    key_id: bytes
    boot: bytes
    counter: int

    def packed(self) -> bytes:
        """As it is sent."""
        return _FORM.pack(MAGIC, VERSION, *self)


def is_sealed(datagram: bytes) -> bool:
    """Whether this can be a sealed datagram: no plain one begins like that."""
    return len(datagram) >= OVERHEAD and datagram.startswith(MAGIC)


def unpack(datagram: bytes) -> Header | None:
    """The header of a sealed datagram; None if it is none, or one of a version that is not known here."""
    if not is_sealed(datagram):
        return None
    _, version, *fields = _FORM.unpack_from(datagram)
    return Header(*fields) if version == VERSION else None
