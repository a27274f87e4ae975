"""The manifest of a cluster: the file cluster.json in its directory, from which any command can find its nodes."""

import json
import os
import re
import reprlib
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar, get_type_hints

from gossip_counter.cluster.errors import ClusterError, reason, unusable
from gossip_counter.cluster.orphans import MARK, no_cluster
from gossip_counter.node.endpoints.addresses import Address

HOST = "127.0.0.1"
MAX_NODES = 100
FILE = "cluster.json"
NODE_NAME = re.compile(r"n[1-9][0-9]*")

T = TypeVar("T")


@dataclass
class Member:
    """One node: its name, its port for UDP and for Redis clients over TCP, and the pid it last ran under (0: none yet).

    `metrics_port` is where it serves metrics over HTTP if the cluster does.
    """

    name: str
    host: str = HOST
    port: int = 0
    pid: int = 0
    metrics_port: int = 0
    joined: bool = False
    """Whether it came to a cluster that was up: it asks the others to be taken in."""

    @property
    def address(self) -> Address:
        """Host and port."""
        return self.host, self.port


@dataclass
class Settings:
    """What every node of a cluster is started with; units and bounds as in `node.core.config`."""

    interval_ms: int = 100
    fanout: int = 2
    gossip: str = "delta"
    push: bool = True
    log_level: str = "info"
    ephemeral: bool = False
    """Keep counts in memory only."""
    faults: bool = False
    """Let nodes take requests that make their network worse."""
    metrics: bool = False
    """Serve metrics over HTTP."""
    sealed: bool = False
    """Seal all datagrams with the keys in the cluster's directory."""
    loss: float = 0.0
    """The share of gossip that nodes drop on purpose, 0 to 1."""

    def arguments(self) -> list[str]:
        """These settings as options of `counter-node`, without where it keeps its data and serves its metrics."""
        plain = ("interval_ms", "fanout", "gossip", "log_level")
        return [
            *(f"--{name.replace('_', '-')}={getattr(self, name)}" for name in plain),
            *([] if self.push else ["--no-push"]),
            *(["--faults", f"--fault-loss={self.loss}"] if self.faults or self.loss else []),
        ]


@dataclass
class _Content:
    """The file as JSON has it."""

    id: str
    up: bool
    settings: dict[str, Any]
    partition: list[Any]
    nodes: list[Any]


