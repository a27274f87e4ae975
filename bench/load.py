"""Many adds at once, through the UDP door."""

import asyncio
from collections.abc import Sequence

from gossip_counter.cluster.client import Client

WINDOW = 64
"""Requests under way at once, of all clients together."""


async def add_to_all(clients: Sequence[Client], counters: int) -> None:
    """One increment of each of so many counters, the clients taking turns. Raises `ClientError`."""
    left = iter(range(counters))

    async def worker() -> None:
        for counter in left:
            await clients[counter % len(clients)].add(1, f"counter:{counter}")

    await asyncio.gather(*(worker() for _ in range(WINDOW)))
