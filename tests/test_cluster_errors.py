"""Claim: whatever goes wrong in a command is one clear line on stderr, which says what to do next."""

import errno
import json
import os
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from gossip_counter.cluster import ports
from gossip_counter.cluster.manifest import Manifest, Settings
from tests.support.commands import Commands


def test_without_a_cluster(cluster: Commands) -> None:
    for command in ("status", "down", "add 1", "read", "heal", "partition n1/n2"):
        assert "no cluster is up" in cluster.refused(*command.split())
    for name in ("kill", "restart", "logs", "pause", "resume", "wipe"):
        assert "no cluster is up" in cluster.refused(name, "n1")


def test_with_a_cluster_that_is_up(cluster: Commands) -> None:
    cluster.up(2)
    assert "already up" in cluster.refused("up", "-n2", "--base-port=0")
    for command in ("kill n9", "restart n9", "logs n9", "add 1 --node=n9", "read --node=n9"):
        assert "there is no node 'n9': this cluster has n1, n2" in cluster.refused(*command.split())
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


GOOD = {
    "id": "f00dcafe",
    "up": True,
    "settings": {"interval_ms": 100},
    "partition": [["n1"], ["n2"]],
    "nodes": [{"name": "n1", "port": 7101, "pid": 1}, {"name": "n2", "port": 7102}],
}


def with_node(**fields: object) -> dict[str, object]:
    return {"nodes": [{"name": "n1", "port": 7101} | fields], "partition": []}


def test_a_good_manifest_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps(GOOD))
    assert list(Manifest.load(tmp_path).members) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("garbage", "named"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "recursion"),
        ("[]", "the file is []"),
        ("{}", "the file is not complete"),
        ({"id": 5}, "id of the file is 5"),
        ({"id": "../x"}, "id is '../x'"),
        ({"id": ""}, "id is ''"),
        ({"up": 1}, "up of the file is 1"),
        ({"settings": []}, "settings of the file is []"),
        ({"settings": {"interval_ms": "100"}}, "interval_ms of settings is '100'"),
        ({"settings": {"interval_ms": True}}, "interval_ms of settings is True"),
        ({"settings": {"speed": 1}}, "'speed', which this version does not know"),
        ({"more": 1}, "'more', which this version does not know"),
        ({"partition": "n1/n2"}, "partition of the file is 'n1/n2'"),
        ({"partition": [["n1"], ["n9"]]}, "partition is [['n1'], ['n9']]"),
        ({"partition": [["n1"], 2]}, "partition is [['n1'], 2]"),
        ({"nodes": {}}, "nodes of the file is {}"),
        ({"nodes": []}, "the nodes' names are []"),
        ({"nodes": [1]}, "a node is 1"),
        ({"nodes": [{"port": 1}]}, "a node is not complete"),
        (with_node(name="../../etc"), "the nodes' names are ['../../etc']"),
        (with_node(name="n\ud800"), "the nodes' names are ['n\\ud800']"),
        ({"nodes": [{"name": "n1", "port": 1}, {"name": "n1", "port": 2}]}, "the nodes' names are ['n1', 'n1']"),
        (with_node(port="7101"), "port of a node is '7101'"),
        (with_node(port=0), "n1 is out of bounds"),
        (with_node(port=70_000), "n1 is out of bounds"),
        (with_node(metrics_port=-1), "n1 is out of bounds"),
        (with_node(pid=2**40), "n1 is out of bounds"),
        (with_node(pid=None), "pid of a node is None"),
    ],
    ids=repr,
)
def test_garbage_in_each_field_of_a_manifest_is_one_line(
    tmp_path: Path, garbage: str | dict[str, object], named: str
) -> None:
    text = garbage if isinstance(garbage, str) else json.dumps(GOOD | garbage)
    (tmp_path / "cluster.json").write_text(text)
    for command in ("status", "up", "down"):
        error = Commands(tmp_path).refused(command)
        assert error.startswith(f"cluster: {tmp_path}/cluster.json is damaged (")
        assert named in error
        assert error.endswith("end its nodes by hand and use another --dir\n")


