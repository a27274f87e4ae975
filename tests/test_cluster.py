"""Five real processes and the command `cluster`, used rightly and wrongly."""

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from gossip_counter.cluster.launcher import Cluster, LaunchError, Settings, changing, free_ports, is_free

from gossip_counter.cluster import launcher
from tests.processes import LIMIT_S, Commands, until


def pids(cluster: Commands) -> list[int]:
    return [node["pid"] for node in cluster.status()["nodes"]]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def processes_of(cluster: Commands) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids(cluster)]


def up(cluster: Commands, *arguments: str) -> None:
    cluster.ok("up", "--detach", "--base-port=0", *arguments)


def test_five_processes_agree_and_one_that_dies_is_level_again(cluster: Commands) -> None:
    up(cluster, "-n5")
    for node, delta in (("n1", 5), ("n2", -3), ("n3", 7), ("n4", 0), ("n5", 100)):
        assert cluster.ok("add", str(delta), "--node", node) == f"{node} counted {delta:+d}\n"
    until(cluster.agreed_on(109, 5))

    assert cluster.ok("kill", "n3") == "n3 killed\n"
    told = cluster.status()
    assert [node["state"] for node in told["nodes"]] == ["up", "up", "dead", "up", "up"]
    assert (told["agreed"], told["value"]) == (True, 109)
    cluster.ok("add", "11", "--node", "n1")
    until(cluster.agreed_on(120, 4))

    cluster.ok("restart", "n3")
    until(cluster.agreed_on(120, 5))
    cluster.ok("add", "-20", "--node", "n3")
    until(cluster.agreed_on(100, 5))
    assert cluster.ok("read", "--node", "n5") == "100\n"


def test_named_counters_and_negative_deltas_from_the_command_line(cluster: Commands) -> None:
    up(cluster, "-n2")
    cluster.ok("add", "-5", "--counter", "stock", "--node=n1")
    cluster.ok("add", "--counter", "stock", "--node=n1", "--", "-1")
    until(lambda: cluster.ok("read", "--counter", "stock", "--node=n2") == "-6\n")
    assert cluster.ok("read") == "0\n"


def test_status_tells_each_node(cluster: Commands) -> None:
    up(cluster, "-n3")
    told = cluster.status()
    assert set(told) == {"agreed", "value", "partition", "nodes"}
    for name, node in zip(("n1", "n2", "n3"), told["nodes"], strict=True):
        assert (node["name"], node["state"], node["local_value"]) == (name, "up", 0)
        assert {"pid", "address", "gossip_rounds", "peers_synced", "convergence_ms"} <= set(node)
    shown = cluster.ok("status")
    assert "3 of 3 nodes up, agreed on 0" in shown


def test_status_saves_a_picture(cluster: Commands, tmp_path: Path) -> None:
    up(cluster, "-n1")
    cluster.ok("status", "--svg", str(tmp_path / "picture.svg"))
    assert "<svg" in (tmp_path / "picture.svg").read_text()
    assert "can't write" in cluster.refused("status", "--svg", "/no/such/folder/picture.svg")


def test_while_a_node_stands_still_nobody_claims_agreement(cluster: Commands) -> None:
    up(cluster, "-n2")
    hung = pids(cluster)[1]
    os.kill(hung, signal.SIGSTOP)
    told = cluster.status()
    assert (told["agreed"], told["value"], told["nodes"][1]["state"]) == (False, None, "paused")
    cluster.ok("down")
    assert not psutil.pid_exists(hung) or psutil.Process(hung).status() == psutil.STATUS_ZOMBIE


