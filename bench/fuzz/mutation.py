"""Inputs made of others, changed at random: bytes, pieces of text, and values inside msgpack and JSON.

Pure: the same generator of random numbers makes the same inputs.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgpack

from gossip_counter.bench.fuzz.items import MAX_CONTENT, Item

NUMBERS = (
    0, 1, 2, 127, 128, 255, 256, 2**16, 2**31, 2**32 - 1, 2**32, 2**53, 2**61, 2**62, 2**62 + 1, 2**63 - 1, 2**63,
    2**64 - 1, -1, -32, -33, -(2**63),
)  # fmt: skip
"""At bounds of types and of the protocol."""

VALUES: tuple[object, ...] = (
    *NUMBERS, None, True, False, 0.5, float("inf"), float("nan"), "", "x", "é\0", "x" * 255, "x" * 256, "x" * 301, b"",
    b"\xff", (), (1,), {}, {"": 0}, (((((),),),),),
)  # fmt: skip

MOST_CHANGES = 4
UNCHANGED, IN_STRUCTURE = 0.1, 0.7
"""The shares of items that are taken as they are, so that what follows finds a state that they made; and of those that
are changed where they encode values, so that they can still be read.
"""
INNER = 0.6
"""How often a change goes to what holds further values, where there is any."""


class Mutator:
    """Makes inputs out of a corpus of items."""

    def __init__(self, corpus: Sequence[Item], tokens: Sequence[bytes], rng: Random) -> None:
        """`tokens` are pieces of the language that the items are written in."""
        self._corpus = corpus
        self._tokens = tokens
        self._rng = rng

    def items(self, count: int) -> list[Item]:
        """So many items, most of them changed."""
        rng, corpus = self._rng, self._corpus
        return [self._item(corpus[int(rng.random() * len(corpus))]) for _ in range(count)]

    def _item(self, item: Item) -> Item:
        rng = self._rng
        chance = rng.random()
        if chance < UNCHANGED:
            return item
        control = rng.getrandbits(8) if rng.random() < 0.5 else item.control
        if chance < UNCHANGED + IN_STRUCTURE:
            return Item(control, _within(item.content, self._in_structure) or self._bytes(item.content))
        return Item(control, self._bytes(item.content))

    # Bytes.

    def _bytes(self, content: bytes) -> bytes:
        rng = self._rng
        changed = bytearray(content)
        for _ in range(1 + int(rng.random() * MOST_CHANGES)):
            at = int(rng.random() * (len(changed) + 1))
            self._change(changed, at, int(rng.random() * 8))
        return bytes(changed[:MAX_CONTENT])

    def _change(self, changed: bytearray, at: int, kind: int) -> None:
        rng = self._rng
        if kind <= 1 and at < len(changed):
            changed[at] ^= 1 << rng.getrandbits(3)
        elif kind == 2 and at < len(changed):
            changed[at] = rng.getrandbits(8)
        elif kind == 3:
            del changed[at : at + 1 + rng.getrandbits(4)]
        elif kind == 4:
            changed[at:at] = self._tokens[int(rng.random() * len(self._tokens))]
        elif kind == 5:
            changed[at:at] = changed[at : at + 1 + rng.getrandbits(5)] * (1 + rng.getrandbits(2))
        elif kind == 6:
            other = self._corpus[int(rng.random() * len(self._corpus))].content
            start = int(rng.random() * (len(other) + 1))
            changed[at:] = other[start:]
        else:
            changed[at:at] = rng.randbytes(1 + rng.getrandbits(2))

    # Values.

    def _in_structure(self, value: object) -> object:
        """The value with one or more of the values in it changed."""
        for _ in range(1 + int(self._rng.random() * MOST_CHANGES)):
            value = self._deeper(value, 0)
        return value

    def _deeper(self, value: Any, depth: int) -> object:
        rng = self._rng
        if isinstance(value, (list, tuple)) and value and rng.random() < 0.85:
            parts = list(value)
            at, chance = self._place(parts), rng.random()
            if chance < 0.8 or depth == 0:
                parts[at] = self._deeper(parts[at], depth + 1)
            elif chance < 0.87:
                del parts[at]
            elif chance < 0.94:
                parts[at:at] = parts[at : at + 1 + rng.getrandbits(2)]
            else:
                rng.shuffle(parts)
            return parts
        if isinstance(value, dict) and value and rng.random() < 0.85:
            name = list(value)[int(rng.random() * len(value))]
            if rng.random() < 0.1:
                return {each: inner for each, inner in value.items() if each != name}
            return value | {name: self._deeper(value[name], depth + 1)}
        return self._other(value)

    def _place(self, parts: list[object]) -> int:
        inner = [at for at, part in enumerate(parts) if isinstance(part, (list, tuple, dict)) and part]
        rng = self._rng
        if inner and rng.random() < INNER:
            return inner[int(rng.random() * len(inner))]
        return int(rng.random() * len(parts))

    def _other(self, value: object) -> object:
        rng = self._rng
        chance = rng.random()
        if type(value) is int and chance < 0.7:
            if chance < 0.3:
                return NUMBERS[int(rng.random() * len(NUMBERS))]
            return value + int(rng.random() * 7) - 3 if chance < 0.6 else value ^ (1 << int(rng.random() * 64))
        if type(value) is str and chance < 0.6:
            return self._bytes(value.encode("utf-8", "replace")).decode("utf-8", "replace")
        return VALUES[int(rng.random() * len(VALUES))]


def _within(content: bytes, change: Callable[[object], object]) -> bytes | None:
    """The content with the value that it encodes changed; None if it is no msgpack and no JSON."""
    try:
        if content[:1] == b"{":
            return json.dumps(change(json.loads(content))).encode()
        if content[:1] < b"\x80":
            return None
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(content)
        value = unpacker.unpack()
        packed: bytes = msgpack.packb(change(value))
        return packed + content[unpacker.tell() :]
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return None
