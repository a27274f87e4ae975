"""Datagrams <-> messages, in msgpack, within limits.

Pure. A datagram holds one msgpack value. A map is a request or a reply, with the fields of the protocol's table. What
is sealed together may be several of these, each in a msgpack value of type bin. An array is gossip, and four bytes
follow it, a checksum (CRC-32) of what stands before them:

    [VERSION, kind, cluster, cluster id, sender, fingerprint, ...]
    0 replicate  deltas
    1 syn        boot, clock, boot answered, members, above, upto,
                 [actor, version, hash, hash of detached rows, actor, ...], [upto, hash, upto, ...]
    2 syn-ack    boot, [actor, version, actor, ...], deltas
    3 ack        deltas
    4 push       deltas
    5 confirm    actor, version, hash of its digest entry
    6 confirmed  actor, version, the same
    7 rival      boot, [actor, version, actor, ...]
    8 join       boot, [a record of `members.py`], padding
    9 members    boot, is taken, sent to, [such a record, ...]
    10 pull      number, window, [actor, version, actor, ...]
    11 pulled    number, part, is last, deltas

`members` of a SYN is the hash of the sender's list. The cluster id is twice its number, and one more if it is settled.
`deltas` has the form that is given in `deltas.py`. A message that does not fit one datagram is sent as several, each of
use alone. Sizes are checked before anything is built from them: msgpack refuses an array or a string that is longer
than the datagram it came in. A join is padded, so that its answer may be as long: see `endpoints/senders.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast
from zlib import crc32

import msgpack

from gossip_counter.node.codec.deltas import pack_deltas, unpack_actor, unpack_deltas
from gossip_counter.node.codec.members import BOOT_MAX, MAX_ADDRESS_BYTES, pack_records, unpack_records
from gossip_counter.node.codec.packing import (
    ARRAY_BYTES,
    COUNT_BYTES,
    NAME_BYTES,
    array_header,
    flat,
    flat_array,
    pack,
    records,
)
from gossip_counter.node.core import limits
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.gossip.messages import (
    Ack,
    Confirm,
    Confirmed,
    Gossip,
    Join,
    Members,
    Pull,
    Pulled,
    Push,
    Replicate,
    Rival,
    Syn,
    SynAck,
)
from gossip_counter.node.core.holdings import DigestEntry, Part
from gossip_counter.node.core.paths import NARROW_BYTES

VERSION = 3
MAX_DATAGRAM_BYTES = 65_507

_KINDS: tuple[type[Gossip], ...] = (
    Replicate, Syn, SynAck, Ack, Push, Confirm, Confirmed, Rival, Join, Members, Pull, Pulled,
)  # fmt: skip
_FIELDS: dict[type[Gossip], int] = {
    Syn: 14, SynAck: 9, Confirm: 9, Confirmed: 9, Rival: 8, Join: 9, Members: 10, Pull: 9, Pulled: 10,
}  # fmt: skip
"""By kind, the length of its array; of the others it is 7."""
CHECKSUM_BYTES = 4
"""The 16 bits of UDP let some flipped bits through, and a maximum never forgets one."""
SHARED_BYTES = 400
"""So much of requests or replies is sealed together at most: it fits every path, and little is lost with it."""
_BIN = b"\xc5"
"""What msgpack puts in front of up to 65,535 bytes, and of their number in two more bytes."""
_BOOT_BYTES = 5
"""The most that a boot id takes."""
_HASH_MAX = 2**64 - 1
_ARRAYS = frozenset(bytes([first]) for first in (*range(0x90, 0xA0), 0xDC, 0xDD))
_ENTRY_WIDTH = 1 + len(DigestEntry._fields)
"""A digest entry's actor, then its fields."""


class OtherClusterError(BadDatagramError):
    """Gossip of another cluster, perhaps one that used this address before."""


def sharing(bodies: Iterable[bytes]) -> list[bytes]:
    """The first of these requests or replies, as many as are sealed together: at least one, if there is any."""
    room, first = SHARED_BYTES, list[bytes]()
    for body in bodies:
        room -= len(body)
        if first and room < 0:
            break
        first.append(body)
    return first


def joined(bodies: Sequence[bytes]) -> bytes:
    """Requests or replies, packed each, to be sealed together."""
    if len(bodies) == 1:
        return bodies[0]
    return b"".join(piece for body in bodies for piece in (_BIN, len(body).to_bytes(2), body))


