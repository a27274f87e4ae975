"""Claim: clusters of one name stay apart, whatever addresses are wrong, and a cluster never falls apart by its id."""

import shutil
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.core.cluster_id import ClusterId, Handling, OwnClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.gossip.messages import Delta, Syn, SynAck
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Add
from gossip_counter.node.core.peer_messages import Refused
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.speakers import SPEAKING_NS
from gossip_counter.node.endpoints.addresses import Address, shown
from gossip_counter.node.storage.journal import Journal
from tests.support.processes import ask, node_process
from tests.support.replica import MS, begin, drain, messages, sends, step
from tests.support.waiting import until
from tests.support.world import NAMES, World

# The rules.


def own(number: int, is_settled: bool = False, members: tuple[str, ...] = ("n2", "n3")) -> OwnClusterId:
    return OwnClusterId(members, ClusterId(number, is_settled), Random(1))


@pytest.mark.parametrize(
    ("ours", "theirs", "is_reply", "handling"),
    [
        ((5, False), (5, False), False, Handling.TAKE),
        ((5, True), (5, False), False, Handling.TAKE),
        ((5, True), (4, True), True, Handling.REFUSE),
        ((5, True), (6, True), True, Handling.REFUSE),
        ((5, False), (4, False), True, Handling.TAKE),
        ((5, False), (6, True), True, Handling.TAKE),
        ((5, False), (4, False), False, Handling.ASK),
        ((5, False), (6, True), False, Handling.ASK),
        ((5, False), (6, False), True, Handling.REPLY),
        ((5, True), (4, False), True, Handling.REPLY),
        ((5, True), (6, False), False, Handling.REPLY),
    ],
)
def test_what_is_done_with_a_message_depends_on_both_ids(
    ours: tuple[int, bool], theirs: tuple[int, bool], is_reply: bool, handling: Handling
) -> None:
    mine = own(*ours)
    assert mine.receive(ClusterId(*theirs), "n2", is_reply) is handling
    assert mine.shown.number == (theirs[0] if handling is Handling.TAKE else ours[0])


def test_an_id_is_settled_once_all_members_replied_with_it_and_shown_so_once_it_is_durable() -> None:
    mine = own(5)
    for member in ("n2", "n2", "n3"):
        assert not mine.awaits_commit
        mine.receive(ClusterId(5, False), member, True)
    assert mine.awaits_commit
    assert (mine.shown, mine.unsaved) == (ClusterId(5, False), ClusterId(5, True))
    assert mine.receive(ClusterId(4, False), "n2", True) is Handling.REPLY  # it never changes any more
    mine.saved(ClusterId(5, True))
    assert (mine.shown, mine.unsaved, mine.awaits_commit) == (ClusterId(5, True), None, False)


def test_who_replied_with_a_former_id_has_not_agreed_to_this_one() -> None:
    mine = own(5)
    mine.receive(ClusterId(5, False), "n2", True)
    mine.receive(ClusterId(4, False), "n3", True)
    assert not mine.awaits_commit
    mine.receive(ClusterId(4, False), "n2", True)
    assert mine.awaits_commit


def test_what_is_no_reply_settles_nothing() -> None:
    mine = own(5)
    for member in ("n2", "n3"):
        mine.receive(ClusterId(5, True), member, False)
    assert not mine.awaits_commit


def test_a_node_without_peers_has_settled_at_once_and_waits_for_no_commit() -> None:
    mine = own(5, members=())
    assert (mine.shown.is_settled, mine.awaits_commit, mine.unsaved) == (True, False, ClusterId(5, True))


# Clusters.


SEEDS = pytest.mark.parametrize("seed", range(4))


@SEEDS
@pytest.mark.parametrize("settings", [{}, {"gossip": "full"}], ids=["delta", "full"])
def test_a_new_cluster_agrees_on_the_least_id(seed: int, settings: dict[str, Any]) -> None:
    world = World(seed)
    nodes = world.cluster("a", **settings)
    least = min(node.cluster_id.number for node in nodes)
    world.add("a1", 1)
    world.run(30)
    assert world.ids("a") == {ClusterId(least, True)}
    assert world.values("a") == [1, 1, 1]


