"""Replies to one client that leave in one datagram: sealing one costs as much as all else about a reply."""

from collections import defaultdict
from collections.abc import Callable

from gossip_counter.node.codec import datagrams
from gossip_counter.node.endpoints.addresses import Sockaddr


class SharedReplies:
    """Replies that wait for others. `send` takes what goes into a datagram, to whom, and the address that was asked."""

    def __init__(self, send: Callable[[bytes, Sockaddr, bytes], object]) -> None:
        self._send = send
        self._waiting = defaultdict[tuple[Sockaddr, bytes], list[bytes]](list)

    def put(self, reply: bytes, source: Sockaddr, asked: bytes) -> None:
        """Let this one wait; those before it are sent if there is no room for it beside them."""
        waiting = self._waiting[source, asked]
        waiting.append(reply)
        first = datagrams.sharing(waiting)
        if len(first) < len(waiting):
            self._send(datagrams.joined(first), source, asked)
            del waiting[: len(first)]

    def send_all(self) -> None:
        """Send those that wait."""
        all_waiting = list(self._waiting.items())
        self._waiting.clear()
        for (source, asked), waiting in all_waiting:
            self._send(datagrams.joined(waiting), source, asked)
