"""The Redis door: a TCP world beside the UDP one, around the same replica.

Adds are taken in runs. What a few rounds of the event loop bring of INCR, DECR, INCRBY and DECRBY, over all
connections, is one request to the replica, however many commands it is, and one RunOk releases all their replies once
the commit is durable. Other commands wait until the adds before them are, so that a connection sees its own writes;
they are answered from `node.commands`. What a client says waits unread for its turn; a turn takes a share of it, in
pieces, and what of a piece has to wait stands in `_later`. All that a client may have under way or unread is bounded.
"""

import asyncio
import resource
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns, time_ns
from typing import Any, NamedTuple, cast

from gossip_counter import __version__
from gossip_counter.node.core.errors import ConfigError, RequestError
from gossip_counter.node.core.replica import Effect, Replica
from gossip_counter.node.core.state import Actor
from gossip_counter.node.core.waiting import NEVER
from gossip_counter.node.endpoints.redis import commands
from gossip_counter.node.endpoints.redis import info as redis_info
from gossip_counter.node.endpoints.redis.adds import Add, Known, as_add, replies, why_not
from gossip_counter.node.endpoints.redis.commands import ADDS, Error, Session, View
from gossip_counter.node.endpoints.redis.wire import KNOWN, STRANGER, WORD_BYTES, Parser, packed

Adder = tuple["Connection", int]
"""A connection, and how many of a run's adds are its own."""

Written = tuple[Actor, int]
"""Who wrote, and up to which version."""

SCATTERED: Written = (Actor(""), 0)
"""What more than one actor wrote: then nobody can say who holds it all."""

MAX_CONNECTIONS = 10_000

OTHER_FILES = 100
"""Open files that are no client's connections."""

SHARE = 32_768
"""Bytes of one client's commands that are dealt with before others have their turn."""

PIECE = 4096
"""Bytes of them that are parsed together: words take several times the room. Known adds need none."""

MAX_RUNS = 32
"""Pieces or reads of adds that a connection may have on their way to the disk before it has its next turn."""

RUN_ADDS = 10_000
"""So many adds are a run, whoever may come yet: it holds up everybody else for some milliseconds."""

MAX_ADDS = 500_000
"""Adds of all connections on their way to the disk; above that, the next ones wait with their clients."""

MAX_BEHIND_WAIT_BYTES = 2**20
"""What a connection may say while a WAIT is under way before it is not read any more, and its end not noticed."""

MAX_QUEUED_BYTES = 128 * 2**20
"""Of all connections' commands that were read and will have their turn; above that, no client is read."""

MAX_STUCK_BYTES = 64 * 2**20
"""Of what only clients themselves can move on: half commands, those behind a WAIT, or behind replies that nobody reads.
Who adds to it is cut off.
"""

TURN_NS = 1_000_000
"""After so long, what a connection asked for waits until others had their turn."""

HANDSHAKE_S = 10
"""How long a TLS client may take to begin."""

KEEPALIVE_S = 300
"""After so long a silent client is asked by the kernel whether it is there at all."""

MOST_ROUNDS = 8
"""Rounds of the loop that a run gathers for at the most."""

_NO_COPIES = Error("ERR full-state gossip can't tell what peers hold")
_TOO_BUSY = Error("ERR clients hold too much that waits or is half said: come again later")


class Held(NamedTuple):
    """Bytes of what a client said: those that will have their turn, and those that only the client can move on."""

    queued: int = 0
    stuck: int = 0


class Listen(NamedTuple):
    """Where Redis clients are served, what they must tell, and how the connection is kept secret."""

    host: str
    port: int
    password: bytes | None = None
    tls: ssl.SSLContext | None = None


