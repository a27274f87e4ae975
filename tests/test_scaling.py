"""Claim: a cluster grows and shrinks by commands while it runs, loses nothing, and a wrong command says what to do."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gossip_counter.cluster import growth, member_lists
from gossip_counter.cluster.client import RequestRefusedError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Manifest, Member, Settings
from gossip_counter.cluster.member_lists import View
from gossip_counter.cluster.ports import free_ports
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.wording import in_natural_order
from tests.support.commands import Commands
from tests.support.processes import node_process
from tests.support.waiting import until


def states(cluster: Commands, node: str = "n1") -> dict[str, str]:
    listed = json.loads(cluster.ok("members", "--json", f"--node={node}"))["members"]
    return {each["name"]: each["state"] for each in listed}


@contextmanager
def started_by_hand(cluster: Commands, name: str, *arguments: str) -> Iterator[None]:
    """A node that joins the cluster and is not of its directory."""
    manifest, at = Manifest.load(cluster.directory), f"127.0.0.1:{free_ports(1)[0]}"
    first = next(iter(manifest.members.values()))
    join = [f"--cluster-name={manifest.id}", f"--join={first.host}:{first.port}", f"--bind={at}"]
    with node_process(f"--name={name}", "--ephemeral", *join, *arguments):
        until(lambda: states(cluster).get(name) == "up")
        yield


def test_nodes_join_leave_and_are_removed_and_nothing_is_lost(cluster: Commands) -> None:
    cluster.up(2)
    assert "n3 is a member now" in cluster.ok("join")
    cluster.ok("add", "5", "--node", "n3")
    assert "n3 has left" in cluster.ok("leave", "n3")
    assert cluster.ok("leave", "n3") == cluster.ok("remove", "n3") == "n3 has left already\n"
    until(cluster.agreed_on(5, nodes=2))
    assert cluster.ok("scale", "4") == "4 nodes: n1, n2, n4, n5\n"
    until(cluster.agreed_on(5, nodes=4))
    cluster.ok("kill", "n5")
    assert "n5 is removed" in cluster.ok("remove", "n5")
    assert cluster.ok("remove", "n5") == cluster.ok("leave", "n5") == "n5 was removed already\n"
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
    assert "the only node: 'cluster down' stops it" in cluster.refused("remove", "n1")
    assert "greater than or equal to 1" in cluster.misused("scale", "0")
    cluster.ok("kill", "n1")
    assert "'cluster restart n1'" in cluster.refused("join")
    assert "'cluster restart n1'" in cluster.refused("remove", "n1")


def test_a_cluster_of_full_state_gossip_stays_as_it_is(cluster: Commands) -> None:
    cluster.up(2, "--gossip=full")
    assert "--gossip full" in cluster.refused("join")
    assert "--gossip full" in cluster.refused("leave", "n2")
    assert "--gossip full" in cluster.refused("remove", "n2")
    cluster.ok("kill", "n2")
    assert "--gossip full" in cluster.refused("remove", "n2")


def test_who_is_up_or_paused_is_not_removed(cluster: Commands) -> None:
    cluster.up(2)
    assert "'cluster leave n2' lets it hand over first" in cluster.refused("remove", "n2")
    cluster.ok("pause", "n2")
    assert "'cluster resume n2' lets it go on, 'cluster kill n2' ends it" in cluster.refused("remove", "n2")
    assert "'cluster resume n2' lets it go on" in cluster.refused("leave", "n2")
    assert "n2 is paused" in cluster.refused("scale", "1")


def test_a_node_that_joins_in_a_partition_is_in_the_group_of_who_takes_it_in(cluster: Commands) -> None:
    cluster.up(3, "--faults")
    until(lambda: all(node["cluster_id_settled"] for node in cluster.nodes()))
    cluster.ok("partition", "n1/n2,n3")
    assert "n4 is a member now" in cluster.ok("join")
    assert cluster.status()["partition"] == [["n1", "n4"], ["n2", "n3"]]
    cluster.ok("restart", "n4")
    assert cluster.ok("add", "5", "--node=n4", "--copies=2")
    assert cluster.ok("read", "--node=n2") == "0\n"
    done = "n4 has left: others store all that it did, but not yet, as far as it knows, n2, n3\n"
    assert cluster.ok("leave", "n4") == done
    assert cluster.status()["partition"] == [["n1"], ["n2", "n3"]]
    cluster.ok("heal")
    until(cluster.agreed_on(5, nodes=3))


def test_members_that_others_started_leave_and_are_removed_too(cluster: Commands) -> None:
    cluster.up(1)
    with started_by_hand(cluster, "h10"):
        with started_by_hand(cluster, "h7"):
            assert "h7 is up: 'cluster leave h7' lets it hand over; or stop it first" in cluster.refused("remove", "h7")
            assert "h7 has left" in cluster.ok("leave", "h7")
        assert cluster.ok("leave", "h7") == "h7 has left already\n"
    assert "'cluster remove h10' if it is gone for good" in cluster.refused("leave", "h10")
    assert "h10 is removed" in cluster.ok("remove", "h10")
    listed = [line.split()[:2] for line in cluster.ok("members").splitlines()[1:]]
    assert listed == [["h7", "left"], ["h10", "removed"], ["n1", "up"]]


def test_members_of_a_cluster_elsewhere_are_asked_by_an_address(cluster: Commands, tmp_path: Path) -> None:
    cluster.up(1, "--sealed")
    manifest = Manifest.load(cluster.directory)
    at = "--at={}:{}".format(*manifest.members["n1"].address)
    sealed = [at, f"--keys={manifest.keys_path}", f"--cluster-name={manifest.id}"]
    elsewhere = ["--dir", str(tmp_path / "none")]
    with started_by_hand(cluster, "h7", f"--keys={manifest.keys_path}"):
        assert "if that cluster is sealed, say --keys FILE" in cluster.refused("members", at, *elsewhere)
        assert "h7" in cluster.ok("members", *sealed, *elsewhere)
        assert f"'cluster leave h7 {at.replace('=', ' ')} --keys" in cluster.refused(
            "remove", "h7", *sealed, *elsewhere
        )
        assert "h7 has left" in cluster.ok("leave", "h7", *sealed, *elsewhere)
    assert "n1 is the node that was asked" in cluster.refused("remove", "n1", *sealed)
    nobody = cluster.refused("members", f"--at=127.0.0.1:{free_ports(1)[0]}")
    assert "nobody listens" in nobody
    assert "sealed" not in nobody
    assert "'here' is not HOST:PORT" in cluster.misused("members", "--at=here")
    assert "leave out one of them" in cluster.misused("members", at, "--node=n1")


def test_scale_counts_nobody_who_is_dead(cluster: Commands) -> None:
    cluster.up(3)
    cluster.ok("kill", "n2")
    assert "'cluster restart n2' starts it again, 'cluster remove n2'" in cluster.refused("scale", "2")
    assert cluster.ok("scale", "3") == "3 nodes: n1, n2, n3; n2 is dead: 'cluster restart n2' starts it again\n"


def test_two_at_a_time_see_what_the_other_has_done(cluster: Commands) -> None:
    cluster.up(1)
    commands = [cluster.popen("scale", "2") for _ in range(2)]
    for command in commands:
        assert command.communicate()[0] == "2 nodes: n1, n2\n"


def test_names_are_in_natural_order() -> None:
    assert sorted(["n10", "n2", "n1", "a", "10", "9"], key=in_natural_order) == ["9", "10", "a", "n1", "n2", "n10"]
    assert sorted(["²", "n٣", "n²", "2"], key=in_natural_order) == ["2", "n²", "n٣", "²"]


def test_a_new_name_has_the_next_number_whatever_else_is_there(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / "c", 2, Settings())
    manifest.log_path("n²").touch()
    assert growth._new_name(Cluster(manifest)) == "n3"


def test_a_node_that_no_other_lists_as_up_is_no_member(cluster: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that nobody asked for keeps it apart from the only other node."""

    def add_apart(manifest: Manifest, member: Member, beside: Member) -> None:
        manifest.partition = [[beside.name], [member.name]]
        manifest.members[member.name] = member

    monkeypatch.setattr(growth, "READY_S", 0.3)
    monkeypatch.setattr(growth, "_add", add_apart)
    cluster.up(1, "--faults")
    with pytest.raises(ClusterError, match=r"n2 was not taken in within 0\.3 s"):
        asyncio.run(growth.join(Cluster.load_up(cluster.directory)))
    assert [each["name"] for each in cluster.nodes()] == ["n1"]
    assert states(cluster) == {"n1": "up"}