def test_down_leaves_no_process(cluster: Commands) -> None:
    up(cluster, "-n3")
    processes = processes_of(cluster)
    assert cluster.ok("down") == "3 nodes stopped\n"
    assert all_gone(processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_launcher_leaves_no_process(cluster: Commands, number: int) -> None:
    with cluster.popen("up", "-n3", "--base-port=0") as launcher:
        assert launcher.stdout
        assert "3 nodes up" in launcher.stdout.readline()
        assert launcher.stdout.readline() == "3 of 3 nodes up, agreed on 0\n"
        processes = processes_of(cluster)
        cluster.ok("kill", "n2")
        assert launcher.stdout.readline() == "2 of 3 nodes up, agreed on 0, n2 dead\n"
        cluster.ok("restart", "n2")
        processes += processes_of(cluster)
        launcher.send_signal(number)
        _, stderr = launcher.communicate(timeout=LIMIT_S)
        assert stderr == f"stopped ({signal.Signals(number).name})\n"
        assert launcher.returncode == 0
    assert all_gone(processes)
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


def test_a_node_that_cannot_start_takes_the_others_down_with_it(cluster: Commands) -> None:
    loaded = Cluster.create(cluster.directory, 2, 0, Settings(gossip="loud"))
    with pytest.raises(LaunchError, match="ended at once: counter-node: argument --gossip"):
        asyncio.run(loaded.start_all())
    assert not loaded.alive()
    assert "is down" in cluster.refused("status")


def test_an_output_that_cannot_be_written_leaves_no_process(cluster: Commands) -> None:
    command = [sys.executable, "-m", "gossip_counter.cluster", "up", "-n2", "--base-port=0"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=cluster.environment, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
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


def test_down_from_elsewhere_ends_the_launcher(cluster: Commands) -> None:
    with cluster.popen("up", "-n2", "--base-port=0") as launcher:
        assert launcher.stdout
        assert "up in" in launcher.stdout.readline()
        cluster.ok("down")
        stdout, _ = launcher.communicate(timeout=LIMIT_S)
        assert stdout.endswith("the cluster was taken down\n")
        assert launcher.returncode == 0


def test_down_never_ends_a_process_that_has_a_nodes_old_pid(cluster: Commands) -> None:
    up(cluster, "-n2")
    cluster.ok("kill", "n2")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        loaded = Cluster.load(cluster.directory)
        loaded.members["n2"].pid = bystander.pid
        loaded.save()
        assert cluster.status()["nodes"][1]["state"] == "dead"
        assert "dead" in cluster.refused("kill", "n2")
        cluster.ok("down")
        assert bystander.poll() is None
        bystander.communicate(b"\n", timeout=LIMIT_S)
        assert bystander.returncode == 0


def test_the_live_table_on_a_terminal(cluster: Commands) -> None:
    ours, theirs = pty.openpty()
    environment = cluster.environment | {"COLUMNS": "150", "TERM": "xterm"}
    command = [sys.executable, "-m", "gossip_counter.cluster", "up", "-n2", "--base-port=0"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as launcher:
        os.close(theirs)
        shown = b""
        while b"2 of 2 nodes up, agreed on 0" not in shown:
            shown += os.read(ours, 65_536)
        for word in ("value", "synced", "conv. ms", "cpu %", "127.0.0.1:", "n2"):
            assert word.encode() in shown
        launcher.send_signal(signal.SIGINT)
        with suppress(OSError):  # which is how a terminal tells its end
            while shown := os.read(ours, 65_536):
                pass
        assert launcher.wait(LIMIT_S) == 0
    os.close(ours)


def test_errors_are_one_clear_line(cluster: Commands, tmp_path: Path) -> None:
    assert cluster.run("up", "--log-level=shouting").returncode == 2
    for command in (["status"], ["down"], ["add", "1"], ["read"], ["heal"], ["partition", "n1/n2"]):
        assert "no cluster is up" in cluster.refused(*command)
    for name in ("kill", "restart", "logs", "pause", "resume", "wipe"):
        assert "no cluster is up" in cluster.refused(name, "n1")
    for beyond in ("-n0", "-n101"):
        assert cluster.run("up", beyond).returncode == 2
    assert "--push is for delta gossip only" in cluster.refused("up", "--gossip=full", "--push")
    (tmp_path / "file").touch()
    assert "can't use" in cluster.refused("up", "--dir", str(tmp_path / "file"))

    up(cluster, "-n2")
    assert "already up" in cluster.refused("up", "-n2", "--base-port=0")
    for command in (
        ["kill", "n9"],
        ["restart", "n9"],
        ["logs", "n9"],
        ["add", "1", "--node=n9"],
        ["read", "--node=n9"],
    ):
        assert "there is no node 'n9': this cluster has n1, n2" in cluster.refused(*command)
    assert cluster.run("add", str(2**63)).returncode == 2
    assert "counter" in cluster.refused("add", "1", "--counter", "n" * 256)
    assert cluster.run("add", "much").returncode == 2
    assert cluster.run("add", "1.5").returncode == 2
    assert "not started for experiments" in cluster.refused("heal")
    cluster.ok("kill", "n2")
    assert "dead" in cluster.refused("kill", "n2")
    assert "dead" in cluster.refused("add", "1", "--node=n2")
    assert cluster.ok("logs", "n2", "-n1").count("\n") == 1
    cluster.directory.joinpath("logs", "n2.log").unlink()
    assert "can't read" in cluster.refused("logs", "n2")
    manifest = cluster.directory / "cluster.json"
    whole = manifest.read_text()
    manifest.write_text("{")
    assert "damaged" in cluster.refused("status")
    assert "damaged" in cluster.refused("up")
    manifest.write_text(whole)
    cluster.ok("down")
    for name in ("kill", "restart", "pause", "resume"):
        assert "is down: 'cluster up' starts it again" in cluster.refused(name, "n1")
    cluster.ok("wipe", "n1")


def test_a_busy_port_is_told_before_anything_starts(cluster: Commands) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        port = free_ports(1)[0]
        taken.bind(("127.0.0.1", port))
        assert f"port {port} of 127.0.0.1 is busy" in cluster.refused("up", "-n1", f"--base-port={port}")


def help_of(*command: str) -> str:
    return subprocess.run([sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True).stdout


def test_help_teaches() -> None:
    assert "cluster up -n 5" in help_of("gossip_counter.cluster")
    assert "cluster add -5" in help_of("gossip_counter.cluster", "add")
    assert "bench converge --increments 1000" in help_of("gossip_counter.bench")
    assert "--peer n2=127.0.0.1:7102" in help_of("gossip_counter.node")


def test_a_free_port_is_given_to_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or two clusters that start at once may find the same one free, and one of them fails."""
    (port,) = free_ports(1)
    assert is_free(port)
    only = (
        "from gossip_counter.cluster import launcher;"
        f" launcher._FREE_PORTS = range({port}, {port + 1}); launcher.free_ports(1)"
    )
    done = subprocess.run([sys.executable, "-c", only], capture_output=True, text=True, check=False)
    assert "1 free ports can't be found" in done.stderr
    monkeypatch.setattr(launcher, "_FREE_PORTS", range(port, port + 1))
    with pytest.raises(LaunchError, match="free ports"):
        free_ports(1)


def test_a_child_that_does_not_tell_its_command_line_yet_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has none for a moment after a program began."""
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
