"""Commands that are carried out at once, with nothing between them, and answered when what they did and saw is durable.

Pure. This is how EXEC executes what a MULTI has queued, and any command that is one transaction by itself. What a
handler gets is a node whose values are those that will be once all that waits is durable. Since nobody else is served
meanwhile, all that a transaction may take is bounded: the commands it queues, the counters that it changes, and the
steps of slow commands.
"""

from dataclasses import replace
from types import GeneratorType
from typing import Any, NamedTuple

from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.increases import Increase, Outcome
from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.endpoints.redis.arguments import shown
from gossip_counter.node.endpoints.redis.context import ClientInfo, Command, Node, Wait
from gossip_counter.node.endpoints.redis.expiry import CommandError
from gossip_counter.node.endpoints.redis.parser import WORD_OVERHEAD_BYTES
from gossip_counter.node.endpoints.redis.replies import Error, Pieces, Reply, encode, refusal

MAX_COMMANDS = 10_000
"""Commands that one transaction may have."""

MAX_QUEUED_BYTES = 4 * 2**20
"""Memory that they may take."""

MAX_CHANGED = 10_000
"""Counters that its commands may delete, set or have end: each takes up to a hundred microseconds."""

MAX_STEPS = 512
"""Other commands that are not fast, and pieces of their replies: together some tens of milliseconds."""

_TOO_MANY = Error(f"ERR a transaction takes at most {MAX_COMMANDS} commands and {MAX_QUEUED_BYTES // 2**20} MB")


class DelayedReply(NamedTuple):
    """A reply that may leave once all that it shows is durable."""

    reply: bytes
    transaction: Transaction


class Queued:
    """The commands after a MULTI."""

    __slots__ = ("commands", "is_broken", "size")

    def __init__(self) -> None:
        self.commands: list[tuple[Command, list[bytes]]] = []
        self.size = WORD_OVERHEAD_BYTES
        """Bytes of memory that this takes, at most."""
        self.is_broken = False
        """A command was wrong, so none is executed."""

    def put(self, command: Command, words: list[bytes]) -> Reply:
        """Keep a command until EXEC."""
        size = sum(map(len, words)) + WORD_OVERHEAD_BYTES * (len(words) + 2)
        if len(self.commands) >= MAX_COMMANDS or self.size + size > MAX_QUEUED_BYTES:
            self.break_off()
            return _TOO_MANY
        if not self.is_broken:
            self.commands.append((command, words))
            self.size += size
        return "QUEUED"

    def break_off(self) -> None:
        """Execute none of them."""
        self.is_broken = True
        self.commands.clear()
        self.size = WORD_OVERHEAD_BYTES


class Execution:
    """Executes commands for a client, as one transaction."""

    def __init__(self, client: ClientInfo, node: Node) -> None:
        self.transaction = node.transaction()
        self._client = client
        self._node = replace(node, value=self.transaction.value, execution=self)
        self._steps, self._changes = MAX_STEPS, MAX_CHANGED
        self.instructions = node.scripts.instructions
        """How many its scripts may take, together."""

    def reply(self, command: Command, words: list[bytes], protocol: int = 0) -> bytes:
        """The reply to a command, as the client receives it, or in another protocol."""
        client = self._client
        if protocol and protocol != client.protocol:
            client = replace(client, protocol=protocol)
        result = self._execute(client, command, words)
        return b"".join(result) if isinstance(result, Made) else encode(result, client.protocol)

    def _execute(self, client: ClientInfo, command: Command, words: list[bytes]) -> Reply:
        self._node.clients.calls[words[0].upper()] += 1
        try:
            if command.changes_keys:
                self.will_change(len(command.keys_of(words)))
            elif not command.is_fast:
                self._take_step()
            return self._result(command.handle(client, self._node, words[1:]), command.is_fast)
        except _TooLongError:
            return _too_long(words)
        except CommandError as error:
            return error.error
        except RequestError as error:
            return Error(f"ERR {error.text}")

    def will_change(self, counters: int) -> None:
        """Take note that a command is about to change so many. Where that is too many, it is not executed."""
        if counters > self._changes:
            raise _TooLongError
        self._changes -= counters

    def _take_step(self) -> None:
        if not self._steps:
            raise _TooLongError
        self._steps -= 1

    def _result(self, result: Any, is_fast: bool) -> Reply:
        if type(result) is tuple:
            return self._add(*result)
        if type(result) is GeneratorType:
            return self._pieces(result, is_fast)
        return 0 if type(result) is Wait else result  # nobody has yet what this transaction writes

    def _add(self, counter: str, delta: int | Increase) -> Reply:
        value: Outcome
        if isinstance(delta, Increase):
            value = self.transaction.increase(counter, delta)
        else:
            value = self.transaction.add(counter, delta)
        return refusal(value) if isinstance(value, RequestError) else value

    def delay(self, reply: bytes) -> DelayedReply:
        """End with this reply."""
        return DelayedReply(reply, self.transaction)

    def _pieces(self, pieces: Pieces, is_fast: bool) -> Reply:
        """All of a reply. What is fast takes as long as its words are many, which are bounded as they are queued."""
        made = Made()
        for piece in pieces:
            if not is_fast:
                self._take_step()
            if isinstance(piece, bytes):
                made.append(piece)
        return made


class _TooLongError(Exception):
    """There is no time for a command: nothing of it is done."""


class Made(list[bytes]):
    """A reply that was made step by step: its bytes."""

    __slots__ = ()


def execute_alone(client: ClientInfo, node: Node, command: Command, words: list[bytes]) -> DelayedReply:
    """Execute one command that is a transaction by itself."""
    execution = Execution(client, node)
    return execution.delay(execution.reply(command, words))


def _too_long(words: list[bytes]) -> Error:
    name = shown(words[0]).lower()
    return Error(f"ERR this transaction keeps others waiting for too long: '{name}' was not executed in it")
