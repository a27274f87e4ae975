"""Ports of nodes: which are free, and which node has which."""

import errno
import os
import socket
import sys
from collections import deque
from random import Random

from gossip_counter.cluster.errors import ClusterError, reason
from gossip_counter.cluster.manifest import HOST, Manifest, Member

MAX_PORT = 65_535

METRICS_OFFSET = 1000
"""A node's metrics are at its port plus this; or minus this, where that is no port. Not where ports are random."""

FREE_PORTS = range(20_000, 32_000)
"""Below the ports that the system gives to clients' sockets, so that none of those takes one in between."""

MAX_CLAIMS = 256
"""Free ports that one process keeps other processes from choosing. Beyond that, the oldest claims are dropped."""

_claims: deque[int] = deque()
"""File descriptors of the sockets that stand for claimed ports."""


def assign(manifest: Manifest, base_port: int) -> None:
    """Give each node a port before it starts: `base_port` and those that follow; 0 takes free ones.

    Raises `ClusterError` if one of them is taken.
    """
    nodes = len(manifest.members)
    following = [base_port + number for number in range(nodes)]
    ports = [*following, *map(_metrics_port, following)] if base_port else free_ports(2 * nodes)
    for member, port, metrics_port in zip(manifest.members.values(), ports[:nodes], ports[nodes:], strict=True):
        member.port, member.metrics_port = port, metrics_port
    check(manifest)


def _metrics_port(port: int) -> int:
    return port + METRICS_OFFSET if port + METRICS_OFFSET <= MAX_PORT else port - METRICS_OFFSET


def assign_one(manifest: Manifest, member: Member) -> None:
    """Give a node that is new a port: the one after the highest, if that and its metrics port are free, else any."""
    following = max(each.port for each in manifest.members.values()) + 1
    pair = following, _metrics_port(following)
    if following > MAX_PORT or not all(map(is_free, pair)):
        pair = tuple(free_ports(2))  # type: ignore[assignment]
    member.port, member.metrics_port = pair


def check(manifest: Manifest) -> None:
    """Raises `ClusterError` if a node's port is taken."""
    ports = [each.port for each in manifest.members.values()]
    if manifest.settings.metrics:
        ports += [each.metrics_port for each in manifest.members.values()]
    for port in ports:
        if port > MAX_PORT:
            raise ClusterError(f"there is no port {port}: choose a smaller --base-port")
        if error := _refusal(port):
            if error.errno == errno.EADDRINUSE:
                raise ClusterError(
                    f"port {port} of {HOST} is busy: stop what uses it, or choose others with --base-port"
                )
            raise ClusterError(f"port {port} of {HOST} can't be used ({reason(error)}): choose others with --base-port")


def is_free(port: int) -> bool:
    """Whether a node could bind this port now, for UDP and TCP."""
    return _refusal(port) is None


def _refusal(port: int) -> OSError | None:
    """Why the system does not let a node bind this port; None if it does."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:  # connections of a node that has just ended do not matter
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                return error
    return None


def free_ports(wanted: int, among: range = FREE_PORTS) -> list[int]:
    """So many ports that nobody uses at the moment. Raises `ClusterError` if there are not enough."""
    candidates = Random().sample(among, len(among))
    found = (port for port in candidates if is_free(port) and _claim(port))
    free = [port for _, port in zip(range(wanted), found, strict=False)]
    if len(free) < wanted:
        raise ClusterError(f"{wanted} free ports can't be found between {among.start} and {among.stop}")
    return free


def _claim(port: int) -> bool:
    """Keep other processes from choosing this free port too, until a node has bound it. False if one has claimed it.

    The claim is an abstract Unix socket: its name is unique on the machine and ends with the process that holds it.
    """
    if sys.platform != "linux":
        return True  # other systems have no abstract sockets
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0gossip-counter-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim.detach())
    if len(_claims) > MAX_CLAIMS:
        os.close(_claims.popleft())
    return True
