"""What every test may ask for."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.processes import Cluster
from tests.processes import Commands, processes_in, until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path / "counter")
    yield commands
    with suppress(ClusterError):  # the test took it down
        Cluster.load(commands.directory).stop_all()
    until(lambda: not processes_in(commands.directory), limit_s=5)  # or a node was left behind
