"""Promise 1 on real processes: what was acknowledged is still there, whoever died and whatever became of a disk."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from gossip_counter.cluster.launcher import Cluster, LaunchError, Settings, free_ports

from gossip_counter.bench import torture
from gossip_counter.cluster.client import Client, ClientError, OutcomeUnknownError, RequestRefusedError
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.replica import Commit
from gossip_counter.node.endpoints.redis import server as resp
from gossip_counter.node.runtime import node as udp
from gossip_counter.node.storage.journal import Journal
from tests.processes import LIMIT_S, Commands, ask, node_process, udp_node, until


def up(cluster: Commands, *arguments: str) -> None:
    cluster.ok("up", "--detach", "--base-port=0", *arguments)


def test_an_acknowledged_add_survives_kill_9(tmp_path: Path) -> None:
    for already in range(0, 30, 10):
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
    up(cluster, "-n3")
    for node in ("n1", "n2", "n3"):
        cluster.ok("add", "5", "--node", node)
    before = cluster.status()["nodes"]
    assert cluster.ok("down") == "3 nodes stopped\n"
    assert "down: 'cluster up' starts it again" in cluster.refused("status")
    assert "holds a cluster of 3 nodes" in cluster.refused("up", "-n5")
    cluster.ok("up", "--detach")
    until(cluster.agreed_on(15, 3))
    after = cluster.status()["nodes"]
    assert [node["address"] for node in after] == [node["address"] for node in before]
    assert {node["new_epochs"] for node in after} == {0}
    cluster.ok("add", "1", "--node", "n1")
    until(cluster.agreed_on(16, 3))
    assert {node["rows"] for node in cluster.status()["nodes"]} == {3}  # n1 is the actor that it was


def test_an_ephemeral_cluster_forgets(cluster: Commands) -> None:
    up(cluster, "-n2", "--ephemeral")
    cluster.ok("add", "5")
    cluster.ok("down")
    cluster.ok("up", "--detach", "--ephemeral")
    until(cluster.agreed_on(0, 2))
    assert not (cluster.directory / "data").exists()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "plan",
    [torture.Plan(kill_all=3, seed=1), torture.Plan(seconds=6, seed=5), torture.Plan(seconds=6, seed=6, loss=0.3)],
    ids=["kill all", "everything", "everything, 30 % loss"],
)
def test_torture(plan: torture.Plan) -> None:
    verdict = asyncio.run(torture.run(plan, lambda _: None))
    assert verdict.broken is None
    assert verdict.acknowledged > 100
    assert verdict.reads > 10


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    assert torture.schedule(torture.Plan(seed=1)) == torture.schedule(torture.Plan(seed=1))
    assert torture.schedule(torture.Plan(seed=1)) != torture.schedule(torture.Plan(seed=2))
    actions = {step.action for step in torture.schedule(torture.Plan(seconds=600))}
    assert actions == {"kill", "restart", "pause", "resume", "partition", "heal", "loss", "wipe"}


def test_a_wiped_node_gets_everything_back(cluster: Commands) -> None:
    up(cluster, "-n3")
    cluster.ok("add", "7", "--node=n3", "--copies=2")
    assert "up: 'cluster kill n3' first" in cluster.refused("wipe", "n3")
    cluster.ok("kill", "n3")
    cluster.ok("wipe", "n3")
    assert "no data" in cluster.refused("wipe", "n3")
    cluster.ok("restart", "n3")
    until(cluster.agreed_on(7, 3))
    cluster.ok("add", "2", "--node=n3")
    until(cluster.agreed_on(9, 3))  # under a new epoch: the 2 are not swallowed by the 7


@pytest.mark.parametrize("reachable", [True, False])
def test_a_restored_backup_swallows_nothing(cluster: Commands, reachable: bool) -> None:
    up(cluster, "-n3", "--faults")
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
    assert cluster.status()["nodes"][0]["new_epochs"] == 1
    cluster.ok("add", "5", "--node=n1")
    until(cluster.agreed_on(69, 3))


def test_a_damaged_journal_is_set_aside_and_peers_give_back_what_they_hold(cluster: Commands) -> None:
    up(cluster, "-n2")
    cluster.ok("add", "7", "--node=n2", "--copies=2")
    cluster.ok("kill", "n2")
    journal = cluster.directory / "data" / "n2" / "journal.db"
    journal.with_name("journal.db-wal").unlink()  # which would have made good what follows
    journal.write_bytes(b"garbage" * 1000)
    cluster.ok("restart", "n2")
    until(cluster.agreed_on(7, 2))
    cluster.ok("add", "2", "--node=n2")
    until(cluster.agreed_on(9, 2))
    assert cluster.status()["nodes"][1]["journals_set_aside"] == 1
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
        assert (
            ask(address, lambda client: client.gossip_status())["commit_errors"] >= 3
        )  # and ticks try to put right what is on disk
        node.rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
        ask(address, lambda client: client.add(2))
        assert ask(address, lambda client: client.read()) == 7
        process.kill()
        process.wait(LIMIT_S)
    with udp_node(data=tmp_path) as (_, address):
        assert ask(address, lambda client: client.read()) == 7


def test_a_full_disk_still_learns_from_peers(cluster: Commands) -> None:
    up(cluster, "-n2")
    pid = cluster.status()["nodes"][1]["pid"]
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (100, -1))
    cluster.ok("add", "5", "--node=n1")
    until(cluster.agreed_on(5, 2))
    assert "the increment stays" in cluster.refused("add", "5", "--node=n1", "--copies=2")
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
    cluster.ok("add", "1", "--node=n1", "--copies=2")
    assert cluster.status()["nodes"][1]["unsaved"] == 0


def test_copies_are_there_when_the_writer_and_its_disk_are_gone(cluster: Commands) -> None:
    up(cluster, "-n3", "--faults")
    assert cluster.ok("add", "5", "--node=n1", "--copies=3") == "n1 counted +5, durable on 3 nodes\n"
    cluster.ok("partition", "n1/n2,n3")
    assert "the increment stays, and will spread" in cluster.refused("add", "2", "--node=n1", "--copies=2")
    assert cluster.ok("read", "--node=n1") == "7\n"
    cluster.ok("kill", "n1")
    cluster.ok("wipe", "n1")
    for node in ("n2", "n3"):
        cluster.ok("kill", node)
        cluster.ok("restart", node)
    assert cluster.ok("read", "--node=n2") == cluster.ok("read", "--node=n3") == "5\n"


def test_copies_are_from_one_to_the_number_of_members(cluster: Commands) -> None:
    up(cluster, "-n2")
    assert "copies must be from 1 to 2" in cluster.refused("add", "1", "--copies=3")
    assert cluster.run("add", "1", "--copies=0").returncode == 2
    assert cluster.ok("read") == "0\n"


def test_an_add_without_its_copies_has_no_known_outcome(tmp_path: Path) -> None:
    with udp_node("--peer=n2=127.0.0.1:9", data=tmp_path) as (_, address):
        with pytest.raises(OutcomeUnknownError, match="not known to be held durably by 2 members"):
            ask(address, lambda client: client.add(5, copies=2))
        assert ask(address, lambda client: client.read()) == 5


def test_a_client_reads_its_own_writes_at_any_node(cluster: Commands) -> None:
    up(cluster, "-n2", "--faults")
    cluster.ok("partition", "n1/n2")
    (token,) = cluster.ok("add", "5", "--node=n1", "--tell-token").splitlines()
    assert cluster.ok("read", "--node=n2") == "0\n"
    assert "error 11" in cluster.refused("read", "--node=n2", "--token", token)
    cluster.ok("heal")
    assert cluster.ok("read", "--node=n2", "--token", token) == "5\n"
    assert "token must be one" in cluster.refused("read", "--token", "nonsense!")


def test_a_paused_node_is_not_asked_unless_by_name(cluster: Commands) -> None:
    up(cluster, "-n2")
    cluster.ok("pause", "n2")
    for _ in range(4):
        assert cluster.ok("add", "1") == "n1 counted +1\n"
    assert "n2 is paused: 'cluster resume n2'" in cluster.refused("read", "--node=n2")


def test_a_cluster_without_tokens_says_so(cluster: Commands) -> None:
    up(cluster, "-n1", "--gossip=full")
    assert "nothing is counted: this cluster gives no tokens" in cluster.refused("add", "5", "--tell-token")
    assert cluster.ok("read") == "0\n"


def test_a_process_that_nobody_could_find_again_is_not_left_running(tmp_path: Path) -> None:
    cluster = Cluster.create(tmp_path / "c", 1, 0, Settings())
    (tmp_path / "c" / "cluster.json.new").mkdir()  # so that the list of processes can't be written
    with pytest.raises(LaunchError, match=r"can't write .*cluster.json"):
        cluster.start(cluster.members["n1"])
    assert not cluster.alive()


def test_a_cluster_file_of_an_older_version_is_read(cluster: Commands) -> None:
    up(cluster, "-n2")
    manifest = cluster.directory / "cluster.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({key: told[key] for key in ("id", "settings", "nodes")}))
    assert cluster.ok("down") == "2 nodes stopped\n"


def test_journals_without_their_cluster_are_not_mixed_with_a_new_one(cluster: Commands) -> None:
    up(cluster, "-n1")
    cluster.ok("down")
    (cluster.directory / "cluster.json").unlink()
    assert "put that back" in cluster.refused("up", "-n1", "--base-port=0")


def test_durable_counts_are_not_hidden_by_an_ephemeral_start(cluster: Commands) -> None:
    up(cluster, "-n1")
    cluster.ok("down")
    assert "holds durable counts" in cluster.refused("up", "--ephemeral")


def test_logs_and_lost_disks_of_a_cluster_that_is_down(cluster: Commands) -> None:
    up(cluster, "-n1")
    cluster.ok("add", "5")
    cluster.ok("down")
    assert "stopped" in cluster.ok("logs", "n1")
    cluster.ok("wipe", "n1")
    cluster.ok("up", "--detach")
    assert cluster.ok("read") == "0\n"


def test_paused_and_resumed(cluster: Commands) -> None:
    up(cluster, "-n2")
    assert cluster.ok("pause", "n2") == "n2 paused\n"
    assert "paused already" in cluster.refused("pause", "n2")
    told = cluster.status()["nodes"][1]
    assert (told["state"], told["level"]) == ("paused", False)
    cluster.ok("add", "5", "--node=n1")
    cluster.ok("resume", "n2")
    assert "not paused" in cluster.refused("resume", "n2")
    until(cluster.agreed_on(5, 2))


def test_cut_off_nodes_are_behind_until_healed_also_those_that_restart(cluster: Commands) -> None:
    up(cluster, "-n3", "--faults")
    cluster.ok("partition", "n1,n2/n3")
    cluster.ok("add", "5", "--node=n1")
    cluster.ok("kill", "n3")
    cluster.ok("restart", "n3")
    until(lambda: cluster.ok("read", "--node=n2") == "5\n")
    told = cluster.status()
    assert told["partition"] == [["n1", "n2"], ["n3"]]
    assert [(node["level"], node["local_value"]) for node in told["nodes"]] == [(True, 5), (True, 5), (False, 0)]
    assert "cut into n1,n2/n3" in cluster.ok("status")
    assert cluster.ok("heal") == "healed\n"
    until(cluster.agreed_on(5, 3))


def test_the_fault_door_is_closed_unless_asked_for(cluster: Commands) -> None:
    up(cluster, "-n2")
    assert "cluster up --faults" in cluster.refused("partition", "n1/n2")
    address = Cluster.load(cluster.directory).members["n1"].address
    with pytest.raises(RequestRefusedError) as caught:
        ask(address, lambda client: client.fault(1.0, ["n2"]))
    assert caught.value.code == 10


@pytest.mark.parametrize("groups", ["n1,n2/n9", "/", "n1//n2"])
def test_groups_of_nodes_that_do_not_exist(cluster: Commands, groups: str) -> None:
    up(cluster, "-n2", "--faults")
    assert "there is no node" in cluster.refused("partition", groups)


@pytest.mark.parametrize("groups", ["n1,n2", "n1", "n1/n1,n2"])
def test_groups_that_make_no_sense(cluster: Commands, groups: str) -> None:
    up(cluster, "-n2", "--faults")
    assert "each node must be in one of two or more groups, as in n1/n2" in cluster.refused("partition", groups)


@pytest.mark.parametrize(
    "body", [{"loss": 2}, {"loss": "x"}, {"loss": True}, {"cut": "n2"}, {"cut": [5]}, {"cut": [""]}]
)
def test_faults_that_make_no_sense(body: dict[str, Any]) -> None:
    async def send(client: Client) -> None:
        await client._ask({"type": "fault"} | body, OutcomeUnknownError)

    with udp_node("--faults") as (_, address):
        with pytest.raises(RequestRefusedError) as caught:
            ask(address, send)
        assert caught.value.code == 12


def test_nodes_that_die_are_started_again(cluster: Commands) -> None:
    with cluster.popen("up", "-n2", "--base-port=0", "--restart") as launcher:
        assert launcher.stdout
        assert "up in" in launcher.stdout.readline()
        cluster.ok("add", "5", "--node=n2")
        for _ in range(2):
            before = cluster.status()["nodes"][1]["pid"]
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: cluster.status()["nodes"][1]["pid"] != before)  # type: ignore[misc]
            until(cluster.agreed_on(5, 2))
        launcher.terminate()
        told, _ = launcher.communicate(timeout=LIMIT_S)
        assert told.count("n2 died: started again") == 2
    assert cluster.run("up", "--restart", "--detach").returncode == 2


def last_words(*arguments: str) -> str:
    with node_process(*arguments) as process:
        _, stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 2
        assert "Traceback" not in stderr
        return stderr.splitlines()[-1]


def test_a_data_directory_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    with udp_node(data=tmp_path / "n1") as (process, _):
        said = last_words("--name=n1", "--bind=127.0.0.1:0", f"--data={tmp_path / 'n1'}")
        assert said.endswith(f"is in use by process {process.pid}: stop it first")
    bind = "--bind=127.0.0.1:0"
    assert "belongs to node 'n1'" in last_words("--name=n2", bind, f"--data={tmp_path / 'n1'}")
    assert "not to 'n1' of 'x'" in last_words("--name=n1", bind, "--cluster-name=x", f"--data={tmp_path / 'n1'}")
    (tmp_path / "file").touch()
    assert "is a file" in last_words("--name=n1", bind, f"--data={tmp_path / 'file'}")
    assert "--data" in last_words("--name=..", bind)
    assert "not allowed with" in last_words("--name=n1", bind, "--ephemeral", f"--data={tmp_path}")
    assert "--data" in last_words("--stdio", f"--data={tmp_path}")


def test_users_may_look_into_a_journal_while_the_node_runs(tmp_path: Path) -> None:
    with udp_node(data=tmp_path) as (_, address):
        ask(address, lambda client: client.add(5, "likes"))
        with contextlib.closing(sqlite3.connect(f"file:{tmp_path / 'journal.db'}?mode=ro", uri=True)) as db:
            assert db.execute("SELECT * FROM counts").fetchall() == [("likes", 5)]
        ask(address, lambda client: client.add(1, "likes"))


def test_settings_of_the_command_line_reach_the_nodes() -> None:
    assert "--faults" not in Settings().arguments()
    assert "--fault-loss=0.3" in Settings(loss=0.3).arguments()


def test_a_node_that_is_told_to_stop_does_so_though_clients_go_on(tmp_path: Path) -> None:
    """Each commit takes so long that the next one has gathered when it ends."""

    async def live() -> None:
        journal = Journal(tmp_path, "n1", "c")
        bound = udp.bind(("127.0.0.1", 0))
        (port,) = free_ports(1)
        doors = udp.Doors(resp.Listen("127.0.0.1", port))
        node = udp.UdpNode(Config(name="n1", cluster="c"), bound, {}, Random(1), journal, None, doors)
        commit, answered = journal.commit, asyncio.Semaphore(0)

        def slow(asked: Commit) -> None:
            time.sleep(0.01)
            commit(asked)

        async def count() -> None:
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
            with contextlib.closing(writer):
                while True:
                    writer.write(b"INCR x\r\n")
                    await reader.readline()
                    answered.release()

        journal.commit = slow  # type: ignore[method-assign, assignment]
        node._slowness = 2 * udp.SLOW
        running = asyncio.create_task(node.run())
        clients = [asyncio.create_task(count()) for _ in range(4)]
        for _ in range(20):
            await answered.acquire()
        node.stop()
        await asyncio.wait_for(running, LIMIT_S)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        journal.close()
        bound.close()

    asyncio.run(live())


def test_commits_go_on_whatever_becomes_of_the_figures_about_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        journal = Journal(tmp_path, "n1", "c")
        bound = udp.bind(("127.0.0.1", 0))
        node = udp.UdpNode(Config(name="n1", cluster="c"), bound, {}, Random(1), journal)
        monkeypatch.setattr(node, "_note_commit", lambda _: 1 // 0)
        monkeypatch.setattr(node.replica, "durable", lambda: 1 // 0)
        running = asyncio.create_task(node.run())
        async with await Client.connect(bound.getsockname(), timeout_s=LIMIT_S) as client:
            for value in (1, 2):
                await client.add(1)
                assert await client.read() == value
            assert (await client.gossip_status())["internal_errors"] == 4
        node.stop()
        await running
        journal.close()
        bound.close()

    asyncio.run(live())


@pytest.mark.parametrize("quick", [True, False])
def test_a_slow_disk_holds_up_no_read_and_a_quick_one_is_waited_for(tmp_path: Path, quick: bool) -> None:
    async def live() -> None:
        journal = Journal(tmp_path, "n1", "c")
        bound = udp.bind(("127.0.0.1", 0))
        node = udp.UdpNode(Config(name="n1", cluster="c"), bound, {}, Random(1), journal)
        disk, threads, commit = threading.Event(), [], journal.commit

        def slow(asked: Commit) -> None:
            threads.append(threading.current_thread())
            assert disk.wait(LIMIT_S)
            commit(asked)

        journal.commit = slow  # type: ignore[method-assign, assignment]
        for _ in range(2):
            node._note_commit(udp.QUICK_NS - quick)
        running = asyncio.create_task(node.run())
        async with await Client.connect(bound.getsockname(), timeout_s=LIMIT_S) as client:
            if quick:
                disk.set()
            add = asyncio.create_task(client.add(1))
            if not quick:
                assert await client.read() == 0
                assert not add.done()
                disk.set()
            await add
            assert await client.read() == 1
        assert [thread is threading.main_thread() for thread in threads] == [quick]
        node.stop()
        await running
        journal.close()
        bound.close()

    asyncio.run(live())
