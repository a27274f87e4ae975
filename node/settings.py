"""The options of `counter-node`, and what they come to.

Options for fields of `core.config.Config` take their texts, bounds and defaults from there. It uses argparse, not Typer
as the other commands do: a cluster starts many nodes at once, and Typer would triple their start-up time and double
their memory.
"""

import argparse
import ipaddress
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NoReturn
from urllib.parse import quote

from gossip_counter import __version__
from gossip_counter.node import credentials, encodings, members
from gossip_counter.node.core.config import BOUNDS, CHOICES, DEFAULTS, HELP, Config
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.addresses import Address, is_own, shown
from gossip_counter.node.endpoints.faults import Faults
from gossip_counter.node.endpoints.redis.server import Listen
from gossip_counter.node.members import MembersFile
from gossip_counter.node.runtime.node import NO_PLACE, Listeners
from gossip_counter.node.runtime.place import Place
from gossip_counter.node.storage.key_file import KeyFile

USAGE_ERROR = 2
"""The exit status of a node that can't run with its options."""

_EXAMPLES = """\
examples:
  three nodes on one machine, each in a terminal of its own:
    counter-node --name n1 --bind 127.0.0.1:7101 --peer n2=127.0.0.1:7102 --peer n3=127.0.0.1:7103
  the same file on every host, and on each host the name of its node:
    counter-node --name n2 --members members.toml --keys keys.txt
  where members.toml holds:
    cluster = "likes"
    [members]
    n1 = "10.0.0.1:7100"
    n2 = "10.0.0.2:7100"
  and keys.txt, made by 'cluster keys new keys.txt' and copied there, keeps others out
  under Maelstrom, or by hand:
    counter-node --stdio

A cluster of five on this machine with a live table: cluster up -n 5
"""

_CONFIG_OPTIONS = {
    "cluster": ("--cluster-name", "NAME"),
    "gossip_interval_ms": ("--interval-ms", "MS"),
    "gossip_fanout": ("--fanout", "K"),
    "datagram_bytes": ("--datagram-bytes", "BYTES"),
    "max_rows": ("--max-rows", "ROWS"),
    "max_actors": ("--max-actors", "ACTORS"),
    "script_instructions": ("--script-instructions", "COUNT"),
    "script_memory_kb": ("--script-memory-kb", "KB"),
    "gossip": ("--gossip", None),
    "push": ("--push", None),
    "allow_flush": ("--allow-flush", None),
}
"""By field of Config, its option and what stands for the option's value in the help."""

_NOT_WITH_STDIO = (
    (("faults", "fault_loss", "fault_cut"), "there is no network to make worse: leave out --faults, --fault-…"),
    (("data", "ephemeral"), "a node keeps its counts in memory: leave out --data, --ephemeral"),
    (
        ("resp", "resp_password_file", "resp_tls_cert", "resp_tls_key", "metrics"),
        "a node serves nobody else: leave out --resp, --resp-…, --metrics",
    ),
    (("keys", "insecure"), "there are no datagrams to seal: leave out --keys, --insecure"),
    (
        ("name", "bind", "peer", "members", "join"),
        "the node is named by its init message: leave out --name, --bind, --peer, --members, --join",
    ),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As argparse calls it, which would first print all options and so push the error off the screen."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message} ({self.prog} --help shows all options)\n")


def parser() -> argparse.ArgumentParser:
    """What the command line takes. Options for fields of Config that are not given are not in the result."""
    made = _Parser(
        prog="counter-node",
        description="Run one node of a gossip counter: it takes increments and decrements, alone if it must, and"
        " gossips with its peers until all store the same counts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_addresses(made)
    _add_keys(made)
    _add_redis(made)
    _add_durability(made)
    made.add_argument("--stdio", action="store_true", help="speak JSON lines on stdin and stdout, as Maelstrom does")
    for field in _CONFIG_OPTIONS:
        _add_config_option(made, field)
    made.add_argument(
        "--seed", type=_whole, help="seed of the peer selection, for repeatable runs (default: from the system)"
    )
    made.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="info",
        help="of the log on stderr (default: %(default)s)",
    )
    _add_faults(made)
    return made


