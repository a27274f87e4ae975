"""The Redis protocol's bytes: requests to lists of words, replies to bytes (RESP2 and RESP3).

Pure. A request is an array of bulk strings, or a line as one types it into telnet. The parser takes these and nothing
else, wherever a read is cut, and makes no room for what is merely announced. (hiredis reads replies, of eleven types,
and does make room: eighteen bytes of a stranger cost it gigabytes.) What one request may bring is bounded.

Source: "Redis serialization protocol specification", redis.io; limits and error texts after networking.c of Redis 7.
"""

import re
from typing import Any, NamedTuple

from gossip_counter.node.endpoints.redis.commands import Error, Reply, Verbatim

WORD_BYTES = 64
"""What a word takes in memory beside its bytes, and some."""

MAX_LINE_BYTES = 65_536
"""The most bytes of a command that is typed as a line."""


class Limits(NamedTuple):
    """The most that one command may have; who sends more is cut off."""

    words: int
    word_bytes: int
    total_bytes: int
    what: str


KNOWN = Limits(100_000, 2**20, 2**20, "invalid")
STRANGER = Limits(1000, 16_384, 65_536, "unauthenticated")
"""For a client that has still to tell the password."""

_STAR, _DOLLAR = b"*$"
_SMALL = {b"%d" % number: number for number in range(STRANGER.words)}
"""Lengths that are within all limits, by how they are written."""
_QUOTED = rb"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')(?=\s|\Z)"""
_TYPED = re.compile(rb"""((?:[^\s"']++|%s)++)(?:\s+|\Z)""" % _QUOTED, re.DOTALL)
_PART = re.compile(_QUOTED, re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class _ProtocolError(Exception):
    """Nobody can tell where the next command begins. The text is Redis's."""


class Parser:
    """Bytes to commands: each a list of words; or an Error, after which nothing makes sense any more."""

    def __init__(self) -> None:
        self._rest = bytearray()
        """What is no whole word, length or line yet."""
        self._lacking = 0
        """How long the rest must be before it is worth a look."""
        self._words: list[bytes] = []
        self._missing = 0
        """Words of a command that has begun."""
        self._begun = 0
        """Bytes of it that came, at the most."""
        self._began_at = -1
        """Where in what was read last it began; -1: earlier."""

    @property
    def held(self) -> int:
        """What half a command takes in memory, in bytes; 0 between two."""
        return self._begun + WORD_BYTES * len(self._words)

    @property
    def lacking(self) -> int:
        """How many bytes at the least are missing of half a command; 0 between two."""
        return max(1, self._lacking - len(self._rest)) if self._missing or self._rest else 0

    def feed(self, data: bytes, limits: Limits = KNOWN) -> list[Any]:
        """The commands that are complete now."""
        fed = len(data)
        if self._rest:
            self._rest += data
            if len(self._rest) < self._lacking:
                self._begun += fed
                return []
            data = bytes(self._rest)
        found: list[Any] = []
        try:
            at = self._parse(data, found, limits)
        except _ProtocolError as error:
            return [*found, Error(f"ERR Protocol error: {error}")]
        self._rest = bytearray(data[at:])
        if self._missing or self._rest:
            self._begun = len(data) - self._began_at if self._began_at >= 0 else self._begun + fed
            if self._begun > limits.total_bytes:
                return [*found, Error("ERR Protocol error: too big a request")]
        else:
            self._begun = 0
        return found

    def _parse(self, data: bytes, found: list[Any], limits: Limits) -> int:
        """Find commands; up to where whole words, lengths and lines were taken."""
        at, size, missing, words = 0, len(data), self._missing, self._words
        self._lacking, began = 0, -1
        while at < size:
            began = began if missing else at
            if not missing and data[at] != _STAR:
                end = data.find(b"\n", at)
                if end < 0:
                    _check_line(size - at, "inline request")
                    break
                found += [typed] if (typed := _typed(data[at:end])) else []
                at = end + 1
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                _check_line(size - at, "bulk count string" if missing else "mbulk count string")
                break
            number = _SMALL.get(data[at + 1 : end], -1)
            if not missing:
                missing = number if number >= 0 else _words_announced(data[at + 1 : end], limits)
                at = end + 2
                continue
            if data[at] != _DOLLAR:
                raise _ProtocolError(f"expected '$', got '{chr(data[at])}'")
            stop = end + 2 + (number if number >= 0 else _bytes_announced(data[at + 1 : end], limits))
            if stop + 2 > size:
                self._lacking = stop + 2 - at
                break
            words.append(data[end + 2 : stop])
            at = stop + 2
            missing -= 1
            if not missing:
                found.append(words)
                words = []
        self._missing, self._words, self._began_at = missing, words, began
        return at


def _check_line(size: int, what: str) -> None:
    if size >= MAX_LINE_BYTES:
        raise _ProtocolError(f"too big {what}")


def _words_announced(text: bytes, limits: Limits) -> int:
    number = _number(text, "multibulk")
    if number > limits.words:
        raise _ProtocolError(f"{limits.what} multibulk length")
    return max(0, number)  # a negative one is an empty command, as Redis has it


def _bytes_announced(text: bytes, limits: Limits) -> int:
    number = _number(text, "bulk")
    if number < 0:
        raise _ProtocolError("invalid bulk length")
    if number > limits.word_bytes:
        raise _ProtocolError(f"{limits.what} bulk length")
    return number


def _number(text: bytes, what: str) -> int:
    """As Redis takes it: no spaces, no plus, no leading zeros."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if b"%d" % number != text:
        raise _ProtocolError(f"invalid {what} length")
    return number


def _typed(line: bytes) -> list[bytes]:
    """The words of a line, some of them in quotes, as sdssplitargs of Redis has it."""
    words, line = list[bytes](), line.strip()
    at = 0
    while at < len(line):
        word = _TYPED.match(line, at)
        if not word:
            raise _ProtocolError("unbalanced quotes in request")
        words.append(_PART.sub(_unquoted, word[1]))
        at = word.end()
    return words


def _unquoted(part: re.Match[bytes]) -> bytes:
    inner = part[0][1:-1]
    if part[0].startswith(b"'"):
        return inner.replace(b"\\'", b"'")
    return _ESCAPE.sub(_unescaped, inner)


def _unescaped(escape: re.Match[bytes]) -> bytes:
    digits, name = escape.groups()
    return bytes.fromhex(digits.decode()) if digits else _CONTROLS.get(name, name)


def packed(reply: Reply, protocol: int) -> bytes:  # noqa: PLR0911 one for each kind
    """A reply in bytes, in protocol 2 or 3."""
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
            return head + b"".join(packed(part, protocol) for part in flat)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(packed(part, protocol) for part in reply)
    raise TypeError(f"{reply!r} is no reply")
