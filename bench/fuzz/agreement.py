"""Decoders and encoders agree: what was decoded, encoded and decoded again is the same.

Pure. The encoders leave out what carries nothing: a delta of no rows that reaches nowhere, rows of zeros, and of rows
that claim nothing up to where their sender has forgotten others. They number the parts of an answer to a pull.
"""

import json
from contextlib import suppress
from dataclasses import replace

from gossip_counter.bench.fuzz.samples import CLUSTER
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.node.codec import datagrams, json_lines, requests
from gossip_counter.node.core.errors import BadDatagramError, RequestError
from gossip_counter.node.core.gossip.messages import Carrier, Gossip, Pulled, Replicate
from gossip_counter.node.core.holdings import NO_FLOORS
from gossip_counter.node.core.messages import Request

ROOM = 4 * datagrams.MAX_DATAGRAM_BYTES
"""Bytes: as much as any datagram that was received can take when it is packed again."""


def of_datagram(datagram: bytes) -> bool:
    """Check what one datagram holds; whether it was taken. Raises `WrongError`."""
    try:
        message = datagrams.unpack(datagram, CLUSTER)
    except BadDatagramError:
        return False
    if isinstance(message, dict):
        of_body(message)
    else:
        of_gossip(message)
    return True


def of_gossip(message: Gossip) -> None:
    """The same message comes back, if it is packed and unpacked."""
    packed = datagrams.pack_gossip(message, CLUSTER, ROOM, 2)
    check(len(packed) == 1, "packed anew it takes more than one datagram:", message)
    again = datagrams.unpack(packed[0], CLUSTER)
    check(again == _that_says_anything(message), "packed and unpacked it is", again, "and was", message)
    same_id = isinstance(again, dict) or again.cluster_id == message.cluster_id
    check(same_id, "its cluster id is another:", message.cluster_id)


def _that_says_anything(message: Gossip) -> Gossip:
    if not isinstance(message, Carrier):
        return message
    deltas = tuple(
        each if each.since is not None else replace(each, floors=NO_FLOORS, clock_ms=0, is_whole=False)
        for each in message.deltas
        if each.rows or (each.upto and each.since is not None)
    )
    if isinstance(message, Pulled):
        return replace(message, deltas=deltas, part=0, is_last=True)
    return replace(message, deltas=deltas)


def of_body(body: requests.Body) -> None:
    """A body means the same in msgpack and in JSON."""
    with suppress(ValueError, TypeError, RecursionError):  # what JSON can't hold
        line = json.dumps({"src": "c", "body": body}).encode()
        as_json = json_lines.unpack(line).body
        if as_json == _listed(body):
            check(parsed(as_json) == parsed(body), "in JSON it means another thing:", body)


def _listed(value: object) -> object:
    if isinstance(value, dict):
        return {name: _listed(each) for name, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, (list, tuple)) else value


def parsed(body: requests.Body) -> Request | Replicate | tuple[object, ...]:
    """The request that a body holds, or the error that refuses it."""
    try:
        return requests.parse_replicate(body, "c") if body.get("type") == "replicate" else requests.parse(body)
    except RequestError as error:
        return error.code, error.text, error.msg_id
