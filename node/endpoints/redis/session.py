"""One Redis client: what it sent, what it is owed, and in which order replies leave.

Pure: bytes in, replies out. A session knows no socket, no event loop and no clock. The scheduler decides when its
commands are executed, and passes on what others have to do: adds to the replica, a WAIT to the replica.

Replies leave in the order of the commands. Adds may be in flight while more adds are taken; every other command waits
until all adds before it are durable, so that a client sees its own writes.
"""

from collections import deque
from enum import Enum, auto
from types import GeneratorType
from typing import Any, cast

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.messages import CopiesOk, ErrorReply, Reply, Written
from gossip_counter.node.endpoints.redis.adds import KnownAdds
from gossip_counter.node.endpoints.redis.arguments import fits
from gossip_counter.node.endpoints.redis.bounds import Bounds
from gossip_counter.node.endpoints.redis.commands import ADD_COMMANDS, dispatch
from gossip_counter.node.endpoints.redis.commands_transactions import drop
from gossip_counter.node.endpoints.redis.context import Add, ClientInfo, Node, RedisClient, Wait
from gossip_counter.node.endpoints.redis.outlet import BufferedBytes, Outlet
from gossip_counter.node.endpoints.redis.parser import AUTHENTICATED, UNAUTHENTICATED, WORD_OVERHEAD_BYTES, Parser
from gossip_counter.node.endpoints.redis.replies import Error, Pieces, encode, refusal
from gossip_counter.node.endpoints.redis.transaction import DelayedReply

Author = tuple[Actor, int]
"""Who wrote, and up to which version."""

SCATTERED: Author = (Actor(""), 0)
"""More than one actor wrote: no peer can confirm that it has all of it."""


class State(Enum):
    """What a session does with bytes that arrive. Each excludes the others."""

    DIRECT = auto()
    """Nothing is buffered and the client may add: known adds are taken without being buffered or parsed."""
    BUFFERED = auto()
    """Bytes are buffered, and executed when the scheduler gives this client a quantum."""
    WAITING = auto()
    """As BUFFERED, but nothing is executed, since a WAIT is under way."""
    REPLYING = auto()
    """As BUFFERED, but nothing is executed, since a reply is under way that is made in pieces."""
    COMMITTING = auto()
    """As BUFFERED, but nothing is executed, since a transaction is on its way to the disk."""
    CLOSED = auto()
    """The last reply was sent. Nothing more is executed or sent."""
    ABORTED = auto()
    """As CLOSED, but replies that the client has not received yet are dropped."""


_DIRECT, _BUFFERED, _WAITING, _REPLYING = State.DIRECT, State.BUFFERED, State.WAITING, State.REPLYING
_COMMITTING = State.COMMITTING


