"""Two processes that speak under one name at the same time: who notices, and what becomes of what each of them adds."""

from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.epochs import MAX_RIVALS
from gossip_counter.node.core.gossip.messages import Ack, Rival, Syn, SynAck
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Add
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.speakers import MAX_SPEAKERS, SPEAKING_NS
from tests.support.replica import (
    CLUSTER_ID,
    ME,
    add,
    begin,
    commits,
    drain,
    members,
    messages,
    replica,
    sends,
    settle,
    step,
    tick,
    two,
)

ONE, OTHER = ("10.0.0.1", 7101), ("10.0.0.9", 7101)
"""Where two processes speak from."""


def answers(node: Replica, boot: int, source: Client, now_ns: int = 0) -> dict[type, Client]:
    """What a SYN in the name of n2 is answered with, and to whom."""
    return {type(each.message): each.to[0] for each in sends(step(node, Syn("n2", 1, {}, boot=boot), source, now_ns))}


# Who notices.


def test_one_process_at_a_time_is_no_fork() -> None:
    node = replica()
    assert answers(node, 1, ONE) == {SynAck: "n2"}
    assert answers(node, 1, OTHER) == {SynAck: "n2"}  # its address has changed
    assert answers(node, 2, OTHER) == {SynAck: "n2"}  # started again
    assert answers(node, 3, ONE, SPEAKING_NS) == {SynAck: "n2"}  # once more elsewhere, long after
    assert node.stats.forks == 0


def test_two_processes_under_one_name_are_each_sent_the_boot_id_of_the_other() -> None:
    node = replica()
    answers(node, 1, ONE)
    for now in range(0, 10 * SPEAKING_NS, SPEAKING_NS // 2):
        assert answers(node, 2, OTHER, now) == {Rival: OTHER}
        assert answers(node, 1, ONE, now) == {SynAck: "n2", Rival: ONE}
    assert node.stats.forks == 1
    assert node.forks(now) == [("n2", [ONE, OTHER])]
    assert node.forks(now + SPEAKING_NS) == []


def test_the_second_stays_when_the_first_ends() -> None:
    node = replica()
    answers(node, 1, ONE)
    answers(node, 2, OTHER, SPEAKING_NS - 1)
    assert answers(node, 2, OTHER, 2 * SPEAKING_NS) == {SynAck: "n2"}


def test_forged_boot_ids_take_no_more_room_than_a_few() -> None:
    node = replica()
    answers(node, 1, ONE)
    for boot in range(2, 1000):
        if boot % 100 == 0:
            node.tick(0)
            drain(node)
        assert answers(node, boot, ("10.0.0.9", boot)) == {Rival: ("10.0.0.9", boot)}
    assert node.stats.forks == MAX_SPEAKERS - 1
    assert answers(node, 1, ONE).keys() == {SynAck, Rival}


def test_rows_of_a_second_process_count_and_it_is_sent_none() -> None:
    node = replica()
    add(node, 3)
    answers(node, 1, ONE)
    clone = Replica(Config(name="n2", peers=("n1",)), Random(2), 0, Recovered(None, cluster_id=CLUSTER_ID))
    add(clone, 5, "x")
    (syn,) = messages(tick(clone))
    (answer,) = messages(step(node, syn, OTHER))
    assert isinstance(answer, Rival)
    assert answer.wants == {clone.actor: 0}
    (ack,) = sends(step(clone, answer, "n1"))
    assert isinstance(ack.message, Ack)
    assert ack.to == ("n1",)
    step(node, ack.message, OTHER)
    assert node.state.value("x") == 5


def test_rows_of_a_first_process_count_that_speaks_from_another_address_than_the_listed_one() -> None:
    """Answers under the name go to the listed address, where the second one is."""
    node = replica()
    clone = Replica(Config(name="n2", peers=("n1",)), Random(2), 0, Recovered(None, cluster_id=CLUSTER_ID))
    add(clone, 5, "x")
    (syn,) = messages(tick(clone))
    step(node, syn, OTHER)
    answers(node, 1, ONE)
    (rival,) = (each.message for each in sends(step(node, syn, OTHER)) if each.to == (OTHER,))
    (ack,) = sends(step(clone, rival, "n1"))
    step(node, ack.message, OTHER)
    assert node.state.value("x") == 5


# What those do who receive a rival.


def rival(boot: int) -> Rival:
    return Rival("n2", 1, boot, {})


@pytest.mark.parametrize("recovered", [True, False])
def test_both_halves_leave_the_actor_to_nobody(recovered: bool) -> None:
    node = replica() if recovered else members(2)["n1"]
    former = node.actor
    add(node, 5)
    step(node, rival(7))
    settle(node)
    add(node, 3)
    assert node.actor != former
    assert (node.state.row(former, ""), node.state.row(node.actor, "")) == (Row(5, 0, 1), Row(3, 0, 1))
    assert (node.stats.new_epochs, node.stats.forks) == (1, 1)


def test_one_rival_is_one_new_epoch_however_often_it_is_named() -> None:
    node = replica()
    for _ in range(100):
        step(node, rival(7))
    assert node.stats.new_epochs == 1
    for boot in range(1000):
        step(node, rival(boot))
    assert node.stats.new_epochs == MAX_RIVALS


def test_a_node_is_not_its_own_rival() -> None:
    node, _ = two()
    (syn,) = messages(begin(node))
    assert isinstance(syn, Syn)
    step(node, rival(syn.boot))
    assert node.stats.new_epochs == 0


def test_a_copy_that_starts_while_the_original_speaks_writes_nothing_as_the_same_actor() -> None:
    """What a peer that receives from the original replies to its first message comes before its first commit."""
    stored = (Stored(ME, 1, 1, {"": Row(100, 0, 1)}),)
    original = replica(stored=stored)
    clone = Replica(Config(name="n1", peers=("n2",)), Random(9), 0, Recovered(ME, stored, CLUSTER_ID))
    peer = members(2)["n2"]
    (syn,) = messages(begin(original))
    step(peer, syn, ONE)
    (first,) = messages(begin(clone))
    assert not commits(step(clone, Add(1, 7)))
    (answer,) = messages(step(peer, first, OTHER))
    (commit,) = commits(step(clone, answer, "n2"))
    assert commit.actor != ME
    assert clone.state.row(ME, "") == Row(100, 0, 1)
