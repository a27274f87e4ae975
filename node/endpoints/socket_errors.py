"""What errors of sockets mean for whoever runs a node: what is wrong, and what to do."""

import errno
import os

LISTENING = {
    errno.EADDRINUSE: "stop what uses it, or choose another port",
    errno.EACCES: "ports below 1024 need privileges, choose a higher one",
    errno.EADDRNOTAVAIL: "this machine does not have it, choose one that it has, or 0.0.0.0 for all",
}
"""What to do about an error of binding an address."""

SENDING = {
    errno.EINVAL: "the address that this node is bound to can't send there: bind one that the members can reach",
    errno.ENETUNREACH: "this host has no route to it: check that member's address, and this host's network",
    errno.EHOSTUNREACH: "this host has no route to it: check that member's address, and this host's network",
    errno.EACCES: "it is a broadcast address, or a firewall of this host forbids it: check that member's address",
    errno.EPERM: "a firewall of this host forbids it: let UDP pass to that address",
    errno.EMSGSIZE: "the network takes no datagrams as large as that: lower --datagram-bytes",
    errno.EADDRNOTAVAIL: "this node is bound to an address that this host no longer has: start it with another --bind",
    errno.EAFNOSUPPORT: "this host has no such addresses: list that member by another one, IPv4 or IPv6",
}
"""What to do about an error of sending that a wrong setting causes."""


def why_not(error: OSError | UnicodeError) -> str:
    """Why a name has no address, or why an address can't be listened at; and what to do where that is known."""
    if isinstance(error, UnicodeError):
        return "that can't be the name of a host"
    if error.errno in LISTENING:  # asyncio puts the address into its texts a second time
        return f"{os.strerror(error.errno)}; {LISTENING[error.errno]}"
    return error.strerror or str(error)


def why_not_sent(error: OSError) -> str:
    """Why a datagram can't be sent; and what to do if a wrong setting can cause it."""
    advice = SENDING.get(error.errno or 0)
    return f"{error.strerror or error}{f'; {advice}' if advice else ''}"
