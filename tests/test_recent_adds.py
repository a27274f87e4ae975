"""Claim: an add that comes again within some seconds is recognised, within bounds."""

from gossip_counter.node.core.recent_adds import RecentAdds

SECOND = 1_000_000_000
ALICE, BOB = ("10.0.0.1", 1), ("10.0.0.1", 2)
ADD = (ALICE, b"", b"add 5")


def test_a_duplicate_gets_the_reply_of_the_first_also_while_that_waits() -> None:
    recent = RecentAdds()
    assert recent.arrived(ADD, 0) is None
    assert recent.arrived(ADD, 1) == b""
    recent.replied(ADD, b"ok")
    assert recent.arrived(ADD, 2) == b"ok"


def test_other_clients_and_other_bytes_are_other_adds() -> None:
    recent = RecentAdds()
    for each in (ADD, (BOB, b"", b"add 5"), (ALICE, b"", b"add 6"), (ALICE, b"here", b"add 5")):
        assert recent.arrived(each, 0) is None
        recent.replied(each, repr(each).encode())
    assert recent.arrived(ADD, 1) == repr(ADD).encode()


def test_an_add_is_remembered_for_ten_seconds_and_not_for_thirty() -> None:
    recent = RecentAdds()
    first, later = ADD, (BOB, b"", b"add 5")
    assert recent.arrived(first, 0) is None
    assert recent.arrived(later, 10 * SECOND - 1) is None
    assert recent.arrived(first, 10 * SECOND - 1) == b""
    assert recent.arrived(later, 20 * SECOND - 2) == b""
    assert recent.arrived(first, 30 * SECOND) is None
    assert recent.arrived(first, 60 * SECOND) is None  # after a time without any
    assert len(recent) == 1


def test_older_ones_are_forgotten_where_there_are_too_many_or_too_large_ones() -> None:
    for recent in (RecentAdds(max_adds=3), RecentAdds(max_reply_bytes=2 * 50)):
        for i in range(999):
            add = (i, b"", bytes(50))
            assert recent.arrived(add, i) is None
            recent.replied(add, bytes(50))
            assert len(recent) <= 6
        assert [recent.arrived((i, b"", bytes(50)), 1000) for i in (996, 997, 998)] == [bytes(50)] * 3


def test_replies_that_come_together_are_bounded_too() -> None:
    recent = RecentAdds(max_reply_bytes=1000)
    adds = [(i, b"", b"add") for i in range(100)]
    for add in adds:
        recent.arrived(add, 0)
    for add in adds:
        recent.replied(add, bytes(400))
    recent.arrived((100, b"", b"add"), 0)
    recent.replied((100, b"", b"add"), bytes(1001))
    assert len(recent) == 1


def test_replies_that_come_when_their_adds_are_old_are_bounded_too() -> None:
    recent = RecentAdds(max_adds=100, max_reply_bytes=1000)
    adds = [(i, b"", b"add") for i in range(101)]
    for add in adds:
        recent.arrived(add, 0)  # the last one begins a generation
    for add in adds[:3]:
        recent.replied(add, bytes(400))
    assert len(recent) == 1
