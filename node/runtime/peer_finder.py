"""Finds the addresses of peers, and finds them again: a peer may come back at another address than it had.

A name that can't be resolved keeps nobody from starting, and takes no known address away: it is looked up again.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
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
"""Between two look-ups of a peer; each pause is twice the one before."""

THREADS = 8
"""Look-ups at once: one may take as long as a name server is waited for."""

MOST_SHOWN = 5
"""Peers that one line of the log names."""

LookUp = Callable[[Address], list[Found]]
Outcome = list[Found] | Exception


@dataclass(slots=True)
class _Search:
    """A peer that is looked up until it is found, or heard from."""

    due_s: float
    """When it is to be looked up, on the loop's clock."""
    pause_s: float


class PeerFinder:
    """Looks up peers: each until it has an address, and one that is listed by a name again while it is silent.

    `note(kind, text, *args)` counts and logs rounds in vain.
    """

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
        self._numeric = set[str]()
        """Peers that are listed by a numeric address: no name server has another."""
        self._relisted = set[str]()
        """Peers that are listed anew and were not found since. What was found before stays until then."""
        self._searches: dict[str, _Search] = {}
        self._awaited = set[str]()
        """Peers that are being looked up."""
        self._failed: dict[str, str] = {}
        """By peer, why it was not found in this round."""
        self._first_round = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Look all of them up, those with numeric addresses at once. Return after the first round or `START_S`."""
        for name, listed in self._peers.missing.items():
            self._find_by_number(name, listed)
        self._begin_round()
        with contextlib.suppress(TimeoutError):  # who is still missing is logged when the round ends
            await asyncio.wait_for(self._first_round.wait(), START_S)

    def _find_by_number(self, name: str, listed: Address) -> None:
        with contextlib.suppress(OSError, UnicodeError):  # it is a name, to be looked up later
            self._found(name, addresses.look_up(listed, socket.AI_NUMERICHOST))
            self._numeric.add(name)

    def look_for(self, name: str, listed: Address) -> None:
        """There is another peer, or one is listed elsewhere now."""
        self._peers.listed[name] = listed
        self._numeric.discard(name)
        self._relisted.add(name)
        self._searches[name] = _Search(self._loop.time(), FIRST_PAUSE_S)
        self._find_by_number(name, listed)
        if not (self._awaited or self._is_timed) and self._first_round.is_set():
            self._begin_round()

    def forget(self, name: str) -> None:
        """Who was a peer is none any more. A look-up under way ends by itself."""
        self._numeric.discard(name)
        self._relisted.discard(name)
        self._searches.pop(name, None)
        self._failed.pop(name, None)

    @property
    def _is_timed(self) -> bool:
        return self._timer is not None and not self._timer.cancelled() and self._timer.when() > self._loop.time()

    def stop(self) -> None:
        """Look nobody up any more. What a thread still finds is not waited for."""
        if self._timer:
            self._timer.cancel()
        self._awaited.clear()

    @property
    def sought(self) -> dict[str, Address]:
        """The peers that are to be found, as they are listed."""
        listed = self._peers.listed
        names = self._peers.missing.keys() | self._relisted | (self._peers.silent - self._numeric)
        return {name: listed[name] for name in names if name in listed}  # a record may name no address

    def _begin_round(self) -> None:
        """Look up those whose turn it is."""
        sought, now_s = self.sought, self._loop.time()
        self._searches = {name: self._searches.get(name) or _Search(now_s, FIRST_PAUSE_S) for name in sought}
        due = [(name, sought[name]) for name, search in self._searches.items() if search.due_s <= now_s]
        self._awaited, self._failed = {name for name, _ in due}, {}
        queue = SimpleQueue[tuple[str, Address] | None]()
        for each in due:
            queue.put(each)
        for _ in range(threads := min(THREADS, len(due))):
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
                self._loop.call_soon_threadsafe(self._ended, name, listed, outcome)

    def _ended(self, name: str, listed: Address, outcome: Outcome) -> None:
        if name not in self._awaited:
            return
        self._awaited.discard(name)
        if self.sought.get(name) == listed:  # it was neither heard from nor listed elsewhere meanwhile
            if isinstance(outcome, Exception):
                self._failed[name] = why_not(outcome) if isinstance(outcome, OSError | UnicodeError) else repr(outcome)
            else:
                self._found(name, outcome)
            search = self._searches[name]
            search.due_s = self._loop.time() + search.pause_s
            search.pause_s = min(2 * search.pause_s, LONGEST_PAUSE_S)
        self._end_round_if_done()

    def _found(self, name: str, found: list[Found]) -> None:
        if usable := addresses.usable(self._bound, found):
            self._relisted.discard(name)
            before = self._peers.current(name)
            if self._peers.found(name, usable) and self._first_round.is_set():
                places = ", ".join(map(addresses.shown, usable))
                log.info("%s is at %s now" if before else "found %s at %s", name, places)
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
        # One may have left during the round.
        shown = [f"{self._unfound(name)}: {why}" for name, why in self._failed.items() if name in self._peers.listed]
        if shown:
            more = f", and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
            self._note("unresolved_names", "%s%s", "; ".join(shown[:MOST_SHOWN]), more)
        if self._peers.listed.keys() - self._numeric or self._peers.missing:
            self._timer = self._loop.call_later(FIRST_PAUSE_S, self._begin_round)

    def _unfound(self, name: str) -> str:
        listed, address = addresses.shown(self._peers.listed[name]), self._peers.current(name)
        if address is None:
            return f"nothing can be sent to {name} ({listed})"
        return f"{name} ({listed}) is silent at {addresses.shown(address)} and found nowhere else"


def check_reach(bound: socket.socket, peers: PeerAddresses) -> None:
    """Log which peers that people listed can't be sent to from the bound address.

    Members known from the journal alone may be gone, or may come back elsewhere. Raises `ConfigError` if none of those
    listed can ever be reached.
    """
    listed = peers.by_people
    known = {name: address for name, address in listed.items() if address}
    failing = {name: error for name, address in known.items() if (error := addresses.probe(bound, address))}
    own = bound.getsockname()
    codes = {error.errno for error in failing.values()}
    is_cut_off = addresses.is_loopback(own[0]) and codes <= {errno.EINVAL, errno.EADDRNOTAVAIL}
    if is_cut_off and failing and len(failing) == len(listed):
        raise ConfigError(
            f"the address to bind is {addresses.shown(own)}, a loopback address, from which no member can be reached:"
            f" say --bind 0.0.0.0:{own[1]}, or list this node by an address of this host's network"
        )
    for name, error in list(failing.items())[:MOST_SHOWN]:
        log.warning("%s", _unreachable(name, known[name], own, error))


def _unreachable(name: str, address: Sockaddr, own: Sockaddr, error: OSError) -> str:
    where = f"{name} can't be reached at {addresses.shown(address)} from {addresses.shown(own)}"
    return f"{where}: {why_not_sent(error)}"
