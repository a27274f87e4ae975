"""Claim: real nodes join by one address, move, leave and are removed; and who can't join is told why in one line."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gossip_counter.cluster import key_rings
from gossip_counter.cluster.client import Client
from gossip_counter.cluster.ports import free_ports
from gossip_counter.cluster.seals import Keys
from gossip_counter.node.endpoints.addresses import Address, is_loopback, is_own, shown
from tests.support.commands import node_refuses
from tests.support.processes import ask, node_process
from tests.support.waiting import until


class Nodes:
    """Nodes with journals below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.at: dict[str, Address] = {}
        self._stacks: dict[str, ExitStack] = {}
        self.errors: dict[str, Any] = {}

    def start(
        self, name: str, *arguments: str, joins: str = "", port: int = 0, host: str = "127.0.0.1", bind: str = ""
    ) -> None:
        """`host` is where the others find it; it binds another address if that is given."""
        self.at[name] = host, port or free_ports(1)[0]
        stack = self._stacks[name] = ExitStack()
        join = [f"--join={shown(self.at[joins])}"] if joins else []
        process = stack.enter_context(
            node_process(
                f"--name={name}",
                f"--bind={shown((bind or host, self.at[name][1]))}",
                f"--data={self.directory / name}",
                *join,
                *arguments,
            )
        )
        assert process.stderr
        self.errors[name] = process.stderr
        self.logged(name, "listens")

    def stop(self, name: str) -> None:
        self._stacks.pop(name).close()

    def stop_all(self) -> None:
        for name in list(self._stacks):
            self.stop(name)

    def members(self, name: str) -> dict[str, str]:
        """The members as a node knows them, and how each stands."""
        return {each["name"]: each["state"] for each in ask(self.at[name], lambda client: client.members())}

    def addresses(self, name: str) -> dict[str, list[str]]:
        """Those of all members, as a node knows them."""
        return {each["name"]: list(each["addresses"]) for each in ask(self.at[name], lambda client: client.members())}

    def knows(self, name: str, *others: str) -> Callable[[], bool]:
        return lambda: [each for each, state in self.members(name).items() if state == "up"] == sorted([name, *others])

    def value(self, name: str) -> int:
        return ask(self.at[name], lambda client: client.read())

    def logged(self, name: str, what: str) -> str:
        while what not in (line := self.errors[name].readline()):
            assert line, f"{name} ended"
        return str(line)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    made.stop_all()


def test_nodes_join_by_one_address_count_together_and_leave(nodes: Nodes) -> None:
    nodes.start("n1")
    nodes.start("n2", joins="n1")
    until(nodes.knows("n1", "n2"))
    nodes.start("n3", joins="n2")
    until(nodes.knows("n1", "n2", "n3"))
    until(nodes.knows("n3", "n1", "n2"))
    assert "n2 is a member now" in nodes.logged("n1", "is a member")
    ask(nodes.at["n3"], lambda client: client.add(5))
    ask(nodes.at["n3"], Client.leave)
    assert nodes.value("n1") == nodes.value("n2") == 5
    assert nodes.members("n1") == {"n1": "up", "n2": "up", "n3": "left"}
    nodes.logged("n3", "stopped")


def test_a_node_that_comes_back_at_another_port_is_found(nodes: Nodes) -> None:
    nodes.start("n1")
    nodes.start("n2", joins="n1")
    until(nodes.knows("n1", "n2"))
    nodes.stop("n2")
    nodes.start("n2")
    ask(nodes.at["n1"], lambda client: client.add(1))
    until(lambda: nodes.value("n2") == 1)
    ask(nodes.at["n2"], lambda client: client.add(1))
    until(lambda: nodes.value("n1") == 2)
    until(nodes.knows("n1", "n2"))


def test_a_removed_node_does_not_start_again_with_its_journal(nodes: Nodes) -> None:
    nodes.start("n1")
    nodes.start("n2", joins="n1")
    nodes.start("n3", joins="n1")
    until(nodes.knows("n2", "n1", "n3"))
    until(nodes.knows("n3", "n1", "n2"))
    ask(nodes.at["n3"], lambda client: client.add(1))  # with it, whom n3 knows is durable
    nodes.stop("n3")
    until(lambda: nodes.members("n1")["n3"] == "suspect")
    ask(nodes.at["n1"], lambda client: client.remove("n3"))
    until(lambda: nodes.members("n2")["n3"] == "removed")
    nodes.start("n3")
    nodes.logged("n3", "refuses writes")
    nodes.stop("n3")
    refusal = node_refuses("--name=n3", f"--bind={shown(nodes.at['n3'])}", f"--data={nodes.directory / 'n3'}")
    assert "was removed from the cluster" in refusal
    assert "empty data directory" in refusal


@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])
def test_nodes_that_are_bound_to_all_addresses_find_each_other(nodes: Nodes, bind: str) -> None:
    """They are reached where those that they join send to, and go on without those."""
    if bind == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    for name, joins in (("n1", ""), ("n2", "n1"), ("n3", "n1")):
        nodes.start(name, "--insecure", joins=joins, bind=bind)
    expected = {name: [shown(address)] for name, address in nodes.at.items()}
    until(lambda: all(nodes.addresses(name) == expected for name in nodes.at))
    until(nodes.knows("n2", "n1", "n3"))
    nodes.stop("n1")
    ask(nodes.at["n2"], lambda client: client.add(5))
    until(lambda: nodes.value("n3") == 5)


