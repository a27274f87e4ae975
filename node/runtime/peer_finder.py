"""Finds the addresses of peers. A name that can't be resolved keeps nobody from starting: it is looked up again."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints import addresses
from gossip_counter.node.endpoints.addresses import Address, Found, Sockaddr
from gossip_counter.node.endpoints.peer_addresses import PeerAddresses
from gossip_counter.node.endpoints.socket_errors import why_not, why_not_sent

log = logging.getLogger("gossip_counter.node")

START_S = 2.0
"""How long a node waits for name servers before it starts without the addresses of some peers."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Between two rounds of look-ups; each pause is twice the one before."""

THREADS = 8
"""Look-ups at once: one may take as long as a name server is waited for."""

MOST_SHOWN = 5
"""Peers that one line of the log names."""

LookUp = Callable[[Address], list[Found]]
Outcome = list[Found] | Exception


class PeerFinder:
    """Looks up peers, each until it has an address. `note(kind, text, *args)` counts and logs rounds in vain."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bound: socket.socket,
        peers: PeerAddresses,
        note: Callable[..., None],
        look_up: LookUp = addresses.look_up,
    ) -> None:
        """`look_up` is called in threads of its own, since name servers may take their time."""
        self._loop = loop
        self._bound = bound
        self._peers = peers
        self._note = note
        self._look_up = look_up
        self._pause_s = FIRST_PAUSE_S
        self._awaited = set[str]()
        """Peers that are being looked up."""
        self._failed: dict[str, str] = {}
        """By peer, why it was not found in this round."""
        self._first_round = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Look all of them up, those with numeric addresses at once. Return after the first round or `START_S`."""
        for name, listed in self._peers.missing.items():
            with contextlib.suppress(OSError, UnicodeError):  # it is a name, to be looked up below
                self._found(name, addresses.look_up(listed, socket.AI_NUMERICHOST))
        self._look_up_missing()
        with contextlib.suppress(TimeoutError):  # who is still missing is logged when the round ends
            await asyncio.wait_for(self._first_round.wait(), START_S)

    def stop(self) -> None:
        """Look nobody up any more. What a thread still finds is not waited for."""
        if self._timer:
            self._timer.cancel()
        self._awaited.clear()

    def _look_up_missing(self) -> None:
        missing = self._peers.missing
        self._awaited, self._failed = set(missing), {}
        queue = SimpleQueue[tuple[str, Address] | None]()
        for each in missing.items():
            queue.put(each)
        for _ in range(threads := min(THREADS, len(missing))):
            queue.put(None)
        for _ in range(threads):
            # A daemon: a process that ends waits for no name server.
            Thread(target=self._work, args=(queue,), name="look-up", daemon=True).start()
        self._end_round_if_done()

    def _work(self, queue: SimpleQueue[tuple[str, Address] | None]) -> None:
        """Look up peers from the queue, in a thread."""
        while item := queue.get():
            name, listed = item
            outcome: Outcome
            try:
                outcome = self._look_up(listed)
            except Exception as error:  # noqa: BLE001 the loop counts and logs it
                outcome = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile, and nobody waits for it
                self._loop.call_soon_threadsafe(self._ended, name, outcome)

    def _ended(self, name: str, outcome: Outcome) -> None:
        if name not in self._awaited:
            return
        self._awaited.discard(name)
        if isinstance(outcome, Exception):
            self._failed[name] = why_not(outcome) if isinstance(outcome, OSError | UnicodeError) else repr(outcome)
        else:
            self._found(name, outcome)
        self._end_round_if_done()

    def _found(self, name: str, found: list[Found]) -> None:
        if usable := addresses.usable(self._bound, found):
            self._peers.found(name, usable)
            if self._first_round.is_set():
                log.info("found %s at %s", name, ", ".join(map(addresses.shown, usable)))
            return
        mine, theirs = ("IPv4", "IPv6") if self._bound.family == socket.AF_INET else ("IPv6", "IPv4")
        port = self._bound.getsockname()[1]
        self._failed[name] = (
            f"it has {theirs} addresses only, and this node is bound to an {mine} address:"
            f" say --bind [::]:{port} to reach both"
        )

    def _end_round_if_done(self) -> None:
        if self._awaited:
            return
        self._first_round.set()
        if self._failed:
            listed = self._peers.listed
            shown = [f"{name} ({addresses.shown(listed[name])}): {why}" for name, why in self._failed.items()]
            more = f", and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
            self._note("unresolved_names", "nothing can be sent to %s%s", "; ".join(shown[:MOST_SHOWN]), more)
            self._timer = self._loop.call_later(self._pause_s, self._look_up_missing)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def check_reach(bound: socket.socket, peers: PeerAddresses) -> None:
    """Say which peers can't be sent to from the bound address. Raises `ConfigError` if none ever can."""
    known = {name: address for name in peers.listed if (address := peers.current(name))}
    failing = {name: error for name, address in known.items() if (error := addresses.probe(bound, address))}
    own = bound.getsockname()
    codes = {error.errno for error in failing.values()}
    is_cut_off = addresses.is_loopback(own[0]) and codes <= {errno.EINVAL, errno.EADDRNOTAVAIL}
    if is_cut_off and failing and len(failing) == len(peers.listed):
        raise ConfigError(
            f"the address to bind is {addresses.shown(own)}, a loopback address, from which no member can be reached:"
            f" say --bind 0.0.0.0:{own[1]}, or list this node by an address of this host's network"
        )
    for name, error in list(failing.items())[:MOST_SHOWN]:
        log.warning("%s", _unreachable(name, known[name], own, error))


def _unreachable(name: str, address: Sockaddr, own: Sockaddr, error: OSError) -> str:
    where = f"{name} can't be reached at {addresses.shown(address)} from {addresses.shown(own)}"
    return f"{where}: {why_not_sent(error)}"
