"""Claim: `cluster` starts, shows and stops nodes, and leaves no process behind, however it ends."""

import asyncio
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.lock import changing
from gossip_counter.cluster.manifest import Manifest, Member, Settings
from gossip_counter.cluster.ports import free_ports, is_free
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import InterruptedBySignal, run
from tests.support.commands import Commands
from tests.support.processes import has_ended, processes_in
from tests.support.waiting import LIMIT_S, until


def processes_of(cluster: Commands) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in cluster.pids()]


def test_five_processes_agree_and_one_that_dies_catches_up(cluster: Commands) -> None:
    cluster.up(5)
    for node, delta in (("n1", 5), ("n2", -3), ("n3", 7), ("n4", 0), ("n5", 100)):
        assert cluster.ok("add", str(delta), "--node", node) == f"{node} counted {delta:+d}\n"
    until(cluster.agreed_on(109, 5))

    assert cluster.ok("kill", "n3") == "n3 killed\n"
    status = cluster.status()
    assert [node["state"] for node in status["nodes"]] == ["up", "up", "dead", "up", "up"]
    assert (status["agreed"], status["value"]) == (True, 109)
    cluster.ok("add", "11", "--node", "n1")
    until(cluster.agreed_on(120, 4))

    cluster.ok("restart", "n3")
    until(cluster.agreed_on(120, 5))
    cluster.ok("add", "-20", "--node", "n3")
    until(cluster.agreed_on(100, 5))
    assert cluster.ok("read", "--node", "n5") == "100\n"


def test_named_counters_and_negative_deltas(cluster: Commands) -> None:
    cluster.up(2)
    cluster.ok("add", "-5", "--counter", "stock", "--node=n1")
    cluster.ok("add", "--counter", "stock", "--node=n1", "--", "-1")
    until(lambda: cluster.ok("read", "--counter", "stock", "--node=n2") == "-6\n")
    assert cluster.ok("read") == "0\n"


def test_status_shows_each_node_as_json_table_and_picture(cluster: Commands, tmp_path: Path) -> None:
    cluster.up(3)
    status = json.loads(cluster.ok("status", "--json"))
    assert set(status) == {"counter", "agreed", "value", "partition", "nodes"}
    for name, node in zip(("n1", "n2", "n3"), status["nodes"], strict=True):
        assert (node["name"], node["state"], node["local_value"]) == (name, "up", 0)
        assert {"pid", "address", "gossip_rounds", "peers_synced", "convergence_ms"} <= set(node)
    assert "3 of 3 nodes up, agreed on 0" in cluster.ok("status", "--svg", str(tmp_path / "picture.svg"))
    assert "<svg" in (tmp_path / "picture.svg").read_text()
    assert "can't write" in cluster.refused("status", "--svg", "/no/such/folder/picture.svg")


def test_down_ends_every_node_also_one_that_is_stopped(cluster: Commands) -> None:
    cluster.up(3)
    processes = processes_of(cluster)
    processes[1].suspend()
    until(lambda: processes[1].status() == psutil.STATUS_STOPPED)
    status = cluster.status()
    assert (status["agreed"], status["value"], status["nodes"][1]["state"]) == (False, None, "paused")
    assert cluster.ok("down") == "3 nodes stopped\n"
    assert all(map(has_ended, processes))


def test_a_signal_to_the_launcher_leaves_no_process(cluster: Commands) -> None:
    with cluster.popen("up", "-n3", "--base-port=0") as launcher:
        assert launcher.stdout
        assert "3 nodes up" in launcher.stdout.readline()
        assert launcher.stdout.readline() == "3 of 3 nodes up, agreed on 0\n"
        processes = processes_of(cluster)
        cluster.ok("kill", "n2")
        assert launcher.stdout.readline() == "2 of 3 nodes up, agreed on 0, n2 dead\n"
        cluster.ok("restart", "n2")
        processes += processes_of(cluster)
        launcher.send_signal(signal.SIGINT)
        _, stderr = launcher.communicate(timeout=LIMIT_S)
        assert (stderr.splitlines()[-1], launcher.returncode) == ("stopped (SIGINT)", 0)
    assert all(map(has_ended, processes))
    assert "is down" in cluster.refused("status")


def test_a_signal_while_starting_leaves_no_process(cluster: Commands) -> None:
    with cluster.popen("up", "-n5", "--base-port=0") as launcher:
        manifest = cluster.directory / "cluster.json"
        until(lambda: manifest.exists() or launcher.poll() is not None)
        marker = f"--cluster-name={json.loads(manifest.read_text())['id']}"
        launcher.terminate()
        launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == 128 + signal.SIGTERM
    assert not [each for each in psutil.process_iter(["cmdline"]) if marker in (each.info["cmdline"] or [])]


def test_a_signal_during_the_last_cleanup_is_not_lost() -> None:
    async def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # and no await follows

    with pytest.raises(InterruptedBySignal):
        run(interrupted())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_ending_signal_lets_cleanups_finish(number: signal.Signals) -> None:
    done = []

    async def interrupted() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(LIMIT_S)
        finally:
            os.kill(os.getpid(), number)  # a second one does not interrupt the cleanup
            await asyncio.sleep(0.01)
            done.append("cleanup")

    with pytest.raises(InterruptedBySignal, match=number.name) as caught:
        run(interrupted())
    assert (done, caught.value.exit_code) == (["cleanup"], 128 + number)