MISUSES = [
    ("up --dir ''", "name a directory, or leave it out for .counter"),
    ("status --dir=", "name a directory"),
    ("up -n 0", "greater than or equal to 1"),
    ("up -n 101", "less than or equal to 100"),
    ("up -n many", "valid integer"),
    ("up --base-port 70000", "--base-port"),
    ("up --base-port -1", "--base-port"),
    ("up --log-level shouting", "is not one of 'debug', 'info', 'warning', 'error'"),
    ("up --gossip loud", "is not one of 'delta', 'full'"),
    ("up --gossip full --push", "--push: it is for delta gossip only: leave out --gossip full"),
    ("up --restart --detach", "leave out --detach"),
    ("up --interval-ms 0", "--interval-ms"),
    ("up --fanout -1", "--fanout"),
    ("up more", "unexpected extra argument"),
    ("nothing", "No such command 'nothing'"),
    ("scale -1", "Invalid value for 'NODES': Input should be greater than or equal to 1"),
    ("members --keys k", "--keys: it needs --at HOST:PORT"),
    ("leave n1 --keys k", "--keys: it needs --at HOST:PORT"),
    ("remove n1 --cluster-name c", "--cluster-name: it needs --at HOST:PORT and --keys FILE"),
    ("members --at 127.0.0.1:1 --cluster-name c", "--cluster-name: it needs --at HOST:PORT and --keys FILE"),
    ("--dir x up", "No such option: --dir"),
    ("add", "Missing argument 'DELTA'"),
    ("add much", "'much' is no whole number"),
    ("add 1.5", "'1.5' is no whole number"),
    ("add --nod n1", "'--nod' is no whole number, nor an option of this command"),
    (f"add {2**63}", "it must be from -9223372036854775807 to 9223372036854775807"),
    ("add 1 2", "unexpected extra argument"),
    ("add 1 --copies 0", "--copies"),
    ("add 1 --copies 200", "--copies"),
    (f"add 1 --counter {'n' * 256}", "it must be at most 255 bytes of UTF-8, not 256"),
    ("add 1 --counter n\udcff", "this one has a lone surrogate"),
    ("read --counter n\udcff", "this one has a lone surrogate"),
    ("read n1", "unexpected extra argument"),
    ("kill", "Missing argument 'NODE'"),
    ("restart", "Missing argument 'NODE'"),
    ("pause", "Missing argument 'NODE'"),
    ("resume", "Missing argument 'NODE'"),
    ("wipe", "Missing argument 'NODE'"),
    ("logs", "Missing argument 'NODE'"),
    ("logs n1 -n 0", "--lines"),
    ("partition", "Missing argument 'GROUPS'"),
    ("status --svg", "requires an argument"),
    ("down n1", "unexpected extra argument"),
]


@pytest.mark.parametrize(("arguments", "error"), MISUSES, ids=ascii)
def test_options_that_make_no_sense_are_exit_code_2(cluster: Commands, arguments: str, error: str) -> None:
    assert error in cluster.misused(*shlex.split(arguments))
    assert not cluster.directory.exists()


COMMANDS = ["up", "status", "add 1", "read", "kill n1", "restart n1", "pause n1", "resume n1", "wipe n1",
            "partition n1/n2", "heal", "logs n1", "down"]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_that_is_none_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    for path in ("file", "file/in/it"):
        error = Commands(tmp_path / path).refused(*command.split())
        assert error.endswith("is a file, or in one: choose a directory with --dir\n")
    (tmp_path / "cluster.json").mkdir()
    assert "cluster.json is a directory: move it away" in Commands(tmp_path).refused(*command.split())
    lone = Commands(tmp_path / "n\udcff\n")
    if command != "up":
        assert "n\\udcff\\n: start one with 'cluster up'" in lone.refused(*command.split())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no directories: /proc")
