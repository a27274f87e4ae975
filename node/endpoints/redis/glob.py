"""Glob patterns, as KEYS, SCAN and CONFIG GET take them.

Pure. Source: `stringmatchlen` in util.c of Redis 7.
"""

import re
from collections.abc import Callable

MAX_PATTERN_BYTES = 1024
"""Enough for every byte of the longest name to be escaped, and for some sets."""

_CLOSE, _ESCAPE = b"]\\"


def matching(pattern: bytes) -> Callable[[bytes], object]:
    """A function that is truthy for names that match. Raises `ValueError` for a pattern longer than 1024 bytes.

    Each part between two stars matches as early as it can. A later place could never do better, so none is tried
    (atomic groups), and the time is at most the product of both lengths.
    """
    if len(pattern) > MAX_PATTERN_BYTES:
        raise ValueError(f"a pattern must be at most {MAX_PATTERN_BYTES} bytes, not {len(pattern)}")
    first, *rest = _parts(pattern)
    starred = b"".join(b"(?>.*?%s)" % part for part in rest[:-1])
    last = b".*%s" % rest[-1] if rest else b""
    return re.compile(first + starred + last, re.DOTALL).fullmatch


def _parts(pattern: bytes) -> list[bytes]:
    """What stands between the stars of a glob, as regular expressions."""
    parts, at = [b""], 0
    while at < len(pattern):
        match pattern[at : at + 1]:
            case b"*":
                parts.append(b"")
                at += 1
            case b"?":
                parts[-1] += b"."
                at += 1
            case b"[":
                one_of, at = _one_of(pattern, at + 1)
                parts[-1] += one_of
            case literal:
                at += literal == b"\\" and at + 1 < len(pattern)
                parts[-1] += re.escape(pattern[at : at + 1])
                at += 1
    return parts


def _one_of(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The set of bytes that begins at `at`, after its bracket, as a regular expression; and where the glob goes on."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    ranges = b""
    while at < len(pattern) and pattern[at] != _CLOSE:
        at += pattern[at] == _ESCAPE and at + 1 < len(pattern)
        low = high = pattern[at]
        if pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern) and pattern[at + 2] != _CLOSE:
            at += 2
            high = pattern[at]
        ranges += b"\\x%02x-\\x%02x" % (min(low, high), max(low, high))
        at += 1
    empty = b"." if negated else b"(?!)"
    return (b"[%s%s]" % (b"^" if negated else b"", ranges) if ranges else empty), at + 1