def test_nodes_on_a_network_join_and_count_without_keys(nodes: Nodes) -> None:
    """There, unlike on loopback, an address has to prove itself."""
    host = own_address()
    if is_loopback(host):
        pytest.skip("this machine has no address but loopback")
    for name, joins in (("n1", ""), ("n2", "n1"), ("n3", "n2")):
        nodes.start(name, "--insecure", joins=joins, host=host)
    ask(nodes.at["n1"], lambda client: client.add(5))
    until(nodes.knows("n1", "n2", "n3"))
    until(lambda: nodes.value("n2") == nodes.value("n3") == 5)
    nodes.start("n4", "--insecure", joins="n3", host=host)
    until(lambda: nodes.value("n4") == 5)
    until(nodes.knows("n1", "n2", "n3", "n4"))


def own_address() -> str:
    """The address of this machine on its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial, suppress(OSError):
        trial.connect(("198.51.100.1", 9))
        return str(trial.getsockname()[0])
    return "127.0.0.1"


def test_sealed_nodes_join_too(nodes: Nodes) -> None:
    keys = nodes.directory / "keys"
    key_rings.new(keys)
    nodes.start("n1", f"--keys={keys}")
    nodes.start("n2", f"--keys={keys}", joins="n1")
    assert "of 2" in nodes.logged("n2", "this node is a member now")
    assert Keys.read(keys, "counter").file.ring


def test_who_is_not_taken_in_logs_why(nodes: Nodes) -> None:
    nodes.start("n1")
    nodes.start("n2", joins="n1")
    until(nodes.knows("n1", "n2"))
    (nodes.directory / "other").mkdir()
    nodes.at["second"] = nodes.at["n2"]
    other = Nodes(nodes.directory / "other")
    other.at["n1"] = nodes.at["n1"]
    try:
        other.start("n2", joins="n1")
        line = other.logged("n2", "does not take")
        assert "another process named n2 is a member" in line
        assert "joins_refused" not in line
        assert "give it another --name" in nodes.logged("n1", "asks to be taken in as n2")
    finally:
        other.stop_all()


def test_both_sides_log_that_nobody_is_taken_in_and_why(nodes: Nodes) -> None:
    nodes.start("n1", f"--peer=n9=127.0.0.1:{free_ports(1)[0]}")
    nodes.start("n2", joins="n1")
    nodes.start("n3", joins="n2")
    assert "start n9, or remove who is gone for good" in nodes.logged("n1", "asks to be taken in as n2")
    assert "the first node of a cluster starts without --join" in nodes.logged("n2", "asks to be taken in as n3")
    line = nodes.logged("n3", "this node is no member yet")
    assert shown(nodes.at["n2"]) in line
    assert "A member that was never up" in line


def test_a_member_of_one_cluster_does_not_join_another(nodes: Nodes) -> None:
    nodes.start("a1")
    nodes.start("a2", joins="a1")
    nodes.start("b1")
    until(nodes.knows("a1", "a2"))
    nodes.stop("a2")
    nodes.start("a2", joins="b1")
    line = nodes.logged("a2", "which this node was to join, is of another cluster")
    assert f"b1 at {shown(nodes.at['b1'])}" in line
    assert "start with an empty data directory to join that one" in line


def test_who_joins_two_clusters_at_once_is_in_one_and_logs_who_is_of_another(nodes: Nodes) -> None:
    nodes.start("a1")
    nodes.start("b1")
    nodes.start("n1", f"--join={shown(nodes.at['b1'])}", joins="a1")
    line = nodes.logged("n1", "or without its address in --join")
    assert f"b1 at {shown(nodes.at['b1'])}, which this node was to join, is of another cluster" in line
    assert nodes.members("n1").keys() == {"a1", "n1"}
    assert nodes.members("b1").keys() == {"b1"}
    assert ask(nodes.at["n1"], lambda client: client.gossip_status())["foreign_gossip"] > 0


def test_who_joins_at_two_members_of_one_cluster_logs_nothing_of_it(nodes: Nodes) -> None:
    nodes.start("a1")
    nodes.start("a2", joins="a1")
    until(nodes.knows("a1", "a2"))
    nodes.start("n1", f"--join={shown(nodes.at['a2'])}", joins="a1")
    until(nodes.knows("a1", "a2", "n1"))
    assert ask(nodes.at["n1"], lambda client: client.gossip_status())["foreign_gossip"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--join=127.0.0.1:7"], "--join names this node itself"),
        (["--join=127.0.0.1:9", "--gossip=full"], "with --gossip full the members stay as they are listed"),
        (["--join=127.0.0.1"], "is not HOST:PORT"),
        (["--join=127.0.0.1:0"], "nobody can be reached at port 0"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], says: str) -> None:
    assert says in node_refuses("--name=n1", "--bind=127.0.0.1:7", "--ephemeral", *arguments)


@pytest.mark.parametrize(
    ("bind", "join"),
    [
        ("127.0.0.1:7", "localhost:7"), ("localhost:7", "127.0.0.1:7"), ("0.0.0.0:7", "localhost:7"),
        ("0.0.0.0:7", "127.0.0.1:7"), ("0.0.0.0:7", f"{socket.gethostname()}:7"),
    ],
)  # fmt: skip
def test_who_joins_itself_by_another_address_is_refused(bind: str, join: str) -> None:
    arguments = ("--name=n1", "--ephemeral", "--insecure", f"--bind={bind}", f"--join={join}")
    assert "--join names this node itself" in node_refuses(*arguments)


def test_others_of_this_host_are_not_taken_for_oneself() -> None:
    assert not is_own(("localhost", 8), ("0.0.0.0", 7))
    assert not is_own(("127.0.0.2", 7), ("127.0.0.1", 7))
    assert not is_own(("192.0.2.1", 7), ("0.0.0.0", 7))
    assert not is_own(("no-such-host.invalid", 7), ("0.0.0.0", 7))
