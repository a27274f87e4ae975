"""Claim: nodes can be paused and cut off, in experiments only, and catch up afterwards."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gossip_counter.cluster import faults
from gossip_counter.cluster.client import Client, RequestRefusedError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Settings
from gossip_counter.cluster.processes import Cluster
from tests.support.commands import Commands
from tests.support.processes import ask, udp_node
from tests.support.waiting import until


def test_a_paused_node_is_asked_only_by_name_and_catches_up_when_resumed(cluster: Commands) -> None:
    cluster.up(2)
    assert cluster.ok("pause", "n2") == "n2 paused\n"
    assert "paused already" in cluster.refused("pause", "n2")
    status = cluster.status()
    assert (status["agreed"], status["value"]) == (False, None)
    assert (status["nodes"][1]["state"], status["nodes"][1]["level"]) == ("paused", False)
    for _ in range(4):
        assert cluster.ok("add", "1") == "n1 counted +1\n"
    assert "n2 is paused: 'cluster resume n2'" in cluster.refused("read", "--node=n2")
    assert cluster.ok("resume", "n2") == "n2 goes on\n"
    assert "not paused" in cluster.refused("resume", "n2")
    until(cluster.agreed_on(4, 2))


def test_cut_off_nodes_are_behind_until_healed_also_those_that_restart(cluster: Commands) -> None:
    cluster.up(3, "--faults")
    cluster.ok("partition", "n1,n2/n3")
    cluster.ok("add", "5", "--node=n1")
    cluster.ok("kill", "n3")
    cluster.ok("restart", "n3")
    until(lambda: cluster.ok("read", "--node=n2") == "5\n")
    status = cluster.status()
    assert status["partition"] == [["n1", "n2"], ["n3"]]
    assert [(node["level"], node["local_value"]) for node in status["nodes"]] == [(True, 5), (True, 5), (False, 0)]
    assert "cut into n1,n2/n3" in cluster.ok("status")
    assert cluster.ok("heal") == "healed\n"
    until(cluster.agreed_on(5, 3))


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        *(([["n1", "n2"], ["n9"]], "there is no node 'n9'"), ([[""], [""]], "there is no node ''")),
        ([["n1"], [""], ["n2"]], "there is no node ''"),
        *(([["n1", "n2"]], "as in n1/n2"), ([["n1"]], "as in n1/n2"), ([["n1"], ["n1", "n2"]], "as in n1/n2")),
    ],
    ids=str,
)
def test_groups_that_make_no_sense_change_nothing(tmp_path: Path, groups: list[list[str]], error: str) -> None:
    cluster = Cluster.create(tmp_path, 2, 0, Settings(faults=True))
    with pytest.raises(ClusterError, match=error):
        asyncio.run(faults.partition(cluster, groups))
    assert cluster.manifest.partition == []


def test_a_node_takes_faults_only_if_started_for_them() -> None:
    with udp_node() as (_, address):
        with pytest.raises(RequestRefusedError) as caught:
            ask(address, lambda client: client.fault(1.0, ["n2"]))
        assert caught.value.code == 10


def test_faults_that_make_no_sense_are_malformed() -> None:
    bad: list[dict[str, Any]] = [
        *({"loss": each} for each in (2, "x", True)),
        *({"cut": each} for each in ("n2", [5], [""])),
    ]

    async def send_all(client: Client) -> None:
        for body in bad:
            with pytest.raises(RequestRefusedError) as caught:
                await client.request({"type": "fault"} | body)
            assert caught.value.code == 12, body

    with udp_node("--faults") as (_, address):
        ask(address, send_all)
