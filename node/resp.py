"""The Redis door: a TCP world beside the UDP one, around the same replica.

Adds are taken in runs. What one read of a socket brings of INCR, DECR, INCRBY and DECRBY is one request to the replica,
however many commands it is, and one AddOk releases all their replies once the commit is durable. Other commands wait
until the adds before them are, so that a connection sees its own writes; they are answered from `node.commands`.

hiredis, the C parser, reads requests as if they were replies. What it would take too literally (a length of a billion)
is refused before it sees it; and what a client may have under way or unread is bounded.
"""

import asyncio
import re
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, cast

import hiredis

from node import __version__, commands
from node.commands import ADDS, NOT_AN_INTEGER, OVERFLOW, Error, Reply, Session
from node.errors import MALFORMED, ConfigError, RequestError
from node.limits import MAX_COUNT
from node.messages import ErrorReply
from node.messages import Reply as NodeReply
from node.replica import Replica

MAX_REQUEST_BYTES = 2**20
"""The most bytes of one command; who sends more is cut off."""

MAX_WORDS = 100_000
"""The most words of one command."""

MAX_CONNECTIONS = 10_000

_RUN_ID = 0
"""The `msg_id` of a run: runs of one connection are answered in order, so they need none of their own."""

_LENGTH = re.compile(rb"\r\n([*$])(\d{6,})(?=\r\n)")
_LONGEST_LENGTH = 26
"""Bytes of a length that hiredis would take, and some: what must be kept lest one is cut in two."""


class View:
    """What commands may know of a node."""

    def __init__(self, replica: Replica, facts: Callable[[], dict[str, dict[str, object]]]) -> None:
        self._replica = replica
        self._facts = facts

    def value(self, counter: str) -> int | None:
        """As `node.commands` wants it."""
        state = self._replica.state
        return state.value(counter) if state.has(counter) else None

    def names(self) -> Sequence[str]:
        """As `node.commands` wants it."""
        return self._replica.state.names

    def info(self) -> dict[str, dict[str, object]]:
        """As `node.commands` wants it."""
        return self._facts()

    def time_us(self) -> int:
        """As `node.commands` wants it."""
        return time_ns() // 1000

    def version(self) -> str:
        """As `node.commands` wants it."""
        return __version__

    def settings(self) -> dict[str, str]:
        """As `node.commands` wants it."""
        return {"maxclients": str(MAX_CONNECTIONS), "databases": "1", "appendonly": "yes", "save": ""}


class Door:
    """All connections to one node. `turn` does something and then begins the commit that it left to be begun."""

    def __init__(
        self, replica: Replica, turn: Callable[[Callable[[], None]], None], unforeseen: Callable[[Exception], None]
    ) -> None:
        self.replica = replica
        self.view = View(replica, self._info)
        self.connections: set[Connection] = set()
        self.unforeseen = unforeseen
        self._turn = turn
        self._turn_is_due = False
        self._loop = asyncio.get_running_loop()
        self._ids = 0
        self._commands = 0

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen. Raises `ConfigError` that says why not."""
        try:
            return await self._loop.create_server(self._connect, host, port, backlog=1024)
        except OSError as error:
            raise ConfigError(f"can't serve Redis clients at {host}:{port}: {error.strerror}") from None

    def _connect(self) -> "Connection":
        self._ids += 1
        return Connection(self, self._ids)

    def end_turn_soon(self) -> None:
        """What all connections that are read in this round of the loop bring shares a commit."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_is_due = False
        self._turn(lambda: None)

    def count(self, commands: int) -> None:
        """So many commands were answered."""
        self._commands += commands

    def _info(self) -> dict[str, dict[str, object]]:
        replica = self.replica
        return {
            "Server": {"redis_version": "7.0.0", "server_name": "gossip-counter", "version": __version__,
                       "redis_mode": "standalone"},
            "Clients": {"connected_clients": len(self.connections), "maxclients": MAX_CONNECTIONS},
            "Persistence": {"loading": 0, "aof_enabled": 1, "commits": replica.stats.commits,
                            "commit_errors": replica.stats.commit_errors},
            "Stats": {"total_connections_received": self._ids, "total_commands_processed": self._commands},
            "Replication": {"role": "master", "connected_slaves": 0},
            "Gossip": replica.gossip_facts(),
            "Keyspace": {"db0": f"keys={replica.state.counters},expires=0,avg_ttl=0"} if replica.state.counters else {},
        }  # fmt: skip


