"""Claim: who was removed stays out, who is another is not taken in, and a forged record does little."""

from dataclasses import replace

import pytest

from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE
from gossip_counter.node.core.gossip.messages import Join, Members, Push, Syn
from gossip_counter.node.core.limits import MAX_COUNT, MAX_VERSION
from gossip_counter.node.core.member_changes import MAX_REMOVALS
from gossip_counter.node.core.messages import ErrorReply, Leave, ListMembers, Remove, RemoveOk
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import MAX_MEMBERS, MemberRecord, Roster
from tests.support.replica import MS, drain, messages, replies, sends, settle
from tests.support.town import THREE, Town, is_ok, three, without_n3

# Removal.


def test_who_is_gone_for_good_is_without_n3() -> None:
    town = without_n3()
    assert town.lists() == {"n1": ("n1", "n2"), "n2": ("n1", "n2")}
    status = town.nodes["n1"].status(town.now_ns)
    assert (status.members, status.members_by_state["up"], status.members_by_state["removed"]) == (2, 2, 1)


def test_a_removed_node_that_comes_back_with_its_journal_is_refused_and_learns_why() -> None:
    town = without_n3()
    n3 = town.start("n3", peers=["n1", "n2"])
    town.run(3)
    assert n3.roster.own.is_removed
    town.replies.clear()
    town.add("n3")
    (_, reply) = town.replies[0]
    assert isinstance(reply, ErrorReply)
    assert "removed" in reply.text
    assert town.lists()["n1"] == ("n1", "n2")
    assert town.nodes["n1"].stats.non_members


@pytest.mark.parametrize("clock_ms", [0, -10_000_000])
def test_a_removed_name_comes_back_with_an_empty_journal_whatever_its_clock_says(clock_ms: int) -> None:
    town = without_n3()
    town.lose_journal("n3")
    town.skew_ms = clock_ms
    town.start("n3", peers=["n1", "n2"])
    town.until_agreed()
    assert len(town.lists()["n1"]) == 3


def test_a_removal_is_stored() -> None:
    town = without_n3()
    for name in ("n1", "n2"):
        town.stop(name)
        town.start(name, peers=[each for each in THREE if each != name])  # the file lists n3 still
    town.until_agreed()
    assert town.lists() == {"n1": ("n1", "n2"), "n2": ("n1", "n2")}


def without_its_answer(town: Town) -> Replica:
    """n1 is asked to remove n3, which is gone."""
    town.stop("n3")
    town.run(4)
    n1 = town.nodes["n1"]
    n1.step(Remove(1, "n3"), "c", town.now_ns)
    return n1


def test_a_removal_is_durable_before_it_is_sent_and_answered() -> None:
    town = three()
    n1 = without_its_answer(town)
    effects = drain(n1, town.now_ns)
    assert any(isinstance(each, Commit) for each in effects)
    assert not [each for each in messages(effects) if isinstance(each, Members)]
    assert not replies(effects)
    n1.persisted()
    effects = drain(n1, town.now_ns)
    assert [each.to for each in sends(effects) if isinstance(each.message, Members)] == [("n2",)]
    assert replies(effects) == [RemoveOk(1)]


def test_a_record_that_is_not_durable_yet_is_in_no_other_message_either() -> None:
    """A SYN of another hash, and old records, are answered while the removal is being stored."""
    town = three()
    n1 = without_its_answer(town)
    drain(n1, town.now_ns)
    old = n1.roster.records["n3"]._replace(removed=0, version=0)
    for message in (Syn("n2", 1, {}, boot=5, members=7), Members("n2", 1, (old,)), Push("n3", 1, ())):
        n1.tick(town.now_ns)
        n1.step(replace(message, cluster_id=n1.cluster_id), (message.sender,), town.now_ns)
        sent = [each for each in messages(drain(n1, town.now_ns)) if isinstance(each, Members)]
        assert not any(record.is_removed for each in sent for record in each.records)


def test_removals_that_wait_are_bounded_and_sent_once() -> None:
    town = three()
    n1 = without_its_answer(town)
    for number in range(2, 200):
        n1.step(Remove(number, "n3"), "c", town.now_ns)
    effects = settle(n1, town.now_ns)
    refused = [each for each in replies(effects) if isinstance(each, ErrorReply)]
    assert len(refused) == 199 - MAX_REMOVALS
    assert {each.text for each in refused} == {"too many removals at once: ask again"}
    assert len([each for each in sends(effects) if isinstance(each.message, Members)]) == 1