def test_a_node_that_cannot_start_takes_the_others_down_with_it(cluster: Commands) -> None:
    loaded = Cluster.create(cluster.directory, 2, 0, Settings(gossip="loud"))
    with pytest.raises(ClusterError, match="ended at once: counter-node: argument --gossip"):
        asyncio.run(loaded.start_all())
    assert not loaded.alive()
    assert "is down" in cluster.refused("status")


def test_an_output_that_cannot_be_written_leaves_no_process(cluster: Commands) -> None:
    with Path("/dev/full").open("w") as full, cluster.popen("up", "-n2", "--base-port=0", stdout=full) as launcher:
        _, stderr = launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == 1
    assert "Traceback" not in stderr
    assert "is down" in cluster.refused("status")


def test_a_command_that_waits_for_another_can_be_interrupted(cluster: Commands) -> None:
    async def hold() -> None:
        async with changing(cluster.directory, make=True):
            with cluster.popen("up", "-n1", "--base-port=0") as waiting:
                until(lambda: any(each.path.endswith("/lock") for each in psutil.Process(waiting.pid).open_files()))
                waiting.send_signal(signal.SIGINT)
                waiting.communicate(timeout=LIMIT_S)
            assert waiting.returncode == 128 + signal.SIGINT

    asyncio.run(hold())


def test_nodes_that_die_are_started_again_until_the_cluster_is_taken_down(cluster: Commands) -> None:
    with cluster.popen("up", "-n2", "--base-port=0", "--restart") as launcher:
        assert launcher.stdout
        assert "up in" in launcher.stdout.readline()
        cluster.ok("add", "5", "--node=n2")
        before = cluster.pids()[1]
        os.kill(before, signal.SIGKILL)
        until(lambda: cluster.pids()[1] != before)
        until(cluster.agreed_on(5, 2))
        cluster.ok("down")
        stdout, _ = launcher.communicate(timeout=LIMIT_S)
        assert stdout.count("n2 died: started again") == 1
        assert stdout.endswith("the cluster was taken down\n")
        assert launcher.returncode == 0
    assert "--detach" in cluster.misused("up", "--restart", "--detach")


def test_the_live_table_on_a_terminal(cluster: Commands) -> None:
    ours, theirs = pty.openpty()
    cluster.environment |= {"COLUMNS": "150", "TERM": "xterm"}
    with cluster.popen("up", "-n2", "--base-port=0", stdin=theirs, stdout=theirs, stderr=theirs) as launcher:
        os.close(theirs)
        shown = b""
        while b"2 of 2 nodes up, agreed on 0" not in shown:
            shown += os.read(ours, 65_536)
        for word in ("value", "synced", "conv. ms", "cpu %", "127.0.0.1:", "n2"):
            assert word.encode() in shown
        launcher.send_signal(signal.SIGINT)
        with suppress(OSError):  # the end of a terminal's output is an error
            while shown := os.read(ours, 65_536):
                pass
        assert launcher.wait(LIMIT_S) == 0
    os.close(ours)


def test_down_never_ends_a_process_that_has_a_nodes_old_pid(cluster: Commands) -> None:
    cluster.up(2)
    cluster.ok("kill", "n2")
    with subprocess.Popen(["sleep", "60"]) as bystander:
        manifest = Manifest.load(cluster.directory)
        manifest.members["n2"].pid = bystander.pid
        manifest.save()
        assert cluster.nodes()[1]["state"] == "dead"
        assert "dead" in cluster.refused("kill", "n2")
        cluster.ok("down")
        assert bystander.poll() is None
        bystander.kill()