@dataclass(slots=True)
class _Run:
    """Adds on their way to the disk: their replies, and those to refused ones that came right after."""

    replies: list[bytes]
    after: list[bytes] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One client. Replies leave in the order of the commands."""

    def __init__(self, door: Door, number: int) -> None:
        self._door = door
        self._replica = door.replica
        self._session = Session(number, "")
        self._parser = _Parser()
        self._runs: deque[_Run] = deque()
        self._later: deque[list[bytes]] = deque()
        """Commands that wait for those."""
        self._may_write = True
        self._at_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = self._transport.get_extra_info("peername") or ("", 0)
        self._session.address = f"{host}:{port}"
        made = self._transport.get_extra_info("socket")
        if made is not None:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._door.connections) >= MAX_CONNECTIONS:
            self._transport.write(b"-ERR max number of clients reached\r\n")
            self._transport.close()
            return
        self._door.connections.add(self)

    def connection_lost(self, _why: Exception | None) -> None:
        """As asyncio calls it. What is on its way to the disk stays, and nobody hears of it."""
        self._door.connections.discard(self)
        self._later.clear()

    def pause_writing(self) -> None:
        """As asyncio calls it: the client does not read its replies, so it is not read either."""
        self._may_write = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """As asyncio calls it."""
        self._may_write = True
        self._go_on()

    def eof_received(self) -> bool:
        """As asyncio calls it: what was read is still answered."""
        self._at_end = True
        self._close_if_done()
        return True

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._guarded(lambda: self._take(self._parser.feed(data)))

    def answer(self, reply: NodeReply) -> None:
        """The oldest run of adds is durable, or was refused."""
        run = self._runs.popleft()
        replies = run.replies
        if isinstance(reply, ErrorReply):
            replies = [_packed(Error(f"ERR {reply.text}"), 2)] * len(replies)
        if not self._transport.is_closing():
            self._transport.write(b"".join([*replies, *run.after]))
        if not self._runs:
            self._go_on()

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do it; whatever happens in it ends this connection, and is no other client's affair."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 counted, logged and told in status
            self._door.unforeseen(error)
            self._transport.abort()

    def _go_on(self) -> None:
        """Do what had to wait, as far as it need not wait again."""
        later, self._later = [*self._later], deque()
        self._guarded(lambda: self._take(later))
        if self._may_write and not self._later and not self._transport.is_closing():
            self._transport.resume_reading()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if (self._at_end or self._session.closing) and not self._runs and not self._later:
            self._transport.close()

    def _take(self, requests: list[Any]) -> None:
        run: list[tuple[bytes, int]] = []
        replies: list[bytes] = []
        for at, words in enumerate(requests):
            delta = _delta(words)
            if delta is not None:
                run.append((words[1], delta))
                continue
            if run:
                self._write(replies)
                self._add(run)
                run, replies = [], []
            if self._runs or not self._may_write:
                self._wait(requests[at:])
                return
            replies.append(self._reply(words))
            if self._session.closing:
                break
        self._write(replies)
        if run:
            self._add(run)
        self._close_if_done()

    def _wait(self, requests: list[list[bytes]]) -> None:
        self._later.extend(requests)
        self._transport.pause_reading()

    def _write(self, replies: list[bytes]) -> None:
        if replies and not self._transport.is_closing():
            self._door.count(len(replies))
            self._transport.write(b"".join(replies))

    def _reply(self, words: "list[bytes] | Error") -> bytes:
        if isinstance(words, Error):
            self._session.closing = True
            return _packed(words, 2)
        if words[0].upper() in ADDS:
            return _packed(_why_no_add(words), 2)
        reply = commands.dispatch(self._session, self._door.view, words)
        return _packed(reply, self._session.protocol)

    def _add(self, run: list[tuple[bytes, int]]) -> None:
        """Take a run of adds, each of which is answered by this node's value after it."""
        try:
            replies = self._take_run(run)
        except (RequestError, ValueError, OverflowError) as error:
            if len(run) == 1:
                self._refused(_packed(_why_not(error), 2))
            else:
                for each in run:
                    self._add([each])
            return
        self._door.count(len(run))
        self._runs.append(_Run(replies))
        self._door.end_turn_soon()

    def _refused(self, reply: bytes) -> None:
        """A reply that must not overtake those of runs before it."""
        if self._runs:
            self._runs[-1].after.append(reply)
        else:
            self._transport.write(reply)

    def _take_run(self, run: list[tuple[bytes, int]]) -> list[bytes]:
        replica = self._replica
        sums: dict[bytes, list[Any]] = {}
        replies = []
        for key, delta in run:
            found = sums.get(key)
            if found is None:
                name = commands.counter(key)
                found = sums[key] = [name, 0, 0, replica.value_soon(name)]
            if delta >= 0:
                found[1] += delta
            else:
                found[2] -= delta
            found[3] = value = found[3] + delta
            if not -MAX_COUNT <= value <= MAX_COUNT:
                raise OverflowError
            replies.append(b":%d\r\n" % value)
        replica.add_run(self, _RUN_ID, [(name, p, n) for name, p, n, _ in sums.values()])
        return replies


