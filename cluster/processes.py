"""The processes of a cluster's nodes: start, find, stop, kill, pause.

A process belongs to a node if its command line has the cluster's mark and the node's name, whoever started it and
whatever pid the manifest has: a launcher may be killed before it saves the pid. A process that has got an old pid of
ours from the system is never touched.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from gossip_counter.cluster import key_rings, ports
from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.errors import ClusterError, reason
from gossip_counter.cluster.manifest import Manifest, Member, Settings

if TYPE_CHECKING:
    from gossip_counter.cluster.seals import Keys

STOP_S = 3.0
"""How long a node may take to stop before it is killed."""
READY_S = 20.0
"""How long a node may take to answer. It needs less than a second; a busy machine may need more."""
POLL_S = 0.005


class Cluster:
    """A manifest and the processes of its nodes."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def create(cls, directory: Path, nodes: int, base_port: int, settings: Settings) -> Self:
        """A new cluster, not yet started; `base_port` 0 takes free ports. Raises `ClusterError`."""
        manifest = Manifest.create(directory, nodes, settings)
        if settings.sealed:
            key_rings.ensure(manifest.keys_path)
        ports.assign(manifest, base_port)
        return cls(manifest)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The cluster in `directory`, up or down. Raises `ClusterError` if there is none."""
        return cls(Manifest.load(directory))._with_pids()

    @classmethod
    def load_up(cls, directory: Path) -> Self:
        """The cluster that is up in `directory`. Raises `ClusterError` if none is."""
        return cls(Manifest.load_up(directory))._with_pids()

    @property
    def members(self) -> dict[str, Member]:
        """The nodes by name."""
        return self.manifest.members

    @property
    def settings(self) -> Settings:
        """What the nodes are started with."""
        return self.manifest.settings

    async def connect(self, member: Member, timeout_s: float = 2.0) -> Client:
        """A client of a node, as `Client.connect`, with the cluster's keys if it is sealed."""
        return await Client.connect(member.address, timeout_s, self.keys)

    @property
    def keys(self) -> "Keys | None":
        """What its clients seal with; None: datagrams are plain. Raises `node.core.errors.ConfigError`."""
        if not self.settings.sealed:
            return None
        from gossip_counter.cluster.seals import Keys  # noqa: PLC0415 half the start-up of a command

        return Keys.read(self.manifest.keys_path, self.manifest.id)

    # Find.

    def process(self, member: Member) -> psutil.Process | None:
        """A node's running process; None if it ended, even if another process has its pid now."""
        is_child = self._is_living_child(member.pid)
        try:
            found = psutil.Process(member.pid) if member.pid else None
            if found is None or _has_ended(found):
                return None
            # A child that has only just begun has no command line yet.
            return found if is_child or self._name_of(found) == member.name else None
        except psutil.Error:
            return None

    def _is_living_child(self, pid: int) -> bool:
        """Whether this process started `pid`, and it runs. All children that ended are reaped, or they stay zombies."""
        return pid in [child.pid for child in self._children if child.poll() is None]

    def _name_of(self, process: psutil.Process) -> str | None:
        """Which node of this cluster a process is; None if it is none. Raises `psutil.Error`."""
        line = process.cmdline()
        return next((name for name in self.members if f"--name={name}" in line), None) if self._mark in line else None

    @property
    def _mark(self) -> str:
        return f"-X{self.manifest.mark}"

    def _all_processes(self) -> Iterator[tuple[Member, psutil.Process]]:
        """Every node that runs on this machine, by a look at all processes: some 20 ms."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if name := self._name_of(process):
                    yield self.members[name], process

    def _with_pids(self) -> Self:
        """Itself, with the pids that were not saved because the command that started the nodes was killed."""
        if len(self.alive()) < len(self.members):
            for member, process in self._all_processes():
                member.pid = process.pid
        return self

    def alive(self) -> list[Member]:
        """The nodes whose processes run."""
        return [each for each in self.members.values() if self.process(each)]

    def running(self) -> list[Member]:
        """The nodes that run and are not paused."""
        return [each for each in self.alive() if not self.is_paused(each)]

    def some_running(self) -> list[Member]:
        """The same, at least one. Raises `ClusterError` if there is none."""
        if running := self.running():
            return running
        if alive := self.alive():
            raise ClusterError(f"no node runs that is not paused: 'cluster resume {alive[0].name}' continues one")
        first = next(iter(self.members))
        raise ClusterError(f"no node is up: 'cluster restart {first}' starts one, 'cluster status' shows all")

    def is_paused(self, member: Member) -> bool:
        """Whether a node's process is stopped by SIGSTOP."""
        try:
            process = self.process(member)
            return process is not None and bool(process.status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def _running(self, member: Member) -> psutil.Process:
        process = self.process(member)
        if process is None:
            raise ClusterError(f"{member.name} is dead: 'cluster restart {member.name}' starts it again")
        return process

    # Start.

    def start(self, member: Member) -> None:
        """Start a node's process and save its pid. Raises `ClusterError`; the process is not left running then."""
        child = self._spawn(member)
        try:
            self.manifest.save()
        except ClusterError:
            child.kill()
            child.wait()
            raise

    def _spawn(self, member: Member) -> "subprocess.Popen[bytes]":
        try:
            with self.manifest.log_path(member.name).open("ab") as log:
                # A new session: Ctrl-C at the terminal reaches only the launcher, which then stops the nodes.
                child = subprocess.Popen(
                    self._command(member), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise ClusterError(f"can't start {member.name} with {sys.executable}: {reason(error)}") from None
        self._children.append(child)
        member.pid = child.pid
        return child

    def _command(self, member: Member) -> list[str]:
        manifest, settings = self.manifest, self.settings
        peers = [each for each in self.members.values() if each is not member]
        cut = manifest.cut_off_from(member.name)
        return [
            # -P: a folder called gossip_counter in the current directory must not be imported. -X takes any text.
            *(sys.executable, "-P", self._mark, "-m", "gossip_counter.node"),
            *(f"--name={member.name}", f"--cluster-name={manifest.id}"),
            *(f"--bind={member.host}:{member.port}", f"--resp={member.host}:{member.port}", *settings.arguments()),
            *([f"--metrics={member.host}:{member.metrics_port}"] if settings.metrics else []),
            *(f"--peer={each.name}={each.host}:{each.port}" for each in peers),
            *(f"--join={each.host}:{each.port}" for each in peers if member.joined and each.name not in cut),
            "--ephemeral" if settings.ephemeral else f"--data={manifest.data_path(member.name)}",
            *([f"--keys={manifest.keys_path}"] if settings.sealed else []),
            *(f"--fault-cut={name}" for name in cut),
        ]

    async def start_all(self, answers: Callable[[int], object] = lambda _: None) -> None:
        """Start every node and wait until each answers. On an error all are stopped. Raises `ClusterError`.

        `answers` is called with how many answer, first with 0. The manifest is saved before the first process starts:
        whenever this process is killed, other commands find all nodes.
        """
        answers(0)
        self.manifest.is_up = True
        self.manifest.save()
        try:
            for member in self.members.values():
                self._spawn(member)
                await asyncio.sleep(0)  # where a signal is noticed
            self.manifest.save()
            await self._all_ready(answers)
        except BaseException:
            self.stop_all()
            raise

    async def _all_ready(self, answers: Callable[[int], object]) -> None:
        """Wait until every node answers. No wait outlives an error: `stop_all` may need the files that they hold."""
        numbers = count(1)

        async def answered(member: Member) -> None:
            await self.ready(member)
            answers(next(numbers))

        waits = [asyncio.create_task(answered(member)) for member in self.members.values()]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def ready(self, member: Member) -> Status:
        """Wait until a node answers; its first status. Raises `ClusterError` if it ends or does not answer in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        async with await self.connect(member, timeout_s=0.1) as client:
            while loop.time() < deadline:
                status = await self._first_status(client, member)
                if status and self.process(member):
                    return status
                if not self.process(member):
                    raise ClusterError(f"{member.name} ended at once: {self._last_log_line(member)}")
                await asyncio.sleep(0.01)
        raise ClusterError(
            f"{member.name} does not answer after {READY_S:g} s: see {self.manifest.log_path(member.name)}"
        )

    async def _first_status(self, client: Client, member: Member) -> Status | None:
        """The node's status; None if there is no answer yet, or if another process answers at its port."""
        with contextlib.suppress(ClientError):
            status = await client.gossip_status()
            if (status.get("name"), status.get("cluster")) == (member.name, self.manifest.id):
                return status
        return None

    def _last_log_line(self, member: Member) -> str:
        lines = self.manifest.log_lines(member.name)
        return lines[-1] if lines else f"see {self.manifest.log_path(member.name)}"

    # Stop.

    def stop(self, members: Iterable[Member]) -> None:
        """End these nodes' processes: SIGTERM, and SIGKILL for those that do not stop within `STOP_S`.

        Raises `ClusterError` if one outlives that too.
        """
        names = [member.name for member in members]
        end(lambda: self._processes_of(names), ", ".join(names))

    def _processes_of(self, names: list[str]) -> list[psutil.Process]:
        known = [process for name in names if (process := self.process(self.members[name]))]
        return list({*known, *(process for member, process in self._all_processes() if member.name in names)})

    def stop_all(self) -> None:
        """End every node, also those that other commands have started. Data and logs stay. Raises `ClusterError`."""
        with contextlib.suppress(ClusterError):
            saved = Manifest.load(self.manifest.directory)
            if saved.id == self.manifest.id:
                self.manifest.members = saved.members
        self.stop(self.members.values())
        self.manifest.is_up, self.manifest.partition = False, []
        if self.manifest.directory.exists():  # who deleted it wants none again
            self.manifest.save()

    def kill(self, *members: Member) -> None:
        """SIGKILL, as a crash would; several at once. Raises `ClusterError` if one is dead already."""
        processes = [self._running(member) for member in members]
        for process in processes:
            process.kill()
        if not _wait_for_end(processes):
            raise ClusterError("some processes have not ended yet: look with 'cluster status', and try again")

    # Pause.

    def pause(self, member: Member) -> None:
        """SIGSTOP: the node does nothing until `resume`. Raises `ClusterError` if it is dead or paused already."""
        process = self._running(member)
        if self.is_paused(member):
            raise ClusterError(f"{member.name} is paused already: 'cluster resume {member.name}' lets it go on")
        process.suspend()
        # The system stops it a moment later; a `resume` before that would find it not paused.
        _wait(lambda: _has_ended(process) or self.is_paused(member))

    def resume(self, member: Member) -> None:
        """SIGCONT. Raises `ClusterError` if the node is dead or not paused."""
        process = self._running(member)
        if not self.is_paused(member):
            raise ClusterError(f"{member.name} is not paused: 'cluster status' shows its state")
        process.resume()


@contextlib.asynccontextmanager
async def temporary(nodes: int, settings: Settings) -> AsyncIterator[Cluster]:
    """A new cluster on free ports that answers. Afterwards its processes and its directory are gone. For benchmarks.

    Raises `ClusterError`.
    """
    with tempfile.TemporaryDirectory(prefix="counter-bench-") as directory:
        cluster = Cluster.create(Path(directory), nodes, 0, settings)
        try:
            await cluster.start_all()
            yield cluster
        finally:
            cluster.stop_all()


def end(find: Callable[[], list[psutil.Process]], what: str) -> None:
    """End the processes that `find` finds: SIGTERM, and SIGKILL for those that do not stop within `STOP_S`.

    Raises `ClusterError` about `what` if one outlives that too.
    """
    # SIGCONT: a paused process does not receive SIGTERM.
    for numbers in ((signal.SIGTERM, signal.SIGCONT), (signal.SIGKILL,)):
        processes = find()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for number in numbers:
                    process.send_signal(number)
        if _wait_for_end(processes):
            return
    raise ClusterError(f"{what}: some have not ended yet, killed as they are: try again")


def _wait_for_end(processes: list[psutil.Process]) -> bool:
    """Wait until these have ended and freed their ports, at most `STOP_S`; whether they have."""
    return _wait(lambda: all(map(_has_ended, processes)))


def _wait(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, at most `STOP_S`; whether it was met.

    It polls, because most nodes are not children of this process: the system reports the end only to parents.
    """
    deadline = time.monotonic() + STOP_S
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return met


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also if nobody has reaped it yet."""
    try:
        return not process.is_running() or process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True
