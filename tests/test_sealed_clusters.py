"""Claim: real processes agree over sealed datagrams, take nothing else, and change their keys under load."""

import asyncio
import socket
from pathlib import Path
from random import SystemRandom
from typing import Any

import msgpack
import pytest

from gossip_counter.cluster import key_rings
from gossip_counter.cluster.client import Client, NotSentError, OutcomeUnknownError
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.seals import Keys
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.endpoints.addresses import Address
from gossip_counter.node.runtime.key_watch import LOOK_S
from gossip_counter.node.security.sealing import Sealing
from gossip_counter.node.storage import key_file
from tests.support.bench import figures
from tests.support.commands import Commands
from tests.support.processes import ask, node_process
from tests.support.waiting import LIMIT_S, until


def count(cluster: Commands, name: str) -> int:
    """How often all nodes refused something for this reason."""
    return sum(node.get(name, 0) for node in cluster.nodes())


def loaded(cluster: Commands) -> Cluster:
    return Cluster.load_up(cluster.directory)


class Captor:
    """A client whose datagrams are captured, and sent again at will."""

    def __init__(self, cluster: Commands, node: str) -> None:
        manifest = loaded(cluster).manifest
        self.seal = Sealing(key_file.read(manifest.keys_path), manifest.id, SystemRandom())
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(manifest.members[node].address)

    def greet(self) -> None:
        self.socket.send(self.seal.greeting("n"))
        assert self.opened() == b""

    def opened(self) -> bytes:
        """What the node's next datagram holds."""
        return self.seal.unseal(self.socket.recv(65_536), "n")

    def add(self, delta: int) -> bytes:
        """Add, and wait for the reply; the datagram."""
        sealed = self.seal.seal(msgpack.packb({"type": "add", "delta": delta, "msg_id": 7}), "n")
        assert sealed is not None
        self.socket.send(sealed)
        assert msgpack.unpackb(self.opened())["type"] == "add_ok"
        return sealed


def test_a_sealed_cluster_agrees_and_takes_nothing_plain_nor_twice(cluster: Commands) -> None:
    cluster.up(3, "--sealed")
    cluster.ok("add", "5", "--node=n1")
    cluster.ok("add", "7", "--node=n2")
    until(cluster.agreed_on(12, 3))
    n1 = loaded(cluster).members["n1"].address

    with pytest.raises(OutcomeUnknownError):
        asyncio.run(add_plainly(n1))
    assert count(cluster, "no_key") == 1

    captor = Captor(cluster, "n1")
    with captor.socket:
        captor.greet()
        captured = captor.add(100)
        captor.socket.send(captured)
        until(lambda: count(cluster, "replayed") == 1)
        cluster.ok("restart", "n1")
        captor.socket.send(captured)
        assert captor.opened() == b""  # refused: whoever sealed it may greet again
    assert count(cluster, "unbound") >= 1  # also what peers sent before they knew that it is another process
    until(cluster.agreed_on(112, 3))
    assert cluster.ok("read", "--node=n1") == "112\n"
    assert count(cluster, "forged") == count(cluster, "internal_errors") == 0


async def add_plainly(address: Any) -> None:
    async with await Client.connect(address, timeout_s=0.2) as client:
        await client.add(1000)


def test_no_secret_is_on_a_command_line_or_in_a_log_and_the_file_is_its_owners(cluster: Commands) -> None:
    cluster.up(2, "--sealed")
    up = loaded(cluster)
    path = up.manifest.keys_path
    (key,) = key_file.read(path).keys
    assert path.stat().st_mode & 0o777 == 0o600
    shown = "".join(path.read_text(encoding="utf-8") for path in (cluster.directory / "logs").iterdir())
    for member in up.members.values():
        process = up.process(member)
        assert process is not None
        shown += " ".join(process.cmdline())
    shown += cluster.ok("keys", "list") + cluster.ok("status", "--json")
    assert key.name in shown
    assert key.secret.hex() not in shown
    assert f"--keys={path}" in shown


