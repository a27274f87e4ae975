"""The Redis endpoint on TCP: asyncio connections around sessions and their scheduler."""

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable, Collection
from random import SystemRandom
from time import monotonic_ns, time_ns
from typing import NamedTuple, cast

from gossip_counter import __version__
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.endpoints.addresses import shown
from gossip_counter.node.endpoints.redis import info
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS
from gossip_counter.node.endpoints.redis.context import Clients, Node, RedisClient, Sections
from gossip_counter.node.endpoints.redis.parser import AUTHENTICATED
from gossip_counter.node.endpoints.redis.ports import Runtime
from gossip_counter.node.endpoints.redis.scheduler import Scheduler
from gossip_counter.node.endpoints.redis.scripts import Scripts
from gossip_counter.node.endpoints.redis.session import Session, State
from gossip_counter.node.endpoints.socket_errors import why_not

__all__ = ["Listen", "RedisClient", "RedisServer"]

BACKLOG = 1024
"""Connections that wait to be accepted."""

MAX_CONNECTIONS = 10_000

OTHER_FILES = 48
"""Open files of this process that are not clients' connections: two dozen of its own, those who read metrics, and
connections that are refused.
"""

HANDSHAKE_S = 10
"""How long a TLS client may take for its handshake."""

MAX_UNSENT_BYTES = 16_384
"""Once so many bytes wait for the system to take them, the client counts as one that does not read."""

KEEPALIVE_S = 300
"""After so long, the kernel asks a silent client whether it is still there."""

Address = tuple[str, int]


class Listen(NamedTuple):
    """Where Redis clients are served, their password, and TLS."""

    host: str
    port: int
    password: bytes | None = None
    tls: ssl.SSLContext | None = None