def test_who_is_up_for_any_node_that_was_asked_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    lists, at = member_lists.MemberLists([]), ("127.0.0.1", 1)

    async def views() -> list[View]:
        seen = {"n1": "down", "n2": "suspect", "n3": "up", "n4": "left"}
        return [View(name, at, [{"name": "n9", "state": state, "addresses": []}]) for name, state in seen.items()]

    monkeypatch.setattr(lists, "views", views)
    monkeypatch.setattr(member_lists, "REMOVE_S", 0.0)
    with pytest.raises(ClusterError, match="n9 is up: 'cluster leave n9'"):
        asyncio.run(lists.remove("n9"))


def test_a_node_that_is_killed_while_it_hands_over_has_not_left(
    cluster: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_lists, "LEAVE_S", 1.0)
    cluster.up(2)
    until(lambda: json.loads(cluster.ok("members", "--json", "--node=n2"))["members"][0]["state"] == "up")
    with pytest.raises(ClusterError, match="before it had handed over"):
        asyncio.run(leave_and_be_killed(Cluster.load_up(cluster.directory)))
    cluster.ok("restart", "n2")
    until(cluster.agreed_on(0, nodes=2))


async def leave_and_be_killed(cluster: Cluster) -> None:
    """Let n2 leave, and kill it when it takes no more adds. n1 is paused meanwhile, which n2 has just heard."""
    n1, n2 = cluster.members.values()
    cluster.pause(n1)
    leaving = asyncio.create_task(growth.leave(cluster, n2))
    async with await cluster.connect(n2) as client:
        with pytest.raises(RequestRefusedError, match="is leaving"):
            while not leaving.done():
                await client.add(1, expire_ms=1)
    cluster.kill(n2)
    cluster.resume(n1)
    await leaving
