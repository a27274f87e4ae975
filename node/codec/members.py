"""Records of members <-> flat values, on the wire and in journals.

Pure. A record is [name, life, version, has left, boot, [address, ...], release, key, removed, gone at].
"""

from collections.abc import Iterator, Sequence
from typing import Any

from gossip_counter.node.codec.packing import ARRAY_BYTES, flat, flat_array, records
from gossip_counter.node.core import limits
from gossip_counter.node.core.roster import MAX_ADDRESSES, MemberRecord

WIDTH = len(MemberRecord._fields)
"""Values of a record."""

MAX_ADDRESS_BYTES = 300
MAX_TEXT_BYTES = 40
BOOT_MAX = 2**32 - 1


def checked(values: Sequence[Any]) -> MemberRecord:
    """The record that these values are. Raises `ValueError`."""
    if len(values) != WIDTH:
        raise ValueError(f"a member's record must have {WIDTH} values, not {len(values)}")
    name, life, version, has_left, boot, addresses, release, key, removed, gone_ms = values
    if type(has_left) is not bool:
        raise ValueError(f"has_left must be a boolean, not {limits.kind(has_left)}")
    if type(addresses) not in (tuple, list) or len(addresses) > MAX_ADDRESSES:
        raise ValueError(f"addresses must be an array of at most {MAX_ADDRESSES}")
    return MemberRecord(
        limits.nonempty_name(name, "a member's name"),
        limits.count(life, "life"),
        limits.version(version, "version"),
        has_left,
        limits.whole(boot, "boot id", 0, BOOT_MAX),
        tuple(limits.nonempty_name(each, "address", MAX_ADDRESS_BYTES) for each in addresses),
        limits.name(release, "release", MAX_TEXT_BYTES),
        limits.name(key, "key id", MAX_TEXT_BYTES),
        limits.count(removed, "removed"),
        limits.count(gone_ms, "gone_ms"),
    )


def pack_records(listed: Sequence[MemberRecord], room: int) -> Iterator[bytes]:
    """The records of each datagram, in at most `room` bytes; one that exceeds it goes alone. At least one result."""
    room -= ARRAY_BYTES
    chunk, size = list[bytes](), 0
    for record in listed:
        packed = flat(*record)
        if chunk and size + len(packed) > room:
            yield flat_array(chunk, WIDTH)
            chunk, size = [], 0
        chunk.append(packed)
        size += len(packed)
    yield flat_array(chunk, WIDTH)


def unpack_records(value: object) -> tuple[MemberRecord, ...]:
    """Records. Raises `ValueError`."""
    return tuple(map(checked, records(value, WIDTH, "records of members")))
