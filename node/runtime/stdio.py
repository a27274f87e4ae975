"""The stdin/stdout world: JSON lines, as Maelstrom speaks them.

Standard output carries messages and nothing else. One thread, one `select`: unlike an event loop's pipes it also reads
a plain file, so recorded lines can be fed in with `<`. At the end of input everything read has been answered.
"""

import json
import logging
import os
import select
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from random import Random
from time import monotonic_ns
from typing import Any, BinaryIO

from gossip_counter.node.codec import requests
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE, ProtocolError, RequestError
from gossip_counter.node.core.gossip import Send
from gossip_counter.node.core.messages import ErrorReply, InitOk, Replicate, Reply, Request
from gossip_counter.node.core.replica import Answer, Commit, Effect, Recovered, Replica
from gossip_counter.node.core.state import Actor
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.runtime.diagnostics import Complaints

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is dropped: memory stays bounded whatever is piped in."""

log = logging.getLogger("gossip_counter.stdio")


class MaelstromNode:
    """One replica, named by the `init` message, between two byte streams."""

    def __init__(self, config: Config, output: BinaryIO, rng: Random) -> None:
        self._settings = config
        self._output = output
        self._rng = rng
        self._reply_ids = count()
        self._replica: Replica | None = None
        self._name = ""
        """What we are called before `init` says so: whatever the last line was addressed to."""
        self._next_tick_ns = 0
        self._complaints = Complaints(log, Stats())

    def run(self, source: int) -> None:
        """Serve the lines of the file descriptor `source` until its end."""
        for line in self._lines(source):
            try:
                self._receive(line)
            except ProtocolError as error:
                self._complaints.add("bad_input", "%s", error)
            except OSError:  # nobody can be answered any more
                raise
            except Exception as error:  # noqa: BLE001 the loop outlives every line
                self._complaints.unforeseen(error)

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
                self._complaints.add("bad_input", "a line of more than %d bytes", MAX_LINE_BYTES)
                rest.clear()
                dropping = True
        if rest and not dropping:
            yield bytes(rest)

    def _read(self, source: int) -> bytes:
        while True:
            self._tick_if_due()
            ready, _, _ = select.select([source], [], [], self._until_tick())
            if ready:
                return os.read(source, 65_536)

    def _until_tick(self) -> float | None:
        return None if self._replica is None else max(0, self._next_tick_ns - monotonic_ns()) / 1e9

    def _tick_if_due(self) -> None:
        now = monotonic_ns()
        if self._replica is None or now < self._next_tick_ns:
            return
        self._next_tick_ns = max(self._next_tick_ns + self._settings.gossip_interval_ns, now)
        self._carry_out(self._replica, [*self._replica.tick(now), *self._replica.flush()])

    def _receive(self, line: bytes) -> None:
        if not line.strip():
            return
        client, self._name, body = envelope(line)
        try:
            if body.get("type") == "init":
                self._init(body, client)
            elif self._replica is None:
                raise RequestError(TEMPORARILY_UNAVAILABLE, "not yet initialised", requests.message_id(body))
            elif body.get("type") == "replicate":
                self._handle(self._replica, requests.parse_replicate(body, client), client)
            else:
                self._handle(self._replica, requests.parse(body), client)
        except RequestError as error:
            if error.msg_id is None:
                raise
            if self._replica is None:
                self._reply(client, ErrorReply(error.msg_id, error.code, error.text))
            else:
                self._carry_out(self._replica, self._replica.refuse(error, error.msg_id, client))

    def _init(self, body: requests.Body, client: str) -> None:
        init = requests.parse_init(body)
        peers = tuple(sorted(set(init.node_ids) - {init.node_id}))
        if self._replica is None:
            now = monotonic_ns()
            self._settings = replace(self._settings, name=init.node_id, peers=peers, gossip="full")
            # Other nodes know us by our name alone, so that is what our rows are called.
            self._replica = Replica(self._settings, self._rng, now, Recovered(Actor(init.node_id)))
            self._complaints = Complaints(log, self._replica.stats)
            self._next_tick_ns = now + int(self._rng.random() * self._settings.gossip_interval_ns)
        elif (self._settings.name, self._settings.peers) != (init.node_id, peers):
            raise RequestError(MALFORMED, f"already initialised as {self._settings.name}", init.msg_id)
        self._reply(client, InitOk(init.msg_id))

    def _handle(self, replica: Replica, message: Request | Replicate, client: str) -> None:
        self._carry_out(replica, [*replica.handle(message, client, monotonic_ns()), *replica.flush()])

    def _carry_out(self, replica: Replica, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Answer(to, reply):
                    self._reply(str(to), reply)
                case Commit():  # to memory, which is done at once
                    self._carry_out(replica, [*replica.committed(monotonic_ns()), *replica.flush()])
                case Send(to, Replicate() as message):
                    body = requests.replicate_body(message)
                    for peer in to:
                        self._write(peer, body)
                case _:
                    raise TypeError(f"{effect} has no place in full-state gossip")

    def _reply(self, client: str, reply: Reply) -> None:
        self._write(client, requests.reply_body(reply, next(self._reply_ids)))

    def _write(self, to: str, body: dict[str, Any]) -> None:
        name = self._settings.name if self._replica else self._name
        line = json.dumps({"src": name, "dest": to, "body": body})
        self._output.write(line.encode() + b"\n")
        self._output.flush()


def envelope(line: bytes) -> tuple[str, str, Mapping[object, object]]:
    """Who sent a line, to whom, and its body. Raises `ProtocolError`."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON map")
    source, body = message.get("src"), message.get("body")
    if not isinstance(source, str) or not isinstance(body, dict):
        raise ProtocolError("a message needs a string src and a map body")
    to = message.get("dest")
    return source, to if isinstance(to, str) else "", body


def serve(config: Config, rng: Random) -> None:
    """Run one node on standard input and output until the input ends or the reader of our output goes away.

    Raises `SystemExit` with a text where one of them fails in another way.
    """
    try:
        MaelstromNode(config, sys.stdout.buffer, rng).run(sys.stdin.fileno())
    except OSError as error:
        # Point stdout elsewhere, so that closing it at exit does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.exit(f"counter-node: standard input or output fails: {error.strerror}")