def test_a_removal_that_can_not_be_stored_is_answered_and_stored_later() -> None:
    town = three()
    n1 = without_its_answer(town)
    drain(n1, town.now_ns)
    n1.persisted("the disk is full")
    (reply,) = replies(drain(n1, town.now_ns))
    assert isinstance(reply, ErrorReply)
    assert reply.text == "the removal of n3 is not durable yet, ask again: the disk is full"
    town.run(2)
    assert town.journals["n1"].members["n3"].is_removed


def test_one_that_was_never_there_is_removed_and_the_others_settle_on_an_id() -> None:
    town = Town()
    for name in ("n1", "n2"):
        town.start(name, peers=[each for each in THREE if each != name])
    town.run(4)
    assert not town.nodes["n1"].cluster_id.is_settled
    assert is_ok(town.remove("n3", at="n1"))
    town.until_agreed()
    town.run(1)
    assert town.nodes["n1"].cluster_id.is_settled


def test_an_exchange_with_one_that_was_removed_is_not_begun_again() -> None:
    town = three()
    town.stop("n3")
    town.run(4)
    assert is_ok(town.remove("n3", at="n2"))
    n1, asks = town.nodes["n1"], 0
    while not asks:  # until it is n3's turn
        town.now_ns += 100 * MS
        n1.tick(town.now_ns)
        asks = sum("n3" in each.to for each in sends(settle(n1, town.now_ns)))
    n1.step(Members("n2", 1, (town.nodes["n2"].roster.records["n3"],), cluster_id=n1.cluster_id), "n2", town.now_ns)
    town.now_ns += 50 * MS
    assert not any("n3" in each.to for each in sends(settle(n1, town.now_ns)))


def test_who_is_removed_while_it_leaves_takes_no_writes_again() -> None:
    town = three()
    n3, own = town.nodes["n3"], town.nodes["n3"].roster.own
    town.loss = 1.0
    n3.step(Leave(1), "c", town.now_ns)
    removal = Members("n1", 1, (own._replace(removed=own.life),), cluster_id=n3.cluster_id)
    n3.step(removal, ("n1",), town.now_ns)
    town.replies.clear()
    town.run(12)
    town.add("n3")
    texts = [reply.text for _, reply in town.replies if isinstance(reply, ErrorReply)]
    assert len(texts) == 2
    assert all("was removed" in text for text in texts)


def test_who_is_up_is_not_without_n3() -> None:
    town = three()
    reply = town.remove("n3", at="n1")
    assert isinstance(reply, ErrorReply)
    assert (reply.code, "n3 is up" in reply.text) == (TEMPORARILY_UNAVAILABLE, True)


@pytest.mark.parametrize(("name", "says"), [("n1", "this node itself"), ("n9", "there are n2, n3")])
def test_only_another_member_is_removed(name: str, says: str) -> None:
    reply = three().remove(name, at="n1")
    assert isinstance(reply, ErrorReply)
    assert reply.code == MALFORMED
    assert says in reply.text


# Who is not taken in.


def test_a_name_that_a_living_member_has_is_refused() -> None:
    town = three()
    n1 = town.nodes["n1"]
    join = Join("n2", 1, 77, MemberRecord("n2", 5, 1), cluster_id=n1.cluster_id)
    n1.step(join, ("elsewhere",), town.now_ns)
    (answer,) = [each.message for each in sends(settle(n1, town.now_ns))]
    assert isinstance(answer, Members)
    assert answer.is_taken
    assert n1.stats.joins_refused == 1
    assert n1.take_refused_join() == ("n2", ("elsewhere",), True, False)
    assert n1.roster.records["n2"].life > 5


def test_who_joins_itself_is_refused() -> None:
    town = three()
    alone = town.start("n9", seeds=["n9"])
    town.run(2)
    assert alone.is_joining
    assert alone.stats.joins_refused


