"""Datagrams <-> messages, in msgpack, within limits.

Pure. A datagram holds one msgpack value and nothing after it. A map is a request or a reply, with the fields of the
protocol's table. An array is gossip:

    [VERSION, kind, cluster, sender, ...]
    replicate:  [1, 1, cluster, sender, fingerprint, [actor, counter, p, n, version, actor, counter, ...]]

Rows stand flat, five values each. Any subset of rows is a valid message, so a state larger than a datagram is sent as
several and needs no reassembly. Sizes are checked before anything is built from them: msgpack refuses an array or a
string that is longer than the datagram it came in.
"""

from collections.abc import Iterator
from typing import Any

import msgpack

from node import limits
from node.counter import Row
from node.errors import BadDatagramError
from node.messages import Gossip, Replicate
from node.requests import Body
from node.state import Actor

VERSION = 1
MAX_DATAGRAM_BYTES = 65_507

_REPLICATE = 1
_ROW_FIELDS = 5
_ARRAY_HEADER_BYTES = 3


class OtherClusterError(BadDatagramError):
    """Gossip of another cluster, perhaps one that had this address before."""


def pack_body(body: dict[str, Any]) -> bytes:
    """A request or a reply as a datagram."""
    packed: bytes = msgpack.packb(body)
    return packed


def pack_gossip(message: Gossip, cluster: str, budget: int) -> Iterator[bytes]:
    """A gossip message as datagrams of at most `budget` bytes, at least one; each can be merged alone.

    A row that alone is larger than the budget goes alone: names are bounded, so that is at most 900 bytes.
    """
    packer = msgpack.Packer(autoreset=False)
    packer.pack_array_header(6)
    for each in (VERSION, _REPLICATE, cluster, message.sender, message.fingerprint):
        packer.pack(each)
    head = packer.bytes()
    room = budget - len(head) - _ARRAY_HEADER_BYTES
    for rows in _chunks(message.rows, room):
        packer.reset()
        packer.pack_array_header(len(rows) * _ROW_FIELDS)
        yield b"".join([head, packer.bytes(), *rows])


def _chunks(rows: tuple[tuple[Actor, str, Row], ...], room: int) -> Iterator[list[bytes]]:
    packer = msgpack.Packer(autoreset=False)
    chunk: list[bytes] = []
    size = 0
    for actor, counter, row in rows:
        packer.reset()
        for each in (actor, counter, *row):
            packer.pack(each)
        packed = packer.bytes()
        if chunk and size + len(packed) > room:
            yield chunk
            chunk, size = [], 0
        chunk.append(packed)
        size += len(packed)
    yield chunk


def unpack(datagram: bytes, cluster: str) -> Body | Gossip:
    """What a datagram holds: a request's or reply's body as a map, or gossip. Raises `BadDatagramError`."""
    value = _unpack_value(datagram)
    if type(value) is dict:
        return value
    if type(value) is not tuple:
        raise BadDatagramError(f"neither a map nor gossip but {limits.kind(value)}")
    try:
        return _gossip(value, cluster)
    except ValueError as error:
        raise BadDatagramError(f"gossip: {error}") from None


def _unpack_value(datagram: bytes) -> object:
    try:
        return msgpack.unpackb(datagram, use_list=False, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BadDatagramError(f"not one msgpack value: {error or type(error).__name__}") from None


def _gossip(value: tuple[Any, ...], cluster: str) -> Gossip:
    if len(value) != 6:
        raise ValueError(f"an array of 6 is expected, not of {len(value)}")
    version, kind, theirs, sender, fingerprint, flat = value
    if version != VERSION or kind != _REPLICATE:
        raise ValueError(f"version {version!r:.20}, kind {kind!r:.20} is not known here")
    if theirs != cluster:
        raise OtherClusterError(f"gossip of cluster {theirs!r:.40}, this one is {cluster!r:.40}")
    if type(flat) is not tuple or len(flat) % _ROW_FIELDS:
        raise ValueError("rows must be an array, five values a row")
    return Replicate(
        sender=limits.nonempty_name(sender, "sender"),
        rows=tuple(_row(*flat[i : i + _ROW_FIELDS]) for i in range(0, len(flat), _ROW_FIELDS)),
        fingerprint=limits.whole(fingerprint, "fingerprint", 0, 2**64 - 1),
    )


def _row(actor: object, counter: object, p: object, n: object, version: object) -> tuple[Actor, str, Row]:
    row = Row(limits.count(p, "p"), limits.count(n, "n"), limits.count(version, "version"))
    return Actor(limits.nonempty_name(actor, "actor")), limits.name(counter, "counter"), row
