"""Replies: data to bytes, in RESP2 and RESP3.

Pure. Source: "Redis serialization protocol specification", redis.io.
"""

from collections.abc import Sequence
from typing import Any

from gossip_counter.node.core.errors import MALFORMED, RequestError

Reply = Any
"""None is null, bytes a bulk string, str a simple string, Error an error; int, and lists and maps of these."""


class Error(str):
    """An error reply. Its first word is the error code."""

    __slots__ = ()


class Verbatim(bytes):
    """A text for people, which RESP3 marks as such."""

    __slots__ = ()


NOT_AN_INTEGER = Error("ERR value is not an integer or out of range")
OVERFLOW = Error("ERR increment or decrement would overflow")
SYNTAX = Error("ERR syntax error")

_NEXT = "\r\n:"


def encode(reply: Reply, protocol: int) -> bytes:  # noqa: PLR0911 one for each kind
    """A reply as bytes, in protocol 2 or 3. Raises `TypeError` for what is not a reply."""
    match reply:
        case None:
            return b"_\r\n" if protocol == 3 else b"$-1\r\n"
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
            head = b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % (2 * len(reply))
            flat = (part for key, value in reply.items() for part in (key.encode(), value))
            return head + b"".join(encode(part, protocol) for part in flat)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(encode(part, protocol) for part in reply)
    raise TypeError(f"{reply!r} is not a reply")


def encode_results(values: Sequence[int | RequestError]) -> bytes:
    """The replies to adds: for each the value after it, or why it was refused."""
    if set(map(type, values)) == {int}:
        return f":{_NEXT.join(map(str, values))}\r\n".encode()
    return b"".join(encode(refusal(each) if isinstance(each, RequestError) else each, 2) for each in values)


def refusal(error: RequestError) -> Error:
    """The error reply to an add that the core refused."""
    return OVERFLOW if error.code == MALFORMED else Error(f"ERR {error.text}")
