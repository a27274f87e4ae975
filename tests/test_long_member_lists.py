"""Claim: lists of any length come to one, and cost little once they have; who is gone for long is forgotten by all."""

from random import Random
from typing import Any

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.gossip.messages import Join, Members
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import MAX_GONE, MAX_MEMBERS, MemberRecord, Presence, Roster
from tests.support.replica import sends, settle
from tests.support.town import Town, is_ok, three

LATE = 2**62


def records(count: int, has_left: bool = True) -> list[MemberRecord]:
    """Records of nodes that joined one after the other, and may have left."""
    places = [(f"10.0.{number // 250}.{number % 250}:7101",) for number in range(count)]
    return [
        MemberRecord(f"old-{number:04}", LATE, 3, has_left, number, place, "1.0.0", gone_ms=number)
        for number, place in enumerate(places)
    ]


def with_records(listed: list[MemberRecord]) -> Town:
    town = three()
    for node in town.nodes.values():
        node.roster.merge(listed)
    town.run(1)
    return town


def counting_members(town: Town) -> list[int]:
    """By message of this kind that the town sends from now on, its datagrams."""
    sent, original = list[int](), town._send

    def counted(name: str, node: Replica, send: Any) -> None:
        if isinstance(send.message, Members):
            sent.append(len(datagrams.pack_gossip(send.message, "counter", 1200, 16)) * len(send.to))
        original(name, node, send)

    town._send = counted  # type: ignore[method-assign]
    return sent


def test_a_record_that_was_lost_among_hundreds_spreads() -> None:
    town = with_records(records(MAX_GONE - 1))
    town.nodes["n1"].roster.merge([MemberRecord("late", LATE, 1, True)])
    town.until_agreed(10)


def test_a_new_member_learns_all_of_a_long_list() -> None:
    town = with_records(records(MAX_GONE))
    town.start("n4", seeds=["n1"])
    town.until_agreed(10)


def test_who_is_gone_for_longest_is_forgotten_everywhere() -> None:
    """Those that n1 knows and those that the others know are not the same ones."""
    town, listed = three(), records(2 * MAX_GONE)
    town.nodes["n1"].roster.merge(listed[:-50])
    for name in ("n2", "n3"):
        town.nodes[name].roster.merge(listed[50:])
    town.until_agreed(20)
    assert {*town.nodes["n1"].roster.records} == {*town.nodes, *(each.name for each in listed[-MAX_GONE:])}
    sent = counting_members(town)
    town.run(2)
    assert sum(sent) == 0


def test_a_full_list_takes_nobody_in_and_is_not_asked_again_at_once() -> None:
    town = with_records(records(MAX_MEMBERS, has_left=False))
    n1, n9 = (
        town.nodes["n1"],
        Replica(Config(name="n9"), Random(3), 0, None, None, Presence(("n9",), "1.0", (("n1",),))),
    )
    n9.begin(0)
    asked = [each.message for each in sends(settle(n9, 0))]
    for _ in range(5):  # no time passes
        for join in asked:
            n1.step(join, ("n9",), town.now_ns)
        answers = [each.message for each in sends(settle(n1, town.now_ns)) if each.to == (("n9",),)]
        for answer in answers:
            n9.step(answer, ("n1",), 0)
        asked = [each.message for each in sends(settle(n9, 0)) if isinstance(each.message, Join)]
    assert asked == []
    assert "n9" not in n1.roster.records
    assert n1.stats.joins_refused == 1
    assert n9.is_joining


def test_members_are_bounded_also_by_those_that_were_gone() -> None:
    roster = Roster("n1", ["n2"])
    for number in range(2 * MAX_MEMBERS):
        roster.merge([MemberRecord(f"x{number}", 5, 1, True)])
        roster.merge([MemberRecord(f"x{number}", 6, 1)])
    assert sum(each.is_member for each in roster.records.values()) == MAX_MEMBERS
    assert len(roster.records) <= MAX_MEMBERS + MAX_GONE


def test_who_joined_first_can_leave_and_be_removed_after_many_others() -> None:
    """It is gone last, though its life is the first."""
    town = with_records([each._replace(gone_ms=1) for each in records(MAX_GONE)])
    assert is_ok(town.leave("n3"))
    town.run(1)
    assert town.lists() == {"n1": ("n1", "n2"), "n2": ("n1", "n2")}
    town.stop("n2")
    town.run(4)
    assert is_ok(town.remove("n2", at="n1"))
    town.run(1)
    assert town.lists() == {"n1": ("n1",)}
    town.start("n2", peers=["n1"])
    town.run(2)
    assert town.nodes["n2"].roster.own.is_removed


def test_a_listed_member_that_is_forgotten_is_no_member_again() -> None:
    roster = Roster("n1", ["n2"])
    roster.merge([MemberRecord("n2", 5, 1, True, gone_ms=1)])
    revision = roster.revision
    roster.merge(records(MAX_GONE + 1)[1:])
    assert "n2" not in roster.records
    assert "n2" not in roster.others
    assert roster.revision > revision


def test_nothing_is_kept_of_peers_that_are_gone() -> None:
    town = three()
    for number in range(4, 8):
        town.start(f"n{number}", seeds=["n1"])
        town.until_agreed()
        assert is_ok(town.leave(f"n{number}"))
    exchanges = town.nodes["n1"]._gossip.anti_entropy
    town.run(1)
    kept = {*exchanges.speakers.by_name, *exchanges.agreeing, *exchanges._answer_ns, *exchanges._asked}
    assert kept <= {"n2", "n3"}