class _Parser:
    """Bytes to commands: each a list of words, or an Error after which nothing can be read."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=_Parser)
        self._tail = b"\r\n"
        self._line = b""
        self._under_way = 0

    def feed(self, data: bytes) -> list[Any]:
        """The commands that are complete now."""
        if self._line or (not self._under_way and data[:1] != b"*"):
            return self._feed_lines(self._line + data)
        if huge := self._huge(data):
            return [Error(f"ERR Protocol error: invalid {huge} length")]
        self._reader.feed(data)
        found: list[Any] = []
        try:
            while (words := self._reader.gets()) is not _Parser:
                if type(words) is list and all(type(word) is bytes for word in words):
                    found += [words] if words else []
                elif words is not None:
                    return [*found, Error("ERR Protocol error: expected '$'")]
        except hiredis.ProtocolError as error:
            return [*found, Error(f"ERR {error}")]
        if not self._reader.has_data():
            self._under_way = 0
        else:
            self._under_way = len(data) if found else self._under_way + len(data)
            if self._under_way > MAX_REQUEST_BYTES:
                return [*found, Error("ERR Protocol error: too big a request")]
        return found

    def _huge(self, data: bytes) -> str:
        """What is announced with a length that must not even be prepared for, be it cut over two reads; else "".

        It is looked for in names too: one with such a line in it is taken for what it looks like.
        """
        seen = self._tail + data
        self._tail = seen[-_LONGEST_LENGTH:]
        most = {b"*": ("multibulk", MAX_WORDS), b"$": ("bulk", MAX_REQUEST_BYTES)}
        found = (most[kind][0] for kind, length in _LENGTH.findall(seen) if int(length) > most[kind][1])
        return next(found, "")

    def _feed_lines(self, data: bytes) -> list[Any]:
        """Inline commands, as typed into telnet, up to one that is not."""
        found: list[Any] = []
        while data[:1] != b"*":
            line, newline, rest = data.partition(b"\n")
            if not newline:
                self._line = data
                return found if len(data) < 65_536 else [*found, Error("ERR Protocol error: too big inline request")]
            found += [words] if (words := line.split()) else []
            data = rest
        self._line = b""
        return found + self.feed(data)


def _delta(words: list[bytes]) -> int | None:
    """What an add adds; None for what is none, or is not as it should be."""
    match words:
        case [b"INCR" | b"incr", _]:
            return 1
        case [name, _, amount] if name.upper() in {b"INCRBY", b"DECRBY"}:
            try:
                delta = commands.integer(amount)
            except ValueError:
                return None
            return delta if name.upper() == b"INCRBY" else -delta
        case [name, _] if type(words) is list and name.upper() in {b"INCR", b"DECR"}:
            return 1 if name.upper() == b"INCR" else -1
    return None


def _why_not(error: Exception) -> Error:
    too_large = isinstance(error, OverflowError) or (isinstance(error, RequestError) and error.code == MALFORMED)
    return OVERFLOW if too_large else Error(f"ERR {error}")


def _why_no_add(words: list[bytes]) -> Error:
    if len(words) != ADDS[words[0].upper()]:
        return commands.wrong_arity(words[0])
    return NOT_AN_INTEGER


def _packed(reply: Reply, protocol: int) -> bytes:  # noqa: PLR0911 one for each kind
    """A reply in bytes, in protocol 2 or 3."""
    match reply:
        case None:
            return b"_\r\n" if protocol == 3 else b"$-1\r\n"
        case Error():
            return b"-%s\r\n" % reply.replace("\r", " ").replace("\n", " ").encode()
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case str():
            return b"+%s\r\n" % reply.encode()
        case dict():
            head = b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % (2 * len(reply))
            flat = (part for key, value in reply.items() for part in (key.encode(), value))
            return head + b"".join(_packed(part, protocol) for part in flat)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(_packed(part, protocol) for part in reply)
    raise TypeError(f"{reply!r} is no reply")