def _add_addresses(made: argparse.ArgumentParser) -> None:
    made.add_argument("--name", type=encodings.name, help=HELP["name"])
    made.add_argument(
        "--bind", type=members.address, metavar="HOST:PORT", help="the UDP address to serve; port 0 takes a free one"
    )
    made.add_argument(
        "--peer",
        type=members.peer,
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="another member; can be given several times",
    )
    made.add_argument("--members", type=Path, metavar="FILE", help="a TOML file of all members, the same on every host")
    made.add_argument(
        "--join",
        type=members.reachable,
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="become a member of the cluster that the node there is a member of; can be given several times",
    )
    made.add_argument(
        "--metrics",
        type=members.address,
        metavar="HOST:PORT",
        help="also serve /metrics, /healthz and /readyz here, over HTTP",
    )


def _add_keys(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="seal all datagrams with the cluster's keys in this file, the same on every host; 'cluster keys new' makes"
        " one. A change is noticed within a second",
    )
    made.add_argument(
        "--insecure",
        action="store_true",
        help="serve UDP without keys at an address that others can reach: anybody there can read and change counts",
    )


def _add_redis(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--resp",
        type=members.address,
        metavar="HOST:PORT",
        help="also serve Redis clients here, over TCP (INCR, GET, …)",
    )
    made.add_argument(
        "--resp-password-file",
        type=Path,
        metavar="FILE",
        help="Redis clients must send the password in this file (AUTH); needed where --resp is no loopback address",
    )
    made.add_argument(
        "--resp-tls-cert", type=Path, metavar="FILE", help="serve Redis clients over TLS: the certificate, in PEM"
    )
    made.add_argument(
        "--resp-tls-key", type=Path, metavar="FILE", help="the certificate's private key, in PEM and not encrypted"
    )


def _add_durability(made: argparse.ArgumentParser) -> None:
    durability = made.add_mutually_exclusive_group()
    durability.add_argument(
        "--data", metavar="DIR", help="the directory of the node's journal (default: counter-data/NAME)"
    )
    durability.add_argument(
        "--ephemeral",
        action="store_true",
        help="keep counts in memory: each start begins a new epoch with no counts of its own",
    )


def _add_config_option(made: argparse.ArgumentParser, field: str) -> None:
    option, metavar = _CONFIG_OPTIONS[field]
    given: dict[str, Any] = {"dest": field, "default": argparse.SUPPRESS}
    default = DEFAULTS[field]
    if field in BOUNDS:
        low, high = BOUNDS[field]
        help_text = f"{HELP[field]}: {low} to {high} (default: {default})"
        given |= {"type": _bounded(low, high), "metavar": metavar}
    elif field in CHOICES:
        help_text = f"{HELP[field]} (default: {default})"
        given |= {"choices": CHOICES[field]}
    elif isinstance(default, bool):
        help_text = f"{HELP[field]} (default: {'yes' if default else 'no'})"
        given |= {"action": argparse.BooleanOptionalAction}
    else:
        help_text = f"{HELP[field]} (default: that in the members file, or {default!r})"
        given |= {"metavar": metavar, "type": encodings.name}
    made.add_argument(option, help=help_text, **given)


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
        type=encodings.name,
        action="append",
        default=[],
        metavar="NAME",
        help="drop all gossip from and to this peer (needs --faults); can be given several times",
    )


