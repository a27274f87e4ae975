"""Claim: lists of any length come to one, and cost little once they have; who is gone for long is forgotten by all."""

from random import Random
from typing import Any

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.messages import Join, Members
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.core.roster import MAX_GONE, MAX_MEMBERS, MemberRecord, Presence
from tests.support.replica import sends, settle
from tests.support.town import Town, three

LATE = 2**62


def records(count: int, has_left: bool = True) -> list[MemberRecord]:
    """Records of nodes that joined one after the other, and may have left."""
    places = [(f"10.0.{number // 250}.{number % 250}:7101",) for number in range(count)]
    return [
        MemberRecord(f"old-{number:04}", LATE + number, 3, has_left, number, place, "1.0.0")
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
    town, listed = three(), records(MAX_MEMBERS + 50)
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