def split(content: bytes) -> list[bytes]:
    """What was sealed together, and perhaps something that no message is as the last piece."""
    pieces, at = list[bytes](), 0
    while content.startswith(_BIN, at):
        begin = at + len(_BIN) + 2
        end = begin + int.from_bytes(content[begin - 2 : begin])
        if end > len(content):
            break
        pieces.append(content[begin:end])
        at = end
    if at < len(content):
        pieces.append(content[at:])
    return pieces


def pack_body(body: dict[str, Any]) -> bytes:
    """A request as a datagram. Raises `OverflowError` for an integer beyond 64 bits."""
    return pack(body)


def pack_reply(body: dict[str, Any]) -> bytes:
    """A reply as a datagram. An integer that msgpack can't hold becomes a string of its decimal digits.

    Sums over nodes can pass 64 bits. Nothing but the true value is sent: two nodes must not seem to agree.
    """
    try:
        return pack(body)
    except OverflowError:
        return pack({name: str(each) if _is_beyond_msgpack(each) else each for name, each in body.items()})


def _is_beyond_msgpack(value: object) -> bool:
    return type(value) is int and not -(2**63) <= value < 2**64


def pack_gossip(message: Gossip, cluster: str, budget: int, most: int) -> list[bytes]:
    """A gossip message as datagrams of at most `budget` bytes, at least one."""
    return list(stream_gossip(message, cluster, budget, most))


def stream_gossip(message: Gossip, cluster: str, budget: int, most: int) -> Iterator[bytes]:
    """The same, each datagram as soon as it is made: the receiver of many can begin with the first.

    Deltas that answer or push are packed into at most `most` datagrams; the rest waits for a later exchange. A row that
    alone exceeds the budget goes alone; names and markers are bounded, so that it fits a datagram of UDP.
    """
    if message.cluster_id is None:
        raise ValueError("gossip in datagrams states its sender's cluster id")
    kind, cluster_id = _KINDS.index(type(message)), message.cluster_id.packed()
    head = flat(VERSION, kind, cluster, cluster_id, message.sender, message.fingerprint)
    room = budget - len(head) - 1 - CHECKSUM_BYTES
    rests: Iterable[list[bytes]]
    match message:
        case Syn():
            rests = _descriptions(message, room)
        case SynAck():
            rests = _answers(message, room - _BOOT_BYTES, most)
        case Confirm() | Confirmed():
            rests = [[flat(message.actor, message.version, message.entry_hash)]]
        case Rival():
            rests = [[flat(message.boot), _pack_wants(message.wants, room - _BOOT_BYTES)]]
        case Join():
            opening = flat(message.boot) + b"".join(pack_records((message.record,), room))
            rests = [[opening, pack(bytes(max(0, min(room, room - budget + NARROW_BYTES) - len(opening) - 3)))]]
        case Members():
            opening = flat(message.boot, message.is_taken, message.sent_to)
            parts = islice(pack_records(message.records, room - len(opening)), most)
            rests = [[opening, part] for part in parts]
        case Pull():
            rests = [[flat(message.number, message.window), _pack_wants(message.wants, room - 2 * COUNT_BYTES)]]
        case Pulled():
            rests = _parts(message, room - 3 * COUNT_BYTES)
        case _:
            bound = None if isinstance(message, Replicate) else most
            rests = [[part] for part in islice(pack_deltas(message.deltas, room), bound)]
    header = array_header(_FIELDS.get(type(message), 7))
    return (_with_checksum(b"".join([header, head, *rest])) for rest in rests)


def _with_checksum(gossip: bytes) -> bytes:
    return gossip + crc32(gossip).to_bytes(CHECKSUM_BYTES, "big")


def _descriptions(syn: Syn, room: int) -> list[list[bytes]]:
    """The digest or the parts in ranges of actors, one for each datagram."""
    none, opening = array_header(0), (syn.boot, syn.clock_ms, syn.answered, syn.members)
    if syn.parts:
        described, width = [(part.upto, flat(*part)) for part in syn.parts], len(Part._fields)
    else:
        described, width = [(actor, flat(actor, *entry)) for actor, entry in sorted(syn.digest.items())], _ENTRY_WIDTH
    room -= 2 * _BOOT_BYTES + 2 * COUNT_BYTES + 1
    return [
        [flat(*opening, above, upto), *((none, packed) if syn.parts else (packed, none))]
        for above, upto, packed in _ranges(syn, described, width, room)
    ]


