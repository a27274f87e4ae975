"""Claim: what was acknowledged is still there, whichever node died and whatever happened to a disk."""

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import psutil
import pytest

from gossip_counter.cluster.client import Client, ClientError, OutcomeUnknownError, RequestRefusedError
from tests.support.commands import Commands, node_refuses
from tests.support.processes import ask, udp_node
from tests.support.waiting import LIMIT_S, until


def test_an_acknowledged_add_survives_kill_9(tmp_path: Path) -> None:
    for already in range(0, 20, 10):
        with udp_node(data=tmp_path) as (process, address):
            assert ask(address, lambda client: client.read()) == already
            for _ in range(10):
                ask(address, lambda client: client.add(1))
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT_S)


def test_adds_under_way_are_answered_before_a_node_stops(tmp_path: Path) -> None:
    async def add_and_stop(client: Client, process: "subprocess.Popen[str]") -> int:
        adds = [asyncio.create_task(client.add(1)) for _ in range(200)]
        await adds[0]
        process.terminate()
        return sum(not isinstance(each, ClientError) for each in await asyncio.gather(*adds, return_exceptions=True))

    with udp_node(data=tmp_path) as (process, address):
        acknowledged = ask(address, lambda client: add_and_stop(client, process))
        assert process.wait(LIMIT_S) == 0
    with udp_node(data=tmp_path) as (_, address):
        assert ask(address, lambda client: client.read()) >= acknowledged >= 1


def test_a_whole_cluster_comes_back_with_its_data(cluster: Commands) -> None:
    cluster.up(3)
    for node in ("n1", "n2", "n3"):
        cluster.ok("add", "5", "--node", node)
    before = cluster.nodes()
    assert cluster.ok("down") == "3 nodes stopped\n"
    cluster.ok("up", "--detach")
    until(cluster.agreed_on(15, 3))
    after = cluster.nodes()
    assert [node["address"] for node in after] == [node["address"] for node in before]
    assert {node["new_epochs"] for node in after} == {0}
    cluster.ok("add", "1", "--node", "n1")
    until(cluster.agreed_on(16, 3))
    assert {node["rows"] for node in cluster.nodes()} == {3}  # n1 is the actor that it was


def test_an_ephemeral_cluster_forgets(cluster: Commands) -> None:
    cluster.up(2, "--ephemeral")
    cluster.ok("add", "5")
    cluster.ok("down")
    cluster.ok("up", "--detach", "--ephemeral")
    until(cluster.agreed_on(0, 2))
    assert not (cluster.directory / "data").exists()


def test_a_wiped_node_gets_everything_back(cluster: Commands) -> None:
    cluster.up(3)
    cluster.ok("add", "7", "--node=n3", "--copies=2")
    assert "up: 'cluster kill n3' first" in cluster.refused("wipe", "n3")
    cluster.ok("kill", "n3")
    cluster.ok("wipe", "n3")
    assert "no data" in cluster.refused("wipe", "n3")
    cluster.ok("restart", "n3")
    until(cluster.agreed_on(7, 3))
    cluster.ok("add", "2", "--node=n3")
    until(cluster.agreed_on(9, 3))  # under a new epoch: the 7 does not absorb the 2


@pytest.mark.parametrize("reachable", [True, False])
def test_a_restored_backup_absorbs_no_add(cluster: Commands, reachable: bool) -> None:
    cluster.up(3, "--faults")
    cluster.ok("add", "10", "--node=n1")
    until(cluster.agreed_on(10, 3))
    cluster.ok("kill", "n1")
    data, backup = cluster.directory / "data" / "n1", cluster.directory / "backup"
    shutil.copytree(data, backup)
    cluster.ok("restart", "n1")
    cluster.ok("add", "50", "--node=n1")
    until(cluster.agreed_on(60, 3))
    cluster.ok("kill", "n1")
    shutil.rmtree(data)
    backup.rename(data)
    if not reachable:
        cluster.ok("partition", "n1/n2,n3")
    cluster.ok("restart", "n1")
    cluster.ok("add", "4", "--node=n1")
    cluster.ok("heal")
    until(cluster.agreed_on(64, 3))
    restored = cluster.nodes()[0]
    assert (restored["journals_copied"], restored["new_epochs"]) == (1, 0)
    assert f"the journal is a copy of {data / 'journal.db'}: this node begins a new epoch" in cluster.ok("logs", "n1")
    cluster.ok("add", "5", "--node=n1")
    until(cluster.agreed_on(69, 3))


def test_a_damaged_journal_is_set_aside_and_peers_send_back_what_they_have(cluster: Commands) -> None:
    cluster.up(2)
    cluster.ok("add", "7", "--node=n2", "--copies=2")
    cluster.ok("kill", "n2")
    journal = cluster.directory / "data" / "n2" / "journal.db"
    journal.with_name("journal.db-wal").unlink()  # which would repair what follows
    journal.write_bytes(b"garbage" * 1000)
    cluster.ok("restart", "n2")
    until(cluster.agreed_on(7, 2))
    cluster.ok("add", "2", "--node=n2")
    until(cluster.agreed_on(9, 2))
    assert cluster.nodes()[1]["journals_set_aside"] == 1
    assert journal.with_name("journal.db.damaged-1").read_bytes() == b"garbage" * 1000
    assert "journal.db.damaged-1" in cluster.ok("logs", "n2")


