"""UDP addresses: names to addresses, a bound socket, and what can be reached from it."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.socket_errors import why_not

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


def bind(address: Address) -> socket.socket:
    """A socket bound to `address`, which nobody else may share. At `::` it serves IPv4 too. Raises `ConfigError`."""
    family, sockaddr = resolve(address, f"say --bind 0.0.0.0:{address[1]} to listen at all addresses")
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, sockaddr[0] != "::")
        bound.bind(sockaddr)
    except OSError as error:
        bound.close()
        raise ConfigError(f"can't bind {shown(address)}: {why_not(error)}") from None
    bound.setblocking(False)
    with contextlib.suppress(OSError):  # a wish, not a need
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return bound


def resolve(address: Address, advice: str = "check the name") -> Found:
    """The address that the system prefers for a host and a port. Raises `ConfigError`, with `advice`."""
    try:
        return look_up(address)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"can't find the address {shown(address)}: {why_not(error)}; {advice}") from None


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


@lru_cache(maxsize=1024)  # it is asked of each datagram
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


def is_own(address: Address, bound: Address) -> bool:
    """Whether a socket bound to `bound` is found at `address`. No name server is asked: of names, only this host's are
    looked up.
    """
    if address == bound:
        return True
    if address[1] != bound[1]:
        return False
    ours, theirs = _known(bound), _known(address)
    if any(sockaddr[0] in WILDCARDS for _, sockaddr in ours):
        return any(_is_of_this_host(each) for each in theirs)
    return any(sockaddr[:2] == own[:2] for _, own in ours for _, sockaddr in theirs)


def _known(address: Address) -> list[Found]:
    """The addresses of a host that is given by number or is this one; none for others."""
    is_here = address[0] in ("localhost", socket.gethostname())
    try:
        return look_up(address, 0 if is_here else socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []


def _is_of_this_host(found: Found) -> bool:
    """Whether a socket can be bound there."""
    family, (host, _, *rest) = found
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((host, 0, *rest))
        except OSError:
            return False
    return True


def of_text(text: str) -> Address | None:
    """`HOST:PORT` or `[IPV6]:PORT`, with a port above 0, as a pair; None for anything else."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


def plain(address: Sockaddr) -> str:
    """An address as another host may use it; empty for one that is of use on one network only."""
    host = str(address[0]).removeprefix("::ffff:")
    return "" if "%" in host or host.startswith("fe80:") else shown((host, address[1]))


def shown(address: Sockaddr) -> str:
    """An address as people write it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