class RedisServer:
    """The Redis clients of one node.

    The runtime makes one inside the running event loop, and calls `start`; at the end `begin_close`, after which no
    client is read any more and adds that were taken are still submitted; and once those are answered `close`, after
    which what was answered still leaves.

    `advance` is called from inside event handlers and must carry out all that the replica has ready, and not raise. Of
    the replica's answers, those to a `RedisClient` go to `answer.to.deliver(answer.reply)`. `unexpected` reports an
    error that should not have happened.
    """

    def __init__(
        self,
        replica: Replica,
        advance: Callable[[], None],
        unexpected: Callable[[BaseException], None],
        listen: Listen,
    ) -> None:
        self._listen = listen
        self._replica = replica
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Server | None = None
        self.max_connections = _allow_files()
        """How many clients can be connected. Fewer than MAX_CONNECTIONS if this process may open too few files."""
        runtime = Runtime(self._loop.call_soon, monotonic_ns, advance, unexpected, self._set_clock)
        self._timer: asyncio.TimerHandle | None = None
        self.scheduler = Scheduler(replica, self._node, runtime, self.max_connections)

    def _node(self, clients: Clients) -> Node:
        replica = self._replica
        return Node(
            version=__version__,
            value=replica.value,
            names=replica.state.names,
            peers=lambda: len(replica.membership),
            counts_copies=replica.config.gossip != "full",
            clients=clients,
            transaction=self._transaction,
            watches=replica.state.watches,
            scripts=Scripts(replica.config.script_instructions, replica.config.script_memory_kb),
            random_below=SystemRandom().randrange,
            info=self._info,
            time_us=lambda: time_ns() // 1000,
            settings=self._settings(),
            password=self._listen.password,
            allows_flush=replica.config.allow_flush,
        )

    def _set_clock(self) -> None:
        self._replica.set_clock(monotonic_ns(), time_ns() // 1_000_000)

    def _transaction(self) -> Transaction:
        self._set_clock()
        return self._replica.transaction()

    def _settings(self) -> dict[str, str]:
        """What CONFIG GET shows: what Redis calls these settings, and what is true here."""
        return {
            "bind": self._listen.host, "port": str(self._listen.port), "maxclients": str(self.max_connections),
            "tcp-backlog": str(BACKLOG), "tcp-keepalive": str(KEEPALIVE_S), "timeout": "0", "databases": "1",
            "proto-max-bulk-len": str(AUTHENTICATED.word_bytes),
            "client-query-buffer-limit": str(AUTHENTICATED.total_bytes),
            "maxmemory": "0", "maxmemory-policy": "noeviction",
            "maxmemory-clients": str(DEFAULT_BOUNDS.max_stuck_bytes),
            "appendonly": "yes", "appendfsync": "always", "save": "", "cluster-enabled": "no",
            "slowlog-log-slower-than": "-1", "slowlog-max-len": "0", "latency-monitor-threshold": "0",
            "notify-keyspace-events": "",
        }  # fmt: skip

    @property
    def connections(self) -> Collection[Session]:
        """The clients that are connected, now and at any later time."""
        return self.scheduler.sessions

    @property
    def addresses(self) -> list[Address]:
        """Where clients are served, once `start` is done."""
        return [each.getsockname()[:2] for each in self._listener.sockets] if self._listener else []

    async def start(self) -> None:
        """Listen. Raises `ConfigError` that says why that is not possible."""
        listen = self._listen
        try:
            self._listener = await self._loop.create_server(
                lambda: Connection(self.scheduler),
                listen.host,
                listen.port,
                backlog=BACKLOG,
                ssl=listen.tls,
                ssl_handshake_timeout=HANDSHAKE_S if listen.tls else None,
            )
        except (OSError, UnicodeError) as error:
            raise ConfigError(
                f"can't serve Redis clients at {shown((listen.host, listen.port))}: {why_not(error)}"
            ) from None
        self._timer = self._loop.call_later(1, self._second_passed)

    def _second_passed(self) -> None:
        self.scheduler.second_passed()
        self._timer = self._loop.call_later(1, self._second_passed)

    def begin_close(self) -> None:
        """Accept and read nobody any more; adds that were taken are still submitted and answered."""
        if self._listener:
            self._listener.close()
        if self._timer:
            self._timer.cancel()
        self.scheduler.begin_close()

    def close(self) -> None:
        """Close all connections; what was answered still leaves."""
        self.scheduler.close()

    def _info(self) -> Sections:
        scheduler = self.scheduler
        clients = {"connected_clients": len(scheduler.sessions), "blocked_clients": scheduler.waiting_clients}
        counts = {
            "total_connections_received": scheduler.connections_received,
            "total_commands_processed": scheduler.calls.total(),
            "instantaneous_ops_per_sec": scheduler.commands_per_second,
        }
        return info.sections(self._replica.status(monotonic_ns()), {
            "Server": {"tcp_port": self.addresses[0][1] if self._listener else self._listen.port},
            "Clients": {**clients, "maxclients": self.max_connections},
            "Stats": dict(counts),
        })  # fmt: skip


class Connection(asyncio.Protocol):
    """One client's transport. It is read, closed and aborted as its session's `state` and `wants_input` say."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.Transport, transport)
        self.send = self._transport.write
        self._transport.set_write_buffer_limits(MAX_UNSENT_BYTES)
        _configure(self._transport.get_extra_info("socket"))
        self._session = self._scheduler.connect(self._address("peername"), self, self._address("sockname"))
        if not self._session.is_open:
            self._transport.close()
        elif self._scheduler.is_paused:  # not at once: asyncio begins to read after this
            asyncio.get_running_loop().call_soon(self.update)

    def _address(self, of: str) -> str:
        host, port, *_ = self._transport.get_extra_info(of) or ("", 0)
        return f"{host}:{port}"

    @property
    def unsent(self) -> int:
        """As the session has it."""
        return self._transport.get_write_buffer_size()

    def connection_lost(self, _why: Exception | None) -> None:
        """As asyncio calls it."""
        self._scheduler.disconnect(self._session)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        try:
            self._scheduler.receive(self._session, data)
        except Exception as error:  # noqa: BLE001 counted, logged and shown in status
            self._scheduler.fail(self._session, error)

    def eof_received(self) -> bool:
        """As asyncio calls it: what was read is still answered, except over TLS, which can't be half closed."""
        self._scheduler.end_input(self._session)
        is_tls = self._transport.get_extra_info("ssl_object") is not None
        if is_tls:
            self._session.close()
        return not is_tls

    def pause_writing(self) -> None:
        """As asyncio calls it."""
        self._session.block_output()

    def resume_writing(self) -> None:
        """As asyncio calls it."""
        self._session.unblock_output()

    def schedule(self) -> None:
        """As the session calls it."""
        self._scheduler.schedule(self._session)

    def update(self) -> None:
        """As the session calls it."""
        session, transport = self._session, self._transport
        if session.state is State.ABORTED:
            transport.abort()
        elif session.state is State.CLOSED:
            transport.close()
        elif transport.is_closing():  # the client is gone, and connection_lost comes next
            return
        elif session.wants_input and not self._scheduler.is_paused:
            transport.resume_reading()
        else:
            transport.pause_reading()


def _configure(connected: socket.socket | None) -> None:
    """Send replies at once, and notice clients that are gone without a word."""
    if connected is not None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)


def _allow_files() -> int:
    """Let this process open as many files as MAX_CONNECTIONS need; how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MAX_CONNECTIONS, soft - OTHER_FILES))