def test_a_full_disk_refuses_adds_and_nothing_else_until_it_has_room_again(tmp_path: Path) -> None:
    with udp_node(data=tmp_path) as (process, address):
        ask(address, lambda client: client.add(5))
        node = psutil.Process(process.pid)
        node.rlimit(psutil.RLIMIT_FSIZE, (100, -1))  # no file may grow: writes fail as on a full disk
        for _ in range(3):
            with pytest.raises(RequestRefusedError, match="can't be made durable") as caught:
                ask(address, lambda client: client.add(100))
            assert caught.value.code == 11
        assert ask(address, lambda client: client.read()) == 5
        status = ask(address, lambda client: client.gossip_status())
        assert status["commit_errors"] >= 3  # ticks try again too
        node.rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
        ask(address, lambda client: client.add(2))
        assert ask(address, lambda client: client.read()) == 7
        process.kill()
        process.wait(LIMIT_S)
    with udp_node(data=tmp_path) as (_, address):
        assert ask(address, lambda client: client.read()) == 7


def test_a_full_disk_still_takes_rows_from_peers(cluster: Commands) -> None:
    cluster.up(2)
    pid = cluster.nodes()[1]["pid"]
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (100, -1))
    cluster.ok("add", "5", "--node=n1")
    until(cluster.agreed_on(5, 2))
    assert "it is counted and will spread" in cluster.refused("add", "5", "--node=n1", "--copies=2")
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
    cluster.ok("add", "1", "--node=n1", "--copies=2")
    assert cluster.nodes()[1]["dirty_rows"] == 0


def test_copies_are_there_when_the_writer_and_its_disk_are_gone(cluster: Commands) -> None:
    cluster.up(3, "--faults")
    assert cluster.ok("add", "5", "--node=n1", "--copies=3") == "n1 counted +5, durable on 3 nodes\n"
    cluster.ok("partition", "n1/n2,n3")
    assert "it is counted and will spread" in cluster.refused("add", "2", "--node=n1", "--copies=2")
    assert cluster.ok("read", "--node=n1") == "7\n"
    cluster.ok("kill", "n1")
    cluster.ok("wipe", "n1")
    for node in ("n2", "n3"):
        cluster.ok("kill", node)
        cluster.ok("restart", node)
    assert cluster.ok("read", "--node=n2") == cluster.ok("read", "--node=n3") == "5\n"


def test_an_add_without_its_copies_has_no_known_outcome(tmp_path: Path) -> None:
    with udp_node("--peer=n2=127.0.0.1:9", data=tmp_path) as (_, address):
        with pytest.raises(OutcomeUnknownError, match="fewer than 2 members confirmed in time"):
            ask(address, lambda client: client.add(5, copies=2))
        assert ask(address, lambda client: client.read()) == 5


def test_a_client_reads_its_own_writes_at_any_node(cluster: Commands) -> None:
    cluster.up(2, "--faults")
    cluster.ok("partition", "n1/n2")
    (token,) = cluster.ok("add", "5", "--node=n1", "--tell-token").splitlines()
    assert cluster.ok("read", "--node=n2") == "0\n"
    assert "error 11" in cluster.refused("read", "--node=n2", "--token", token)
    cluster.ok("heal")
    assert cluster.ok("read", "--node=n2", "--token", token) == "5\n"
    assert "token must be one" in cluster.refused("read", "--token", "nonsense!")


def test_a_data_directory_that_cannot_be_used_is_reported_in_one_line(tmp_path: Path) -> None:
    bind, data = "--bind=127.0.0.1:0", f"--data={tmp_path / 'n1'}"
    with udp_node(data=tmp_path / "n1") as (process, _):
        assert f"is in use by process {process.pid}: stop it first\n" in node_refuses("--name=n1", bind, data)
    (tmp_path / "file").touch()
    for arguments, error in (
        (["--name=n2", bind, data], "belongs to node 'n1'"),
        (["--name=n1", bind, "--cluster-name=x", data], "not to 'n1' of 'x'"),
        (["--name=n1", bind, f"--data={tmp_path / 'file'}"], "is a file"),
        (["--name=..", bind], "--data"),
        (["--name=n1", bind, "--ephemeral", data], "not allowed with"),
        (["--stdio", data], "--data"),
    ):
        (line,) = node_refuses(*arguments).splitlines()
        assert error in line


def test_users_may_look_into_a_journal_while_the_node_runs(tmp_path: Path) -> None:
    with udp_node(data=tmp_path) as (_, address):
        ask(address, lambda client: client.add(5, "likes"))
        with contextlib.closing(sqlite3.connect(f"file:{tmp_path / 'journal.db'}?mode=ro", uri=True)) as db:
            assert db.execute("SELECT * FROM counts").fetchall() == [("likes", 5)]
        ask(address, lambda client: client.add(1, "likes"))
