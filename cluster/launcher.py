"""Node processes: started, found again, stopped. What is known of them stands in a file, so that any command can.

A process is ours if it runs under the pid we wrote down *and* its command line names this node of this cluster, whose
id is random: a pid that the system gave to someone else in the meantime is never touched.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Self

import psutil

from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.node.runtime.node import Address

HOST = "127.0.0.1"
MAX_NODES = 100
METRICS_OFFSET = 1000
"""From a node's port to that of its metrics, where ports are given."""
STOP_S = 3.0
"""How long a node may take to stop before it is killed."""
LOCK_S = 30.0
"""How long to wait for another command on the same cluster."""
READY_S = 20.0
"""How long a node may take to answer: a second is plenty, but machines are shared."""

_MANIFEST = "cluster.json"
MOST_CLAIMS = 256
"""Free ports that one process keeps others from choosing; beyond, the oldest are let go."""

_FREE_PORTS = range(20_000, 32_000)
"""Below the ports that the system hands out by itself, so that no client's socket takes one in between."""


class LaunchError(Exception):
    """What a user should hear in one line: what is wrong, and what to do next."""


@dataclass
class Member:
    """One node: its name, its address (UDP, and TCP for Redis clients), and the pid it last ran under (0: never).

    `metrics_port` is where it serves metrics over HTTP, if it does.
    """

    name: str
    host: str
    port: int
    pid: int = 0
    metrics_port: int = 0

    @property
    def address(self) -> Address:
        """Host and port."""
        return self.host, self.port


@dataclass
class Settings:
    """What every node of a cluster is started with; units and bounds as in `node.config`."""

    interval_ms: int = 100
    fanout: int = 2
    gossip: str = "delta"
    push: bool = True
    log_level: str = "info"
    ephemeral: bool = False
    """Keep counts in memory only."""
    faults: bool = False
    """Let nodes take requests to make their network worse."""
    metrics: bool = False
    """Serve metrics over HTTP."""
    loss: float = 0.0
    """The share of gossip that nodes drop on purpose, 0 to 1."""

    def arguments(self) -> list[str]:
        """As `counter-node` takes them."""
        plain = ("interval_ms", "fanout", "gossip", "log_level")
        return [
            *(f"--{field.replace('_', '-')}={getattr(self, field)}" for field in plain),
            *([] if self.push else ["--no-push"]),
            *(["--faults", f"--fault-loss={self.loss}"] if self.faults or self.loss else []),
        ]