def test_nobody_becomes_a_member_of_two_clusters() -> None:
    """n6 asks both: it is of the one that answers first, and the other never lists it."""
    town = three()
    for name in ("m1", "m2"):
        town.start(name, peers=[each for each in ("m1", "m2") if each != name])
    town.run(2)
    town.start("n6", seeds=["n1", "m1"])
    town.run(3)
    assert "n6" in town.lists()["n1"]
    assert "n6" not in town.lists()["m1"]
    assert "m1" not in town.lists()["n6"]


def test_nobody_is_taken_in_with_the_id_of_another_cluster() -> None:
    town = three()
    other = town.start("m1")
    town.run(1)
    n1 = town.nodes["n1"]
    n1.step(Join("m1", 1, 7, other.roster.own, cluster_id=other.cluster_id), ("m1",), town.now_ns)
    settle(n1, town.now_ns)
    assert "m1" not in n1.roster.records


def test_records_of_another_cluster_or_of_no_member_are_not_taken() -> None:
    town = three()
    n1, evil = town.nodes["n1"], (MemberRecord("n2", MAX_COUNT, 1, has_left=True), MemberRecord("x", 1, 1))
    before = n1.roster.hash
    foreign = town.start("m1").cluster_id
    for message in (
        Members("n2", 1, evil, cluster_id=foreign),
        Members("nobody", 1, evil, cluster_id=n1.cluster_id),
        Members("nobody", 1, evil, boot=n1.roster.own.boot, cluster_id=n1.cluster_id),
    ):
        n1.step(message, ("m1",), town.now_ns)
    assert n1.roster.hash == before


# Forged records.


def test_a_living_member_takes_back_what_it_did_not_say() -> None:
    town = three()
    n1 = town.nodes["n1"]
    forged = n1.roster.records["n2"]._replace(version=50, has_left=True, addresses=("nowhere",))
    n1.step(Members("n3", 1, (forged,), cluster_id=n1.cluster_id), ("n3",), town.now_ns)
    town.until_agreed()
    assert n1.roster.records["n2"].addresses == ("n2",)


def test_numbers_at_their_end_do_no_more_than_that() -> None:
    town = three()
    n1 = town.nodes["n1"]
    forged = n1.roster.records["n2"]._replace(version=MAX_VERSION, boot=1)
    n1.step(Members("n3", 1, (forged,), cluster_id=n1.cluster_id), ("n3",), town.now_ns)
    town.until_agreed()
    assert n1.roster.records["n2"].boot == town.nodes["n2"].roster.own.boot


def test_records_are_bounded() -> None:
    roster = Roster("n1", ["n2"])
    roster.merge(MemberRecord(f"x{number}", 1, 1) for number in range(2 * MAX_MEMBERS))
    assert len(roster.records) == MAX_MEMBERS


def test_merging_knows_no_order() -> None:
    """Idempotent, commutative, associative: the list is a map of maxima."""
    records = [
        MemberRecord("n", life, version, left, removed=removed)
        for life in (0, 1, 2)
        for version in (0, 1)
        for left in (False, True)
        for removed in (0, 1)
    ]
    for a in records:
        assert a.merged(a) == a
        for b in records:
            assert a.merged(b) == b.merged(a)
            for c in records:
                assert a.merged(b).merged(c) == a.merged(b.merged(c))


# What people see.


def test_members_are_listed_with_how_they_stand() -> None:
    town = without_n3()
    town.start("n4", seeds=["n1"])
    town.run(1)
    town.replies.clear()
    town.nodes["n1"].step(ListMembers(1), "c", town.now_ns)
    town.advance("n1")
    listed = {each["name"]: each for each in town.replies[0][1].listed}  # type: ignore[union-attr]
    assert {name: each["state"] for name, each in listed.items()} == {
        "n1": "up", "n2": "up", "n3": "removed", "n4": "up"
    }  # fmt: skip
    assert (listed["n4"]["addresses"], listed["n4"]["version"]) == (["n4"], "1.0")
    town.stop("n4")
    states = []
    for _ in range(2):
        town.run(20)
        town.replies.clear()
        town.nodes["n1"].step(ListMembers(1, "n3"), "c", town.now_ns)
        town.advance("n1")
        states += [each["state"] for each in town.replies[0][1].listed]  # type: ignore[union-attr]
    assert states == ["suspect", "down"]
