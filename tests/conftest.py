"""What every test may ask for."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.launcher import Cluster, LaunchError
from tests.processes import Commands, processes_in


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path / "counter")
    yield commands
    with suppress(LaunchError):  # the test took it down
        Cluster.load(commands.directory).stop_all()
    assert not processes_in(commands.directory), "a node was left behind"
