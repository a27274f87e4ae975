"""Fixtures that tests of several files use."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.processes import Cluster
from tests.support.commands import Commands
from tests.support.processes import processes_in
from tests.support.real_redis import RealRedis, real_redis
from tests.support.waiting import until


def pytest_configure() -> None:
    """Signals end tests and what they start, whoever runs them: nohup ignores SIGHUP, a shell's `&` SIGINT."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def cluster_in(directory: Path) -> Iterator[Commands]:
    """The command `cluster` in this directory. Fails if a node outlives its cluster."""
    commands = Commands(directory)
    yield commands
    with suppress(ClusterError):  # the test took it down
        Cluster.load(commands.directory).stop_all()
    until(lambda: not processes_in(commands.directory), limit_s=5)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Commands]:
    """The command `cluster` in a directory of its own."""
    with cluster_in(tmp_path / "counter") as commands:
        yield commands


@pytest.fixture(scope="module")
def two_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The Redis ports of a cluster of two nodes, for the tests of one file."""
    with cluster_in(tmp_path_factory.mktemp("cluster") / "counter") as commands:
        commands.up(2)
        first, second = (member.port for member in Cluster.load(commands.directory).members.values())
        yield first, second


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """A redis-server to compare with, for the tests of one file."""
    with real_redis(tmp_path_factory.mktemp("redis")) as found:
        yield found
