"""A node on stdin and stdout: JSON lines, as Maelstrom speaks them.

Standard output carries messages and nothing else. One thread, one `select`: unlike an event loop's pipes it also reads
a plain file, so recorded lines can be fed in with `<`. At the end of input everything read has been answered.
"""

import logging
import os
import select
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from random import Random, SystemRandom
from time import monotonic_ns
from typing import Any, BinaryIO

from gossip_counter.node.codec import json_lines, requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE, ConfigError, ProtocolError, RequestError
from gossip_counter.node.core.gossip.messages import Replicate
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import ErrorReply, InitOk, Reply
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.runtime.diagnostics import Diagnostics

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is dropped: memory stays bounded whatever is piped in."""

log = logging.getLogger("gossip_counter.stdio")


class StdioNode:
    """One replica, named by the `init` message, between two byte streams."""

    def __init__(self, config: Config, output: BinaryIO, rng: Random) -> None:
        self._config = config
        self._output = output
        self._rng = rng
        self._reply_ids = count()
        self._replica: Replica | None = None
        self._name = ""
        """What we are called before `init` says so: whatever the last line was addressed to."""
        self._next_tick_ns = 0
        self._diagnostics = Diagnostics(log, Stats())

    def run(self, source: int) -> None:
        """Serve the lines of the file descriptor `source` until its end."""
        for line in self._lines(source):
            try:
                self._receive(line)
            except ProtocolError as error:
                self._diagnostics.note("bad_input", "%s", error)
            except OSError:  # nobody can be answered any more
                raise
            except Exception as error:  # noqa: BLE001 the loop outlives every line
                self._diagnostics.unexpected(error)

    def _lines(self, source: int) -> Iterator[bytes]:
        """Lines as they come, ticking in between."""
        rest = bytearray()
        dropping = False
        while chunk := self._read(source):
            first, *others = chunk.split(b"\n")
            rest += first
            for start in others:
                if not dropping:
                    yield bytes(rest)
                rest, dropping = bytearray(start), False
            if len(rest) > MAX_LINE_BYTES:
                self._diagnostics.note("bad_input", "a line of more than %d bytes", MAX_LINE_BYTES)
                rest.clear()
                dropping = True
        if rest and not dropping:
            yield bytes(rest)

    def _read(self, source: int) -> bytes:
        while True:
            self._tick_if_due()
            ready, _, _ = select.select([source], [], [], self._until_tick_s())
            if ready:
                return os.read(source, 65_536)

    def _until_tick_s(self) -> float | None:
        return None if self._replica is None else max(0, self._next_tick_ns - monotonic_ns()) / 1e9

    def _tick_if_due(self) -> None:
        now_ns = monotonic_ns()
        if self._replica is None or now_ns < self._next_tick_ns:
            return
        self._next_tick_ns = max(self._next_tick_ns + self._config.gossip_interval_ns, now_ns)
        self._replica.tick(now_ns)
        self._advance(self._replica)

    def _receive(self, line: bytes) -> None:
        if not line.strip():
            return
        client, self._name, body = json_lines.unpack(line)
        try:
            if body.get("type") == "init":
                self._init(body, client)
            elif self._replica is None:
                raise RequestError(TEMPORARILY_UNAVAILABLE, "not yet initialised", requests.message_id(body))
            else:
                is_gossip = body.get("type") == "replicate"
                message = requests.parse_replicate(body, client) if is_gossip else requests.parse(body)
                self._replica.step(message, client, monotonic_ns())
        except RequestError as error:
            if error.msg_id is None:
                raise
            self._refuse(client, error)
        if self._replica:
            self._advance(self._replica)

    def _init(self, body: requests.Body, client: str) -> None:
        init = requests.parse_init(body)
        peers = tuple(sorted(set(init.node_ids) - {init.node_id}))
        if self._replica is None:
            now_ns = monotonic_ns()
            self._config = replace(self._config, name=init.node_id, peers=peers, gossip="full")
            # Other nodes know us by our name alone, so that is what our rows are called.
            recovered = Recovered(Actor(init.node_id))
            self._replica = Replica(self._config, self._rng, now_ns, recovered, SystemRandom())
            self._diagnostics = Diagnostics(log, self._replica.stats)
            self._next_tick_ns = now_ns + int(self._rng.random() * self._config.gossip_interval_ns)
        elif (self._config.name, self._config.peers) != (init.node_id, peers):
            raise RequestError(MALFORMED, f"already initialised as {self._config.name}", init.msg_id)
        self._reply(client, InitOk(init.msg_id))

    def _refuse(self, client: str, error: RequestError) -> None:
        if self._replica is None:
            self._reply(client, ErrorReply(error.msg_id, error.code, error.text))
        else:
            self._replica.refuse(client, error)

    def _advance(self, replica: Replica) -> None:
        """Carry out all that the replica wants done. A commit goes to memory, which is done at once."""
        while ready := replica.ready(monotonic_ns()):
            for answer in ready.replies:
                self._reply(str(answer.to), answer.reply)
            for send in ready.sends:
                if isinstance(send.message, Replicate):  # full-state gossip sends nothing else
                    body = requests.replicate_body(send.message)
                    for peer in send.to:
                        self._write(str(peer), body)
            if ready.commit:
                replica.persisted()

    def _reply(self, client: str, reply: Reply) -> None:
        self._write(client, requests.reply_body(reply, next(self._reply_ids)))

    def _write(self, to: str, body: dict[str, Any]) -> None:
        name = self._config.name if self._replica else self._name
        self._output.write(json_lines.pack(name, to, body))
        self._output.flush()


def serve(config: Config, rng: Random) -> None:
    """Run one node on standard input and output until the input ends or the reader of our output goes away.

    Raises `ConfigError` if one of them is closed, `SystemExit` with a text where one fails in another way.
    """
    if sys.stdin is None or sys.stdout is None:
        raise ConfigError("--stdio needs standard input and output, and one of them is closed")
    try:
        StdioNode(config, sys.stdout.buffer, rng).run(sys.stdin.fileno())
    except OSError as error:
        # Point stdout elsewhere, so that closing it at exit does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.exit(f"counter-node: standard input or output fails: {error.strerror}")
