"""Replies: data to bytes, in RESP2 and RESP3.

Pure. Source: "Redis serialization protocol specification", redis.io.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gossip_counter.node.core.errors import MALFORMED, RequestError
from gossip_counter.node.core.increases import Outcome

Reply = Any
"""None is null, bytes a bulk string, str a simple string, Error an error; int, and lists and maps of these."""


Pieces = Iterator[bytes | int]
"""A reply that is made step by step, since all of it at once could be large or take long: a generator.

A step gives bytes of the reply, or by how many bytes what is kept for the steps after it has grown. No step gives more
than some 64 KB, or takes more than some tenths of a millisecond.
"""


class Error(str):
    """An error reply. Its first word is the error code."""

    __slots__ = ()


class Verbatim(bytes):
    """A text for people, which RESP3 marks as such."""

    __slots__ = ()


class NullArray:
    """Null where an array was asked for."""

    __slots__ = ()


NULL_ARRAY = NullArray()
NOT_AN_INTEGER = Error("ERR value is not an integer or out of range")
OVERFLOW = Error("ERR increment or decrement would overflow")
DECREMENT_OVERFLOW = Error("ERR decrement would overflow")
SYNTAX = Error("ERR syntax error")

_NEXT = "\r\n:"


def encode(reply: Reply, protocol: int) -> bytes:  # noqa: PLR0911 one for each kind
    """A reply as bytes, in protocol 2 or 3. Raises `TypeError` for what is not a reply."""
    match reply:
        case None:
            return b"_\r\n" if protocol == 3 else b"$-1\r\n"
        case NullArray():
            return b"_\r\n" if protocol == 3 else b"*-1\r\n"
        case Error():
            return b"-%s\r\n" % reply.replace("\r", " ").replace("\n", " ").encode()
        case int():
            return b":%d\r\n" % reply
        case Verbatim() if protocol == 3:
            return b"=%d\r\ntxt:%s\r\n" % (len(reply) + 4, reply)
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case str():
            return b"+%s\r\n" % reply.encode()
        case dict():
            flat = (part for key, value in reply.items() for part in (key.encode(), value))
            return map_head(len(reply), protocol) + encode_all(flat, protocol)
        case list() | tuple():
            return head(len(reply)) + encode_all(reply, protocol)
    raise TypeError(f"{reply!r} is not a reply")


def head(length: int) -> bytes:
    """The head of an array, whose parts have yet to come."""
    return b"*%d\r\n" % length


def map_head(length: int, protocol: int) -> bytes:
    """The head of a map, whose keys and values have yet to come."""
    return b"%%%d\r\n" % length if protocol == 3 else head(2 * length)


def bulk(texts: Iterable[bytes]) -> bytes:
    """Some bulk strings, one after the other."""
    return b"".join([b"$%d\r\n%s\r\n" % (len(text), text) for text in texts])


def encode_all(replies: Iterable[Reply], protocol: int) -> bytes:
    """Some replies, one after the other."""
    return b"".join([encode(each, protocol) for each in replies])


def encode_results(values: Sequence[Outcome], protocol: int) -> bytes:
    """The replies to adds: for each the value after it, or why it was refused."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return f":{_NEXT.join(map(str, values))}\r\n".encode()
    if kinds == {tuple}:
        return b"".join([b"*2\r\n:%d\r\n:%d\r\n" % each for each in values])  # type: ignore[str-format]
    return encode_all([refusal(each) if isinstance(each, RequestError) else each for each in values], protocol)


def refusal(error: RequestError) -> Error:
    """The error reply to an add that the core refused."""
    return OVERFLOW if error.code == MALFORMED else Error(f"ERR {error.text}")
