"""The Redis protocol's bytes: requests to lists of words, replies to bytes (RESP2 and RESP3).

Pure. hiredis, the C parser, reads requests as if they were replies. What it would take too literally (a length of a
billion) is refused before it sees it, and what one request may bring is bounded.

Source: "Redis serialization protocol specification", redis.io.
"""

import re
from typing import Any

import hiredis

from node.commands import Error, Reply

MAX_REQUEST_BYTES = 2**20
"""The most bytes of one command; who sends more is cut off."""

MAX_WORDS = 100_000
"""The most words of one command."""

MAX_LINE_BYTES = 65_536
"""The most bytes of a command that is typed as a line."""

_LENGTH = re.compile(rb"\n([*$])(\d{6,})(?=\r\n)")
_LONGEST_LENGTH = 26
"""Bytes of a length that hiredis would take, and some: what must be kept lest one is cut in two."""


class Parser:
    """Bytes to commands: each a list of words, unless a client sent something else, or at the end an Error."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=Parser)
        self._tail = b""
        self._line = b""
        self._under_way = 0

    @property
    def is_between(self) -> bool:
        """Whether what was fed ended with a whole command."""
        return not (self._under_way or self._line)

    def feed(self, data: bytes) -> list[Any]:
        """The commands that are complete now."""
        if self._line or not (self._under_way or data.startswith(b"*")):
            return self._feed_lines(self._line + data)
        seen = self._tail + data
        if (_LENGTH.search(seen) or seen[1:7].isdigit()) and (huge := _huge(seen)):
            return [Error(f"ERR Protocol error: invalid {huge} length")]
        found: list[Any] = []
        # hiredis does not tell whether it is within a command. It is not if the last byte of all completes one.
        before_last = 0
        try:
            for part in (data[:-1], data[-1:]):
                before_last = len(found)
                self._reader.feed(part)
                found.extend(iter(self._reader.gets, Parser))
        except hiredis.ProtocolError as error:
            return [*found, Error(f"ERR {error}")]
        if len(found) > before_last:
            self._under_way, self._tail = 0, b""
        else:
            self._under_way = len(data) if found else self._under_way + len(data)
            self._tail = seen[-_LONGEST_LENGTH:]
            if self._under_way > MAX_REQUEST_BYTES:
                return [*found, Error("ERR Protocol error: too big a request")]
        return found

    def _feed_lines(self, data: bytes) -> list[Any]:
        """Inline commands, as typed into telnet, up to one that is not."""
        found: list[Any] = []
        at = 0
        while data[at : at + 1] != b"*":
            end = data.find(b"\n", at)
            if end < 0:
                self._line = data[at:]
                too_big = len(self._line) >= MAX_LINE_BYTES
                return [*found, Error("ERR Protocol error: too big inline request")] if too_big else found
            found += [words] if (words := data[at:end].split()) else []
            at = end + 1
        self._line = b""
        return found + self.feed(data[at:])


def _huge(seen: bytes) -> str:
    """What is announced with a length that must not even be prepared for, be it cut over two reads; else "".

    It is looked for in names too: one with such a line in it is taken for what it looks like.
    """
    most = {b"*": ("multibulk", MAX_WORDS), b"$": ("bulk", MAX_REQUEST_BYTES)}
    found = (most[kind][0] for kind, length in _LENGTH.findall(b"\n" + seen) if int(length) > most[kind][1])
    return next(found, "")


def packed(reply: Reply, protocol: int) -> bytes:  # noqa: PLR0911 one for each kind
    """A reply in bytes, in protocol 2 or 3."""
    match reply:
        case None:
            return b"_\r\n" if protocol == 3 else b"$-1\r\n"
        case Error():
            return b"-%s\r\n" % reply.replace("\r", " ").replace("\n", " ").encode()
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case str():
            return b"+%s\r\n" % reply.encode()
        case dict():
            head = b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % (2 * len(reply))
            flat = (part for key, value in reply.items() for part in (key.encode(), value))
            return head + b"".join(packed(part, protocol) for part in flat)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(packed(part, protocol) for part in reply)
    raise TypeError(f"{reply!r} is no reply")
