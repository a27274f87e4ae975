"""Claim: members join, leave, move and are removed while the cluster runs; all come to one list, and lose nothing."""

import os

import pytest

from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE
from gossip_counter.node.core.gossip.messages import Ack, Delta, Push, SynAck
from gossip_counter.node.core.leaving import Leaving
from gossip_counter.node.core.messages import ErrorReply, Leave, LeaveOk
from tests.support.replica import sends, settle
from tests.support.town import Town, is_ok, three

LOSS = 0.25
SEEDS = int(os.environ.get("SEEDS", "4"))


# One list.


def test_a_node_that_asks_one_member_becomes_a_member_of_all() -> None:
    town = three()
    town.add("n1")
    n4 = town.start("n4", seeds=["n2"])
    town.add("n4")
    town.until_agreed()
    assert town.lists()["n1"] == ("n1", "n2", "n3", "n4")
    assert n4.cluster_id == town.nodes["n1"].cluster_id
    assert {node.state.value("x") for node in town.nodes.values()} == {2}
    assert not n4.is_joining


def test_a_cluster_grows_from_a_single_node() -> None:
    town = Town()
    town.start("n1")
    town.run(0.5)
    for number in range(2, 6):
        town.start(f"n{number}", seeds=[f"n{number - 1}"])
        town.run(1)
    town.until_agreed()
    assert len(town.lists()["n5"]) == 5


def test_unequal_lists_are_healed() -> None:
    """n1 and n3 are listed by n2 alone, and list nobody else."""
    town = Town()
    town.start("n2", peers=["n1", "n3"])
    town.start("n1", peers=["n2"])
    town.run(0.2)
    town.start("n3", peers=["n2"])
    town.until_agreed()


def test_a_restart_knows_the_members_without_a_file() -> None:
    town = three()
    town.start("n4", seeds=["n1"])
    town.until_agreed()
    for name in list(town.nodes):
        town.stop(name)
    for name in ("n1", "n2", "n3", "n4"):
        town.start(name)
    town.until_agreed()


def test_a_member_that_comes_back_elsewhere_is_found_by_all() -> None:
    town = three()
    town.stop("n2")
    town.run(1)
    town.start("n2", "elsewhere")
    town.add("n1")
    town.until_agreed(3)
    assert town.nodes["n3"].roster.records["n2"].addresses == ("elsewhere",)


# Leaving.


def test_who_leaves_hands_over_first() -> None:
    town = three()
    for _ in range(5):
        town.add("n3")
    assert town.leave("n3") == LeaveOk(1)
    town.until_agreed()
    assert town.lists() == {"n1": ("n1", "n2"), "n2": ("n1", "n2")}
    assert town.nodes["n1"].state.value("x") == 5


def test_who_leaves_takes_no_more_writes() -> None:
    town = three()
    n3 = town.nodes["n3"]
    n3.step(Leave(1), "c", town.now_ns)
    town.replies.clear()
    town.add("n3")
    (_, reply) = town.replies[0]
    assert isinstance(reply, ErrorReply)
    assert reply.code == TEMPORARILY_UNAVAILABLE
    assert "leaving" in reply.text


def test_rows_that_only_the_leaving_node_has_of_another_are_handed_over() -> None:
    """n2 is gone, and what it wrote last reached n3 alone."""
    town = three()
    town.loss = 1.0
    for _ in range(3):
        town.add("n2")
    town.run(0.1)
    n2, n3 = town.nodes["n2"], town.nodes["n3"]
    for message in [each.message for each in sends(settle(n2, town.now_ns))]:
        n3.step(message, ("n2",), town.now_ns)
    log = n2.state.newer(n2.actor, 0, 10)
    n3.step(Push("n2", 1, (Delta(n2.actor, 0, tuple(log)),), cluster_id=n2.cluster_id), ("n2",), town.now_ns)
    town.advance("n3")
    town.stop("n2")
    town.loss = 0.0
    town.run(0.2)
    assert is_ok(town.leave("n3"))
    assert town.nodes["n1"].state.value("x") == 3


