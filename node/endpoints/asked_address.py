"""A socket at a wildcard address that answers from the very address that was asked.

A host may have several addresses. The system would choose one of them for each datagram that leaves, and a client drops
an answer that comes from another address than it asked.
"""

import socket

from gossip_counter.node.endpoints.addresses import IP_PKTINFO, WILDCARDS, Sockaddr

_CONTROL_BYTES = 128
_LINK_LOCAL = b"\xfe\x80"
_MULTICAST = b"\xff"


class AskedAddressSocket:
    """Receives with each datagram the address of ours that it was sent to, in the form in which `send` takes it."""

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._is_ipv4 = bound.family == socket.AF_INET
        if self._is_ipv4:
            assert IP_PKTINFO is not None
            self._kind = (socket.IPPROTO_IP, IP_PKTINFO)
            bound.setsockopt(*self._kind, 1)
        else:
            self._kind = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._last_info = self._last_asked = b""

    def receive(self, most: int) -> tuple[bytes, Sockaddr, bytes]:
        """A datagram of at most `most` bytes, its source, and the address that was asked. Raises `OSError`."""
        datagram, control, _, source = self._socket.recvmsg(most, _CONTROL_BYTES)
        info = control[0][2] if control else b""  # nothing else was asked for
        if info != self._last_info:
            self._last_info, self._last_asked = info, self._as_source(info)
        return datagram, source, self._last_asked

    def send(self, datagram: bytes, to: Sockaddr, asked: bytes) -> None:
        """Send from the address that was asked; from any, if that is this host's no longer. Raises `OSError`."""
        try:
            self._socket.sendmsg([datagram], [(*self._kind, asked)], 0, to)
        except OSError:
            self._socket.sendto(datagram, to)

    def _as_source(self, info: bytes) -> bytes:
        if not info or (not self._is_ipv4 and info.startswith(_MULTICAST)):
            return b""
        if self._is_ipv4:  # interface, local address, address in the datagram
            return bytes(4) + info[4:8] + bytes(4)
        return info if info.startswith(_LINK_LOCAL) else info[:16] + bytes(4)  # address, interface


def answers_from_asked_address(bound: socket.socket) -> AskedAddressSocket | None:
    """What answers from the address that was asked; None where there is but one, or the system can't."""
    can = IP_PKTINFO is not None if bound.family == socket.AF_INET else hasattr(socket, "IPV6_RECVPKTINFO")
    return AskedAddressSocket(bound) if can and bound.getsockname()[0] in WILDCARDS else None