class Door:
    """All connections to one node. `turn` does something and then begins the commit that it left to be begun."""

    def __init__(
        self,
        replica: Replica,
        turn: Callable[[Callable[[], None]], None],
        carry_out: Callable[[list[Effect]], None],
        unforeseen: Callable[[Exception], None],
        password: bytes | None = None,
    ) -> None:
        self.replica = replica
        self.carry_out = carry_out
        self.most_connections = _allow_files()
        settings = {"maxclients": str(self.most_connections), "databases": "1", "appendonly": "yes", "save": ""}
        self.view = View(replica, __version__, self._info, lambda: time_ns() // 1000, settings, password)
        self.connections: dict[Connection, None] = {}
        """In the order in which they are read again after all had to wait: whose queue grew last comes last."""
        self.unforeseen = unforeseen
        self._gathers = False
        self._grew = False
        self._rounds = 0
        self.known = Known()
        self._turn = turn
        self._adds: list[Add] = []
        self._adders: list[Adder] = []
        """Whose these are: so many of each, in this order."""
        self._adding: set[Connection] = set()
        self._runs: dict[int, tuple[list[Adder], list[int | RequestError], Actor]] = {}
        """By number, those on their way to the disk, what their adds will be answered, and who wrote them."""
        self._outcomes: dict[int, Written | RequestError] = {}
        """Of those that wait for one before them: one that is counted again takes a commit more."""
        self._run = 0
        self._under_way = 0
        """Adds on their way to the disk, those of the next run among them."""
        self.is_full = False
        """Whether there are so many that no more are taken just now."""
        self._queued = 0
        self._stuck = 0
        """What all connections hold."""
        self.holds_up = False
        """Whether so much was read that no client is, just now."""
        self.is_closing = False
        self._port = 0
        self._loop = asyncio.get_running_loop()
        self.soon = self._loop.call_soon
        self._ids = 0
        self._commands = 0

    async def serve(self, where: Listen) -> asyncio.Server:
        """Listen. Raises `ConfigError` that says why not."""
        self._port = where.port
        try:
            timeout = HANDSHAKE_S if where.tls else None
            return await self._loop.create_server(
                self._connect, where.host, where.port, backlog=1024, ssl=where.tls, ssl_handshake_timeout=timeout
            )
        except OSError as error:
            why = error.strerror or error
            raise ConfigError(f"can't serve Redis clients at {where.host}:{where.port}: {why}") from None

    def begin_end(self) -> None:
        """The first step of an end: nobody is read any more, and adds that were taken are still answered."""
        self.is_closing = True
        self._hold_up()
        self._turn(self._take_run)

    def hang_up(self) -> None:
        """The second step: what was answered still leaves."""
        for connection in list(self.connections):
            connection.hang_up()

    def _hold_up(self) -> None:
        self.holds_up = True
        for connection in self.connections:
            connection.read_no_more()

    def _read_on(self) -> None:
        """Read clients again, if all had to wait and there is room now for what they say."""
        if self.holds_up and self._queued <= MAX_QUEUED_BYTES and not self.is_closing:
            self.holds_up = False
            for connection in self.connections:
                connection.read_on()

    def hold(self, connection: "Connection", before: Held, now: Held) -> bool:
        """Note what a connection holds in place of what it held; whether it may."""
        self._queued += now.queued - before.queued
        self._stuck += now.stuck - before.stuck
        if now.queued > before.queued:
            self.connections[connection] = self.connections.pop(connection)
            if self._queued > MAX_QUEUED_BYTES and not self.holds_up:
                self._hold_up()
        elif now.queued < before.queued:
            self._read_on()
        return self._stuck <= MAX_STUCK_BYTES

    def _connect(self) -> "Connection":
        self._ids += 1
        return Connection(self, self._ids)

    def add(self, connection: "Connection", adds: list[Add]) -> None:
        """Take adds of a connection, in one run with those of all others that say something just now."""
        self._adds += adds
        self._adders.append((connection, len(adds)))
        self._adding.add(connection)
        self._grew = True
        self._under_way += len(adds)
        if self._under_way > MAX_ADDS and not self.is_full:
            self.is_full = True
            for each in self.connections:
                each.take_no_adds()
        nobody_is_left = len(self._adding) >= len(self.connections)
        if nobody_is_left or len(self._adds) >= RUN_ADDS:
            self._turn(self._take_run)
        elif not self._gathers:
            self._gathers = True
            self._rounds = 0
            self._loop.call_soon(self._end_round)

    def _end_round(self) -> None:
        """To look at the sockets once more costs some microseconds, and a commit some hundred."""
        self._rounds += 1
        if self._grew and self._rounds < MOST_ROUNDS:
            self._grew = False
            self._loop.call_soon(self._end_round)
        else:
            self._gathers = False
            self._turn(self._take_run)

    def _take_run(self) -> None:
        if not self._adds:  # taken already
            return
        adds, self._adds = self._adds, []
        adders, self._adders = self._adders, []
        self._adding.clear()
        self._run += 1
        try:
            told = self.replica.add_run(self, self._run, adds)
        except Exception as error:  # noqa: BLE001 counted, logged and told in status
            for connection, _ in adders:
                connection.fail(error)
            self._end_adds(len(adds))
            return
        self.count(len(told))
        self._runs[self._run] = adders, told, self.replica.actor

    def saved(self, run: int, actor: Actor, version: int) -> None:
        """A run is durable, in writes of this actor up to this version."""
        self._outcomes[run] = actor, version
        self._tell_in_order()

    def refused(self, run: int, error: RequestError) -> None:
        """A run is not durable, and never counts."""
        self._outcomes[run] = error
        self._tell_in_order()

    def _tell_in_order(self) -> None:
        while self._runs and (run := next(iter(self._runs))) in self._outcomes:
            outcome = self._outcomes.pop(run)
            adders, told, taken_as = self._runs.pop(run)
            if isinstance(outcome, RequestError):
                refused = [each if isinstance(each, RequestError) else outcome for each in told]
                taken = sum(type(each) is int for each in told)
                self.replica.stats.requests_refused += taken - 1  # which counted the run as one
                self._tell(adders, refused, None)
            else:
                self._tell(adders, told, outcome if outcome[0] == taken_as else SCATTERED)

    def _tell(self, adders: list[Adder], told: Sequence[int | RequestError], written: Written | None) -> None:
        at = 0
        for connection, count in adders:
            if count == 1 and not isinstance(value := told[at], RequestError):
                connection.added(b":%d\r\n" % value, written)
            else:
                connection.added(replies(told[at : at + count]), written)
            at += count
        self._end_adds(at)

    def _end_adds(self, adds: int) -> None:
        """So many adds are no longer on their way to the disk."""
        self._under_way -= adds
        if self.is_full and self._under_way <= MAX_ADDS // 2:
            self.is_full = False
            for connection in self.connections:
                connection.go_on_soon()

    def count(self, commands: int) -> None:
        """So many commands were answered."""
        self._commands += commands

    def _info(self) -> redis_info.Sections:
        blocked = sum(connection.waits for connection in self.connections)
        connected: dict[str, object] = {"connected_clients": len(self.connections), "blocked_clients": blocked}
        return redis_info.sections(self.replica, {
            "Server": {"tcp_port": self._port},
            "Clients": connected | {"maxclients": self.most_connections},
            "Stats": {"total_connections_received": self._ids, "total_commands_processed": self._commands},
        })  # fmt: skip


class Connection(asyncio.Protocol):
    """One client. Replies leave in the order of the commands."""

    def __init__(self, door: Door, number: int) -> None:
        self._door = door
        self._session = Session(number, "", authenticated=door.view.password is None)
        self._parser = Parser()
        self._runs = 0
        """How many reads and pieces with adds of ours are on their way to the disk."""
        self._unread = bytearray()
        """What the client said and has still to have its turn."""
        self._piece = PIECE
        """How much of it to look at together."""
        self._later: deque[Any] = deque()
        """Commands that wait for something."""
        self._later_bytes = 0
        """What these take, at the most."""
        self._held = Held()
        """What of all this the door knows of."""
        self._written: Written | None = None
        """What stands for all adds of ours, if there were any."""
        self.waits = False
        """Whether a WAIT is under way."""
        self._may_write = True
        self._at_end = False
        self._goes_on = False
        self._is_plain = False
        """Whether what comes now is whole commands, of a client that may add and waits for nothing but adds."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = self._transport.get_extra_info("peername") or ("", 0)
        self._session.address = f"{host}:{port}"
        made = self._transport.get_extra_info("socket")
        if made is not None:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        if len(self._door.connections) >= self._door.most_connections:
            self._transport.write(b"-ERR max number of clients reached\r\n")
            self._transport.close()
            return
        self._door.connections[self] = None
        if self._door.holds_up:
            self._door.soon(self.read_on)  # or not: reading is begun after this

    def connection_lost(self, _why: Exception | None) -> None:
        """As asyncio calls it. What is on its way to the disk stays, and nobody hears of it."""
        self._door.connections.pop(self, None)
        self._door.replica.forget(self)
        self._let_go()

    def pause_writing(self) -> None:
        """As asyncio calls it: the client does not read its replies, so it is not read either."""
        self._may_write = False
        self.read_no_more()
        self.go_on_soon()  # not at once: this may come in the midst of a turn

    def resume_writing(self) -> None:
        """As asyncio calls it."""
        self._may_write = True
        self.go_on_soon()

    def eof_received(self) -> bool:
        """As asyncio calls it: what was read is still answered."""
        self._at_end = True
        self._is_plain = False
        if self.waits:  # nobody may be there any more to wait for: what is known now must do
            self._wait_for_members(0, 0)
        self._close_if_done()
        return self._transport.get_extra_info("ssl_object") is None  # TLS knows no half-closed connection

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        try:
            if self._is_plain and len(data) <= SHARE:
                known = self._door.known
                adds = known.alone.get(data) or known.find(data)
                if adds:
                    self._add_run(adds)
                    return
            self._unread += data  # it may come even though it is not being read
            self._is_plain = False  # nothing may overtake it
            if self._goes_on:
                self.read_no_more()
            else:
                self._have_turn()
        except Exception as error:  # noqa: BLE001 counted, logged and told in status
            self.fail(error)

    def added(self, told: bytes, written: Written | None) -> None:
        """Adds are durable, and `written` stands for them, or were refused.

        What had to wait for them has to a little more: the state that it may ask for is not up to date yet.
        """
        try:
            if written:
                alike = self._written is None or self._written[0] == written[0]
                self._written = written if alike else SCATTERED
            transport = self._transport
            if not transport.is_closing():
                transport.write(told)
            self._runs = runs = self._runs - 1
            if not self._is_plain and (runs == 0 or runs == MAX_RUNS - 1):
                self.go_on_soon()
            elif runs == MAX_RUNS - 1:
                self.read_on()
        except Exception as error:  # noqa: BLE001 counted, logged and told in status
            self.fail(error)

    def copied(self, members: int) -> None:
        """So many other members hold our writes durably; that ends a WAIT."""
        self.waits = False
        if not self._transport.is_closing():
            self._transport.write(b":%d\r\n" % members)
            self.go_on_soon()

    def _wait_for_copies(self, words: list[bytes]) -> None:
        asked = commands.wait(words)
        if isinstance(asked, Error):
            self._transport.write(packed(asked, 2))
            return
        replica, now_ns = self._door.replica, monotonic_ns()
        members, timeout_ms = asked
        self._door.count(1)
        if replica.config.gossip == "full":
            self._transport.write(packed(_NO_COPIES, 2))
        elif self._written is None:
            self._transport.write(b":%d\r\n" % len(replica.peers))
        else:
            self.waits = True
            self._wait_for_members(members, now_ns + timeout_ms * 1_000_000 if timeout_ms else NEVER)

    def _wait_for_members(self, members: int, deadline_ns: int) -> None:
        replica = self._door.replica
        replica.forget(self)
        written = self._written or SCATTERED
        self._door.carry_out(replica.wait_for_copies(self, written, members, deadline_ns, monotonic_ns()))

    def fail(self, error: Exception) -> None:
        """What nobody foresaw ends this connection, and is no other client's affair."""
        self._door.unforeseen(error)
        self._transport.abort()

    def go_on_soon(self) -> None:
        """Have a turn in the next round of the loop."""
        if not self._goes_on:
            self._goes_on = True
            self._door.soon(self._go_on)

    def _go_on(self) -> None:
        self._goes_on = False
        if self not in self._door.connections:  # it was lost meanwhile
            return
        try:
            self._have_turn()
        except Exception as error:  # noqa: BLE001 counted, logged and told in status
            self.fail(error)

    def _have_turn(self) -> None:
        """Do a share of what the client asked for, as far as nothing has to wait for something else."""
        if self._door.is_closing:
            return
        if self._transport.is_closing():
            self._let_go()
            return
        share, until_ns = SHARE, monotonic_ns() + TURN_NS
        self._take(until_ns)
        while self._unread and share > 0 and not self._has_to_wait:
            most = min(share, self._piece)
            share -= most
            self._take_in(self._cut(most), until_ns)
            if monotonic_ns() > until_ns:
                break
        if self._unread and not self._has_to_wait:
            self.go_on_soon()
        self._note_held()
        self.read_on()
        self._close_if_done()

    @property
    def _has_to_wait(self) -> bool:
        """Whether the client is to have no turn before something else has come."""
        held_up = self._runs >= MAX_RUNS or self._goes_on or not self._may_write
        return bool(self._later) or held_up or self.waits

    def _cut(self, most: int) -> bytes:
        """Take so much at the most from what was said, and so that it ends, or the next does, where a command may.

        Known adds can then be told by whole commands; and who told the password in one is no stranger in the next.
        """
        unread, lacking, cut = self._unread, self._parser.lacking, most
        if lacking or not self._session.authenticated:
            cut = unread.find(b"\n*", max(0, lacking - 1), most) + 1 or most
        elif len(unread) > most or not unread.endswith(b"\n"):
            cut = unread.rfind(b"\n*", 0, most) + 1 or most
        piece = bytes(unread[:cut])
        del unread[:cut]
        return piece

    def _take_in(self, piece: bytes, until_ns: int) -> None:
        begun = self._parser.held
        may_add = self._session.may_add and not (begun or self._door.is_full)
        adds = self._door.known.find(piece) if may_add else None
        self._piece = SHARE if adds else PIECE
        if adds:
            self._add_run(adds)
            return
        said = self._parser.feed(piece, KNOWN if self._session.authenticated else STRANGER)
        self._later_bytes = begun + len(piece) + WORD_BYTES * sum(map(len, said))
        self._later.extend(said)
        self._take(until_ns)

    def take_no_adds(self) -> None:
        """Let the next adds wait for a turn."""
        self._is_plain = False

    def hang_up(self) -> None:
        """End it, once all that was answered is sent."""
        self._transport.close()

    def read_no_more(self) -> None:
        """Let the client wait until `read_on`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read the client, unless something holds it up: then let it wait."""
        enough = len(self._unread) > MAX_BEHIND_WAIT_BYTES if self.waits else self._unread or self._later
        if enough or not self._may_write or self._runs >= MAX_RUNS or self._door.holds_up:
            self.read_no_more()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _close_if_done(self) -> None:
        done = not (self._runs or self._later or self._unread or self.waits)
        if (self._at_end or self._session.closing) and done:
            self._transport.close()

    def _take(self, until_ns: int) -> None:
        """Do what the client asked for, up to what has to wait, and the first of it whatever time it is."""
        later, adds, reply = self._later, list[Add](), b""
        last = add = None
        did_some = False
        while later and not self.waits:
            words = later[0]
            if add is None or words != last:
                last, add = words, self._as_add(words)
            if add:
                if self._door.is_full:
                    break
                adds.append(add)
                later.popleft()
                continue
            self._add(reply, adds)
            adds, reply = [], b""
            if self._runs or not self._may_write:
                break
            if did_some and monotonic_ns() > until_ns:
                self.go_on_soon()
                break
            did_some = True
            later.popleft()
            if self._session.may_add and _is_wait(words):
                self._wait_for_copies(words)
                continue
            reply = self._reply(words)
            if self._session.closing:
                later.clear()
                self._unread.clear()
        self._add(reply, adds)

    def _as_add(self, words: Any) -> Add | None:
        add = as_add(words) if self._session.may_add else None
        if add:
            self._door.known.note(words, add)
        return add

    def _add(self, reply: bytes, adds: list[Add]) -> None:
        """Send the reply to what came before these adds, if there was anything, and take them."""
        if reply:
            self._door.count(1)
            self._transport.write(reply)
        if adds:
            self._add_run(adds)

    def _add_run(self, adds: list[Add]) -> None:
        self._runs += 1
        if self._runs == MAX_RUNS:
            self.read_no_more()
        self._door.add(self, adds)

    def _note_held(self) -> None:
        """After commands: what has still to be done, and whether the next may be taken by the short way."""
        if not self._later:
            self._later_bytes = 0
        held = self._parser.held + self._later_bytes + len(self._unread)
        busy = held or self.waits or self._session.closing or self._at_end or self._door.is_full
        self._is_plain = self._session.may_add and not busy
        moves_on = (self._later or self._unread) and self._may_write and not self.waits
        if not self._hold(Held(queued=held) if moves_on else Held(stuck=held)):
            self._cut_off()

    def _hold(self, now: Held) -> bool:
        before, self._held = self._held, now
        return before == now or self._door.hold(self, before, now)

    def _cut_off(self) -> None:
        self._let_go()
        if not self._may_write:  # nobody reads what it was answered
            self._transport.abort()
            return
        if not (self._runs or self.waits):  # or it would be taken for another answer
            self._transport.write(packed(_TOO_BUSY, 2))
        self._transport.close()

    def _let_go(self) -> None:
        """Hold nothing any more of what the client said."""
        self._unread.clear()
        self._later.clear()
        self._later_bytes = 0
        self._parser = Parser()
        self._hold(Held())

    def _reply(self, words: list[bytes] | Error) -> bytes:
        if isinstance(words, Error):
            self._session.closing = True
            return packed(words, 2)
        if words[0].upper() in ADDS and self._session.may_add:
            return packed(why_not(words), 2)
        reply = commands.dispatch(self._session, self._door.view, words)
        return packed(reply, self._session.protocol)


def _allow_files() -> int:
    """Let this process have as many open files as MAX_CONNECTIONS need; how many connections that comes to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(MAX_CONNECTIONS, soft - OTHER_FILES)


def _is_wait(words: list[bytes] | Error) -> bool:
    return not isinstance(words, Error) and words[0].upper() == b"WAIT"
