"""Requests of the Redis protocol: bytes to commands, each a list of words.

Pure. A request is an array of bulk strings, or a line as one types it into telnet. The parser takes these and nothing
else, wherever a read is cut, and allocates nothing for what is merely announced. (hiredis reads replies, of eleven
types, and does allocate: eighteen bytes of an unauthenticated client cost it gigabytes.) The size of a request is
bounded.

Source: "Redis serialization protocol specification", redis.io; limits and error texts after networking.c of Redis 7.
"""

import re
from typing import Any, NamedTuple

from gossip_counter.node.endpoints.redis.replies import Error

WORD_OVERHEAD_BYTES = 64
"""Memory that a word takes beside its bytes, rounded up."""

MAX_LINE_BYTES = 65_536
"""The most bytes of a command that is sent as a line."""


class Limits(NamedTuple):
    """The most that one command may have; a client that sends more is disconnected."""

    words: int
    word_bytes: int
    total_bytes: int
    what: str


AUTHENTICATED = Limits(100_000, 2**20, 2**20, "invalid")
UNAUTHENTICATED = Limits(1000, 16_384, 65_536, "unauthenticated")
"""For a client that has yet to send the password."""

_STAR, _DOLLAR = b"*$"
_SMALL = {b"%d" % number: number for number in range(UNAUTHENTICATED.words)}
"""Lengths that are within all limits, by their digits."""
_QUOTED = rb"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')(?=\s|\Z)"""
_TYPED = re.compile(rb"""((?:[^\s"']++|%s)++)(?:\s+|\Z)""" % _QUOTED, re.DOTALL)
_PART = re.compile(_QUOTED, re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class _ProtocolError(Exception):
    """It is unknown where the next command begins. The text is Redis's."""


class Parser:
    """Bytes to commands: each a list of words; or an Error, after which nothing more must be fed."""

    def __init__(self) -> None:
        self._rest = bytearray()
        """The start of a word, length or line whose end has yet to come."""
        self._needed = 0
        """How long the rest must be before it is worth parsing again."""
        self._words: list[bytes] = []
        self._missing = 0
        """How many words of a command that has begun have yet to come."""
        self._begun = 0
        """How many bytes of it have come, at most."""
        self._began_at = -1
        """Where in the last bytes it began; -1: before them."""

    @property
    def buffered(self) -> int:
        """How many bytes of memory an incomplete command takes; 0 between two commands."""
        return self._begun + WORD_OVERHEAD_BYTES * len(self._words)

    @property
    def lacking(self) -> int:
        """How many bytes, at least, an incomplete command still needs; 0 between two commands."""
        return max(1, self._needed - len(self._rest)) if self._missing or self._rest else 0

    def feed(self, data: bytes, limits: Limits = AUTHENTICATED) -> list[Any]:
        """The commands that are complete now."""
        fed = len(data)
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
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
        """Append commands to `found`; the end of the last complete word, length or line."""
        at, size, missing, words = 0, len(data), self._missing, self._words
        self._needed, began = 0, -1
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
                self._needed = stop + 2 - at
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
    return max(0, number)  # Redis takes a negative one as an empty command


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
    """The words of a line, some of them in quotes, like `sdssplitargs` of Redis."""
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
