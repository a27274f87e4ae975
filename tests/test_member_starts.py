"""Claim: a node that starts finds its place: alone, beside another of its name, with a copied journal, or unknown."""

from copy import deepcopy
from random import Random
from typing import Any

import pytest

from gossip_counter.cluster.sim.disk import Contents
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.gossip.messages import Join, Members
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import ErrorReply
from gossip_counter.node.core.peer_messages import Refused
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import MemberRecord, Presence
from tests.support.replica import MS, messages, settle
from tests.support.town import BEGAN_MS, Town, is_ok, three, without_n3

# Two under one name.


def twin_of(town: Town, name: str, journal: Contents, **settings: Any) -> Replica:
    """Another process of that name, at another address, beside the one that runs."""
    town.journals["twin"], town.addresses["twin"], town.listed["twin"] = journal, "twin", {"n1": "n1", "n2": "n2"}
    presence = Presence(("twin",), "1.0", settings.pop("seeds", ()))
    config = Config(name=name, **settings)
    town.nodes["twin"] = twin = Replica(config, Random(9), town.now_ns, journal.recovered(), None, presence)
    twin.set_clock(town.now_ns, BEGAN_MS + town.now_ns // MS)
    twin.begin(town.now_ns)
    return twin


@pytest.mark.parametrize("is_clone", [True, False])
def test_two_processes_of_a_name_do_not_replace_each_others_record_for_ever(is_clone: bool) -> None:
    """A clone of a machine with its journal; and a new node that is taken in while the other is not heard."""
    town = three()
    if is_clone:
        twin_of(town, "n3", deepcopy(town.journals["n3"]), peers=("n1", "n2"))
    else:
        town.start("n7", "here", seeds=["n1"])
        twin_of(town, "n7", Contents(), seeds=(("n2",),))
    town.run(5)
    records = town.nodes["n1"].roster.records
    before = sum(each.version for each in records.values())
    town.run(20)
    assert sum(each.version for each in records.values()) - before <= 6


def test_the_record_of_a_member_is_its_own_again_once_a_copy_of_it_has_ended() -> None:
    town = three()
    twin_of(town, "n3", deepcopy(town.journals["n3"]), peers=("n1", "n2"))
    town.run(5)
    town.stop("twin")
    town.run(12)
    for name in ("n1", "n2", "n3"):
        assert town.nodes[name].roster.records["n3"].addresses == ("n3",)
    assert town.nodes["n3"].roster.own.boot == town.nodes["n3"]._identity.boot


# Alone.


def test_who_removed_all_others_takes_others_in() -> None:
    """n2 was listed and never came."""
    town = Town()
    town.start("n1", peers=["n2"])
    town.run(4)
    assert is_ok(town.remove("n2", at="n1"))
    town.start("n4", seeds=["n1"])
    town.until_agreed()


def test_the_first_node_that_is_back_without_its_journal_learns_of_the_others() -> None:
    """Nobody is named on its command line. It is a cluster of its own now, and its counts go nowhere."""
    town = Town()
    town.start("n1")
    town.run(0.5)
    town.start("n2", seeds=["n1"])
    town.until_agreed()
    town.stop("n1")
    town.lose_journal("n1")
    n1 = town.start("n1")
    town.add("n1")
    town.run(3)
    assert n1.take_refused() == Refused("n2", ("n2",), None)
    assert n1.stats.foreign_gossip


def test_a_node_whose_members_are_fixed_takes_nobody_in() -> None:
    node = Replica(Config(name="n1", gossip="full"), Random(1), 0)
    node.begin(0)
    settle(node)
    node.step(Join("n4", 1, 7, MemberRecord("n4", 5, 1), cluster_id=node.cluster_id), ("n4",), 0)
    node.step(Members("n4", 1, (MemberRecord("n4", 5, 1),), cluster_id=node.cluster_id), ("n4",), 0)
    assert messages(settle(node)) == []
    assert (node.roster.others, node.stats.joins_refused) == ((), 1)


# Unknown.


def test_a_node_that_has_just_started_removes_nobody() -> None:
    """n3 is up, but n1 has not heard that yet."""
    town = three()
    town.stop("n1")
    n1 = town.start("n1", peers=["n2", "n3"])
    town.loss = 1.0
    reply = town.remove("n3", at="n1")
    assert isinstance(reply, ErrorReply)
    assert "has just started" in reply.text
    assert not n1.roster.records["n3"].is_removed


def test_a_copy_of_the_journal_of_one_whose_former_life_was_removed_is_not_removed() -> None:
    own = MemberRecord("n3", 2000, 3, boot=7, removed=1000)
    recovered = Recovered(None, members=(own,))
    copy = Replica(Config(name="n3", peers=("n1",)), Random(1), 0, recovered, Random(2), Presence())
    assert not copy.closed
    copy.begin(0)
    assert not copy.roster.own.is_removed


def test_a_member_that_starts_alone_need_not_be_taken_in_again() -> None:
    """Its command line names whom it asked first."""
    town = Town()
    town.start("n1")
    town.run(0.5)
    town.start("n2", seeds=["n1"])
    town.until_agreed()
    town.run(0.5)
    town.stop("n1")
    town.stop("n2")
    n2 = town.start("n2", seeds=["n1"])
    town.run(2)
    assert n2.is_ready


def test_a_restart_before_anybody_was_met_removes_nobody() -> None:
    """n3 is back with an empty journal and a clock that is behind. Its first process reaches nobody, and counts."""
    town = without_n3()
    town.lose_journal("n3")
    town.skew_ms = -10_000_000
    town.start("n3", seeds=["nobody"])
    town.run(1)
    town.add("n3")
    town.run(1)
    town.stop("n3")
    town.start("n3", seeds=["n1"])
    town.until_agreed()
    assert town.nodes["n1"].state.value("x") == 1