def _ranges(
    syn: Syn, described: Sequence[tuple[str | None, bytes]], width: int, room: int
) -> Iterator[tuple[str, str | None, bytes]]:
    """What is described, in ranges of actors: the bounds of each, and its packed entries or parts."""
    longest = max((len(name.encode()) for name, _ in described if name), default=0)
    room -= 2 * (longest + NAME_BYTES) + ARRAY_BYTES
    above, last, chunk, size = syn.above, syn.above, list[bytes](), 0
    for name, packed in described:
        if chunk and size + len(packed) > room:
            yield above, last, flat_array(chunk, width)
            above, chunk, size = last, [], 0
        chunk.append(packed)
        size += len(packed)
        last = name or ""
    yield above, syn.upto, flat_array(chunk, width)


def _answers(message: SynAck, room: int, most: int) -> list[list[bytes]]:
    """Wants and deltas of each datagram. The wants all stand in the first."""
    boot, wants, none = flat(message.boot), _pack_wants(message.wants, room // 2), array_header(0)
    parts = islice(pack_deltas(message.deltas, room - len(wants)), most)
    return [[boot, none if number else wants, part] for number, part in enumerate(parts)]


def _parts(message: Pulled, room: int) -> Iterator[list[bytes]]:
    """The parts of an answer to a pull, numbered; with the last one, that it is."""
    packed = pack_deltas(message.deltas, room)
    number, part = 0, next(packed)
    for another in packed:
        yield [flat(message.number, number, False), part]
        number, part = number + 1, another
    yield [flat(message.number, number, True), part]


def _pack_wants(wants: dict[Actor, int], room: int) -> bytes:
    """As many wants as there is room for, at least one. The others are asked for in a later exchange."""
    packed: list[bytes] = []
    for want in wants.items():
        packed.append(flat(*want))
        room -= len(packed[-1])
        if room < 0 and len(packed) > 1:
            packed.pop()
            break
    return flat_array(packed, 2)


def unpack(datagram: bytes, cluster: str) -> dict[Any, Any] | Gossip:
    """What a datagram holds: a request's or reply's body as a map, or gossip.

    Raises `BadDatagramError`, and of that `OtherClusterError` for gossip of a cluster other than `cluster`.
    """
    if not _is_array(datagram):
        value = _unpack_value(datagram)
        if type(value) is dict:
            return value
        raise BadDatagramError(f"neither a map nor gossip but {limits.kind(value)}")
    gossip = datagram[:-CHECKSUM_BYTES]
    if _with_checksum(gossip) != datagram:
        raise BadDatagramError("gossip: the checksum is wrong, or the version is not known here")
    value = cast("tuple[Any, ...]", _unpack_value(gossip))
    try:
        return _gossip(value, cluster)
    except (ValueError, RecursionError) as error:
        raise BadDatagramError(f"gossip: {error}") from None


def _is_array(datagram: bytes) -> bool:
    """Whether a datagram begins with the header of a msgpack array. No request and no reply does."""
    return datagram[:1] in _ARRAYS


def _unpack_value(datagram: bytes) -> object:
    try:
        # Keys of maps are strings: their hashes are keyed, so nobody can choose many that collide.
        return msgpack.unpackb(datagram, use_list=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BadDatagramError(f"not one msgpack value: {str(error) or type(error).__name__}") from None


def _gossip(value: tuple[Any, ...], cluster: str) -> Gossip:
    if len(value) < 7 or value[0] != VERSION:
        raise ValueError(f"version {value[:1]!r:.20} is not known here")
    _, kind, theirs, cluster_id, sender, fingerprint, *rest = value
    if theirs != cluster:
        raise OtherClusterError(f"gossip of cluster {theirs!r:.40}, this one is {cluster!r:.40}")
    identified = ClusterId.unpacked(cluster_id)
    limits.nonempty_name(sender, "sender")
    _hash(fingerprint)
    about_rows = _about_rows(kind, sender, fingerprint, identified, rest)
    return about_rows or _about_processes(kind, sender, fingerprint, identified, rest)


def _about_rows(kind: int, sender: str, fingerprint: int, cluster_id: ClusterId, rest: list[Any]) -> Gossip | None:
    """Gossip that carries rows or asks for them; None: it is of another kind."""
    match kind, rest:
        case 1, [boot, clock_ms, answered, members, above, upto, entries, parts]:
            low, high = _bound(above), None if upto is None else _bound(upto)
            own_boot, answered_boot, time_ms = *map(_unpack_boot, (boot, answered)), limits.count(clock_ms, "clock")
            digest, divided = _unpack_digest(entries), _unpack_parts(parts, low, high)
            if digest and divided:
                raise ValueError("a digest has entries or parts, not both")
            return Syn(
                sender, fingerprint, digest, low, high, own_boot, time_ms, divided, answered_boot, _hash(members),
                cluster_id=cluster_id,
            )  # fmt: skip
        case 2, [boot, wants, deltas]:
            rows, wanted = unpack_deltas(deltas), _unpack_wants(wants)
            return SynAck(sender, fingerprint, rows, wanted, _unpack_boot(boot), cluster_id=cluster_id)
        case 0 | 3 | 4, [deltas]:
            carrier = {0: Replicate, 3: Ack, 4: Push}[kind]
            return cast(Gossip, carrier(sender, fingerprint, unpack_deltas(deltas), cluster_id=cluster_id))
        case 10, [number, window, wants]:
            asked, most = _unpack_boot(number), limits.count(window, "window")
            return Pull(sender, fingerprint, asked, most, _unpack_wants(wants), cluster_id=cluster_id)
        case 11, [number, part, bool(is_last), deltas]:
            asked, at, rows = _unpack_boot(number), limits.count(part, "part"), unpack_deltas(deltas)
            return Pulled(sender, fingerprint, asked, rows, at, is_last, cluster_id=cluster_id)
    return None


def _about_processes(kind: int, sender: str, fingerprint: int, cluster_id: ClusterId, rest: list[Any]) -> Gossip:
    """Gossip about what members store, and who they are."""
    match kind, rest:
        case 5 | 6, [actor, version, hashed]:
            made, upto, entry = {5: Confirm, 6: Confirmed}[kind], limits.version(version, "version"), _hash(hashed)
            return cast(Gossip, made(sender, fingerprint, unpack_actor(actor), upto, entry, cluster_id=cluster_id))
        case 7, [boot, wants]:
            return Rival(sender, fingerprint, _unpack_boot(boot), _unpack_wants(wants), cluster_id=cluster_id)
        case 8, [boot, listed, bytes()] if len(records := unpack_records(listed)) == 1:
            return Join(sender, fingerprint, _unpack_boot(boot), records[0], cluster_id=cluster_id)
        case 9, [boot, bool(is_taken), sent_to, listed]:
            members, to = unpack_records(listed), limits.name(sent_to, "address", MAX_ADDRESS_BYTES)
            return Members(sender, fingerprint, members, _unpack_boot(boot), is_taken, to, cluster_id=cluster_id)
    raise ValueError(f"kind {kind!r:.20} with {len(rest)} fields is not known here")


def _unpack_boot(value: object) -> int:
    return limits.whole(value, "boot id", 0, BOOT_MAX)


def _bound(value: object) -> str:
    return limits.name(value, "a digest's bound", limits.MAX_ACTOR_BYTES)


def _unpack_digest(value: object) -> dict[Actor, DigestEntry]:
    return {
        unpack_actor(actor): DigestEntry(limits.version(version, "version"), _hash(hashed), _hash(detached))
        for actor, version, hashed, detached in records(value, _ENTRY_WIDTH, "digest entries")
    }


def _unpack_parts(value: object, above: str, upto: str | None) -> tuple[Part, ...]:
    """The parts of that range: one after the other, and nothing of it left out."""
    parts, last = list[Part](), above
    for bound, hashed in records(value, len(Part._fields), "parts of a digest"):
        if parts and parts[-1].upto is None:
            raise ValueError("only the last part of a digest has no bound")
        parts.append(Part(None if bound is None else _bound(bound), _hash(hashed)))
        if bound is not None and bound <= last:
            raise ValueError("the parts of a digest must come in ascending order")
        last = bound or ""
    if len(parts) > limits.MAX_PARTS or (parts and parts[-1].upto != upto):
        raise ValueError(f"a digest has at most {limits.MAX_PARTS} parts, and the last ends where it does")
    return tuple(parts)


def _hash(value: object) -> int:
    return limits.whole(value, "hash", 0, _HASH_MAX)


def _unpack_wants(value: object) -> dict[Actor, int]:
    return {unpack_actor(actor): limits.version(since, "since") for actor, since in records(value, 2, "wants")}