def _bounded(low: int, high: int) -> Callable[[str], int]:
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


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node on UDP is started with."""

    config: Config
    bind: Address
    peers: dict[str, Address]
    data: Path | None
    """The directory of the journal; None: counts are in memory only."""
    faults: Faults | None
    listeners: Listeners
    keys: KeyFile | None
    """None: datagrams are plain."""
    place: Place = NO_PLACE


def of_udp_node(options: argparse.Namespace, rng: Random) -> Settings:
    """The settings of a node on UDP. `rng` decides which datagrams faults drop. Raises `ConfigError`."""
    name = options.name
    if not name:
        raise ConfigError("say --name n1, or --stdio; counter-node --help shows examples")
    file = members.read(options.members) if options.members else MembersFile()
    everybody = members.all_members(name, file.addresses, options.peer)
    bind = options.bind or everybody.get(name)
    if bind is None:
        raise ConfigError(f"say --bind HOST:PORT, or list {name} in the --members file")
    peers = {each: where for each, where in everybody.items() if each != name}
    keys = _keys(options, bind)
    return Settings(
        _config(options, name, tuple(peers), file.cluster),
        bind,
        peers,
        _data(options),
        _faults(options, peers, rng),
        _listeners(options),
        keys,
        _place(options, everybody.get(name), bind),
    )


def _place(options: argparse.Namespace, listed: Address | None, bind: Address) -> Place:
    if options.join and getattr(options, "gossip", "") == "full":
        raise ConfigError("with --gossip full the members stay as they are listed: leave out --join, or --gossip full")
    if any(each == listed or is_own(each, bind) for each in options.join):
        raise ConfigError("--join names this node itself: name another member, or leave it out for the first one")
    return Place(listed, {f"--join {shown(each)}": each for each in options.join})


def of_stdio_node(options: argparse.Namespace) -> Config:
    """The settings of a node on stdin and stdout, but for its name and peers. Raises `ConfigError`."""
    for fields, why in _NOT_WITH_STDIO:
        if any(getattr(options, field) not in (None, False, 0, []) for field in fields):
            raise ConfigError(f"with --stdio {why}")
    return _config(options, "stdio", (), None)


def _config(options: argparse.Namespace, name: str, peers: tuple[str, ...], cluster: str | None) -> Config:
    given = {field: getattr(options, field) for field in _CONFIG_OPTIONS if hasattr(options, field)}
    if given.get("push") and given.get("gossip") == "full":
        raise ConfigError("--push is for delta gossip only: leave it out, or leave out --gossip full")
    if "cluster" not in given:
        given["cluster"] = DEFAULTS["cluster"] if cluster is None else cluster
    return Config(name=name, peers=peers, **given)


def _data(options: argparse.Namespace) -> Path | None:
    if options.ephemeral:
        return None
    if options.data is not None:
        if not options.data:
            raise ConfigError("--data needs the name of a directory")
        return Path(options.data)
    if options.name in {".", ".."}:
        raise ConfigError(f"no directory can be named after {options.name!r}: say --data DIR, or --ephemeral")
    return Path("counter-data") / quote(options.name, safe="")


def _keys(options: argparse.Namespace, bind: Address) -> KeyFile | None:
    if options.keys is not None:
        if options.insecure:
            raise ConfigError("--insecure is for nodes without keys: leave out --insecure, or --keys")
        return KeyFile(options.keys)
    host, port = bind
    if not options.insecure and not _is_loopback(host):
        raise ConfigError(
            f"--bind {host}:{port} can be reached from elsewhere, and without keys anybody there can read and change"
            " counts: say --keys FILE ('cluster keys new FILE' makes one), or --insecure if you trust that network"
        )
    return None


def _faults(options: argparse.Namespace, peers: Collection[str], rng: Random) -> Faults | None:
    if (options.fault_loss or options.fault_cut) and not options.faults:
        raise ConfigError("--fault-… makes the network worse on purpose: say --faults too if that is what you want")
    if unknown := set(options.fault_cut) - set(peers):
        which = f"only {', '.join(peers)}" if peers else "as there are no peers"
        raise ConfigError(f"--fault-cut {min(unknown)}: there is no such peer, {which}")
    return Faults(rng, options.fault_loss, frozenset(options.fault_cut)) if options.faults else None


def _listeners(options: argparse.Namespace) -> Listeners:
    certificate, key, password_file = options.resp_tls_cert, options.resp_tls_key, options.resp_password_file
    if options.resp is None:
        if certificate or key or password_file:
            raise ConfigError("--resp-… is about the address for Redis clients: say --resp HOST:PORT too")
        return Listeners(None, options.metrics)
    host, port = options.resp
    password = credentials.password(password_file) if password_file else None
    if password is None and not _is_loopback(host):
        raise ConfigError(f"--resp {host}:{port} can be reached from elsewhere: say --resp-password-file FILE too")
    tls = credentials.tls(certificate, key) if certificate or key else None
    return Listeners(Listen(host, port, password, tls), options.metrics)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