@dataclass
class Cluster:
    """Some nodes on this machine, in one directory."""

    directory: Path
    id: str
    settings: Settings
    members: dict[str, Member]
    partition: list[list[str]] = field(default_factory=list)
    """The groups of nodes that are cut off from each other; none, and all hear all."""
    is_up: bool = False
    """Whether somebody started it and nobody took it down."""
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @classmethod
    def create(cls, directory: Path, nodes: int, base_port: int, settings: Settings) -> Self:
        """A new cluster, not yet started; `base_port` 0 takes free ports. Raises `LaunchError`."""
        if not 1 <= nodes <= MAX_NODES:
            raise LaunchError(f"a cluster has 1 to {MAX_NODES} nodes, not {nodes}")
        if (directory / "data").exists():
            raise LaunchError(
                f"{directory / 'data'} holds journals of a cluster whose {_MANIFEST} is gone: put that back, or use"
                " another --dir"
            )
        try:
            (directory / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(f"can't make {directory / 'logs'}: {error.strerror}") from None
        made = cls(directory, secrets.token_hex(4), settings, {})
        made.members = {f"n{i}": Member(f"n{i}", HOST, 0) for i in range(1, nodes + 1)}
        made.move(base_port)
        return made

    def move(self, base_port: int) -> None:
        """Give each node another port, before it starts; 0 takes free ones. Raises `LaunchError`."""
        nodes = len(self.members)
        first = [base_port + i for i in range(nodes)]
        ports = first + [port + METRICS_OFFSET for port in first] if base_port else free_ports(2 * nodes)
        for member, port, page in zip(self.members.values(), ports[:nodes], ports[nodes:], strict=True):
            member.port, member.metrics_port = port, page
        self.check_ports()

    def check_ports(self) -> None:
        """Raises `LaunchError` if a node's port is somebody else's."""
        ports = [each.port for each in self.members.values()]
        ports += [each.metrics_port for each in self.members.values() if self.settings.metrics]
        busy = [port for port in ports if not is_free(port)]
        if busy:
            raise LaunchError(f"port {busy[0]} of {HOST} is busy or not allowed: choose others with --base-port")

    @classmethod
    def load_up(cls, directory: Path) -> Self:
        """The cluster that is up in `directory`. Raises `LaunchError` if none is."""
        found = cls.load(directory)
        if not found.is_up:
            data = "" if found.settings.ephemeral else " with its data"
            raise LaunchError(f"the cluster in {directory} is down: 'cluster up' starts it again{data}")
        return found

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The cluster of `directory`, be it up or down. Raises `LaunchError` if there is none."""
        path = directory / _MANIFEST
        try:
            found = json.loads(path.read_text())
            members = [Member(**each) for each in found["nodes"]]
            for each in members:  # once there were no metrics
                each.metrics_port = each.metrics_port or each.port + METRICS_OFFSET
            by_name = {each.name: each for each in members}
            settings = Settings(**found["settings"])
            # Once there was such a file only while the cluster was up.
            partition, is_up = found.get("partition", []), found.get("up", True)
            return cls(directory, found["id"], settings, by_name, partition, is_up)
        except FileNotFoundError:
            raise LaunchError(f"no cluster is up in {directory}: start one with 'cluster up'") from None
        except OSError as error:
            raise LaunchError(f"can't read {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise LaunchError(
                f"{path} is damaged ({error!r}): end its processes by hand, and use another --dir"
            ) from None

    def save(self) -> None:
        """Write down what is needed to find the nodes again; readers see the old or the new, never half."""
        found = {
            "id": self.id,
            "up": self.is_up,
            "settings": asdict(self.settings),
            "partition": self.partition,
            "nodes": [asdict(each) for each in self.members.values()],
        }
        new = self.directory / f"{_MANIFEST}.new"
        new.write_text(json.dumps(found, indent=2) + "\n")
        new.replace(self.directory / _MANIFEST)

    def member(self, name: str) -> Member:
        """The node of that name. Raises `LaunchError`."""
        try:
            return self.members[name]
        except KeyError:
            raise LaunchError(f"there is no node {name!r}: this cluster has {', '.join(self.members)}") from None

    def log_path(self, name: str) -> Path:
        """Where a node's log lines go."""
        return self.directory / "logs" / f"{name}.log"

    def data_path(self, name: str) -> Path:
        """Where a node's journal is."""
        return self.directory / "data" / name

    def process(self, member: Member) -> psutil.Process | None:
        """The live process of a node; None if it ended, even if its pid lives on in another process."""
        is_child = False
        for child in self._children:
            lives = child.poll() is None  # which also keeps a dead child of ours from staying a zombie
            is_child |= lives and child.pid == member.pid
        try:
            found = psutil.Process(member.pid) if member.pid else None
            if found is None or _has_ended(found):
                return None
            # A child that has only just begun does not tell its command line yet.
            return found if is_child or self._is_ours(found.cmdline(), member) else None
        except psutil.Error:
            return None

    def alive(self) -> list[Member]:
        """The nodes whose processes run."""
        return [each for each in self.members.values() if self.process(each)]

    def start(self, member: Member) -> None:
        """Start a node's process and write its pid down. Raises `LaunchError`."""
        peers = [each for each in self.members.values() if each is not member]
        command = [
            # -P: a folder called node where the user happens to be is not ours.
            *(sys.executable, "-P", "-m", "gossip_counter.node", *self._identity(member)),
            *(f"--bind={member.host}:{member.port}", f"--resp={member.host}:{member.port}", *self.settings.arguments()),
            *([f"--metrics={member.host}:{member.metrics_port}"] if self.settings.metrics else []),
            *(f"--peer={each.name}={each.host}:{each.port}" for each in peers),
            "--ephemeral" if self.settings.ephemeral else f"--data={self.data_path(member.name)}",
            *(f"--fault-cut={name}" for name in self.cut_off_from(member.name)),
        ]
        try:
            with self.log_path(member.name).open("ab") as log:
                # A session of its own: Ctrl-C at the terminal reaches the launcher, which then stops the nodes.
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise LaunchError(f"can't start {member.name}: {error.strerror}") from None
        self._children.append(child)
        member.pid = child.pid
        self.is_up = True
        try:
            self.save()
        except OSError as error:
            child.kill()  # nobody could ever find it again
            child.wait()
            raise LaunchError(f"can't write {self.directory / _MANIFEST}: {error.strerror}") from None

    async def ready(self, member: Member) -> Status:
        """Wait until a node answers for itself; its first status. Raises `LaunchError` if it dies or stays silent."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        async with await Client.connect(member.address, timeout_s=0.1) as client:
            while loop.time() < deadline:
                with contextlib.suppress(ClientError):
                    status = await client.gossip_status()
                    # On a busy port it would be somebody else who answers.
                    told = status.get("name"), status.get("cluster")
                    if told == (member.name, self.id) and self.process(member):
                        return status
                if not self.process(member):
                    raise LaunchError(f"{member.name} ended at once: {self._last_words(member)}")
                await asyncio.sleep(0.01)
        raise LaunchError(f"{member.name} does not answer after {READY_S:g} s: see {self.log_path(member.name)}")

    async def start_all(self) -> None:
        """Start every node and wait until each answers; on an error none is left. Raises `LaunchError`."""
        try:
            for member in self.members.values():
                self.start(member)
            await asyncio.gather(*(self.ready(member) for member in self.members.values()))
        except BaseException:
            self.stop_all()
            raise

    def kill(self, *members: Member) -> None:
        """SIGKILL, as a crash would; several at once. Raises `LaunchError` if one is dead already."""
        processes = [self._living(member) for member in members]
        for process in processes:
            process.kill()
        if not _await_end(processes):
            raise LaunchError("not all of them have ended: look with 'cluster status', and try again")

    def stop(self, members: list[Member]) -> None:
        """End these nodes' processes: SIGTERM, and SIGKILL for those that do not listen."""
        # SIGCONT: a stopped process can't hear SIGTERM.
        for numbers in ((signal.SIGTERM, signal.SIGCONT), (signal.SIGKILL,)):
            processes = [process for member in members if (process := self.process(member))]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for number in numbers:
                        process.send_signal(number)
            _await_end(processes)

    def pause(self, member: Member) -> None:
        """SIGSTOP: the node stands still until `resume`. Raises `LaunchError` if it can't."""
        process = self._living(member)
        if self.is_paused(member):
            raise LaunchError(f"{member.name} is paused already: 'cluster resume {member.name}' lets it go on")
        process.suspend()
        # It stops when the system next gives it a processor; a `resume` before would find it not paused.
        _await(lambda: _has_ended(process) or self.is_paused(member))

    def resume(self, member: Member) -> None:
        """SIGCONT. Raises `LaunchError` if the node is not paused."""
        process = self._living(member)
        if not self.is_paused(member):
            raise LaunchError(f"{member.name} is not paused: 'cluster status' shows what it is")
        process.resume()

    def is_paused(self, member: Member) -> bool:
        """Whether a node's process lives and stands still."""
        try:
            process = self.process(member)
            return process is not None and bool(process.status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def wipe(self, member: Member) -> None:
        """Delete a dead node's data directory, as if its disk was lost. Raises `LaunchError` if there is none."""
        if self.settings.ephemeral and self.is_up:
            raise LaunchError("this cluster keeps nothing on disk")
        if self.process(member):
            raise LaunchError(
                f"{member.name} is up: 'cluster kill {member.name}' first (with 'up --restart' it comes back at once)"
            )
        try:
            shutil.rmtree(self.data_path(member.name))
        except FileNotFoundError:
            raise LaunchError(f"{member.name} has no data in {self.data_path(member.name)}: it is wiped") from None

    def cut_off_from(self, name: str) -> list[str]:
        """The nodes that one can't hear as long as the partition lasts."""
        mine = next((group for group in self.partition if name in group), list(self.members))
        return [each for each in self.members if each not in mine]

    async def part(self, groups: list[list[str]]) -> None:
        """Cut these groups of nodes off from each other; no groups: heal. A node that starts later is in its group too.

        Raises `LaunchError`; if it names nodes that could not be told, the others were.
        """
        if not self.settings.faults:
            raise LaunchError("this cluster was not started for experiments: 'cluster up --faults' is")
        named = [name for group in groups for name in group]
        if groups and (sorted(named) != sorted(self.members) or len(groups) < 2):
            for name in named:
                self.member(name)
            example = _example_groups(list(self.members))
            raise LaunchError(f"each node must be in one of two or more groups, as in {example}")
        self.partition = groups
        self.save()
        living = self.alive()
        results = await asyncio.gather(*(self._tell_faults(member) for member in living), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ClientError):
                raise result
        deaf = [member.name for member, result in zip(living, results, strict=True) if result is not None]
        if deaf:
            raise LaunchError(f"{', '.join(deaf)} could not be told: do it again")

    async def _tell_faults(self, member: Member) -> None:
        async with await Client.connect(member.address) as client:
            try:
                await client.fault(self.settings.loss, self.cut_off_from(member.name))
            except ClientError:
                # A paused node finds the request when it goes on; a dead one is told at its start.
                if self.process(member) and not self.is_paused(member):
                    raise

    def _living(self, member: Member) -> psutil.Process:
        process = self.process(member)
        if process is None:
            raise LaunchError(f"{member.name} is dead: 'cluster restart {member.name}' starts it again")
        return process

    def stop_all(self) -> None:
        """End every node; logs and data stay. Nodes that others restarted meanwhile are ended too."""
        with contextlib.suppress(LaunchError):
            saved = Cluster.load(self.directory)
            if saved.id == self.id:
                self.members = saved.members
        self.stop(list(self.members.values()))
        self.is_up = False
        self.partition = []
        self.save()

    def _identity(self, member: Member) -> list[str]:
        return [f"--name={member.name}", f"--cluster-name={self.id}"]

    def _is_ours(self, command: list[str], member: Member) -> bool:
        return set(self._identity(member)) <= set(command)

    def log_lines(self, member: Member) -> list[str]:
        """A node's log so far. Raises `LaunchError` if there is none."""
        path = self.log_path(member.name)
        try:
            return path.read_text(errors="replace").splitlines()
        except OSError as error:
            raise LaunchError(f"can't read {path}: {error.strerror}") from None

    def _last_words(self, member: Member) -> str:
        lines = self.log_lines(member)
        return lines[-1] if lines else f"see {self.log_path(member.name)}"


def _example_groups(names: list[str]) -> str:
    half = (len(names) + 1) // 2
    return f"{','.join(names[:half])}/{','.join(names[half:])}"


def _await_end(processes: list[psutil.Process]) -> bool:
    """Wait until these have ended and let go of their ports, at most `STOP_S`; whether they have."""
    return _await(lambda: all(map(_has_ended, processes)))


def _await(condition: Callable[[], bool]) -> bool:
    """Wait for it, at most `STOP_S`; whether it came.

    It polls: most nodes are no children of this process, and the system tells only parents what becomes of a process.
    """
    deadline = time.monotonic() + STOP_S
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return met


def _has_ended(process: psutil.Process) -> bool:
    """One that nobody has reaped yet has ended too."""
    try:
        return not process.is_running() or process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True


@contextlib.asynccontextmanager
async def changing(directory: Path, make: bool = False) -> AsyncIterator[None]:
    """Hold off every other command that starts or stops nodes in `directory`, which `make` makes.

    Raises `LaunchError` if it can't be used, or if another command does not finish in good time.
    """
    handle = _lock_file(directory, make)
    try:
        await _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock_file(directory: Path, make: bool) -> int:
    if not make and not directory.is_dir():
        raise LaunchError(f"no cluster is up in {directory}: start one with 'cluster up'")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError as error:
        raise LaunchError(f"can't use the directory {directory}: {error.strerror}") from None


async def _lock(handle: int, directory: Path) -> None:
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"another command is starting or stopping nodes in {directory}: try again when it is done"
                ) from None
            await asyncio.sleep(0.02)
        else:
            return


@contextlib.asynccontextmanager
async def temporary(nodes: int, settings: Settings) -> AsyncIterator[Cluster]:
    """A fresh cluster on free ports that answers, and is gone afterwards, processes and directory. For benchmarks.

    Raises `LaunchError`.
    """
    with tempfile.TemporaryDirectory(prefix="counter-bench-") as directory:
        cluster = Cluster.create(Path(directory), nodes, 0, settings)
        try:
            await cluster.start_all()
            yield cluster
        finally:
            cluster.stop_all()


def free_ports(wanted: int) -> list[int]:
    """Ports on which nobody listens at the moment. Raises `LaunchError` if there are not enough."""
    candidates = Random().sample(_FREE_PORTS, len(_FREE_PORTS))
    found = (port for port in candidates if is_free(port) and _claim(port))
    free = [port for _, port in zip(range(wanted), found, strict=False)]
    if len(free) < wanted:
        raise LaunchError(f"{wanted} free ports can't be found between {_FREE_PORTS.start} and {_FREE_PORTS.stop}")
    return free


_claims: deque[int] = deque()


def _claim(port: int) -> bool:
    """Keep others who look for free ports from this one for a while; by then somebody listens there."""
    if sys.platform != "linux":
        return True  # other systems know no names that end with whoever holds them
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0gossip-counter-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim.detach())
    if len(_claims) > MOST_CLAIMS:
        os.close(_claims.popleft())
    return True


def is_free(port: int) -> bool:
    """Whether a node could serve this port now, over UDP and TCP."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:  # the connections of a node that has just ended do not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                return False
    return True
