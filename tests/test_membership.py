"""Who is listened to, how each member stands, and when all are known to agree."""

import pytest

from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Answer
from gossip_counter.node.core.gossip.messages import (
    Ack,
    Confirm,
    Confirmed,
    Delta,
    Gossip,
    Join,
    Members,
    Pull,
    Pulled,
    Push,
    Replicate,
    Rival,
    Syn,
    SynAck,
)
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.membership import Standing
from gossip_counter.node.core.messages import GossipStatus, GossipStatusOk
from gossip_counter.node.core.roster import MemberRecord
from tests.support.replica import (
    CONFIG,
    ME,
    MS,
    X,
    add,
    drain,
    push_of,
    pushed,
    receive,
    replica,
    step,
    tick,
)

ROWS = (Delta(X, 0, (("", Row(1, 0, 1)),)), Delta(ME, 0, (("", Row(100, 0, 50)),)))
OF_A_STRANGER: list[Gossip] = [
    Replicate("nobody", None, ROWS),
    Syn("nobody", 1, {ME: DigestEntry(50, 7, 0), X: DigestEntry(1, 1, 0)}),
    SynAck("nobody", 1, ROWS, {ME: 0}),
    Ack("nobody", 1, ROWS),
    Push("nobody", 1, ROWS),
    Confirm("nobody", 1, ME, 1),
    Confirmed("nobody", 1, ME, 50),
    Rival("nobody", 1, 7, {ME: 0}),
    Pull("nobody", 1, 7, 10_000, {ME: 0}),
    Pulled("nobody", 1, 7, ROWS),
    Members("nobody", 1, (MemberRecord("n2", 9, 1, has_left=True), MemberRecord("nobody", 9, 1))),
]


# Members only.


