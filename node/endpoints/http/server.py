"""The HTTP endpoint: /metrics for Prometheus, /healthz and /readyz for whoever restarts nodes or routes clients.

It answers from threads of its own, so that it can report an event loop that stands still.
"""

import socket
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import choose_encoder

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.addresses import shown
from gossip_counter.node.endpoints.http.health import Health
from gossip_counter.node.endpoints.http.metrics import Metrics
from gossip_counter.node.endpoints.socket_errors import why_not

REQUEST_S = 5.0
"""Seconds that a client may take to send its request."""

MAX_CLIENTS = 16
"""Clients at once; connections beyond that are closed."""

_STALLED = "the event loop stands still"
_NOT_READY = "peers have not reported yet what they hold"
_NO_MEMBER = "this node is no member of its cluster: its log has the reason"

_Start = Any
"""WSGI's `start_response`."""


class HttpServer:
    """Serves one node's metrics and health, from construction until `close`."""

    def __init__(
        self,
        metrics: Metrics,
        host: str,
        port: int,
        unexpected: Callable[[BaseException], None],
        request_s: float = REQUEST_S,
    ) -> None:
        """`unexpected` is called, from another thread, with errors that should not have happened.

        Raises `ConfigError` if it can't listen.
        """
        pages = _Pages(metrics, unexpected)
        try:
            self._server = make_server(host, port, pages.answer, _Server6 if ":" in host else _Server, _Handler)
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"can't serve metrics at {shown((host, port))}: {why_not(error)}") from None
        self._server.unexpected = unexpected
        self._server.request_s = request_s
        self.address = self._server.server_address[:2]
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Release the port."""
        self._server.shutdown()
        self._server.server_close()


class _Pages:
    """The WSGI application."""

    def __init__(self, metrics: Metrics, unexpected: Callable[[BaseException], None]) -> None:
        self._unexpected = unexpected
        self._health: Health = metrics.health
        self._scrape = make_wsgi_app(metrics.registry)

    def answer(self, request: dict[str, Any], start: _Start) -> Iterable[bytes]:
        """As WSGI calls it."""
        health = self._health
        match request["PATH_INFO"]:
            case "/metrics":
                return self._metrics(request, start)
            case "/healthz":
                return _page(start, health.is_healthy, _STALLED)
            case "/readyz":
                return _page(start, health.is_ready, _not_ready(health), _notes(health.unheard))
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there are /metrics, /healthz and /readyz\n"]

    def _metrics(self, request: dict[str, Any], start: _Start) -> Iterable[bytes]:
        try:
            choose_encoder(request.get("HTTP_ACCEPT", ""))
        except (TypeError, ValueError):
            start("400 Bad Request", [("Content-Type", "text/plain")])
            return [b"the Accept header is none: leave it out, or ask for text/plain\n"]
        try:
            return cast(Iterable[bytes], self._scrape(request, start))
        except TimeoutError:
            return _page(start, False, _STALLED)
        except Exception as error:  # noqa: BLE001 counted, logged and shown in status
            self._unexpected(error)
            return _page(start, False, "an error of the node's own: its log has it")


def _not_ready(health: Health) -> str:
    """Why a node that is not ready is not."""
    if not health.is_healthy:
        return _STALLED
    return _NOT_READY if health.is_member else _NO_MEMBER


def _page(start: _Start, is_good: bool, trouble: str, notes: str = "") -> Iterable[bytes]:
    start("200 OK" if is_good else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{'ok' if is_good else trouble}\n{notes}".encode()]


def _notes(unheard: list[str]) -> str:
    return f"not heard since the start: {', '.join(unheard)}\n" if unheard else ""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each client, but no more than MAX_CLIENTS."""

    daemon_threads = True
    unexpected: Callable[[BaseException], None]
    request_s: float

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:  # no thread can be started
            self._room.release()
            self.shutdown_request(request)
            self.unexpected(error)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 as socketserver calls it
        error = sys.exception()
        if error and not isinstance(error, OSError):  # a client that went away, or is silent, is no error of ours
            self.unexpected(error)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.request_s)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""
