"""The command `counter-node`: one node, on UDP or on stdin/stdout.

It uses argparse, not Typer as the other commands do: a cluster starts many of these at once, and Typer would triple
their start-up time and double their memory.
"""

import argparse
import ipaddress
import logging
import math
import os
import signal
import ssl
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from random import Random
from types import FrameType
from typing import NoReturn
from urllib.parse import quote

import uvloop

from gossip_counter import __version__
from gossip_counter.node.core.config import BOUNDS, Config
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.faults import Faults
from gossip_counter.node.endpoints.redis import server as resp
from gossip_counter.node.runtime import node as udp
from gossip_counter.node.runtime import stdio as maelstrom
from gossip_counter.node.runtime.node import Address

USAGE_ERROR = 2

EXAMPLES = """\
examples:
  three nodes on one machine, each in a terminal of its own:
    counter-node --name n1 --bind 127.0.0.1:7101 --peer n2=127.0.0.1:7102 --peer n3=127.0.0.1:7103
  the same file on every host, and each told only its name:
    counter-node --name n2 --members members.toml
  where members.toml holds:
    cluster = "likes"
    [members]
    n1 = "10.0.0.1:7100"
    n2 = "10.0.0.2:7100"
  under Maelstrom, or by hand:
    counter-node --stdio

A cluster of five on this machine with a live table: cluster up -n 5
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one node until SIGTERM, SIGINT or, with --stdio, the end of input."""
    options = parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format=f"%(asctime)s %(levelname)s {options.name or 'stdio'} %(message)s",
    )
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    try:
        run(options)
    except ConfigError as error:
        print(f"counter-node: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(USAGE_ERROR)


def run(options: argparse.Namespace) -> None:
    """Run the node that the options ask for. Raises `ConfigError`."""
    rng = Random(options.seed if options.seed is not None else os.urandom(16))
    if options.stdio:
        if options.faults or options.fault_loss or options.fault_cut:
            raise ConfigError("with --stdio there is no network of ours to make worse: leave out --faults, --fault-…")
        if options.data is not None or options.ephemeral:
            raise ConfigError("with --stdio a node keeps its counts in memory: leave out --data, --ephemeral")
        if options.resp or options.metrics:
            raise ConfigError("with --stdio there is no other door: leave out --resp, --metrics")
        if options.name or options.bind or options.peer or options.members:
            raise ConfigError(
                "with --stdio the node is named by its init message: leave out --name, --bind, --peer, --members"
            )
        maelstrom.serve(_config(options, "stdio", ()), rng)
        return
    if not options.name:
        raise ConfigError("say --name n1, or --stdio; counter-node --help shows examples")
    members = _members(options)
    bind = options.bind or members.get(options.name)
    if bind is None:
        raise ConfigError(f"say --bind HOST:PORT, or list {options.name} in the --members file")
    peers = {name: where for name, where in members.items() if name != options.name}
    config = _config(options, options.name, tuple(peers))
    uvloop.run(udp.serve(config, bind, peers, rng, _data(options), _faults(options, peers, rng), _doors(options)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As argparse calls it. All options, which it would print first, push the error out of sight."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} ({self.prog} --help shows all options)\n")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = _Parser(
        prog="counter-node",
        description="Run one node of a gossip counter: it takes increments and decrements, alone if it must, and"
        " gossips with its peers until all hold the same counts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    made.add_argument("--name", help="this node's name, such as n1: at most 255 bytes")
    made.add_argument(
        "--bind", type=address, metavar="HOST:PORT", help="the UDP address to serve; port 0 takes a free one"
    )
    made.add_argument(
        "--peer",
        type=_peer,
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="another member; say it once for each",
    )
    made.add_argument("--members", type=Path, metavar="FILE", help="a TOML file of all members, the same on every host")
    made.add_argument(
        "--resp", type=address, metavar="HOST:PORT", help="also serve Redis clients here, over TCP (INCR, GET, …)"
    )
    made.add_argument(
        "--resp-password-file",
        type=Path,
        metavar="FILE",
        help="Redis clients must tell the password in this file (AUTH); needed where --resp is no loopback address",
    )
    made.add_argument(
        "--resp-tls-cert", type=Path, metavar="FILE", help="serve Redis clients over TLS: the certificate"
    )
    made.add_argument("--resp-tls-key", type=Path, metavar="FILE", help="and its private key, both in PEM")
    made.add_argument(
        "--metrics", type=address, metavar="HOST:PORT", help="also serve /metrics, /healthz and /readyz here, over HTTP"
    )
    durability = made.add_mutually_exclusive_group()
    durability.add_argument("--data", metavar="DIR", help="where the node's journal is (default: counter-data/NAME)")
    durability.add_argument(
        "--ephemeral", action="store_true", help="keep counts in memory: each start begins with nothing, as another"
    )
    made.add_argument("--stdio", action="store_true", help="speak JSON lines on stdin and stdout, as Maelstrom does")
    _add_settings(made)
    _add_faults(made)
    return made


def _add_settings(made: argparse.ArgumentParser) -> None:
    defaults = {each.name: each.default for each in fields(Config)}
    made.add_argument(
        "--cluster-name",
        metavar="NAME",
        help="gossip of a cluster of another name is dropped (default: the members file's, or 'counter')",
    )
    made.add_argument(
        "--interval-ms",
        type=_bounded("gossip_interval_ms"),
        default=defaults["gossip_interval_ms"],
        metavar="MS",
        help="between two gossip rounds (default: %(default)s)",
    )
    made.add_argument(
        "--fanout",
        type=_bounded("gossip_fanout"),
        default=defaults["gossip_fanout"],
        metavar="K",
        help="random peers a round speaks to (default: %(default)s)",
    )
    made.add_argument(
        "--datagram-bytes",
        type=_bounded("datagram_bytes"),
        default=defaults["datagram_bytes"],
        metavar="BYTES",
        help="the largest gossip datagram (default: %(default)s)",
    )
    made.add_argument(
        "--max-rows",
        type=_bounded("max_rows"),
        default=defaults["max_rows"],
        metavar="ROWS",
        help="rows held before new counters are refused (default: %(default)s)",
    )
    made.add_argument(
        "--seed", type=_whole, help="seed of the peer selection, for repeatable runs (default: from the system)"
    )
    made.add_argument(
        "--gossip",
        choices=["delta", "full"],
        default=defaults["gossip"],
        help="delta: digests, and what changed; full: the whole state every round (default: %(default)s)",
    )
    made.add_argument(
        "--push",
        action=argparse.BooleanOptionalAction,
        help="send news at once and not only in rounds; delta gossip only (default: yes)",
    )
    made.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="info",
        help="of the log on stderr (default: %(default)s)",
    )


def _add_faults(made: argparse.ArgumentParser) -> None:
    made.add_argument("--faults", action="store_true", help="allow the fault options, which are for tests only")
    made.add_argument(
        "--fault-loss",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="drop this share of gossip, 0 to 1 (needs --faults)",
    )
    made.add_argument(
        "--fault-cut",
        action="append",
        default=[],
        metavar="NAME",
        help="neither hear this peer nor speak to it (needs --faults); say it once for each",
    )


def _bounded(setting: str) -> Callable[[str], int]:
    low, high = BOUNDS[setting]

    def parsed(text: str) -> int:
        if low <= (number := _whole(text)) <= high:
            return number
        raise argparse.ArgumentTypeError(f"{text!r} is not from {low} to {high}")

    return parsed


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if 0 <= share <= 1:
        return share
    raise argparse.ArgumentTypeError(f"{text!r} is not from 0 to 1")


def address(text: str) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT` as a pair. Raises `argparse.ArgumentTypeError`."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _peer(text: str) -> tuple[str, Address]:
    name, equals, where = text.partition("=")
    if not (equals and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST:PORT")
    return name, _reachable(where)


def _reachable(text: str) -> Address:
    host, port = address(text)
    if not port:
        raise argparse.ArgumentTypeError(f"{text!r}: nobody can be reached at port 0")
    return host, port


def _config(options: argparse.Namespace, name: str, peers: tuple[str, ...]) -> Config:
    if options.push and options.gossip == "full":
        raise ConfigError("--push is for delta gossip only: leave it out, or leave out --gossip full")
    return Config(
        name=name,
        peers=peers,
        cluster=options.cluster_name or str(_read(options.members).get("cluster", "counter")),
        gossip_interval_ms=options.interval_ms,
        gossip_fanout=options.fanout,
        datagram_bytes=options.datagram_bytes,
        max_rows=options.max_rows,
        gossip=options.gossip,
        push=options.push is not False,
    )


def _doors(options: argparse.Namespace) -> udp.Doors:
    tls_cert, tls_key, password_file = options.resp_tls_cert, options.resp_tls_key, options.resp_password_file
    if options.resp is None:
        if tls_cert or tls_key or password_file:
            raise ConfigError("--resp-… is about the door for Redis clients: say --resp HOST:PORT too")
        return udp.Doors(None, options.metrics)
    host, port = options.resp
    password = _password(password_file) if password_file else None
    if password is None and not _is_loopback(host):
        raise ConfigError(f"--resp {host}:{port} can be reached from elsewhere: say --resp-password-file FILE too")
    tls = _tls(tls_cert, tls_key) if tls_cert or tls_key else None
    return udp.Doors(resp.Listen(host, port, password, tls), options.metrics)


def _password(path: Path) -> bytes:
    try:
        password = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    if not password:
        raise ConfigError(f"{path} holds no password: write one into it")
    return password


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    if not (certificate and key):
        raise ConfigError("TLS needs both --resp-tls-cert and --resp-tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, lambda: _refuse_to_ask(key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"can't use {certificate} with {key} for TLS: {error.strerror or error}") from None
    return context


def _refuse_to_ask(key: Path) -> NoReturn:
    raise ConfigError(f"{key} is encrypted, and a node asks nobody: openssl pkey -in {key} -out FILE decrypts it")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _data(options: argparse.Namespace) -> Path | None:
    if options.ephemeral:
        return None
    if options.data is not None:
        return _named(options.data)
    if options.name in {".", ".."}:
        raise ConfigError(f"no directory can be named after {options.name!r}: say --data DIR, or --ephemeral")
    return Path("counter-data") / quote(options.name, safe="")


def _named(directory: str) -> Path:
    if not directory:
        raise ConfigError("--data needs the name of a directory")
    return Path(directory)


def _faults(options: argparse.Namespace, peers: Collection[str], rng: Random) -> Faults | None:
    if (options.fault_loss or options.fault_cut) and not options.faults:
        raise ConfigError("--fault-… makes the network worse on purpose: say --faults too if that is what you want")
    if strangers := set(options.fault_cut) - set(peers):
        raise ConfigError(f"--fault-cut {min(strangers)}: there is no such peer, only {', '.join(peers) or 'none'}")
    return Faults(rng, options.fault_loss, frozenset(options.fault_cut)) if options.faults else None


def _members(options: argparse.Namespace) -> dict[str, Address]:
    written = _read(options.members)
    listed = written.get("members", {})
    if not isinstance(listed, dict):
        raise ConfigError(f'{options.members}: [members] must be a table of NAME = "HOST:PORT"')
    if unknown := written.keys() - {"cluster", "members"}:
        raise ConfigError(f"{options.members}: there is no {min(unknown)!r}, only cluster and [members]")
    try:
        members = {name: _reachable(str(where)) for name, where in listed.items()}
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{options.members}: {error}") from None
    if len(set(members.values())) < len(members):
        raise ConfigError(f"{options.members}: two members have the same address")
    named = [name for name, _ in options.peer]
    if len({*named, *members}) < len(named) + len(members):
        raise ConfigError("two peers have the same name")
    if options.name in named:
        raise ConfigError(f"{options.name} can't be its own peer")
    return members | dict(options.peer)


def _read(path: Path | None) -> Mapping[str, object]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{path}: {error}") from None


def _exit(_number: int, _frame: FrameType | None) -> None:
    # Until the node's own handlers stand, and on stdin/stdout throughout, a signal ends us cleanly.
    raise SystemExit(0)


if __name__ == "__main__":
    main()