@SEEDS
@pytest.mark.parametrize("settings", [{}, {"gossip": "full"}], ids=["delta", "full"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_settled_clusters_of_one_name_never_merge(seed: int, settings: dict[str, Any], both_ways: bool) -> None:
    world = World(seed)
    world.cluster("a", **settings)
    world.cluster("b", **settings)
    world.add("a1", 1)
    world.add("b1", 100)
    world.run(30)
    world.lists["b1"] = world.lists["b1"] | {"n3": "a3"}
    if both_ways:
        world.lists["a3"] = world.lists["a3"] | {"n1": "b1"}
    world.add("a2", 1)
    world.add("b1", 100)
    world.run(30)
    assert world.values("a") == [2, 2, 2]
    assert world.values("b") == [200, 200, 200]
    refused = world.nodes["a3"].take_refused()
    assert refused in (Refused("n1", ("b1",), None), Refused("n2", ("b2",), None))
    assert world.nodes["a3"].take_refused() is None
    assert world.nodes["a3"].stats.foreign_gossip > 0
    assert all(node.stats.forks == node.stats.new_epochs == 0 for node in world.nodes.values())


@SEEDS
@pytest.mark.parametrize("is_new", ["b", "both"])
def test_one_wrong_address_merges_nothing_into_a_cluster_even_while_one_is_new(seed: int, is_new: str) -> None:
    world = World(seed)
    world.cluster("a")
    world.run(0 if is_new == "both" else 30)
    world.cluster("b", wrong="a3")
    for address, delta in (("a1", 1), ("b1", 100)):
        world.add(address, delta)
    world.run(40)
    world.add("b1", 100)
    world.run(20)
    assert world.values("a") == [1, 1, 1]
    assert world.values("b") == [200, 200, 200]


@SEEDS
def test_a_node_of_a_settled_cluster_that_lost_its_journal_is_not_captured_by_another(seed: int) -> None:
    world = World(seed)
    world.cluster("a")
    world.cluster("b")
    world.add("a1", 1)
    world.add("b1", 100)
    world.run(30)
    world.lists["b1"] = world.lists["b1"] | {"n3": "a3"}
    del world.journals["a3"]
    world.start("a3", "n3", world.lists["a3"])
    world.run(30)
    (settled,) = world.ids("a")
    assert settled.is_settled
    assert world.values("a") == [1, 1, 1]
    assert world.values("b") == [100, 100, 100]


@SEEDS
def test_who_speaks_under_a_members_name_from_elsewhere_without_an_id_is_refused(seed: int) -> None:
    """And what is replied to it would reach the member: forks would be reported, and epochs begun."""
    world = World(seed, loss=0.0)
    world.cluster("a")
    world.run(30)
    world.start("b1", "n1", {"n1": "b1", "n2": "b2", "n3": "a3"})
    world.add("b1", 100)
    world.run(10)
    assert world.values("a") == [0, 0, 0]
    assert world.nodes["a3"].take_refused() == Refused("n1", ("b1",), ("a1",))
    assert all(node.stats.forks == node.stats.new_epochs == 0 for node in world.nodes.values())


def test_a_reply_to_another_process_of_the_same_name_changes_no_id() -> None:
    """It comes from a node of another cluster whose list has our address for its own member."""
    world = World()
    node = world.start("a3", "n3", {"n1": "a1", "n2": "a2", "n3": "a3"})
    (syn,) = (send.message for send in sends(drain(node)))
    assert isinstance(syn, Syn)
    rows = (Delta(Actor("n1.b"), 0, (("x", Row(100, 0, 1)),)),)
    for theirs in (ClusterId(0, False), ClusterId(2**63 - 1, True)):
        answer = SynAck("n1", 1, rows, {}, syn.boot ^ 1, cluster_id=theirs)
        node.step(answer, ("b1",), 0)
        assert (list(node.state.ends.rows("x").values()), node.cluster_id == theirs) == ([], False)
    node.step(replace(answer, boot=syn.boot), ("a1",), 0)
    assert (node.state.value("x"), node.cluster_id) == (100, ClusterId(2**63 - 1, False))


def test_a_new_node_with_full_state_gossip_asks_peers_that_send_no_whole_states() -> None:
    world = World()
    world.cluster("a")
    world.add("a1", 1)
    world.run(30)
    del world.journals["a3"]
    world.start("a3", "n3", world.lists["a3"], gossip="full")
    world.run(20)
    assert world.values("a") == [1, 1, 1]
    assert len({each.number for each in world.ids("a")}) == 1


@SEEDS
def test_a_new_cluster_that_is_cut_in_two_counts_and_agrees_once_it_heals(seed: int) -> None:
    world = World(seed)
    cut = {("a1", "a2"), ("a2", "a1"), ("a1", "a3"), ("a3", "a1")}
    world.cut = set(cut)
    world.cluster("a")
    world.add("a1", 1)
    world.add("a2", 10)
    world.run(20)
    assert world.values("a") == [1, 10, 10]
    assert not any(each.is_settled for each in world.ids("a"))
    world.cut.clear()
    world.run(30)
    assert world.values("a") == [11, 11, 11]
    (settled,) = world.ids("a")
    assert settled.is_settled


@SEEDS
def test_a_member_that_comes_back_without_its_journal_while_another_is_dead_is_of_the_cluster(seed: int) -> None:
    world = World(seed)
    world.cluster("a")
    world.add("a1", 1)
    world.run(30)
    del world.nodes["a2"], world.journals["a3"]
    world.start("a3", "n3", world.lists["a3"])
    world.add("a3", 10)
    world.run(30)
    assert world.values("a") == [11, 11]
    assert len({each.number for each in world.ids("a")}) == 1


def test_a_member_that_comes_back_elsewhere_without_its_journal_is_taken_a_little_later() -> None:
    world = World(loss=0.0)
    world.cluster("a")
    world.add("a1", 1)
    world.run(30)
    del world.nodes["a1"]
    for address in ("a2", "a3"):
        world.lists[address] = world.lists[address] | {"n1": "a9"}
    world.start("a9", "n1", {"n1": "a9", "n2": "a2", "n3": "a3"})
    world.add("a9", 10)
    world.run(5)
    assert world.values("a") == [1, 1]
    world.run(SPEAKING_NS // (100 * MS) + 15)
    assert world.values("a") == [11, 11]
    assert world.ids("a") == {world.nodes["a2"].cluster_id}


@SEEDS
def test_a_cluster_of_nodes_that_lose_their_journals_while_it_begins_never_falls_apart(seed: int) -> None:
    rng, world = Random(seed), World(seed)
    world.cluster("a")
    for _ in range(20):
        world.run(1)
        name = rng.choice(NAMES)
        address = f"a{name[1]}"
        if rng.random() < 0.5:
            world.journals.pop(address, None)
        world.start(address, name, world.lists[address])
    world.run(40)
    (settled,) = world.ids("a")
    assert settled.is_settled


# What is stored.


def test_a_settled_id_is_stored_at_once_and_a_provisional_one_with_the_next_commit(tmp_path: Path) -> None:
    made = partial(Journal, tmp_path, "n1", "c")
    journal, actor = made(), Replica(Config(name="n1"), Random(1), 0).actor
    for cluster_id, number in ((ClusterId(9, False), 1), (None, 2), (ClusterId(2**63 - 1, True), 3), (None, 4)):
        row = Stored(actor, number, number, {"x": Row(number, 0, number)})
        journal.commit(Commit(actor, (row,), cluster_id))
        if number != 3:  # once from the log, then from the tables
            journal.close()
            journal = made()
        expected = ClusterId(9, False) if number < 3 else ClusterId(2**63 - 1, True)
        if number != 3:
            assert journal.recovered
            assert journal.recovered.cluster_id == expected
    journal.close()


def test_a_copied_journal_keeps_the_id(tmp_path: Path) -> None:
    settled, live, copied = ClusterId(9, True), tmp_path / "live", tmp_path / "copied"
    with closing(Journal(live, "n1", "c")) as journal:
        journal.commit(Commit(Actor("n1.me"), (), settled))
        shutil.copytree(live, copied)
    for _ in range(2):
        with closing(Journal(copied, "n1", "c")) as copy:
            assert copy.recovered == Recovered(None, (), settled)


def test_a_commit_that_failed_stores_the_id_again() -> None:
    world = World(loss=0.0)
    node = world.start("a1", "n1", {"n1": "a1", "n2": "a2"})
    node.step(Add(1, 5), "c", 0)
    first = _commit(node)
    node.persisted("the disk is full")
    node.step(Add(2, 5), "c", 0)
    second = _commit(node)
    assert first.cluster_id == second.cluster_id == ClusterId(node.cluster_id.number, False)
    node.persisted()
    node.step(Add(3, 5), "c", 0)
    assert _commit(node).cluster_id is None


def _commit(node: Replica) -> Commit:
    for _ in range(100):
        if (ready := node.ready(10**9)) and ready.commit:
            return ready.commit
    raise AssertionError("nothing is committed")


# Real nodes.


def test_a_node_with_a_wrong_address_merges_nothing_and_the_other_clusters_log_says_so() -> None:
    ports = free_ports(4)
    a1, a2, b1, b2 = (("127.0.0.1", port) for port in ports)

    def member(name: str, own: Address, peer: str, other: Address) -> tuple[str, ...]:
        bind, listed = (shown(each) for each in (own, other))
        return f"--name={name}", f"--bind={bind}", f"--peer={peer}={listed}", "--ephemeral"

    with ExitStack() as stack:
        processes = [
            stack.enter_context(node_process(*member(*each)))
            for each in (("n1", a1, "n2", a2), ("n2", a2, "n1", a1), ("n1", b1, "n2", a2), ("n2", b2, "n1", b1))
        ]
        for process in processes:
            assert process.stderr
            assert "listens" in process.stderr.readline()
        for address, delta in ((a1, 1), (b1, 100)):
            ask(address, lambda client, delta=delta: client.add(delta))  # type: ignore[misc]
        until(lambda: ask(a2, lambda client: client.gossip_status())["foreign_gossip"])
        until(lambda: ask(a2, lambda client: client.read()) == 1)
        statuses = [ask(each, lambda client: client.gossip_status()) for each in (a1, a2, b1, b2)]
        assert [status["local_value"] for status in statuses] == [1, 1, 100, 0]
        assert statuses[0]["cluster_id"] == statuses[1]["cluster_id"] != statuses[2]["cluster_id"]
        assert [status["cluster_id_settled"] for status in statuses] == [True, True, False, False]
        expected = {
            f"the id of cluster 'counter' is {statuses[1]['cluster_id']}",
            f"a process named n1 sends from {shown(b1)} without this cluster's id, while n1 sends from"
            f" {shown(a1)}: is the address of this node in another cluster's list of members?",
        }
        assert processes[1].stderr
        while expected:
            line = processes[1].stderr.readline()
            assert line, f"not logged: {expected}"
            expected = {each for each in expected if each not in line}


@pytest.mark.parametrize("is_answer", [True, False])
def test_an_id_is_taken_from_a_digest_only_if_it_answers_ours(is_answer: bool) -> None:
    node = Replica(Config(name="n1", peers=("n2",)), Random(1), 0)
    (syn,) = messages(begin(node))
    assert isinstance(syn, Syn)
    step(node, Syn("n2", 1, {}, answered=syn.boot if is_answer else 0, cluster_id=ClusterId(1, True)))
    assert (node.cluster_id.number == 1) == is_answer