class Session(RedisClient):
    """One client, from its first byte to its last reply."""

    __slots__ = (
        "_almost_full", "_bounds", "_commands", "_commands_bytes", "_delayed", "_has_begun", "_kept", "_known",
        "_node", "_parser", "_pieces", "_send", "_unread",
        "chunk_bytes", "client", "in_flight", "input_ended", "is_scheduled", "outlet", "output_full", "state",
    )  # fmt: skip

    def __init__(self, client: ClientInfo, node: Node, known: KnownAdds, outlet: Outlet, bounds: Bounds) -> None:
        self.client = client
        self.state = State.BUFFERED
        self.in_flight = 0
        """How many chunks and reads with adds are on their way to the disk."""
        self.input_ended = False
        """The client sends nothing more. What it sent is still answered."""
        self.output_full = False
        """The client does not read its replies: nothing is executed meanwhile."""
        self.is_scheduled = False
        """The scheduler gives this session its next quantum in the next round of the event loop, and not before."""
        self.outlet = outlet
        self.chunk_bytes = bounds.chunk_bytes
        """How much to look at together; more while only known adds arrive."""
        self._bounds = bounds
        self._almost_full = bounds.max_chunks - 1
        self._node = node
        self._known = known
        self._send = outlet.send
        self._parser = Parser()
        self._unread = bytearray()
        """What arrived and was not looked at yet."""
        self._commands: deque[Any] = deque()
        """Commands that were parsed and not executed yet: lists of words, or an Error that ends the connection."""
        self._commands_bytes = 0
        """Memory that these take, at most."""
        self._pieces: Pieces = iter(())
        """The rest of the reply under way."""
        self._kept = 0
        """Memory that this takes, beside its command."""
        self._has_begun = False
        """Some of it was sent."""
        self._delayed = b""
        """The reply to the transaction that is on its way to the disk."""

    # What arrives.

    def buffer(self, data: bytes) -> None:
        """Keep bytes until they can be executed."""
        if self.state is _DIRECT:
            self.state = State.BUFFERED
        elif not self.is_open:
            return
        self._unread += data  # which may come although the client is not being read: TLS passes on what it had

    def leave_direct(self) -> None:
        """Let what arrives next be buffered."""
        if self.state is _DIRECT:
            self.state = State.BUFFERED

    def end_input(self) -> None:
        """The client sends nothing more."""
        self.input_ended = True
        self.leave_direct()

    @property
    def wants_input(self) -> bool:
        """Whether the client is to be read, as far as that depends on this session."""
        if self.output_full or self.in_flight >= self._bounds.max_chunks:
            return False
        if self.state is _WAITING:
            return len(self._unread) <= self._bounds.max_behind_wait_bytes
        return not (self._unread or self._commands or self.state is _REPLYING)

    # What is executed.

    @property
    def is_runnable(self) -> bool:
        """Whether there are bytes to look at, and nothing has to come first."""
        is_blocked = self._commands or self.output_full or self.in_flight >= self._bounds.max_chunks
        return bool(self._unread) and not (is_blocked or self.is_scheduled) and self.state is _BUFFERED

    @property
    def may_recognise_adds(self) -> bool:
        """Whether the bytes that come next begin a command, and may be an add."""
        client = self.client
        return client.authenticated and client.queued is None and not self._parser.buffered

    def cut(self, most: int) -> bytes:
        """Take at most so many of the bytes to look at, so that they end, or the next begin, where a command may.

        Known adds can then be recognised by whole commands; and what follows an AUTH is parsed after it was executed,
        within the limits of an authenticated client.
        """
        unread, lacking, cut = self._unread, self._parser.lacking, most
        if lacking or not self.client.authenticated:
            cut = unread.find(b"\n*", max(0, lacking - 1), most) + 1 or most
        elif len(unread) > most or not unread.endswith(b"\n"):
            cut = unread.rfind(b"\n*", 0, most) + 1 or most
        chunk = bytes(unread[:cut])
        del unread[:cut]
        return chunk

    def parse(self, chunk: bytes) -> None:
        """Make commands of bytes that were cut off."""
        begun = self._parser.buffered
        found = self._parser.feed(chunk, AUTHENTICATED if self.client.authenticated else UNAUTHENTICATED)
        self._commands_bytes = begun + len(chunk) + WORD_OVERHEAD_BYTES * sum(map(len, found))
        self._commands.extend(found)

    def has_next(self) -> bool:
        """Whether there is a command, and no WAIT before it."""
        return bool(self._commands) and self.state is _BUFFERED

    def next_add(self) -> Add | None:
        """The next command, if it is an add. There must be a next command."""
        words = self._commands[0]
        client = self.client
        if isinstance(words, Error) or not client.authenticated or client.queued is not None:
            return None
        command = ADD_COMMANDS.get(words[0].upper())
        if command is None or not fits(command.arity, len(words)):
            return None
        add: Add | Error = command.handle(client, self._node, words[1:])
        if isinstance(add, Error):  # which `execute` sends when all before it are answered
            return None
        self._known.note(words, add)
        return add

    def take_adds(self, add: Add) -> list[Add]:
        """Take the next commands as far as they are adds. The first of them is this one."""
        adds, commands, calls = [add], self._commands, self._node.clients.calls
        words = commands.popleft()
        calls[words[0].upper()] += 1
        while commands:
            if commands[0] != words:
                if not (following := self.next_add()):
                    break
                words, add = commands[0], following
            adds.append(add)
            commands.popleft()
            calls[words[0].upper()] += 1
        return adds

    def execute(self) -> Wait | DelayedReply | None:
        """Execute the next command, which is not an add. Adds before it must be durable.

        For a WAIT, returns what it asks, and for a transaction its reply, if that has to wait for the disk: nothing
        more is executed until `deliver` is called with the replica's answer. A reply that is made in pieces is only
        begun: nothing more is executed until `send_piece` has sent all of it.
        """
        words = self._commands.popleft()
        client = self.client
        reply = words if isinstance(words, Error) else dispatch(client, self._node, words)
        if type(reply) is Wait:
            self.state = State.WAITING
            return reply
        if type(reply) is DelayedReply:
            return self._delay(reply)
        if type(reply) is GeneratorType:
            self.state, self._pieces, self._has_begun = State.REPLYING, reply, False
            return None
        self._send(encode(reply, client.protocol))
        if client.quits or reply is words:
            self.close()
        return None

    def _delay(self, reply: DelayedReply) -> DelayedReply | None:
        self.state, self._delayed = State.COMMITTING, reply.reply
        self._kept = len(reply.reply)
        if reply.transaction.wait(self, reply.transaction.has_added):
            return reply
        self._release(self._delayed)
        return None

    def _release(self, reply: bytes) -> None:
        """Send the reply to a transaction, or why it did not happen."""
        self.state, self._delayed, self._kept = State.BUFFERED, b"", 0
        self._send(reply)
        if self.client.quits:
            self.close()

    @property
    def may_reply(self) -> bool:
        """Whether a reply is under way that is made in pieces, and the client reads."""
        return self.state is _REPLYING and not self.output_full

    def send_piece(self) -> None:
        """Do one more step of the reply under way."""
        piece = next(self._pieces, None)
        if piece is None:
            self.state, self._kept = State.BUFFERED, 0
            if self.client.quits:
                self.close()
        elif isinstance(piece, int):
            self._kept += piece
        else:
            self._has_begun = True
            self._send(piece)

    # What comes back.

    def added(self, replies: bytes, written: Author | None) -> None:
        """The adds of one chunk are durable, written by this actor up to this version; or were refused (None).

        What had to wait for them waits a little longer: the state that it may ask for is not up to date yet.
        """
        if written is not None:
            self._note_author(written)
        state = self.state
        if state is _DIRECT or state is _BUFFERED or state is _WAITING:  # not REPLYING: adds were answered before
            self._send(replies)
        self.in_flight = left = self.in_flight - 1
        if state is _DIRECT:
            if left == self._almost_full:
                self.outlet.update()
        elif left in (0, self._almost_full):
            self.outlet.schedule()

    def _note_author(self, written: Author) -> None:
        client = self.client
        is_same = client.written is None or client.written[0] == written[0]
        client.written = written if is_same else SCATTERED

    def deliver(self, reply: Reply) -> None:
        """The replica's answer to a WAIT, or to a transaction."""
        if isinstance(reply, Written):
            self._committed(reply)
        elif self.state is _WAITING:
            self.state = State.BUFFERED
            self.send(Error(f"ERR {reply.text}") if isinstance(reply, ErrorReply) else cast(CopiesOk, reply).members)
            self.outlet.schedule()

    def _committed(self, reply: Written) -> None:
        """A transaction is durable, or was refused as a whole."""
        (outcome,) = reply.values
        if isinstance(outcome, RequestError):
            delayed = encode(refusal(outcome), 2)
        else:
            delayed = self._delayed
            if reply.in_reply_to:  # it has added something
                self._note_author((reply.actor, reply.version) if reply.actor else SCATTERED)
        if self.state is _COMMITTING:
            self._release(delayed)
            self.outlet.schedule()

    def block_output(self) -> None:
        """The client reads its replies too slowly."""
        self.output_full = True
        self.leave_direct()
        self.outlet.update()
        self.outlet.schedule()  # not at once: this may come in the midst of a quantum

    def unblock_output(self) -> None:
        """The client has read enough of its replies."""
        self.output_full = False
        self.outlet.schedule()

    # What is kept, and how it ends.

    def buffered(self) -> BufferedBytes:
        """What is buffered now."""
        is_replying = self.state is _REPLYING or self.state is _COMMITTING
        if not (self._commands or is_replying):
            self._commands_bytes = 0
        size = self._parser.buffered + self._commands_bytes + len(self._unread)
        kept, client = self._kept, self.client
        if client.queued or client.watch:
            kept += client.kept_bytes
        if self.output_full:
            return BufferedBytes(blocked=size + kept + self.outlet.unsent)
        moves_on = (self._commands or self._unread or is_replying) and self.state is not _WAITING
        return BufferedBytes(size, kept) if moves_on else BufferedBytes(blocked=size + kept)

    def enter_direct(self) -> None:
        """Take known adds directly from now on, if the client may add. Nothing must be buffered."""
        if self.state is _BUFFERED and self.client.authenticated and not self.input_ended:
            self.state = State.DIRECT

    def close_if_done(self) -> None:
        """Close if the client sends nothing more and everything is answered."""
        is_done = not (self.in_flight or self._commands or self._unread)
        if self.input_ended and is_done and self.state is _BUFFERED:
            self.close()

    @property
    def is_open(self) -> bool:
        """Whether commands are executed and replies are sent."""
        return self.state not in {State.CLOSED, State.ABORTED}

    @property
    def expects_reply(self) -> bool:
        """Whether the client would take what is sent now for the reply to something else, or for a part of it."""
        is_replying = self.state is _REPLYING and self._has_begun
        return bool(self.in_flight) or self.state in {_WAITING, _COMMITTING} or is_replying

    def send(self, reply: object) -> None:
        """Send a reply that no command asked for."""
        self._send(encode(reply, 2))

    def close(self) -> None:
        """Execute nothing more; what was sent still arrives."""
        if self.is_open:
            self._end(State.CLOSED)

    def abort(self) -> None:
        """End at once."""
        self._end(State.ABORTED)

    def _end(self, state: State) -> None:
        self.state = state
        self.release()
        self.outlet.update()

    def release(self) -> None:
        """Drop all that is buffered."""
        self._unread.clear()
        self._commands.clear()
        self._parser = Parser()
        self._pieces, self._kept, self._delayed = iter(()), 0, b""
        drop(self.client, self._node)
