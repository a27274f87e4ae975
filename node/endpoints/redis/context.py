"""What a command handler gets and gives: the client that asks, the node that answers, and how a command is described.

Pure.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gossip_counter.node.core import messages
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.increases import Increase
from gossip_counter.node.core.names import NameIndex
from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.core.watches import Watch, Watches
from gossip_counter.node.endpoints.redis.scripts import Scripts

if TYPE_CHECKING:
    from gossip_counter.node.endpoints.redis.transaction import Execution, Queued

Add = tuple[str, int | Increase]
"""A counter, and what is added to it."""

WATCHED_BYTES = 768
"""Memory that a watched key takes, at most."""

Sections = dict[str, dict[str, object]]
"""Facts by name, by section, as INFO lists them."""


class RedisClient:
    """Whom the replica replies to here: the scheduler about a batch of adds, or a session about its WAIT."""

    __slots__ = ()

    def deliver(self, reply: messages.Reply) -> None:
        """Take a reply of the replica. Must not raise."""


class Wait(NamedTuple):
    """What WAIT asks: for how many other members, and for how many milliseconds at most (0: no limit)."""

    members: int
    timeout_ms: int


@dataclass(slots=True)
class ClientInfo:
    """A client as commands see it: its number, its protocol (2 or 3), the name that it gave itself."""

    id: int
    address: str
    authenticated: bool
    local_address: str = ""
    """The node's end of the connection."""
    since: int = 0
    """The second in which it connected, as `Clients` counts them."""
    seen: int = 0
    """The second in which its last bytes arrived."""
    protocol: int = 2
    name: str = ""
    library_name: str = ""
    library_version: str = ""
    last_command: bytes = b""
    """The last one that was no add, in capitals."""
    quits: bool = False
    """The reply to this command is the last one."""
    written: tuple[Actor, int] | None = None
    """Who wrote all its adds, and up to which version; None before its first add."""
    queued: "Queued | None" = None
    """What is queued since a MULTI."""
    watch: Watch | None = None
    """What it watches."""

    @property
    def kept_bytes(self) -> int:
        """Memory that both take, at most: until the client moves on."""
        watched = WATCHED_BYTES * len(self.watch.counters) if self.watch else 0
        return watched + (self.queued.size if self.queued else 0)


class Connected(Protocol):
    """A client's connection."""

    client: ClientInfo

    def buffered(self) -> tuple[int, int]:
        """Bytes that are kept for it: those that will be executed, and those that only the client can move on."""

    def abort(self) -> None:
        """End it at once."""


class Clients(Protocol):
    """All clients of a node."""

    calls: Counter[bytes]
    """How often each command was executed, by its name in capitals."""
    second: int
    """Seconds since the node began to serve clients."""

    @property
    def connected(self) -> Collection[Connected]:
        """Those that are connected."""

    def reset_stats(self) -> None:
        """Begin to count again."""


@dataclass(frozen=True, slots=True)
class Node:
    """What commands may know of the node."""

    version: str
    value: Callable[[str], int | None]
    """This node's value of a counter; None for one that nobody ever wrote to."""
    names: NameIndex
    """All counters."""
    peers: Callable[[], int]
    """How many other members there are."""
    counts_copies: bool
    """Whether peers confirm what they have. They do not with full-state gossip."""
    clients: Clients
    random_below: Callable[[int], int]
    """A random number from 0 to that before its argument."""
    info: Callable[[], Sections]
    """Without the sections about the commands."""
    time_us: Callable[[], int]
    """Microseconds since 1970."""
    settings: Mapping[str, str]
    """What CONFIG GET lists."""
    transaction: Callable[[], Transaction]
    """Begins a transaction."""
    watches: Watches
    """What clients watch."""
    scripts: Scripts
    """Those that clients have sent."""
    execution: "Execution | None" = None
    """The transaction that the command is executed in. None: it is executed by itself, and answered at once."""
    password: bytes | None = None
    """What clients must authenticate with; None: nothing."""
    allows_flush: bool = False
    """Whether FLUSHALL may delete all counters."""

    @property
    def executing(self) -> "Execution":
        """The execution of a command that is executed in a transaction only."""
        if self.execution is None:
            raise RuntimeError("this command is executed in a transaction only")
        return self.execution

    @property
    def running(self) -> Transaction:
        """Its transaction."""
        return self.executing.transaction


Handler = Callable[[ClientInfo, Node, list[bytes]], Any]
"""Gets the arguments, without the command's name. Returns a Reply, Pieces of one, an Add, a Wait or a DelayedReply.
An exception ends the connection.
"""

READS = ("readonly", "fast")
ADDS = ("write", "denyoom", "fast")
SLOW_READS, FAST, SLOW, ADMIN = ("readonly",), ("fast",), (), ("admin", "fast")
SLOW_CHANGES, CHANGES, SETS = ("write",), ("write", "fast"), ("write", "denyoom")
Keys = tuple[int, int, int]
NO_KEYS, ONE_KEY, ALL_KEYS, EVERY_OTHER_KEY = (0, 0, 0), (1, 1, 1), (1, -1, 1), (1, -1, 2)


class Command(NamedTuple):
    """One line of the command table.

    `arity` counts the command's name, as Redis does; negative: at least so many words. A command with the flags `ADDS`
    returns an `Add`, or an error. Such commands are put into batches; all others wait until the adds before them are
    durable.
    """

    handle: Handler
    arity: int
    summary: str
    group: str = "generic"
    keys: Keys = NO_KEYS
    """Which arguments are keys: the first, the last (-1: up to the end), and the step."""
    flags: tuple[str, ...] = READS
    is_transaction: bool = False
    """Whether it is executed as a transaction by itself: against what will be durable soon, and answered when it is.
    Its handler gets a node with an `execution`.
    """

    @property
    def is_fast(self) -> bool:
        """Whether it takes as long as its words are many."""
        return "fast" in self.flags

    @property
    def changes_keys(self) -> bool:
        """Whether it deletes or sets what stands at its keys, or has that end."""
        return self.is_transaction and bool(self.keys[0]) and "write" in self.flags

    def keys_of(self, words: list[bytes]) -> list[bytes]:
        """The keys among its words, of which there are enough; it must name keys."""
        first, last, step = self.keys
        return words[first : last % len(words) + 1 : step]