@pytest.mark.parametrize("message", OF_A_STRANGER, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("gossip", ["delta", "full"])
def test_what_a_non_member_sends_is_dropped_before_anything_of_it_is_merged(message: Gossip, gossip: str) -> None:
    node = replica(gossip=gossip)
    add(node, 3)
    drain(node, MS)  # the push
    rows, actor, status = list(node.state), node.actor, node.status(MS)
    for number in range(1, 4):
        assert step(node, message, now_ns=MS) == []
        assert node.stats.non_members == number
    assert (list(node.state), node.actor, node.status(MS)) == (rows, actor, status)
    assert (node.stats.new_epochs, node.stats.future_digests) == (0, 0)
    assert node.status(MS).dirty_rows == 0


def test_every_kind_of_gossip_is_tried_above() -> None:
    assert {type(message) for message in OF_A_STRANGER} | {Join} == set(Gossip.__args__)


def test_who_holds_our_state_and_is_no_member_is_no_peer_in_sync() -> None:
    node = replica()
    add(node, 3)
    for i in range(100):
        step(node, Push(f"nobody{i}", node.state.fingerprint, ()))
    assert node.status(0).peers_synced == 0
    assert node.stats.non_members == 100


# In sync.


def test_convergence_runs_from_our_last_change_to_the_moment_all_are_known_to_agree() -> None:
    node = replica()
    add(node, 1, now_ns=10 * MS)
    for i, peer in enumerate(CONFIG.peers):
        assert (node.status(0).peers_synced, node.status(0).convergence_ms) == (i, None)
        receive(node, push_of(node, peer), now_ns=(20 + i) * MS)
    assert (node.status(0).peers_synced, node.status(0).convergence_ms) == (4, 13.0)
    receive(node, push_of(node, "n2"), now_ns=99 * MS)
    assert node.status(0).convergence_ms == 13.0
    add(node, 1, now_ns=100 * MS)
    assert (node.status(0).peers_synced, node.status(0).convergence_ms) == (0, None)
    assert node.status(0).state_since_ns == 100 * MS


def test_a_peer_heard_to_hold_our_state_before_we_did_is_in_sync() -> None:
    node, other = replica(), replica(actor="n2.x")
    add(other, 1)
    step(node, Push("n3", other.state.fingerprint, ()))
    assert node.status(0).peers_synced == 0
    step(node, push_of(other, "n2"))
    assert node.status(0).peers_synced == 2


def test_equal_totals_of_unequal_states_are_not_in_sync() -> None:
    node, other = replica(), replica(actor="n2.x")
    add(node, 5)
    add(other, 5)
    step(node, Push("n2", other.state.fingerprint, ()))
    assert node.status(0).peers_synced == 0


def test_without_peers_convergence_takes_no_time() -> None:
    node = replica(peers=())
    assert node.status(0).convergence_ms == 0
    add(node, 1, now_ns=5 * MS)
    assert node.status(0).convergence_ms == 0
    assert len(node.membership) == 0


def test_each_member_stands_where_it_was_last_heard_to_stand() -> None:
    node = replica(peers=("n2", "n3", "n4"))
    receive(node, push_of(node, "n2"), now_ns=2 * MS)
    add(node, 1, "a", now_ns=5 * MS)
    add(node, 1, "b", now_ns=5 * MS)
    receive(node, Syn("n2", 0, {}), now_ns=10 * MS)
    receive(node, push_of(node, "n3"), now_ns=20 * MS)
    assert node.membership.standings(30 * MS) == [
        Standing("n2", True, False, 2, 28.0, 20.0), Standing("n3", True, True, 0, 0.0, 10.0),
        Standing("n4", False, False, 0, 30.0, 30.0, state="suspect"),
    ]  # fmt: skip
    assert node.status(30 * MS).standings == tuple(node.membership.standings(30 * MS))


def test_a_peer_that_sent_nothing_since_our_start_is_unheard_and_behind_since_then() -> None:
    node = replica(peers=("n2", "n3"))
    assert node.status(5000 * MS).peers_unheard == 2
    receive(node, push_of(node, "n3"), now_ns=6000 * MS)
    assert (node.status(6000 * MS).peers_unheard, node.membership.unheard) == (1, ["n2"])
    unheard, heard = node.membership.standings(8000 * MS)
    assert (unheard.heard, unheard.level, unheard.behind_ms, unheard.silent_ms) == (False, False, 8000.0, 8000.0)
    assert (heard.heard, heard.level, heard.behind_ms, heard.silent_ms) == (True, True, 0.0, 2000.0)


def test_the_clock_that_differs_most_is_known_once_a_peer_said_its_time() -> None:
    node = replica(peers=("n2", "n3", "n4"))
    node.set_clock(0, 1_000_000)
    receive(node, Syn("n4", 0, {}))  # says no time
    assert node.status(0).skew is None
    receive(node, Syn("n2", 0, {}, clock_ms=1_000_300))
    receive(node, Syn("n3", 0, {}, clock_ms=998_000))
    assert [each.skew_ms for each in node.status(0).standings] == [300, -2000, None]
    reply = node.status(0).as_reply(1)
    assert (reply.skewed_peer, reply.skew_ms) == ("n3", -2000)
    receive(node, Syn("n3", 0, {}, clock_ms=1_000_000))
    assert node.status(0).skew == ("n2", 300)


# Status.


def test_gossip_status_is_answered_with_all_that_a_node_knows_of_itself() -> None:
    node = replica()
    add(node, 5, "a", now_ns=7)
    add(node, -2, "a", now_ns=8)
    receive(node, pushed(X, 0, ("a", Row(4, 0, 1)), ("b", Row(1, 0, 2))), now_ns=9)
    tick(node, 10)
    (answer,) = step(node, GossipStatus(3, "a"))
    assert isinstance(answer, Answer)
    reply = answer.reply
    assert isinstance(reply, GossipStatusOk)
    assert (reply.in_reply_to, reply.name, reply.cluster, reply.gossip_rounds) == (3, "n1", "counter", 1)
    assert (reply.local_value, reply.increments, reply.decrements) == (7, 9, 2)
    assert (reply.counters, reply.rows, reply.counted, reply.dirty_rows) == (2, 3, 12, 2)
    assert (reply.fingerprint, reply.state_since_ns) == (f"{node.state.fingerprint:016x}", 9)
    assert (reply.peers_synced, reply.peers_unheard, reply.members, reply.convergence_ms) == (0, 3, 5, None)
    assert (reply.stats["adds"], reply.stats["commits"]) == (2, 2)


def test_sums_beyond_64_bits_are_reported_as_they_are() -> None:
    node = replica()
    most = 2**63 - 1
    for name in ("x", "y"):
        receive(node, pushed(Actor(name), 0, ("", Row(most, 0, 1))))
    (answer,) = step(node, GossipStatus(3))
    assert isinstance(answer, Answer)
    assert isinstance(answer.reply, GossipStatusOk)
    assert (answer.reply.local_value, answer.reply.increments, answer.reply.counted) == (2 * most,) * 3
