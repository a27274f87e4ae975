"""Many requests at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from gossip_counter.cluster.client import Client

T = TypeVar("T")

WINDOW = 64
"""Requests in flight, of all clients together."""


async def concurrently(window: int, items: Iterable[T], action: Callable[[T], Awaitable[object]]) -> None:
    """Await `action` for each item, in order, up to `window` at a time. Raises what an action raises first."""
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await action(item)

    await asyncio.gather(*(worker() for _ in range(window)))


async def add_to_all(
    clients: Sequence[Client], counters: int, expire_ms: int | None = None, name_bytes: int = 0
) -> None:
    """One increment of each of so many counters over UDP, the clients in turn; `expire_ms`: after which they end.

    Their names have `name_bytes` at least. Raises `ClientError`.
    """
    digits = max(1, name_bytes - len("counter:"))

    async def add(counter: int) -> None:
        await clients[counter % len(clients)].add(1, f"counter:{counter:0{digits}}", expire_ms=expire_ms)

    await concurrently(WINDOW, range(counters), add)
