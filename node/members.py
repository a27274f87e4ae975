"""Who the members are and where: addresses, peers named on the command line, and members files in TOML."""

import argparse
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gossip_counter.node import encodings
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.addresses import Address


def address(text: str) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT` as a pair. Raises `argparse.ArgumentTypeError`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    is_host = host and not {"[", "]"}.intersection(host)
    if not (colon and is_host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return host, int(port)


def peer(text: str) -> tuple[str, Address]:
    """`NAME=HOST:PORT` as a name and an address. Raises `argparse.ArgumentTypeError`."""
    name, equals, where = encodings.name(text).partition("=")
    if not (equals and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST:PORT")
    return name, reachable(where)


def reachable(text: str) -> Address:
    """`HOST:PORT` of a node, as a pair. Raises `argparse.ArgumentTypeError`."""
    host, port = address(text)
    if not port:
        raise argparse.ArgumentTypeError(f"{text!r}: nobody can be reached at port 0")
    return host, port


@dataclass(frozen=True, slots=True)
class MembersFile:
    """What a members file says: the cluster's name, if any, and the address of each member."""

    cluster: str | None = None
    addresses: dict[str, Address] = field(default_factory=dict)


def read(path: Path) -> MembersFile:
    """The content of a members file. Raises `ConfigError`."""
    content = _parse(path)
    listed = content.get("members", {})
    if not isinstance(listed, dict):
        raise ConfigError(f'{path}: [members] must be a table of NAME = "HOST:PORT"')
    if unknown := content.keys() - {"cluster", "members"}:
        raise ConfigError(f"{path}: there is no {min(unknown)!r}, only cluster and [members]")
    cluster = content.get("cluster")
    if not isinstance(cluster, str | None):
        raise ConfigError(f'{path}: the cluster\'s name must be in quotes, as in cluster = "likes"')
    try:
        addresses = {name: reachable(str(where)) for name, where in listed.items()}
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{path}: {error}") from None
    if len(set(addresses.values())) < len(addresses):
        raise ConfigError(f"{path}: two members have the same address")
    return MembersFile(cluster, addresses)


def _parse(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}; --members names a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8: save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def all_members(own_name: str, listed: dict[str, Address], peers: Iterable[tuple[str, Address]]) -> dict[str, Address]:
    """The members that a file lists and the peers that the command line names. Raises `ConfigError`."""
    named = list(peers)
    names = [name for name, _ in named]
    if len({*names, *listed}) < len(names) + len(listed):
        raise ConfigError("two peers have the same name")
    if own_name in names:
        raise ConfigError(f"{own_name} can't be its own peer")
    return listed | dict(named)
