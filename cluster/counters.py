"""The counters of a node, listed page by page over its Redis endpoint: SCAN gives names, MGET their values, PTTL
what is left of them.

A page is bounded, so neither the node nor this side ever holds up others for long, however many counters there are.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, NamedTuple, TypeVar

from gossip_counter.cluster.client import NoAnswerError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.node.endpoints.addresses import Address

T = TypeVar("T")

PAGE = 1000
"""Names that a node looks at for one page. Their MGET stays within the bounds of one command."""

TIMEOUT_S = 5.0
"""Seconds that a node may take for one reply."""

EVERY = "*"


class Counter(NamedTuple):
    """A counter at one node."""

    name: str
    value: int


class Listing(NamedTuple):
    """The first counters in some order, and how many there are that match."""

    counters: list[Counter]
    matching: int


def is_pattern(name: str) -> bool:
    """Whether a name stands for all counters that match it."""
    return any(sign in name for sign in "*?[")


def by_name(counter: Counter) -> Any:
    """A key to sort by: names, ascending."""
    return counter.name


def by_value(counter: Counter) -> Any:
    """A key to sort by: values, the greatest first."""
    return -counter.value, counter.name


async def first(address: Address, pattern: str, most: int, order: Callable[[Counter], Any] = by_name) -> Listing:
    """The first `most` counters of a node whose names match a glob pattern. Memory: some multiple of `most`.

    Raises what `pages` does.
    """
    kept, matching = list[Counter](), 0
    async for page in pages(address, pattern):
        matching += len(page)
        kept += page
        if len(kept) > 2 * most + PAGE:
            kept = sorted(kept, key=order)[:most]
    return Listing(sorted(kept, key=order)[:most], matching)


async def pages(address: Address, pattern: str = EVERY) -> AsyncIterator[list[Counter]]:
    """Every counter that exists throughout, exactly once.

    Raises `ClusterError` if the node refuses the pattern, `NoAnswerError` if it does not answer.
    """
    async with _connected(address) as (reader, writer):
        cursor = b"0"
        while True:
            asked = pattern.encode("utf-8", "surrogateescape")
            cursor, names = await _ask(reader, writer, b"SCAN", cursor, b"MATCH", asked, b"COUNT", b"%d" % PAGE)
            values = await _ask(reader, writer, b"MGET", *names) if names else []
            found = zip(names, values, strict=True)
            yield [Counter(name.decode(), int(value)) for name, value in found if value is not None]
            if cursor == b"0":
                return


async def left_ms(address: Address, names: Sequence[str]) -> dict[str, int]:
    """By name, in how many milliseconds counters end, of those that do. Raises what `pages` does."""
    left = dict[str, int]()
    async with _connected(address) as (reader, writer):
        for at in range(0, len(names), PAGE):
            some = names[at : at + PAGE]
            writer.write(b"".join(_command(b"PTTL", name.encode()) for name in some))
            for name in some:
                reply = int(await _in_time(_reply(reader)))
                if reply >= 0:
                    left[name] = reply
    return left


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection. Raises `NoAnswerError` if the node does not answer, there or later."""
    try:
        reader, writer = await _in_time(asyncio.open_connection(*address))
        with closing(writer):
            yield reader, writer
    except (OSError, EOFError, TimeoutError) as error:
        why = f"does not answer in {TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else f"can't be asked: {error}"
        raise NoAnswerError("{}:{} {}".format(*address, why)) from None


async def _in_time(waited: Awaitable[T]) -> T:
    async with asyncio.timeout(TIMEOUT_S):
        return await waited


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: bytes) -> Any:
    """The reply to a command. Raises `ClusterError` if it is an error."""
    writer.write(_command(*words))
    return await _in_time(_reply(reader))


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def _reply(reader: asyncio.StreamReader) -> Any:
    """One reply of RESP2."""
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise ClusterError(f"the node refuses: {rest.decode(errors='replace')}")
    if kind == b"$":
        length = int(rest)
        return None if length < 0 else (await reader.readexactly(length + 2))[:-2]
    if kind == b"*":
        return [await _reply(reader) for _ in range(int(rest))]
    return rest
