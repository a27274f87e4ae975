"""What simulated Redis clients do: pipelines of INCR, DECRBY, GET and WAIT over virtual TCP.

Each client has one connection to one life of a node, and a queue of the commands whose replies it waits for. Replies
must come in the order of the commands.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from gossip_counter.cluster.sim.environment import Environment
from gossip_counter.cluster.sim.node import Node
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.cluster.sim.streams import Connection
from gossip_counter.cluster.sim.workload import ONLY, Counters
from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE

CLIENTS = 2
"""Clients of each node."""

MAX_COMMANDS = 6
"""The most commands of one pipeline, a WAIT not counted."""

DELTAS = (1, 1, 1, 2, -1, -3)

WAITS = 0.3
"""The share of pipelines that end with a WAIT."""

ENDS, ABORTS, STALLS = 0.05, 0.05, 0.1
"""The shares of pipelines after which the client sends nothing more, is gone, or reads no replies for a while."""

NOT_DURABLE = "it can't be made durable"

Reply = int | str | bytes | None
"""An error begins with a minus; bytes are a bulk string, None is null."""


@dataclass(slots=True)
class Command:
    """A command whose reply is still to come."""

    msg_id: int
    words: tuple[str, ...]
    counter: str = ""
    delta: int = 0


class RedisClient:
    """One client of one life of a node."""

    def __init__(self, node: Node, environment: Environment, counters: Counters) -> None:
        assert node.process
        self._node = node
        self._life = node.life
        self._rng = environment.rng
        self._oracle = environment.oracle
        self._trace = environment.trace
        self._copies = environment.scenario.copies
        self._peers = environment.scenario.nodes - 1
        self._claims_versions = environment.scenario.config.gossip != "full"
        self._counters = counters
        self._connection = Connection(node.process, environment.clock, self._rng, self._received)
        self._unread = bytearray()
        self._sent = deque[Command]()
        self._added: list[Command] = []
        """Adds that are durable at this node, and are acknowledged by a WAIT."""
        self._only: Command | None = None
        """The last add to a counter that nobody else uses, if it succeeded."""
        self._is_ending = False

    @property
    def is_usable(self) -> bool:
        """Whether it can send more."""
        return self._connection.is_open and not self._is_ending

    def pipeline(self) -> None:
        """Send some commands."""
        commands = [self._any_command() for _ in range(self._rng.randrange(1, MAX_COMMANDS + 1))]
        if self._claims_versions and (self._copies > 1 or self._rng.random() < WAITS):
            commands += [self._add(self._counters.only()), self._wait()]
        self._sent.extend(commands)
        self._connection.send(b"".join(self._encode(command.words) for command in commands))
        fate = self._rng.random()
        if fate < ENDS:
            self._is_ending = True
            self._connection.end()
        elif fate < ENDS + ABORTS:
            self._abort()
        elif fate < ENDS + ABORTS + STALLS:
            self._connection.stall(self._rng.uniform(1, 300))

    # Commands.

    def _any_command(self) -> Command:
        counter = self._counters.any()
        return self._get(counter) if self._rng.random() < 0.3 else self._add(counter)

    def _add(self, counter: str) -> Command:
        delta = self._rng.choice(DELTAS)
        msg_id = self._oracle.ask_add(self._node.name, self._life, counter, delta)
        words = ("INCR", counter) if delta == 1 else ("DECRBY", counter, str(-delta))
        return Command(msg_id, words, counter, delta)

    def _get(self, counter: str) -> Command:
        return Command(self._oracle.ask_read(self._node.name, self._life, counter), ("GET", counter), counter)

    def _wait(self) -> Command:
        """WAIT for some members; without a limit of time only for those that there are."""
        msg_id = self._oracle.ask_copies(self._node.name, self._life)
        members = self._copies - 1 if self._copies > 1 else self._rng.randrange(self._peers + 2)
        timeout_ms = self._rng.choice((1, 20, 200, 0 if members <= self._peers else 2000))
        return Command(msg_id, ("WAIT", str(members), str(timeout_ms)))

    def _encode(self, words: tuple[str, ...]) -> bytes:
        if self._rng.random() < 0.1 and not any(" " in word for word in words):
            return " ".join(words).encode() + b"\r\n"  # as it is typed
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)

    # Replies.

    def _received(self, data: bytes) -> None:
        """Take what arrives. Raises `PromiseBroken`."""
        self._trace.note(self._node.name, "redis", data)
        if not data and (self._sent or not self._is_ending):
            raise PromiseBroken(f"{self._node.name} closed the connection of a Redis client that waits for replies")
        self._unread += data
        for reply in replies(self._unread):
            if not self._sent:
                raise PromiseBroken(f"{self._node.name} sent a reply to nothing: {reply!r}")
            self._replied(self._sent.popleft(), reply)

    def _replied(self, command: Command, reply: Reply) -> None:
        match command.words[0], reply:
            case _, str() as error:
                self._failed(command, error)
            case "GET", bytes() | None:
                self._oracle.replied(command.msg_id, int(reply or b"0"))
            case "WAIT", int() as members:
                self._oracle.counted(command.msg_id)
                self._copied(members)
            case "INCR" | "DECRBY", int() as value:
                self._was_added(command, value)
            case _:
                raise PromiseBroken(f"{self._node.name} replied {reply!r} to {' '.join(command.words)}")

    def _was_added(self, command: Command, value: int) -> None:
        self._oracle.check_value(command.msg_id, value)
        for later in self._sent:
            if later.counter == command.counter:
                self._oracle.must_include(later.msg_id, command.delta)
        if command.counter.startswith(ONLY):
            self._only = command
        if self._copies > 1:
            self._added.append(command)
        else:
            self._oracle.acknowledged(command.msg_id)

    def _copied(self, members: int) -> None:
        """So many other members store durably all that this client added."""
        if self._only:
            self._counters.check_copies(self._only.counter, self._only.delta, members + 1)
        added, self._added = self._added, []
        for command in added:
            if members + 1 >= self._copies:
                self._oracle.acknowledged(command.msg_id)
            else:
                self._oracle.unknown(command.msg_id)

    def _failed(self, command: Command, error: str) -> None:
        code = TEMPORARILY_UNAVAILABLE if NOT_DURABLE in error else MALFORMED
        self._oracle.failed(command.msg_id, code, error, disk_failed=self._node.disk.has_failed)
        if command.counter.startswith(ONLY):
            self._only = None

    def _abort(self) -> None:
        self._is_ending = True
        self._connection.abort()
        for command in (*self._added, *self._sent):
            self._oracle.unknown(command.msg_id)
        self._added.clear()
        self._sent.clear()


class RedisWorkload:
    """Redis clients of all nodes."""

    def __init__(self, environment: Environment, nodes: dict[str, Node], counters: Counters) -> None:
        self._environment = environment
        self._nodes = nodes
        self._counters = counters
        self._clients: dict[tuple[str, int], RedisClient] = {}

    def pipeline(self) -> None:
        """A client of a random node sends some commands; it connects anew if it must."""
        rng = self._environment.rng
        node, number = rng.choice(list(self._nodes.values())), rng.randrange(CLIENTS)
        client = self._clients.get((node.name, number))
        if node.process is None:
            return
        if client is None or not client.is_usable:
            client = self._clients[node.name, number] = RedisClient(node, self._environment, self._counters)
        client.pipeline()


def replies(unread: bytearray) -> Iterator[Reply]:
    """Take the complete replies of protocol 2 from the beginning of what was received. Raises `ValueError`."""
    while (end := unread.find(b"\r\n")) >= 0:
        line = bytes(unread[:end])
        end += 2
        match line[:1]:
            case b":":
                reply: Reply = int(line[1:])
            case b"-":
                reply = line.decode()
            case b"$" if line == b"$-1":
                reply = None
            case b"$":
                start, end = end, end + int(line[1:]) + 2
                if len(unread) < end:
                    return
                reply = bytes(unread[start : end - 2])
            case _:
                raise ValueError(f"no reply begins with {line!r}")
        del unread[:end]
        yield reply
