"""Claim: a cluster grows and shrinks by commands while it runs, loses nothing, and a wrong command says what to do."""

import asyncio
import json

import pytest

from gossip_counter.cluster import growth
from gossip_counter.cluster.client import RequestRefusedError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.processes import Cluster
from tests.support.commands import Commands
from tests.support.waiting import until


def states(cluster: Commands, node: str = "n1") -> dict[str, str]:
    listed = json.loads(cluster.ok("members", "--json", f"--node={node}"))["members"]
    return {each["name"]: each["state"] for each in listed}


def test_nodes_join_leave_and_are_removed_and_nothing_is_lost(cluster: Commands) -> None:
    cluster.up(2)
    assert "n3 is a member now" in cluster.ok("join")
    cluster.ok("add", "5", "--node", "n3")
    assert "n3 has left" in cluster.ok("leave", "n3")
    until(cluster.agreed_on(5, nodes=2))
    assert cluster.ok("scale", "4") == "4 nodes: n1, n2, n4, n5\n"
    until(cluster.agreed_on(5, nodes=4))
    cluster.ok("kill", "n5")
    assert "n5 is removed" in cluster.ok("remove", "n5")
    assert cluster.ok("scale", "2") == "2 nodes: n1, n2\n"
    assert states(cluster) == {"n1": "up", "n2": "up", "n3": "left", "n4": "left", "n5": "removed"}
    assert "removed" in cluster.ok("members")
    cluster.ok("down")
    cluster.ok("up", "--detach")
    until(cluster.agreed_on(5, nodes=2))


def test_a_sealed_cluster_grows_too(cluster: Commands) -> None:
    cluster.up(1, "--sealed")
    cluster.ok("add", "5")
    cluster.ok("scale", "2")
    until(cluster.agreed_on(5, nodes=2))
    keys = {each["key"] for each in json.loads(cluster.ok("members", "--json"))["members"]}
    assert len(keys) == 1
    assert None not in keys


def test_what_can_not_be_done_is_one_line(cluster: Commands) -> None:
    assert "no cluster" in cluster.refused("members")
    cluster.up(1)
    assert "the only node" in cluster.refused("leave", "n1")
    assert "there is no node 'n7'" in cluster.refused("leave", "n7")
    assert "'cluster leave n1' lets it hand over" in cluster.refused("remove", "n1")
    assert "greater than or equal to 1" in cluster.misused("scale", "0")
    cluster.ok("kill", "n1")
    assert "'cluster restart n1'" in cluster.refused("join")
    assert "'cluster restart n1'" in cluster.refused("remove", "n1")


def test_a_cluster_of_full_state_gossip_stays_as_it_is(cluster: Commands) -> None:
    cluster.up(2, "--gossip=full")
    assert "--gossip full" in cluster.refused("join")
    assert "full-state gossip" in cluster.refused("leave", "n2")


def test_a_node_that_joins_a_cluster_that_is_cut_is_in_one_of_its_groups(cluster: Commands) -> None:
    cluster.up(2, "--faults")
    cluster.ok("partition", "n1/n2")
    cluster.ok("join")
    assert cluster.status()["partition"] == [["n1", "n3"], ["n2"]]
    cluster.ok("leave", "n3")
    assert cluster.status()["partition"] == [["n1"], ["n2"]]
    cluster.ok("kill", "n2")
    cluster.ok("remove", "n2")
    assert cluster.status()["partition"] == []


def test_a_node_that_is_killed_while_it_hands_over_has_not_left(
    cluster: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LEAVE_S", 1.0)
    cluster.up(2)
    cluster.ok("pause", "n1")
    with pytest.raises(ClusterError, match="before it had handed over"):
        asyncio.run(leave_and_be_killed(Cluster.load_up(cluster.directory)))
    cluster.ok("restart", "n2")
    until(cluster.agreed_on(0, nodes=2))


async def leave_and_be_killed(cluster: Cluster) -> None:
    """Let n2 leave, and kill it when it takes no more adds. n1 is paused, and goes on then."""
    n1, n2 = cluster.members.values()
    leaving = asyncio.create_task(growth.leave(cluster, n2))
    async with await cluster.connect(n2) as client:
        with pytest.raises(RequestRefusedError, match="is leaving"):
            while True:
                await client.add(1, expire_ms=1)
    cluster.kill(n2)
    cluster.resume(n1)
    await leaving