def test_a_child_without_a_command_line_yet_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system shows none for a moment after a program began."""
    cluster = Cluster.create(tmp_path / "c", 1, 0, Settings())
    (member,) = cluster.members.values()
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: [])
    cluster.start(member)
    try:
        assert cluster.process(member)
        cluster.kill(member)
        assert not cluster.process(member)
    finally:
        cluster.stop_all()


def orphaned(directory: Path) -> Cluster:
    """A cluster as a launcher leaves it that is killed right after it has started n1 of two nodes."""
    cluster = Cluster.create(directory, 2, 0, Settings(ephemeral=True))
    cluster.manifest.is_up = True
    cluster.manifest.save()
    before = (directory / "cluster.json").read_bytes()
    cluster.start(cluster.members["n1"])
    (directory / "cluster.json").write_bytes(before)
    until(lambda: Cluster.load(directory).alive())  # once it has a command line
    return cluster


def test_a_node_whose_pid_was_never_saved_is_found(cluster: Commands) -> None:
    launched = orphaned(cluster.directory)
    (node,) = launched.alive()
    assert [each["state"] for each in cluster.nodes()] != ["dead", "dead"]
    assert cluster.pids() == [node.pid, 0]
    assert "already up" in cluster.refused("up")
    assert cluster.ok("down") == "1 node stopped\n"
    assert not launched.alive()
    cluster.ok("up", "--detach", "--ephemeral")
    assert cluster.ok("down") == "2 nodes stopped\n"


@pytest.mark.parametrize("command", ["kill", "restart", "pause"])
def test_commands_about_one_node_find_it_too(cluster: Commands, command: str) -> None:
    launched = orphaned(cluster.directory)
    (node,) = launched.alive()
    process = psutil.Process(node.pid)
    cluster.ok(command, "n1")
    assert has_ended(process) == (command != "pause")
    cluster.ok("down")
    assert has_ended(process)


def test_down_in_a_copy_of_the_directory_leaves_the_cluster_alone(cluster: Commands, tmp_path: Path) -> None:
    cluster.up(1)
    shutil.copytree(cluster.directory, tmp_path / "copy")
    copy = Commands(tmp_path / "copy")
    assert copy.nodes()[0]["state"] == "dead"
    assert copy.ok("down") == "0 nodes stopped\n"
    assert cluster.nodes()[0]["state"] == "up"


def test_a_directory_that_is_moved_keeps_its_nodes(tmp_path: Path) -> None:
    here, there = Commands(tmp_path / "here"), Commands(tmp_path / "there")
    here.up(1, "--ephemeral")
    here.directory.rename(there.directory)
    assert there.nodes()[0]["state"] == "up"
    assert there.ok("down") == "1 node stopped\n"


def test_the_manifest_is_written_before_the_first_process_starts(cluster: Commands) -> None:
    class Killed(BaseException):
        pass

    class Launcher(Cluster):
        def _spawn(self, member: Member) -> "subprocess.Popen[bytes]":
            assert Manifest.load_up(cluster.directory).members.keys() == {"n1", "n2"}
            raise Killed

    with pytest.raises(Killed):
        asyncio.run(Launcher.create(cluster.directory, 2, 0, Settings()).start_all())


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_launcher_killed_at_any_moment_leaves_no_node_that_down_does_not_find(tmp_path: Path) -> None:
    rng = Random(1)
    for number in range(30):
        commands = Commands(tmp_path / str(number))
        with commands.popen("up", "-n4", "--base-port=0") as launcher:
            until((commands.directory / "cluster.json").exists)
            time.sleep(rng.random() * 0.2)  # no condition to wait for: any moment will do, and each is another
            launcher.kill()
        commands.ok("down")
        assert not processes_in(commands.directory)


def test_two_launchers_at_once_start_one_cluster(cluster: Commands) -> None:
    with cluster.popen("up", "-n2", "--base-port=0") as one, cluster.popen("up", "-n2", "--base-port=0") as other:
        until(lambda: one.poll() is not None or other.poll() is not None)
        lost, won = (one, other) if one.poll() is not None else (other, one)
        _, stderr = lost.communicate(timeout=LIMIT_S)
        assert lost.returncode == 1
        assert "a cluster is already up in" in stderr
        won.terminate()
        stdout, _ = won.communicate(timeout=LIMIT_S)
        assert "2 nodes up" in stdout
        assert won.returncode == 0


def test_a_process_whose_pid_cannot_be_saved_is_not_left_running(tmp_path: Path) -> None:
    cluster = Cluster.create(tmp_path / "c", 1, 0, Settings())
    (tmp_path / "c" / "cluster.json.new").mkdir()  # so that the manifest can't be written
    with pytest.raises(ClusterError, match=r"can't write .*cluster.json"):
        cluster.start(cluster.members["n1"])
    assert not cluster.alive()


def test_a_free_port_is_given_to_one_process_only() -> None:
    """Otherwise two clusters that start at once may choose the same port, and one of them fails."""
    (port,) = free_ports(1)
    assert is_free(port)
    only = f"from gossip_counter.cluster.ports import free_ports; free_ports(1, range({port}, {port + 1}))"
    done = subprocess.run([sys.executable, "-c", only], capture_output=True, text=True, check=False)
    assert "1 free ports can't be found" in done.stderr
    with pytest.raises(ClusterError, match="free ports"):
        free_ports(1, range(port, port + 1))


def test_a_busy_port_is_reported_before_anything_starts(cluster: Commands) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        port = free_ports(1)[0]
        taken.bind(("127.0.0.1", port))
        assert f"port {port} of 127.0.0.1 is busy" in cluster.refused("up", "-n1", f"--base-port={port}")


def help_of(*command: str) -> str:
    return subprocess.run([sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True).stdout


def test_help_has_examples() -> None:
    assert "cluster up -n 5" in help_of("gossip_counter.cluster")
    assert "bench converge --increments 1000" in help_of("gossip_counter.bench")
    assert "--peer n2=127.0.0.1:7102" in help_of("gossip_counter.node")
    assert "[PATTERN]\n" in help_of("gossip_counter.cluster", "counters")
    assert "[[PATTERN]]" not in help_of("gossip_counter.cluster", "counters")


def test_settings_of_the_command_line_reach_the_nodes() -> None:
    assert "--faults" not in Settings().arguments()
    assert "--fault-loss=0.3" in Settings(loss=0.3).arguments()
