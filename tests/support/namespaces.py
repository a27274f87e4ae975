"""Hosts of their own on one machine: network namespaces on a bridge, gone after the test. Needs root, and `ip`."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
NO_MAC = "02:00:00:00:00:fe"
"""Nobody has this one."""

_numbers = count(1)

_setns: Callable[[int, int], int] = ctypes.CDLL(None, use_errno=True).setns


def ip(*words: str, host: "Host | None" = None) -> None:
    """The command `ip`, in a host's namespace. Fails with what it wrote on stderr."""
    command = ["ip", *(["-n", host.namespace] if host else []), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Host:
    """A namespace with one link, `eth0`."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens or starts inside is of this host: sockets stay so, and so do processes."""
        with ExitStack() as stack:
            opened = []
            for path in ("/proc/thread-self/ns/net", f"/run/netns/{self.namespace}"):
                opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
            here, there = opened
            assert _setns(there, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert _setns(here, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

    def has(self, *addresses: str) -> None:
        """Its link has these addresses too, as in 10.0.0.1/24."""
        for address in addresses:
            ip("address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []), host=self)

    def has_no_more(self, *addresses: str) -> None:
        """The contrary. With the first of a network's addresses go all that are of that network."""
        for address in addresses:
            ip("address", "del", address, "dev", "eth0", host=self)

    def loses_what_is_sent_to(self, *addresses: str) -> None:
        """Nothing that it sends to these arrives, and it gets no error."""
        for address in addresses:
            ip("neighbour", "replace", address, "lladdr", NO_MAC, "nud", "permanent", "dev", "eth0", host=self)

    def reaches_again(self, *addresses: str) -> None:
        """The contrary."""
        for address in addresses:
            ip("neighbour", "del", address, "dev", "eth0", host=self)

    def refuses_to_send_to(self, address: str) -> None:
        """Its system has no way there."""
        ip("route", "add", "blackhole", address, host=self)

    def sends_again_to(self, address: str) -> None:
        """The contrary."""
        ip("route", "del", "blackhole", address, host=self)


@contextmanager
def hosts(names: list[str]) -> Iterator[dict[str, Host]]:
    """So many hosts, on one bridge. Skips the test where there can be none."""
    prefix = f"counter{os.getpid()}-{next(_numbers)}-"
    with ExitStack() as stack:
        switch = _namespace(stack, f"{prefix}switch")
        ip("link", "add", "bridge", "type", "bridge", host=switch)
        ip("link", "set", "bridge", "up", host=switch)
        found = {}
        for name in names:
            host = found[name] = _namespace(stack, prefix + name)
            ends = ("type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("link", "add", name, *ends, host=switch)
            ip("link", "set", name, "master", "bridge", "up", host=switch)
            ip("link", "set", "lo", "up", host=host)
            ip("link", "set", "eth0", "up", host=host)
        yield found
    left = [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(prefix)]
    assert left == []


def _namespace(stack: ExitStack, name: str) -> Host:
    why_not = "there is no command ip: apt-get install iproute2" if not shutil.which("ip") else ""
    if os.geteuid() != 0:
        why_not = "only root can make network namespaces"
    if not why_not:
        done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
        why_not = done.stderr.strip()
    if why_not:
        pytest.skip(f"REAL HOSTS ARE NOT TESTED: {why_not}")
    # A namespace is there as long as it has processes or a name: what is in it goes with it.
    stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
    return Host(name)


def set_mtu(hosts: dict[str, Host], name: str, mtu: int) -> None:
    """No frame of a larger size passes a host's link, either way, and nobody gets an error."""
    host = hosts[name]
    ip("link", "set", "eth0", "mtu", str(mtu), host=host)
    ip("link", "set", name, "mtu", str(mtu), host=Host(host.namespace.removesuffix(name) + "switch"))


def passes(source: Host, target: Host, address: str, size: int = 100) -> bool:
    """Whether a datagram of so many bytes from one host reaches another at this address of it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with target.entered():
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    with source.entered():
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((address, 0))
        receiver.settimeout(0.3)
        try:
            sender.sendto(bytes(size), (address, receiver.getsockname()[1]))
            return len(receiver.recv(65_536)) == size
        except OSError:
            return False