def test_a_key_is_rotated_under_load_with_a_node_down_and_nothing_is_lost(cluster: Commands) -> None:
    cluster.up(3, "--sealed")
    cluster.ok("kill", "n3")
    added = asyncio.run(add_while_rotating(cluster))
    assert len(cluster.ok("keys", "list").splitlines()) == 2
    cluster.ok("restart", "n3")
    until(cluster.agreed_on(added, 3))
    assert {tuple(node["keys"]) for node in cluster.nodes()} == {key_file.read(cluster.directory / "keys").names}
    assert count(cluster, "unknown_key") == count(cluster, "retired_key") == count(cluster, "forged") == 0


async def add_while_rotating(cluster: Commands) -> int:
    """Add without a pause to two nodes until the key is another; how much was acknowledged: no add may fail."""
    up, stop, added = loaded(cluster), asyncio.Event(), 0

    async def add(name: str) -> None:
        nonlocal added
        async with await up.connect(up.members[name], timeout_s=LIMIT_S) as client:
            while not stop.is_set():
                await client.add(1)
                added += 1

    adding = [asyncio.create_task(add(name)) for name in ("n1", "n2")]
    for step in ("rotate", "rotate", "retire"):
        await run_aside(cluster, "keys", step)
    stop.set()
    await asyncio.gather(*adding)
    return added


def gaps_while_rotating(seconds: float) -> tuple[float, float]:
    """The longest gaps in adds and in gossip, in milliseconds: at rest, and while keys are rotated."""
    rest, *steps = figures("rotation", "-n3", f"--seconds={seconds}")["phases"]
    assert [each["phase"] for each in steps] == ["a key that opens", "it seals", "the old one goes"]
    assert all(each["acknowledged_adds"] > 0 for each in (rest, *steps))
    at_rest, rotating = (
        max(each[f"longest_gap_in_{kind}_ms"] for each in phases for kind in ("adds", "gossip"))
        for phases in ([rest], steps)
    )
    assert rotating > 0
    return at_rest, rotating


def test_nobody_waits_until_nodes_look_for_keys_again() -> None:
    assert gaps_while_rotating(0.2)[1] < LOOK_S * 1000


@pytest.mark.soak
def test_nobody_waits_longer_than_a_gossip_interval_while_keys_are_rotated_with_a_node_down() -> None:
    """One run of several must show it: whatever else this machine does may keep all waiting for as long."""
    runs: list[tuple[float, float]] = []
    while len(runs) < 5 and not any(rotating <= 100 for _, rotating in runs):
        runs.append(gaps_while_rotating(1))
    assert min(rotating for _, rotating in runs) <= 100, runs


async def run_aside(cluster: Commands, *arguments: str) -> None:
    """A command as a process of its own. Fails unless it ends well and without a warning."""
    with cluster.popen(*arguments) as command:
        _, stderr = await asyncio.to_thread(command.communicate)
    assert (command.returncode, stderr) == (0, "")


def test_a_node_with_an_old_file_is_told_apart_from_a_non_member(tmp_path: Path) -> None:
    old, present, foreign = (tmp_path / name for name in ("old", "present", "foreign"))
    key_rings.new(old)
    key_file.write(present, key_file.read(old), is_new=True)
    for change in (key_rings.rotate, key_rings.rotate, key_rings.retire):
        change(present)
    key_rings.new(foreign)
    options = ("--name=n1", "--bind=127.0.0.1:0", "--ephemeral", f"--keys={present}")
    with node_process(*options) as process:
        assert process.stderr
        assert "datagrams are sealed with key" in process.stderr.readline()
        port = int(process.stderr.readline().rpartition(", peers")[0].rpartition(":")[2])
        for path, line in ((old, "retired_key (1 so far): a datagram is sealed with key"), (foreign, "unknown_key (1")):
            with pytest.raises(NotSentError, match=r"did not answer in 0\.2 s; has its cluster the same keys"):
                asyncio.run(read_with(("127.0.0.1", port), path))
            assert line in process.stderr.readline()
        assert asyncio.run(read_with(("127.0.0.1", port), present)) == 0


