"""Claim: whatever goes wrong in a command is one clear line on stderr, which says what to do next."""

from pathlib import Path

import pytest

from tests.support.commands import Commands


def test_without_a_cluster(cluster: Commands, tmp_path: Path) -> None:
    for command in ("status", "down", "add 1", "read", "heal", "partition n1/n2"):
        assert "no cluster is up" in cluster.refused(*command.split())
    for name in ("kill", "restart", "logs", "pause", "resume", "wipe"):
        assert "no cluster is up" in cluster.refused(name, "n1")
    assert "--push is for delta gossip only" in cluster.refused("up", "--gossip=full", "--push")
    (tmp_path / "file").touch()
    assert "can't use" in cluster.refused("up", "--dir", str(tmp_path / "file"))


@pytest.mark.parametrize(
    "arguments",
    ["up -n0", "up -n101", "up --log-level=shouting", f"add {2**63}", "add much", "add 1.5", "add 1 --copies=0"],
)
def test_values_out_of_bounds(cluster: Commands, arguments: str) -> None:
    assert "Usage: " in cluster.misused(*arguments.split())


def test_with_a_cluster_that_is_up(cluster: Commands) -> None:
    cluster.up(2)
    assert "already up" in cluster.refused("up", "-n2", "--base-port=0")
    for command in ("kill n9", "restart n9", "logs n9", "add 1 --node=n9", "read --node=n9"):
        assert "there is no node 'n9': this cluster has n1, n2" in cluster.refused(*command.split())
    assert "counter" in cluster.refused("add", "1", "--counter", "n" * 256)
    assert "copies must be from 1 to 2" in cluster.refused("add", "1", "--copies=3")
    assert "token must be one" in cluster.refused("read", "--token", "nonsense!")
    assert "not started for experiments" in cluster.refused("heal")
    assert "cluster up --faults" in cluster.refused("partition", "n1/n2")
    assert cluster.ok("read") == "0\n"
    cluster.ok("kill", "n2")
    assert "dead" in cluster.refused("kill", "n2")
    assert "dead" in cluster.refused("add", "1", "--node=n2")
    assert cluster.ok("logs", "n2", "-n1").count("\n") == 1
    cluster.directory.joinpath("logs", "n2.log").unlink()
    assert "can't read" in cluster.refused("logs", "n2")


def test_a_manifest_that_cannot_be_used(cluster: Commands) -> None:
    cluster.up(1)
    manifest = cluster.directory / "cluster.json"
    good = manifest.read_text()
    for bad in ("{", "[]", "{}", good.replace('"port"', '"part"')):
        manifest.write_text(bad)
        assert "damaged" in cluster.refused("status")
        assert "damaged" in cluster.refused("up")
    manifest.write_text(good)
    cluster.ok("down")
    manifest.unlink()
    assert "put that back" in cluster.refused("up", "-n1", "--base-port=0")


def test_with_a_cluster_that_is_down(cluster: Commands) -> None:
    cluster.up(1)
    cluster.ok("add", "5")
    cluster.ok("down")
    for name in ("kill", "restart", "pause", "resume"):
        assert "is down: 'cluster up' starts it again" in cluster.refused(name, "n1")
    assert "holds durable counts" in cluster.refused("up", "--ephemeral")
    assert "holds a cluster of 1 nodes" in cluster.refused("up", "-n5")
    assert "stopped" in cluster.ok("logs", "n1")
    cluster.ok("wipe", "n1")
    cluster.ok("up", "--detach")
    assert cluster.ok("read") == "0\n"


def test_a_cluster_without_tokens_says_so(cluster: Commands) -> None:
    cluster.up(1, "--gossip=full")
    assert "nothing was added: there are no tokens" in cluster.refused("add", "5", "--tell-token")
    assert cluster.ok("read") == "0\n"
