"""Datagrams <-> messages, in msgpack, within limits.

Pure. A datagram holds one msgpack value and nothing after it. A map is a request or a reply, with the fields of the
protocol's table. An array is gossip:

    [VERSION, kind, cluster, sender, fingerprint, ...]
    0 replicate  deltas
    1 syn        above, upto, [actor, version, hash, hash of what is ahead, actor, ...]
    2 syn-ack    [actor, version, actor, ...], deltas
    3 ack        deltas
    4 push       deltas
    5 confirm    actor, version
    6 confirmed  actor, version

    deltas:      [[actor, since, target - last version, [counter, p, n, version - since, counter, ...]], ...]

Any subset of rows is a valid message, so what does not fit one datagram is sent as several, each of use alone: a delta
cut in two goes on from the last version that was sent. A version is never cut. Sizes are checked before anything is
built from them: msgpack refuses an array or a string that is longer than the datagram it came in.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, cast

import msgpack

from gossip_counter.node.codec.requests import Body
from gossip_counter.node.core import counts, limits
from gossip_counter.node.core.counts import Actor, NamedRow
from gossip_counter.node.core.errors import BadDatagramError
from gossip_counter.node.core.messages import Ack, Confirm, Confirmed, Delta, Gossip, Push, Replicate, Syn, SynAck
from gossip_counter.node.core.state import DigestEntry

VERSION = 1
MAX_DATAGRAM_BYTES = 65_507

_KINDS: tuple[type[Gossip], ...] = (Replicate, Syn, SynAck, Ack, Push, Confirm, Confirmed)
_ARRAY_BYTES = 3
_NAME_BYTES = 3
_TARGET_BYTES = 9
_HASH_MAX = 2**64 - 1

_packer = msgpack.Packer()


class OtherClusterError(BadDatagramError):
    """Gossip of another cluster, perhaps one that had this address before."""


def pack_body(body: dict[str, Any]) -> bytes:
    """A request or a reply as a datagram."""
    packed: bytes = _packer.pack(body)
    return packed


def pack_gossip(message: Gossip, cluster: str, budget: int, most: int) -> list[bytes]:
    """A gossip message as datagrams of at most `budget` bytes, at least one.

    Of deltas that answer or push, at most `most` datagrams are made: the rest is for another time. A row that alone is
    larger than the budget goes alone; names are bounded, so that is at most 1500 bytes.
    """
    head = _flat(VERSION, _KINDS.index(type(message)), cluster, message.sender, message.fingerprint)
    room = budget - len(head) - 1
    match message:
        case Syn():
            rests = [[_flat(above, upto), digest] for above, upto, digest in _ranges(message, room)]
        case SynAck():
            wants = _wants(message.wants, room // 2)
            none = _array(0)
            parts = islice(_packed_deltas(message.deltas, room - len(wants)), most)
            rests = [[none if number else wants, part] for number, part in enumerate(parts)]
        case Confirm() | Confirmed():
            rests = [[_flat(message.actor, message.version)]]
        case Replicate():
            rests = [[part] for part in _packed_deltas(message.deltas, room)]
        case _:
            rests = [[part] for part in islice(_packed_deltas(message.deltas, room), most)]
    fields = {Syn: 8, SynAck: 7, Confirm: 7, Confirmed: 7}.get(type(message), 6)
    return [b"".join([_array(fields), head, *rest]) for rest in rests]


def _array(length: int) -> bytes:
    header: bytes = _packer.pack_array_header(length)
    return header


def _flat(*values: object) -> bytes:
    """At most 15 values one after the other: an array without its one-byte header."""
    packed: bytes = _packer.pack(values)
    return packed[1:]


def _ranges(syn: Syn, room: int) -> Iterator[tuple[str, str | None, bytes]]:
    """The digest in ranges of actors: what bounds each, and its packed entries."""
    entries = [(actor, _flat(actor, *held)) for actor, held in sorted(syn.digest.items())]
    longest = max((len(actor.encode()) for actor in syn.digest), default=0)
    room -= 2 * (longest + _NAME_BYTES) + _ARRAY_BYTES
    above, chunk, size = syn.above, list[bytes](), 0
    for i, (_, packed) in enumerate(entries):
        if chunk and size + len(packed) > room:
            yield above, entries[i - 1][0], _array(4 * len(chunk)) + b"".join(chunk)
            above, chunk, size = entries[i - 1][0], [], 0
        chunk.append(packed)
        size += len(packed)
    yield above, syn.upto, _array(4 * len(chunk)) + b"".join(chunk)


def _wants(wants: dict[Actor, int], room: int) -> bytes:
    """As many wants as there is room for; who still lacks the others will say so again."""
    packed: list[bytes] = []
    for want in wants.items():
        packed.append(_flat(*want))
        room -= len(packed[-1])
        if room < 0 and len(packed) > 1:
            packed.pop()
            break
    return _array(2 * len(packed)) + b"".join(packed)


def _packed_deltas(deltas: Iterable[Delta], room: int) -> Iterator[bytes]:
    """The deltas of one datagram after the other, the last one with what is left, perhaps nothing."""
    room -= _ARRAY_BYTES
    full: list[bytes] = []
    size = 0
    for delta in deltas:
        uncut = list(_uncut(delta))
        section = _Section(delta.actor, delta.since, delta.source_version)
        if any(section.size_of(rows) > room - section.size for rows in uncut if len(rows) > 1):
            # Rows of one version that no datagram has room for: nobody honest writes so many. They claim nothing.
            uncut, section = [[named] for named in delta.rows], _Section(delta.actor, None, 0)
        # A part is not the whole: each tells of what state it is a part.
        if section.last is not None and delta.rows:
            section.target = max(section.target, delta.rows[-1][1].version)
        size += section.size
        for rows in uncut:
            if size + section.size_of(rows) > room and (full or section.rows):
                yield _joined([*full, *section.packed()])
                section = _Section(delta.actor, section.last, section.target)
                full, size = [], section.size
            size += section.add(rows)
        full += section.packed()
    yield _joined(full)


def _uncut(delta: Delta) -> Iterator[list[NamedRow]]:
    """Rows that must stay together: those of one version, where versions mean something."""
    if delta.since is None:
        return ([named] for named in delta.rows)
    return (list(rows) for _, rows in groupby(delta.rows, lambda named: named[1].version))


def _joined(sections: list[bytes]) -> bytes:
    return b"".join([_array(len(sections)), *sections])


class _Section:
    """A delta, or the part of one, that stands in one datagram. `last` is where the next part goes on from."""

    def __init__(self, actor: Actor, since: int | None, target: int) -> None:
        self._head = _array(4) + _flat(actor, since)
        self._since = self.last = since
        self.target = target
        self.rows: list[bytes] = []
        self.size = len(self._head) + _TARGET_BYTES + _ARRAY_BYTES

    def add(self, rows: list[NamedRow]) -> int:
        packed = self._pack(rows)
        self.rows += packed
        if self._since is not None:
            self.last = rows[-1][1].version
        return sum(map(len, packed))

    def size_of(self, rows: list[NamedRow]) -> int:
        return sum(map(len, self._pack(rows)))

    def packed(self) -> list[bytes]:
        if not self.rows:
            return []
        beyond = 0 if self.last is None else max(0, self.target - self.last)
        return [b"".join([self._head, _flat(beyond), _array(4 * len(self.rows)), *self.rows])]

    def _pack(self, rows: list[NamedRow]) -> list[bytes]:
        base = self._since or 0
        return [_flat(counter, *counts.encode(row, base)) for counter, row in rows]


def unpack(datagram: bytes, cluster: str) -> Body | Gossip:
    """What a datagram holds: a request's or reply's body as a map, or gossip. Raises `BadDatagramError`."""
    value = _unpack_value(datagram)
    if type(value) is dict:
        return value
    if type(value) is not tuple:
        raise BadDatagramError(f"neither a map nor gossip but {limits.kind(value)}")
    try:
        return _gossip(value, cluster)
    except (ValueError, RecursionError) as error:
        raise BadDatagramError(f"gossip: {error}") from None


def _unpack_value(datagram: bytes) -> object:
    try:
        return msgpack.unpackb(datagram, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BadDatagramError(f"not one msgpack value: {error or type(error).__name__}") from None


def _gossip(value: tuple[Any, ...], cluster: str) -> Gossip:
    if len(value) < 6 or value[0] != VERSION:
        raise ValueError(f"version {value[:1]!r:.20} is not known here")
    _, kind, theirs, sender, fingerprint, *rest = value
    if theirs != cluster:
        raise OtherClusterError(f"gossip of cluster {theirs!r:.40}, this one is {cluster!r:.40}")
    limits.nonempty_name(sender, "sender")
    _hash(fingerprint)
    match kind, rest:
        case 1, [above, upto, entries]:
            low, high = _bound(above), None if upto is None else _bound(upto)
            return Syn(sender, fingerprint, _digest(entries), low, high)
        case 2, [wants, deltas]:
            return SynAck(sender, fingerprint, _deltas(deltas), _wanted(wants))
        case 5 | 6, [actor, version]:
            asked = {5: Confirm, 6: Confirmed}[kind]
            return cast(Gossip, asked(sender, fingerprint, _actor(actor), limits.count(version, "version")))
        case 0 | 3 | 4, [deltas]:
            made = {0: Replicate, 3: Ack, 4: Push}[kind]
            return cast(Gossip, made(sender, fingerprint, _deltas(deltas)))
    raise ValueError(f"kind {kind!r:.20} with {len(rest)} fields is not known here")


def _bound(value: object) -> str:
    return limits.name(value, "a digest's bound", limits.MAX_ACTOR_BYTES)


def _actor(value: object) -> Actor:
    return Actor(limits.nonempty_name(value, "actor", limits.MAX_ACTOR_BYTES))


def _rows_of(value: object, fields: int, what: str) -> Iterator[tuple[Any, ...]]:
    if type(value) is not tuple or len(value) % fields:
        raise ValueError(f"{what} must be an array, {fields} values each")
    return zip(*[iter(value)] * fields, strict=True)


def _digest(value: object) -> dict[Actor, DigestEntry]:
    return {
        _actor(actor): DigestEntry(limits.count(version, "version"), _hash(hashed), _hash(ahead))
        for actor, version, hashed, ahead in _rows_of(value, 4, "digest entries")
    }


def _hash(value: object) -> int:
    return limits.whole(value, "hash", 0, _HASH_MAX)


def _wanted(value: object) -> dict[Actor, int]:
    return {_actor(actor): limits.count(since, "since") for actor, since in _rows_of(value, 2, "wants")}


def _deltas(value: object) -> tuple[Delta, ...]:
    if type(value) is not tuple:
        raise ValueError(f"deltas must be an array, not {limits.kind(value)}")
    return tuple(_delta(*each) for each in _sections(value))


def _sections(value: tuple[object, ...]) -> Iterator[tuple[object, object, object, object]]:
    for each in value:
        if type(each) is not tuple or len(each) != 4:
            raise ValueError("a delta must be an array of 4")
        yield each


def _delta(actor: object, since: object, beyond: object, flat: object) -> Delta:
    from_version = None if since is None else limits.count(since, "since")
    base = last = from_version or 0
    rows = []
    for counter, *values in _rows_of(flat, 1 + len(counts.FIELDS), "rows"):
        row = counts.decode(values, base)
        if not row.version or (from_version is not None and not base < row.version >= last):
            raise ValueError("rows of a delta must come in ascending order of version, all above since and 0")
        last = row.version
        rows.append((limits.name(counter, "counter"), row))
    further = limits.count(beyond, "target")
    target = limits.count(last + further, "target") if further and from_version is not None else 0
    return Delta(_actor(actor), from_version, tuple(rows), target)
