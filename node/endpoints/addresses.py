"""UDP addresses: names to addresses, a bound socket, and what its errors mean for whoever runs the node."""

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Iterable
from typing import Any, cast

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.listening import why_not

Address = tuple[str, int]
"""Host and port."""

Sockaddr = tuple[Any, ...]
"""An address as sockets give and take it: with IPv6 it has four fields. Host and port come first."""

Found = tuple[int, Sockaddr]
"""An address family, and an address of it."""

RECEIVE_BUFFER_BYTES = 4 * 2**20
"""Asked of the kernel, which may grant less: room for a burst while a tick is under way."""

IP_PKTINFO: int | None = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
"""Python 3.11 has no name for it."""

WILDCARDS = ("0.0.0.0", "::")

ADVICE = {
    errno.EINVAL: "the address that this node is bound to can't send there: bind one that the members can reach",
    errno.ENETUNREACH: "this host has no route to it: check that member's address, and this host's network",
    errno.EHOSTUNREACH: "this host has no route to it: check that member's address, and this host's network",
    errno.EACCES: "it is a broadcast address, or a firewall of this host forbids it: check that member's address",
    errno.EPERM: "a firewall of this host forbids it: let UDP pass to that address",
    errno.EMSGSIZE: "the network takes no datagrams as large as that: lower --datagram-bytes",
    errno.EADDRNOTAVAIL: "this node is bound to an address that this host no longer has: start it with another --bind",
    errno.EAFNOSUPPORT: "this host has no such addresses: list that member by another one, IPv4 or IPv6",
}
"""What to do about an error of a socket that means a wrong setting."""


def bind(address: Address) -> socket.socket:
    """A socket bound to `address`, which nobody else may share. At `::` it serves IPv4 too. Raises `ConfigError`."""
    family, *_, sockaddr = _resolve(address, f"say --bind 0.0.0.0:{address[1]} to listen at all addresses")
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, sockaddr[0] != "::")
        bound.bind(sockaddr)
    except OSError as error:
        bound.close()
        raise ConfigError(f"can't bind {address[0]}:{address[1]}: {why_not(error)}") from None
    bound.setblocking(False)
    with contextlib.suppress(OSError):  # a wish, not a need
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return bound


def resolve(address: Address) -> tuple[int, int, int, str, Address]:
    """The first that the system makes of a host and a port, as `getaddrinfo` gives it. Raises `ConfigError`."""
    return _resolve(address, "check the name")


def _resolve(address: Address, advice: str) -> tuple[int, int, int, str, Address]:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"can't find the address {address[0]}:{address[1]}: {why_not(error)}; {advice}") from None
    return cast(tuple[int, int, int, str, Address], found[0])


def look_up(address: Address, flags: int = 0) -> list[Found]:
    """All addresses of a host, in the order in which the system prefers them; it may block.

    Raises `OSError`, and `UnicodeError` for what can't be a name.
    """
    found = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM, flags=flags)
    return list(dict.fromkeys((int(family), sockaddr) for family, *_, sockaddr in found))


def usable(bound: socket.socket, found: Iterable[Found]) -> list[Sockaddr]:
    """Those addresses that the bound socket can send to, as it takes them: IPv4, IPv6, or at `::` both."""
    serves_both = bound.getsockname()[0] == "::"
    return [
        sockaddr if family == bound.family else (f"::ffff:{sockaddr[0]}", sockaddr[1], 0, 0)
        for family, sockaddr in found
        if family == bound.family or (serves_both and family == socket.AF_INET)
    ]


def is_loopback(host: str) -> bool:
    """Whether only this host can be reached from this numeric address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def probe(bound: socket.socket, to: Sockaddr) -> OSError | None:
    """What keeps datagrams from the address of a bound socket to another; nothing is sent."""
    with socket.socket(bound.family, socket.SOCK_DGRAM) as trial:
        try:
            if bound.family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bound.getsockname()[0] != "::")
            host, _, *rest = bound.getsockname()
            trial.bind((host, 0, *rest))
            trial.connect(to)
        except OSError as error:
            return error
    return None


def shown(address: Sockaddr) -> str:
    """An address as people write it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def explained(error: OSError) -> str:
    """What is wrong, and if a wrong setting can cause it, what to do."""
    advice = ADVICE.get(error.errno or 0)
    return f"{error.strerror or error}{f': {advice}' if advice else ''}"