def _made(kind: type[T], found: object, where: str) -> T:
    """A dataclass from a JSON object with its fields. Raises `ValueError` that says what is wrong."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {reprlib.repr(found)}")
    types = get_type_hints(kind)
    for name, value in found.items():
        if name not in types:
            raise ValueError(f"{where} has {reprlib.repr(name)}, which this version does not know")
        wanted = getattr(types[name], "__origin__", types[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"{name} of {where} is {reprlib.repr(value)}")
    try:
        return kind(**found)
    except TypeError:
        raise ValueError(f"{where} is not complete") from None


def _names(found: object) -> list[str]:
    """A group of a partition. What is none becomes a name that no node has."""
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else [""]


@dataclass
class Manifest:
    """Some nodes on this machine that share one directory."""

    directory: Path
    id: str
    """A random name, which tells processes of this cluster from all others."""
    settings: Settings
    members: dict[str, Member]
    """By name."""
    partition: list[list[str]] = field(default_factory=list)
    """The groups of nodes that are cut off from each other. Empty: all nodes receive from all."""
    is_up: bool = False
    """Whether the cluster was started and not yet taken down."""
    mark: str = field(init=False)
    """What only processes of this cluster have on their command lines: its id, and which directory it is in. A copy of
    the directory has another mark; a directory that is moved keeps it.
    """

    def __post_init__(self) -> None:
        found = self.directory.stat()
        self.mark = f"{MARK}{self.id}:{found.st_dev}:{found.st_ino}"

    @classmethod
    def create(cls, directory: Path, nodes: int, settings: Settings) -> Self:
        """The manifest of a new cluster whose nodes have no ports yet. It is not saved.

        Raises `ClusterError` if the number of nodes is out of bounds or the directory can't be used.
        """
        if not 1 <= nodes <= MAX_NODES:
            raise ClusterError(f"a cluster has 1 to {MAX_NODES} nodes, not {nodes}")
        if (directory / "data").exists():
            raise ClusterError(
                f"{directory / 'data'} holds journals of a cluster whose {FILE} is gone: put that back, or use"
                " another --dir"
            )
        try:
            (directory / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ClusterError(unusable(directory / "logs", error)) from None
        names = [f"n{number}" for number in range(1, nodes + 1)]
        return cls(directory, secrets.token_hex(4), settings, {name: Member(name) for name in names})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The manifest of the cluster in `directory`, up or down. Raises `ClusterError` if there is none."""
        path = directory / FILE
        try:
            return cls._parse(directory, json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ClusterError(no_cluster(directory)) from None
        except IsADirectoryError:
            raise ClusterError(f"{path} is a directory: move it away, or use another --dir") from None
        except OSError as error:
            raise ClusterError(unusable(directory, error)) from None
        except (ValueError, RecursionError) as error:
            raise ClusterError(
                f"{path} is damaged ({error}): put a good copy back, or end its nodes by hand and use another --dir"
            ) from None

    @classmethod
    def _parse(cls, directory: Path, found: object) -> Self:
        """Raises `ValueError` that says what is wrong."""
        content = _made(_Content, found, "the file")
        if not content.id.isalnum():
            raise ValueError(f"id is {reprlib.repr(content.id)}")
        members = [_made(Member, each, "a node") for each in content.nodes]
        names = [each.name for each in members]
        if not 1 <= len(set(names)) == len(names) <= MAX_NODES or not all(map(NODE_NAME.fullmatch, names)):
            raise ValueError(f"the nodes' names are {reprlib.repr(names)}")
        for each in members:
            if not (0 < each.port < 65_536 and 0 <= each.metrics_port < 65_536 and 0 <= each.pid < 2**31):
                raise ValueError(f"a port or the pid of {each.name} is out of bounds")
        groups = content.partition
        if groups and sorted(name for group in groups for name in _names(group)) != sorted(names):
            raise ValueError(f"partition is {reprlib.repr(groups)}")
        settings = _made(Settings, content.settings, "settings")
        return cls(directory, content.id, settings, {each.name: each for each in members}, groups, content.up)

    @classmethod
    def load_up(cls, directory: Path) -> Self:
        """The manifest of the cluster that is up in `directory`. Raises `ClusterError` if none is."""
        found = cls.load(directory)
        if not found.is_up:
            data = "" if found.settings.ephemeral else " with its data"
            raise ClusterError(f"the cluster in {directory} is down: 'cluster up' starts it again{data}")
        return found

    def save(self) -> None:
        """Write the file. A reader sees the file as it was before or as it is after. Raises `ClusterError`."""
        content = {
            "id": self.id,
            "up": self.is_up,
            "settings": asdict(self.settings),
            "partition": self.partition,
            "nodes": [asdict(each) for each in self.members.values()],
        }
        path, new = self.directory / FILE, self.directory / f"{FILE}.new"
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())  # or a machine that crashes may leave an empty file under the new name
            new.replace(path)
        except OSError as error:
            raise ClusterError(f"can't write {path}: {reason(error)}") from None

    def member(self, name: str) -> Member:
        """The node of that name. Raises `ClusterError` if there is none."""
        try:
            return self.members[name]
        except KeyError:
            raise ClusterError(f"there is no node {name!r}: this cluster has {', '.join(self.members)}") from None

    def cut_off_from(self, name: str) -> list[str]:
        """The nodes whose gossip does not reach this one while the partition lasts."""
        group = next((group for group in self.partition if name in group), list(self.members))
        return [each for each in self.members if each not in group]

    @property
    def keys_path(self) -> Path:
        """The file of keys, if the cluster is sealed."""
        return self.directory / "keys"

    def data_path(self, name: str) -> Path:
        """The directory of a node's journal."""
        return self.directory / "data" / name

    def log_path(self, name: str) -> Path:
        """The file of a node's log lines."""
        return self.directory / "logs" / f"{name}.log"

    def log_lines(self, name: str) -> list[str]:
        """A node's log so far. Raises `ClusterError` if it can't be read."""
        path = self.log_path(name)
        try:
            return path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise ClusterError(f"can't read {path}: {reason(error)}") from None
