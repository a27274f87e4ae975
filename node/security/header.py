"""What a sealed datagram looks like from outside. It is apart from `sealing`, so that plain nodes load no cryptography.

Pure.

    magic    1 byte, 0xc1, which begins no msgpack value
    version  1
    key id   4
    boot     16, random, of the sender's process
    counter  8, of the datagrams that this process has sealed
    sealed   8 + 8 + any + 16: what is sealed, and its tag
"""

MAGIC = b"\xc1"
VERSION = b"\x01"
KEY_ID_BYTES = 4
BOOT_BYTES = 16
COUNTER_BYTES = 8
BINDING_BYTES = 8
TAG_BYTES = 16

PREFIX = MAGIC + VERSION
KEY_ID = slice(len(PREFIX), len(PREFIX) + KEY_ID_BYTES)
SENDER = slice(KEY_ID.start, KEY_ID.stop + BOOT_BYTES)
"""Key id and boot together."""
COUNTER = slice(SENDER.stop, SENDER.stop + COUNTER_BYTES)
HEADER_BYTES = COUNTER.stop
OVERHEAD = HEADER_BYTES + 2 * BINDING_BYTES + TAG_BYTES
"""Bytes that a sealed datagram has more than the plain one; with nothing in it, it has no other."""


def is_sealed(datagram: bytes) -> bool:
    """Whether this can be a sealed datagram, of this version or another: no plain one begins like that."""
    return len(datagram) >= OVERHEAD and datagram.startswith(MAGIC)
