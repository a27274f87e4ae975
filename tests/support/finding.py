"""A finder of peers on a loop of its own, with name servers that a test makes up."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from gossip_counter.node.endpoints.addresses import Address, Found, bind
from gossip_counter.node.endpoints.peer_addresses import PeerAddresses
from gossip_counter.node.runtime.peer_finder import PeerFinder

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
FIRST, SECOND = ("10.0.0.1", 1), ("10.0.0.2", 1)
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def finding(
    peers: PeerAddresses,
    look_up: Callable[[Address], list[Found]],
    act: Callable[[PeerFinder], Coroutine[Any, Any, None]],
) -> list[str]:
    """What a finder notes while `act` runs."""
    noted: list[str] = []

    async def main() -> None:
        with bind(("127.0.0.1", 0)) as bound:
            finder = PeerFinder(
                asyncio.get_running_loop(),
                bound,
                peers,
                lambda kind, text, *args: noted.append(f"{kind}: {text % args}"),
                look_up,
            )
            await finder.begin()
            await act(finder)
            finder.stop()

    asyncio.run(main())
    return noted
