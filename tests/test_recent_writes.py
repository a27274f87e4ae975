"""Claim: a write that comes again within some seconds is recognised, within bounds."""

from gossip_counter.node.core.recent_writes import RecentWrites

SECOND = 1_000_000_000
ADD, OTHER = b"add 5 of alice", b"add 5 of bob"


def test_a_duplicate_gets_the_reply_of_the_first_also_while_that_waits() -> None:
    recent = RecentWrites()
    assert recent.arrived(ADD, 0) is None
    assert recent.arrived(ADD, 1) == b""
    recent.replied(ADD, b"ok")
    assert recent.arrived(ADD, 2) == b"ok"


def test_other_adds_have_replies_of_their_own() -> None:
    recent = RecentWrites()
    for each in (ADD, OTHER):
        assert recent.arrived(each, 0) is None
        recent.replied(each, b"ok, " + each)
    assert recent.arrived(ADD, 1) == b"ok, " + ADD


def test_an_add_is_remembered_for_ten_seconds_and_not_for_thirty() -> None:
    recent = RecentWrites()
    first, later = ADD, OTHER
    assert recent.arrived(first, 0) is None
    assert recent.arrived(later, 10 * SECOND - 1) is None
    assert recent.arrived(first, 10 * SECOND - 1) == b""
    assert recent.arrived(later, 20 * SECOND - 2) == b""
    assert recent.arrived(first, 30 * SECOND) is None
    assert recent.arrived(first, 60 * SECOND) is None  # after a time without any
    assert len(recent) == 1


def test_older_ones_are_forgotten_where_there_are_too_many_or_too_large_ones() -> None:
    for recent in (RecentWrites(max_writes=3), RecentWrites(max_reply_bytes=2 * 50)):
        for i in range(999):
            add = b"%d" % i
            assert recent.arrived(add, i) is None
            recent.replied(add, bytes(50))
            assert len(recent) <= 6
        assert [recent.arrived(b"%d" % i, 1000) for i in (996, 997, 998)] == [bytes(50)] * 3


def test_replies_that_come_together_are_bounded_too() -> None:
    recent = RecentWrites(max_reply_bytes=1000)
    adds = [b"%d" % i for i in range(100)]
    for add in adds:
        recent.arrived(add, 0)
    for add in adds:
        recent.replied(add, bytes(400))
    recent.arrived(b"100", 0)
    recent.replied(b"100", bytes(1001))
    assert len(recent) == 1


def test_replies_that_come_when_their_adds_are_old_are_bounded_too() -> None:
    recent = RecentWrites(max_writes=100, max_reply_bytes=1000)
    adds = [b"%d" % i for i in range(101)]
    for add in adds:
        recent.arrived(add, 0)  # the last one begins a generation
    for add in adds[:3]:
        recent.replied(add, bytes(400))
    assert len(recent) == 1
