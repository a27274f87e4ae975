"""Claim: nodes on hosts of their own come to one state over IPv4 and IPv6, small links, one-way links and moves."""

import asyncio
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gossip_counter.cluster import key_rings
from gossip_counter.cluster.client import Client, ClientError, Status
from gossip_counter.cluster.seals import Keys
from tests.support.documents import DOCUMENTS, Block, blocks
from tests.support.namespaces import Host, hosts, passes, set_mtu
from tests.support.waiting import until

T = TypeVar("T")

PORT = 7100
LISTED = {
    "n1": f"10.77.0.1:{PORT}",
    "n2": f"10.77.0.2:{PORT}",
    "n3": f"[fd77::3]:{PORT}",
    "n4": f"[fd77::4]:{PORT}",
    "n5": f"10.77.0.5:{PORT}",
}
"""As the file of members lists them. n5 has no IPv6, the others have both."""

NODES_SHOWN = [
    block for path in DOCUMENTS for block in blocks(path)
    if block.mark == "not run: needs several hosts" and block.text.startswith("$ counter-node ")
]  # fmt: skip


class Town:
    """Five hosts, and a node on each."""

    def __init__(self, directory: Path, found: dict[str, Host], stack: ExitStack) -> None:
        self.hosts = found
        self._directory = directory
        self._stack = stack
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        key_rings.new(directory / "keys")
        for number, (name, host) in enumerate(found.items(), start=1):
            host.has(f"10.77.0.{number}/24", *([] if name == "n5" else [f"fd77::{number}/64"]))
            self.start(name)

    def start(self, name: str, **listed: str) -> None:
        """Start a node, with a file of members in which some have other addresses."""
        file = self._directory / f"{name}.toml"
        lines = [f'{each} = "{address}"' for each, address in (LISTED | listed).items()]
        file.write_text("\n".join(['cluster = "likes"', "[members]", *lines]), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "gossip_counter.node", f"--name={name}", f"--members={file}"),
            f"--bind={'0.0.0.0' if name == 'n5' else '[::]'}:{PORT}",
            *(f"--keys={self._directory / 'keys'}", f"--data={self._directory / name}"),
        ]
        with (self._directory / f"{name}.log").open("ab") as log, self.hosts[name].entered():
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes[name] = process
        self._stack.callback(self._end, process)

    def kill(self, name: str) -> None:
        self._end(self._processes[name])

    def wipe(self, name: str) -> None:
        shutil.rmtree(self._directory / name)

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.wait()

    def ask(self, name: str, request: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The result of a request to a node, made on its host."""

        async def asking() -> T:
            keys = Keys.read(self._directory / "keys", "likes")
            async with await Client.connect(("127.0.0.1", PORT), 2.0, keys) as client:
                return await request(client)

        with self.hosts[name].entered():
            return asyncio.run(asking())

    def add(self, name: str, delta: int, counter: str) -> None:
        self.ask(name, lambda client: client.add(delta, counter))

    def statuses(self, counter: str) -> dict[str, Status]:
        return {name: self.ask(name, lambda client: client.gossip_status(counter)) for name in self.hosts}

    def is_whole(self) -> bool:
        """Whether all nodes are up, and have settled on their cluster's id."""
        try:
            return all(status["cluster_id_settled"] for status in self.statuses("").values())
        except ClientError:
            return False

    def comes_to(self, value: int, counter: str) -> None:
        """Wait until all nodes hold one state, in which a counter has this value; no node met an unexpected error."""

        def met() -> bool:
            try:
                statuses = self.statuses(counter).values()
            except ClientError:
                return False
            assert not any(status["internal_errors"] for status in statuses)
            is_one = len({status["fingerprint"] for status in statuses}) == 1
            return is_one and all(status["local_value"] == value for status in statuses)

        until(met)

    def hears(self, name: str, other: str) -> bool:
        """Whether a node heard another just now."""
        listed = {each["name"]: each for each in self.ask(name, lambda client: client.members())}
        return bool(listed[other]["state"] == "up" and listed[other]["silent_ms"] < 1000)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with hosts(list(LISTED)) as found, ExitStack() as stack:
        town = Town(tmp_path_factory.mktemp("town"), found, stack)
        until(town.is_whole)
        yield town


def test_hosts_with_ipv4_ipv6_or_both_agree(town: Town) -> None:
    for delta, name in enumerate(town.hosts, start=1):
        town.add(name, delta, "agree")
    town.comes_to(15, "agree")


def test_a_link_of_576_bytes_keeps_nothing_back(town: Town) -> None:
    """The bridge drops larger frames, without an error."""
    n1, n5 = town.hosts["n1"], town.hosts["n5"]
    set_mtu(town.hosts, "n5", 576)
    assert passes(n1, n5, "10.77.0.5", 540)
    assert not passes(n1, n5, "10.77.0.5", 1000)
    names = [f"a counter of a rather long name, number {number}" for number in range(200)]

    async def add_to_all(client: Client) -> None:
        for at in range(0, len(names), 50):
            await asyncio.gather(*(client.add(1, name) for name in names[at : at + 50]))

    town.ask("n1", add_to_all)
    town.ask("n5", add_to_all)
    town.comes_to(2, names[-1])
    set_mtu(town.hosts, "n5", 1500)


def test_links_that_work_one_way_only_delay_and_lose_nothing(town: Town) -> None:
    town.hosts["n1"].loses_what_is_sent_to("10.77.0.4", "fd77::4")
    town.hosts["n2"].refuses_to_send_to("10.77.0.3")
    town.hosts["n2"].refuses_to_send_to("fd77::3")
    for source, target in (("n1", 4), ("n2", 3)):
        assert not passes(town.hosts[source], town.hosts[f"n{target}"], f"fd77::{target}")
        assert passes(town.hosts[f"n{target}"], town.hosts[source], f"fd77::{source[1]}")
    for name in ("n1", "n2", "n3", "n4"):
        town.add(name, 1, "one way")
    town.comes_to(4, "one way")
    town.hosts["n1"].reaches_again("10.77.0.4", "fd77::4")
    town.hosts["n2"].sends_again_to("10.77.0.3")
    town.hosts["n2"].sends_again_to("fd77::3")
    until(lambda: town.hears("n4", "n1") and town.hears("n3", "n2"))


def test_a_node_that_starts_at_another_address_is_found_there(town: Town) -> None:
    """Only its own file knows where it is now; the others have its old number."""
    town.add("n2", 1, "starts elsewhere")
    town.kill("n2")
    town.add("n1", 1, "starts elsewhere")
    town.hosts["n2"].has_no_more("10.77.0.2/24", "fd77::2/64")
    town.hosts["n2"].has("10.77.0.12/24", "fd77::12/64")
    town.start("n2", n2=f"10.77.0.12:{PORT}")
    town.comes_to(2, "starts elsewhere")
    town.add("n2", 1, "starts elsewhere")
    town.add("n5", 1, "starts elsewhere")
    town.comes_to(4, "starts elsewhere")
    until(lambda: all(town.hears(name, "n2") and town.hears("n2", name) for name in ("n1", "n5")))


def test_a_node_that_starts_at_another_address_without_its_journal_is_found_there(town: Town) -> None:
    """Nor has it its cluster's id, and others reply to the address in their lists."""
    town.kill("n3")
    town.wipe("n3")
    town.hosts["n3"].has_no_more("10.77.0.3/24", "fd77::3/64")
    town.hosts["n3"].has("10.77.0.13/24", "fd77::13/64")
    town.start("n3", n3=f"[fd77::13]:{PORT}")
    town.add("n1", 1, "starts anew")
    town.comes_to(1, "starts anew")
    town.add("n3", 1, "starts anew")
    town.comes_to(2, "starts anew")


def test_a_host_whose_address_changes_under_a_running_node_is_found_again(town: Town) -> None:
    """The node does not know. Its datagrams come from elsewhere, and are sealed."""
    town.add("n4", 1, "moves")
    town.hosts["n4"].has_no_more("10.77.0.4/24", "fd77::4/64")
    town.hosts["n4"].has("10.77.0.14/24", "fd77::14/64")
    for name in ("n1", "n4"):
        town.add(name, 1, "moves")
    town.comes_to(3, "moves")
    until(lambda: all(town.hears(name, "n4") and town.hears("n4", name) for name in ("n1", "n3")))


@pytest.mark.parametrize("block", NODES_SHOWN, ids=lambda block: f"{block.document.name}:{block.line}")
def test_a_node_starts_as_the_documents_show_it_for_several_hosts(tmp_path: Path, block: Block) -> None:
    (listed,) = (each for each in blocks(block.document) if each.language == "toml" and "[members]" in each.text)
    (tmp_path / "members.toml").write_text(listed.text)
    key_rings.new(tmp_path / "keys.txt")
    with hosts(["host"]) as found, ExitStack() as stack:
        found["host"].has("10.0.0.2/24", "10.0.0.4/24")
        for command, _ in block.commands():
            program, *arguments = shlex.split(command)
            words = [str(Path(sys.executable).parent / program), *arguments]
            with found["host"].entered():
                process = subprocess.Popen(
                    words, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
            node = stack.enter_context(process)
            stack.callback(node.kill)
            assert node.stderr
            assert any("listens" in line for line in node.stderr)