def test_up_where_no_directory_can_be_made_is_one_line() -> None:
    error = Commands(Path("/proc/cluster")).refused("up")
    assert "can't use the directory /proc/cluster: No such file or directory; choose another with --dir" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_s_directory_is_one_line(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.seteuid(65_534)
    try:
        for command in COMMANDS:
            assert "no permission to use" in Commands(closed / "c").refused(*command.split())
    finally:
        os.seteuid(0)


def test_a_port_that_cannot_be_had(cluster: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = server.getsockname()[1]
        error = cluster.refused("up", "-n", "1", "--base-port", f"{busy}")
        assert f"port {busy} of 127.0.0.1 is busy: stop what uses it, or choose others with" in error
    assert not (cluster.directory / "cluster.json").exists()


def test_all_ports_that_may_be_asked_for_have_room_for_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_refusal", lambda _: None)
    manifest = Manifest.create(tmp_path, 100, Settings(metrics=True))
    ports.assign(manifest, 65_435)
    manifest.save()
    found = Manifest.load(tmp_path).members.values()
    assert [each.port for each in found] == list(range(65_435, 65_535))
    assert [each.metrics_port for each in found] == list(range(64_435, 64_535))


def test_a_port_that_is_not_allowed_is_not_called_busy(cluster: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    error = cluster.refused("up", "--base-port", "80", "-n1")
    assert "port 80 of 127.0.0.1 can't be used (Permission denied): choose others with --base-port" in error


def test_a_directory_is_no_file_of_keys(cluster: Commands, tmp_path: Path) -> None:
    for path in ("", ".", "/", f"{tmp_path}"):
        assert "is a directory: name a file of keys" in cluster.refused("keys", "new", path)


def test_a_cluster_all_of_whose_nodes_are_paused_can_be_resumed(cluster: Commands) -> None:
    cluster.up(2)
    for name in ("n1", "n2"):
        cluster.ok("pause", name)
    assert "no node runs that is not paused: 'cluster resume n1' continues one" in cluster.refused("add", "1")
    cluster.ok("resume", "n1")


def test_a_manifest_that_cannot_be_used(cluster: Commands) -> None:
    cluster.up(1)
    manifest = cluster.directory / "cluster.json"
    good = manifest.read_text()
    manifest.write_text("{")
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
    assert cluster.ok("down") == f"the cluster in {cluster.directory} is down already\n"
    for name in ("kill", "restart", "pause", "resume"):
        assert "is down: 'cluster up' starts it again" in cluster.refused(name, "n1")
    assert "holds durable counts" in cluster.refused("up", "--ephemeral")
    assert "holds a cluster of 1 node: leave out --nodes" in cluster.refused("up", "-n5")
    assert "stopped" in cluster.ok("logs", "n1")
    cluster.ok("wipe", "n1")
    cluster.ok("up", "--detach")
    assert cluster.ok("read") == "0\n"


def test_a_cluster_without_tokens_says_so(cluster: Commands) -> None:
    cluster.up(1, "--gossip=full")
    assert "nothing was added: there are no tokens" in cluster.refused("add", "5", "--tell-token")
    assert cluster.ok("read") == "0\n"


def test_commands_that_an_error_names_find_the_directory(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    there = Commands(tmp_path / "other")
    assert there.refused("status").endswith(": start one with 'cluster up'\n")
    here = Commands(tmp_path / "here")
    assert here.refused("status", "--dir", str(there.directory)).endswith(
        f": start one with 'cluster up --dir {there.directory}'\n"
    )
    there.up(1, "--ephemeral")
    here.environment = {}
    option = f"--dir={there.directory}"
    assert f"'cluster down --dir {there.directory}' first, or use another --dir" in here.refused("up", option)
    here.ok("kill", "n1", option)
    assert f"'cluster restart n1 --dir {there.directory}' starts it" in here.refused("add", "1", "--node=n1", option)
    there.ok("down")


def test_too_few_open_files_say_what_to_do(cluster: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    error = cluster.refused("up", "-n1", "--base-port=0")
    assert error.endswith(": Too many open files: allow more with 'ulimit -n'\n")


def test_a_directory_whose_name_is_not_utf_8_is_one_like_others(tmp_path: Path) -> None:
    cluster = Commands(tmp_path / "n\udcff")
    with cluster.popen("up", "-n2", "--base-port=0", "--detach") as launcher:
        stdout, stderr = launcher.communicate()
    assert (launcher.returncode, stderr) == (0, "")
    assert "n?/logs" in stdout
    assert cluster.ok("add", "3", "--node=n1") == "n1 counted +3\n"
    cluster.ok("kill", "n1")
    cluster.ok("restart", "n1")
    assert cluster.ok("read", "--node=n1") == "3\n"
    assert cluster.ok("down") == "2 nodes stopped\n"