@pytest.mark.parametrize("waits", [True, False])
def test_what_nobody_else_stores_is_lost_unless_who_leaves_waits(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """It reaches the others, but no rows of it do."""
    if not waits:
        monkeypatch.setattr(Leaving, "_missing_at", lambda *_: [])
    town = three()
    town.lost_kinds = (Push, SynAck, Ack)
    town.add("n3")
    reply = town.leave("n3")
    assert town.acknowledged == {"n3": 1}
    town.lost_kinds = ()
    town.run(2)
    values = {node.state.value("x") for node in town.nodes.values()}
    assert (is_ok(reply), values) == ((False, {1}) if waits else (True, {0}))


def test_the_reply_names_who_did_not_confirm() -> None:
    town = three()
    town.stop("n2")
    town.add("n3")
    assert town.leave("n3") == LeaveOk(1, ("n2",))


def test_the_last_one_can_not_leave() -> None:
    town = three()
    town.stop("n1")
    town.stop("n2")
    town.run(4)
    reply = town.leave("n3")
    assert isinstance(reply, ErrorReply)
    assert "no other member is up" in reply.text
    town.add("n3")
    assert town.nodes["n3"].state.value("x") == 1


def test_who_can_not_hand_over_stays_a_member_and_takes_writes_again() -> None:
    town = three()
    town.loss = 1.0
    town.add("n3")
    reply = town.leave("n3")
    assert isinstance(reply, ErrorReply)
    assert "(n1, n2); it stays a member" in reply.text
    n3 = town.nodes["n3"]
    assert (n3.take_stayed(), n3.take_stayed()) == (reply.text, "")
    town.loss = 0.0
    town.add("n3")
    town.until_agreed()
    assert town.nodes["n1"].state.value("x") == 2


def test_who_left_comes_back_with_its_journal() -> None:
    town = three()
    assert is_ok(town.leave("n3"))
    town.until_agreed()
    town.start("n3")
    town.until_agreed()
    assert len(town.lists()["n1"]) == 3


# Any order of events.


def remove_anybody(town: Town, gone: set[str]) -> None:
    """Somebody dies for good and is removed, by one who knows it; what it acknowledged has spread."""
    name, town.loss = town.rng.choice(sorted(town.nodes)), 0.0
    town.run(1)
    town.loss = LOSS
    town.stop(name)
    town.run(4)
    who_know = [each for each in sorted(town.nodes) if name in town.nodes[each].roster.others]
    if who_know and is_ok(town.remove(name, at=town.rng.choice(who_know))):
        gone.add(name)
    else:
        town.start(name)


def restart_anybody(town: Town, address: str = "") -> None:
    name = town.rng.choice(sorted(town.nodes))
    town.stop(name)
    town.run(town.rng.random() if address else 0)
    town.start(name, address and f"{name}{address}", seeds=[town.addresses[each] for each in town.nodes][:1])


def happen(town: Town, number: int, gone: set[str]) -> None:
    running = sorted(town.nodes)
    match town.rng.choice(("join", "leave", "remove", "move", "restart", "add", "add")):
        case "join" if len(running) < 7:
            town.start(f"n{number + 4}", seeds=[town.addresses[town.rng.choice(running)]])
        case "leave" if len(running) > 3:
            town.leave(town.rng.choice(running), seconds=40)
        case "remove" if len(running) > 3:
            remove_anybody(town, gone)
        case "move":
            restart_anybody(town, f"-{number}")
        case "restart":
            restart_anybody(town)
        case _:
            town.add(town.rng.choice(running))
    town.run(town.rng.random())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_all_come_to_one_list_and_lose_nothing(seed: int) -> None:
    town, gone = three(seed, LOSS), set[str]()
    for number in range(15):
        happen(town, number, gone)
    town.loss = 0.0
    town.run(5)
    for name, node in list(town.nodes.items()):
        if node.is_joining:  # whom it asked is gone: people name another
            town.stop(name)
            town.start(name, seeds=[at for each, at in town.addresses.items() if each in town.nodes])
    town.until_agreed(60)
    for node in town.nodes.values():
        assert not gone & set(node.roster.others)
        assert node.state.value("x") == sum(town.acknowledged.values())
    for name in sorted(gone):
        town.start(name, seeds=[town.addresses[sorted(town.nodes)[0]]])
        town.run(2)
        assert town.nodes[name].roster.own.is_removed
        town.stop(name)
    town.until_agreed()


# Several that are asked first.


def test_of_two_clusters_a_node_joins_one_and_asks_the_other_until_it_has_answered() -> None:
    town = Town()
    for name in ("a1", "b1"):
        town.start(name)
    town.run(0.5)
    n1 = town.start("n1", seeds=["a1", "b1"])
    town.run(4)
    assert town.lists()["n1"] == ("a1", "n1")
    assert town.lists()["b1"] == ("b1",)
    refused = n1.take_refused()
    assert refused
    assert (refused.name, refused.answers_join, n1.stats.foreign_gossip) == ("b1", True, 1)
    assert not n1.asks_seeds


def test_a_node_that_asks_itself_too_refuses_nobody() -> None:
    town = Town()
    town.start("n1")
    town.run(0.5)
    n2 = town.start("n2", seeds=["n1", "n2"])
    town.run(4)
    assert town.lists()["n2"] == ("n1", "n2")
    assert n2.take_refused_join() is None
    assert not n2.asks_seeds
