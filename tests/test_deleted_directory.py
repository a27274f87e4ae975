"""Claim: nodes whose cluster's directory was deleted are found, named and ended."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.commands import Commands
from tests.support.processes import has_ended
from tests.support.waiting import LIMIT_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows where a deleted file was")


@contextmanager
def nodes_of(cluster: Commands) -> Iterator[list[psutil.Process]]:
    """The processes of the nodes, none of which outlives the block."""
    nodes = [psutil.Process(pid) for pid in cluster.pids()]
    try:
        yield nodes
    finally:
        for each in nodes:
            with suppress(psutil.NoSuchProcess):
                each.kill()


@pytest.mark.parametrize("what", ["directory", "manifest", "link"])
def test_nodes_that_outlive_their_manifest_are_named_and_ended_by_down(tmp_path: Path, what: str) -> None:
    cluster = Commands(tmp_path / "counter")
    if what == "link":
        (tmp_path / "elsewhere").mkdir()
        cluster.directory.symlink_to("elsewhere")
    cluster.up(2, "--ephemeral")
    with nodes_of(cluster) as nodes:
        pids = ", ".join(str(each.pid) for each in nodes)
        if what == "directory":
            shutil.rmtree(cluster.directory)
        else:
            (cluster.directory / "cluster.json").unlink()
        for command in ("status", "add 1", "kill n1", "up", "logs n1"):
            error = cluster.refused(*command.split())
            assert f"cluster.json is gone from {cluster.directory}, and nodes still run (pids {pids})" in error
            assert error.endswith(": 'cluster down' ends them\n")
        assert cluster.ok("down") == "2 nodes stopped\n"
        assert all(map(has_ended, nodes))
    assert "no cluster is up" in cluster.refused("down")


def test_down_where_nothing_is_leaves_nodes_of_a_moved_directory_alone(tmp_path: Path) -> None:
    here, there = Commands(tmp_path / "here"), Commands(tmp_path / "there")
    here.up(1, "--ephemeral")
    here.directory.rename(there.directory)
    assert "no cluster is up" in here.refused("down")
    assert there.ok("down") == "1 node stopped\n"


def test_a_launcher_whose_directory_is_deleted_ends_its_nodes_and_leaves_no_directory(cluster: Commands) -> None:
    with cluster.popen("up", "-n2", "--base-port=0") as launcher:
        assert launcher.stdout
        assert "2 nodes up" in launcher.stdout.readline()
        assert "agreed" in launcher.stdout.readline()
        with nodes_of(cluster) as nodes:
            shutil.rmtree(cluster.directory)
            stdout, stderr = launcher.communicate(timeout=LIMIT_S)
            assert all(map(has_ended, nodes))
    assert (launcher.returncode, stdout, stderr) == (
        0, f"{cluster.directory}/cluster.json is gone: nothing more can be shown\n", ""
    )  # fmt: skip
    assert not cluster.directory.exists()