async def read_with(address: tuple[str, int], path: Path) -> int:
    async with await Client.connect(address, 0.2, Keys.read(path, "counter")) as client:
        return await client.read()


async def added_at_once(address: Address, keys: Keys) -> tuple[int, int]:
    """Datagrams in which a client sends 100 adds at once, and what they come to."""
    async with await Client.connect(address, keys=keys) as client:
        await client.add(1)
        before = (await client.gossip_status())["datagrams_in"]
        await asyncio.gather(*(client.add(1) for _ in range(100)))
        return (await client.gossip_status())["datagrams_in"] - before, await client.read()


def test_adds_that_a_client_makes_at_once_share_datagrams(cluster: Commands) -> None:
    cluster.up(1, "--sealed")
    manifest = loaded(cluster).manifest
    sent, value = asyncio.run(added_at_once(manifest.members["n1"].address, Keys.read(manifest.keys_path, manifest.id)))
    assert value == 101
    assert sent < 30


def test_what_a_client_sends_after_a_restart_counts_once(cluster: Commands) -> None:
    cluster.up(1, "--sealed")

    async def main() -> None:
        up = loaded(cluster)
        async with await up.connect(up.members["n1"], timeout_s=0.5) as client:
            await client.add(1)
            await run_aside(cluster, "restart", "n1")
            assert client._seal is not None
            client._seal._fresh_until_s = 0.0  # as after a second
            await client.add(2)
            assert await client.read() == 3

    asyncio.run(main())
    assert count(cluster, "unbound") == 0


# Commands.


def test_commands_say_what_to_do_next(cluster: Commands) -> None:
    cluster.up(1, "--sealed")
    first = key_file.read(cluster.directory / "keys").names[0]
    assert cluster.ok("keys", "list").endswith("seals and opens\n")
    assert "nothing to retire: 'cluster keys rotate'" in cluster.refused("keys", "retire")
    assert cluster.ok("keys", "rotate").endswith(f"{first} still seals; then 'cluster keys rotate'\n")
    assert "does not seal yet: 'cluster keys rotate'" in cluster.refused("keys", "retire")
    assert cluster.ok("keys", "rotate").endswith("the old one still opens; then 'cluster keys retire'\n")
    assert cluster.ok("keys", "retire").startswith("only key ")
    assert cluster.ok("keys", "list").splitlines()[1] == f"{first}  retired"
    assert "is there already" in cluster.refused("keys", "new")


def test_a_sealed_cluster_stays_sealed(cluster: Commands) -> None:
    cluster.up(1, "--sealed")
    cluster.ok("down")
    cluster.up(1)
    assert cluster.nodes()[0]["keys"]
    cluster.ok("down")
    (cluster.directory / "keys").chmod(0o644)
    assert "chmod 600" in cluster.refused("up", "--detach", "--base-port=0")


def test_files_for_several_hosts(cluster: Commands, tmp_path: Path) -> None:
    path = str(tmp_path / "keys.txt")
    assert cluster.ok("keys", "new", path).endswith(f"start each node with --keys {path}\n")
    assert cluster.ok("keys", "rotate", path).endswith(f"copy it to every host, then 'cluster keys rotate {path}'\n")
    assert cluster.ok("keys", "rotate", path).endswith(f"copy it to every host, then 'cluster keys retire {path}'\n")
    assert cluster.ok("keys", "retire", path).endswith("copy it to every host\n")
    assert "name a FILE of keys" in cluster.refused("keys", "list")


def test_a_cluster_without_keys_says_so(cluster: Commands) -> None:
    cluster.up(1)
    assert "has no keys: 'cluster up --sealed'" in cluster.refused("keys", "list")
    with pytest.raises(ConfigError):
        Keys.read(cluster.directory / "keys", "c")
    assert ask(loaded(cluster).members["n1"].address, lambda client: client.add(1))
