"""Claim: what a member that leaves stores, and what it confirmed to others, is stored by one that stays."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from gossip_counter.node.core import leaving
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE
from gossip_counter.node.core.gossip.messages import Ack, Confirm, Confirmed, Delta, Gossip, Members, Push, SynAck
from gossip_counter.node.core.holdings import Floors, Statement
from gossip_counter.node.core.increases import Increase
from gossip_counter.node.core.leaving import MOST_REQUESTS, REMOVED
from gossip_counter.node.core.messages import Add, Delete, ErrorReply, Leave, LeaveOk
from gossip_counter.node.core.replica import Replica
from tests.support.replica import drain, is_committing, messages, settle
from tests.support.town import Town, is_ok, three

ROWS: tuple[type[Gossip], ...] = (Push, SynAck, Ack)
"""What carries rows."""


def begin_to_leave(town: Town, name: str) -> None:
    town.nodes[name].step(Leave(1), "c", town.now_ns)
    town.advance(name)


def pushed_past_a_gap(town: Town, to: str) -> None:
    """n2 wrote twice, and is gone for good: the first row reached nobody, the second this node alone."""
    n2, town.loss = town.nodes["n2"], 1.0
    for counter in ("x", "y"):
        n2.submit("c", 1, [(counter, 1)])
        town.advance("n2")
    named, version = n2.state.newer(n2.actor, 0, 10)[-1:], n2.state.version(n2.actor)
    push = Push("n2", 1, (Delta(n2.actor, version - 1, named),), cluster_id=n2.cluster_id)
    town.nodes[to].step(push, ("n2",), town.now_ns)
    town.advance(to)
    town.stop("n2")
    town.loss = 0.0
    assert town.nodes[to].state.has_detached(n2.actor)


def store_at_all(town: Town, actors: int, at_n3: int = 1) -> None:
    """Each node stores a row of so many actors whose node is gone for good; n3's count something else perhaps."""
    for name, node in town.nodes.items():
        row = Row(at_n3 if name == "n3" else 1, 0, 1)
        deltas = tuple(Delta(Actor(f"gone{number:03}.e"), 0, (("x", row),), 1) for number in range(actors))
        node.step(Push("n1" if name == "n3" else "n3", 1, deltas, cluster_id=node.cluster_id), ("n",), town.now_ns)
    town.run(0.3)


# Who leaves confirms nothing.


def test_of_two_that_leave_at_once_neither_hands_over_to_the_other() -> None:
    town = three()
    town.stop("n1")
    town.run(4)
    town.add("n3")
    town.run(0.5)
    town.replies.clear()
    for name in ("n2", "n3"):
        begin_to_leave(town, name)
    town.run(11)
    assert [is_ok(reply) for _, reply in town.replies] == [False, False]
    town.add("n2")
    assert town.acknowledged["n2"] == 1


def test_two_that_leave_at_once_hand_over_to_one_that_stays() -> None:
    town = three()
    for name in ("n2", "n3"):
        town.add(name)
        begin_to_leave(town, name)
    town.replies.clear()
    town.run(15)
    assert [is_ok(reply) for _, reply in town.replies] == [True, True]
    assert town.nodes["n1"].state.value("x") == 2


@pytest.mark.parametrize("is_asked_before", [True, False])
def test_who_leaves_confirms_no_copies(is_asked_before: bool) -> None:
    """Asked before it began to leave, it confirms nothing that becomes durable after that."""
    town = three()
    n2, n3 = town.nodes["n2"], town.nodes["n3"]
    n2.step(Add(7, 1, "z", copies=2), "client", town.now_ns)
    pushes = [each for each in messages(settle(n2, town.now_ns)) if isinstance(each, Push)]
    confirm = Confirm("n2", 1, n2.actor, n2.state.version(n2.actor), cluster_id=n2.cluster_id)
    arriving: list[Leave | Confirm] = [Leave(1), confirm]
    for message in reversed(arriving) if is_asked_before else arriving:
        n3.step(message, ("n2",), town.now_ns)
    for each in pushes:
        n3.step(each, ("n2",), town.now_ns)
    assert n3.state.value("z") == 1
    assert not any(isinstance(each, Confirmed) for each in messages(settle(n3, town.now_ns)))


def test_who_stays_after_all_confirms_again() -> None:
    town = three()
    town.add("n3")
    town.lost_kinds = (Confirmed,)
    assert not is_ok(town.leave("n3"))
    town.lost_kinds = ()
    town.stop("n1")
    town.replies.clear()
    town.nodes["n2"].step(Add(7, 1, "z", copies=2), "client", town.now_ns)
    town.run(0.5)
    assert [reply for _, reply in town.replies if isinstance(reply, ErrorReply)] == []
    assert len(town.replies) == 1


# What is handed over.


def test_rows_past_a_gap_that_nobody_can_close_are_handed_over_at_once() -> None:
    town = three()
    pushed_past_a_gap(town, "n3")
    assert is_ok(town.leave("n3", 5))
    assert town.nodes["n1"].state.value("y") == 1


def test_nobody_leaves_before_rows_past_a_gap_are_handed_over() -> None:
    town = three()
    pushed_past_a_gap(town, "n3")
    town.lost_kinds = ROWS
    assert not is_ok(town.leave("n3"))
    town.lost_kinds = ()
    assert is_ok(town.leave("n3", 5))
    assert town.nodes["n1"].state.value("y") == 1


def test_rows_past_a_gap_that_are_not_durable_there_are_not_handed_over() -> None:
    town = three()
    pushed_past_a_gap(town, "n3")
    n1, n3 = town.nodes["n1"], town.nodes["n3"]
    (actor,) = (actor for actor in n3.state.digest() if n3.state.has_detached(actor))
    begin_to_leave(town, "n3")
    town.now_ns += 10**8
    n3.tick(town.now_ns)
    sent = messages(drain(n3, town.now_ns))
    confirm = next(each for each in sent if isinstance(each, Confirm) and each.actor == actor)
    rows = tuple((counter, row) for held, counter, row in n3.state if held == actor)
    n1.step(Push("n3", 1, (Delta(actor, None, rows),), cluster_id=n1.cluster_id), ("n3",), town.now_ns)
    n1.step(confirm, ("n3",), town.now_ns)
    assert n1.state.entry(actor) == n3.state.entry(actor)
    assert not any(isinstance(each, Confirmed) for each in messages(drain(n1, town.now_ns)))  # a commit is under way
    n1.step(confirm, ("n3",), town.now_ns)
    assert not any(isinstance(each, Confirmed) for each in messages(drain(n1, town.now_ns)))
    n1.persisted()
    (confirmed,) = (each for each in messages(drain(n1, town.now_ns)) if isinstance(each, Confirmed))
    assert confirmed.entry_hash == confirm.entry_hash


def test_what_was_forgotten_is_handed_over() -> None:
    """n2 deleted a counter long ago, and is gone for good: only n3 took note."""
    town = three()
    town.add("n2")
    town.until_agreed()
    n2, n3 = town.nodes["n2"], town.nodes["n3"]
    town.stop("n2")
    town.run(4)
    version = n3.state.version(n2.actor)
    floors = Floors(version, version)
    n3.state.merge(n2.actor, 0, [], version, version, floors, Statement(0, frozenset()))
    town.lost_kinds = ROWS
    begin_to_leave(town, "n3")
    town.run(2)
    assert not town.nodes["n3"].has_left
    town.lost_kinds = ()
    town.replies.clear()
    town.run(3)
    assert [is_ok(reply) for _, reply in town.replies] == [True]
    assert "x" not in town.nodes["n1"].state.totals


def test_what_former_lives_wrote_is_no_proof_of_what_this_one_did() -> None:
    """A backup was restored: of the same actor and version, n2 stores another row, which only the lost disk had too."""
    town = three()
    town.add("n3")
    town.until_agreed()
    backup = deepcopy(town.journals["n3"])
    town.stop("n1")
    town.nodes["n3"].submit("c", 1, [("former", 1)])
    town.run(1)
    assert town.nodes["n2"].state.value("former") == 1
    town.stop("n3")
    town.stop("n2")
    town.journals["n3"] = backup
    town.start("n1", peers=["n2", "n3"])
    town.run(1)
    n3 = town.start("n3", peers=["n1", "n2"])
    town.run(2)
    town.lost_kinds = ROWS
    n3.submit("c", 2, [("y", 1)])  # n1 has answered: it goes on as the same actor
    town.advance("n3")
    town.stop("n1")
    town.run(4)
    town.start("n2", peers=["n1", "n3"])
    town.run(0.5)
    assert not is_ok(town.leave("n3"))
    town.lost_kinds = ()
    assert is_ok(town.leave("n3"))
    assert town.nodes["n2"].state.value("y") == 1


def test_who_leaves_waits_for_no_writes_of_those_that_stay() -> None:
    town = three()
    town.add("n1")
    town.add("n3")
    begin_to_leave(town, "n3")
    for _ in range(20):
        town.add("n1")
        town.run(0.1)
    assert town.nodes["n3"].has_left


def test_who_leaves_waits_for_no_deletes_of_those_that_stay() -> None:
    """Each takes of what n3 counted, which n3 notes in its rows as long as it stays. Its actor is inherited."""
    town = three()
    names = [f"counter-{number}" for number in range(200)]
    town.nodes["n3"].submit("c", 1, [(name, 1) for name in names])
    town.run(1)
    town.stop("n3")
    town.start("n3", peers=["n1", "n2"])
    town.until_agreed()
    begin_to_leave(town, "n3")
    for name in names[:30]:
        town.nodes["n1"].step(Delete(1, name), "c", town.now_ns)
        town.run(0.1)
    assert town.nodes["n3"].has_left
    town.stop("n3")
    town.until_agreed()
    assert sorted(town.nodes["n2"].state.totals) == sorted(names[30:])


def test_rows_of_one_that_died_meanwhile_are_handed_over() -> None:
    """n2's write reached n3 alone, which had begun to leave."""
    town = three()
    town.add("n3")
    town.until_agreed()
    town.lost_kinds = (Confirmed,)  # leaving takes some time
    begin_to_leave(town, "n3")
    n2 = town.nodes["n2"]
    n2.submit("c", 1, [("z", 1)])
    for each in messages(settle(n2, town.now_ns)):
        if isinstance(each, Push):
            town.nodes["n3"].step(each, ("n2",), town.now_ns)
    town.stop("n2")
    town.lost_kinds = (Confirmed, *ROWS)
    town.run(4)
    assert town.nodes["n3"].state.value("z") == 1
    town.lost_kinds, n3 = ROWS, town.nodes["n3"]
    town.run(3)
    before = n3.has_left
    town.lost_kinds = ()
    town.run(2)
    assert (before, n3.has_left) == (False, True)
    assert town.nodes["n1"].state.value("z") == 1


def test_who_was_removed_is_refused_its_leaving_with_the_reason() -> None:
    town = three()
    n3, own = town.nodes["n3"], town.nodes["n3"].roster.own
    removal = Members("n1", 1, (own._replace(removed=own.life),), cluster_id=n3.cluster_id)
    n3.step(removal, ("n1",), town.now_ns)
    town.replies.clear()
    begin_to_leave(town, "n3")
    town.add("n3")
    assert [getattr(reply, "text", "") for _, reply in town.replies] == [REMOVED, REMOVED]


# When it leaves.


def write_plain(node: Replica, now_ns: int) -> None:
    node.step(Add(7, 1, "z"), "client", now_ns)


def write_ending(node: Replica, now_ns: int) -> None:
    transaction = node.transaction()
    transaction.add("z", 1)
    transaction.expire("z", node.state.ends.now_ms + 10**7)
    assert transaction.wait("client", 7)


@pytest.mark.parametrize("write", [write_plain, write_ending])
def test_who_leaves_waits_for_a_write_behind_a_commit_of_peers_rows(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[Replica, int], None]
) -> None:
    town = three()
    n3, is_slow = town.nodes["n3"], True
    monkeypatch.setattr(
        "tests.support.town.is_committing", lambda node: not (is_slow and node is n3) and is_committing(node)
    )
    town.add("n1")
    town.run(0.3)
    write(n3, town.now_ns)
    begin_to_leave(town, "n3")
    town.run(2)
    assert (n3.status(town.now_ns).dirty_rows, n3.roster.own.has_left) == (1, False)  # peers' rows are under way
    town.lost_kinds, is_slow = ROWS, False
    town.run(2)
    assert not n3.roster.own.has_left
    town.lost_kinds = ()
    town.run(2)
    assert n3.has_left
    assert town.nodes["n1"].state.value("z") == 1


def test_who_leaves_asks_as_long_as_confirmations_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "CONFIRMS", 2)
    monkeypatch.setattr(leaving, "PATIENCE_NS", 10**9)
    town = three()
    store_at_all(town, 60)
    assert town.leave("n3", 5) == LeaveOk(1)


def test_what_can_not_be_confirmed_keeps_out_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes of some actors never match, which stands for clocks that differ. Their versions do."""
    monkeypatch.setattr(leaving, "CONFIRMS", 2)
    monkeypatch.setattr(leaving, "PATIENCE_NS", 10**9)
    town = three()
    town.lost_kinds = ROWS
    store_at_all(town, 5, at_n3=2)
    assert is_ok(town.leave("n3", 5))


def test_what_changed_after_a_member_confirmed_all_is_asked_for_though_another_confirms_nothing() -> None:
    town = three()
    town.add("n3")
    town.until_agreed()
    n3 = town.nodes["n3"]
    begin_to_leave(town, "n2")  # so it confirms nothing
    begin_to_leave(town, "n3")
    town.run(5)
    assert not n3.roster.own.has_left
    delta = Delta(Actor("gone.e"), 0, (("y", Row(1, 0, 1)),), 1)
    n3.step(Push("n2", 1, (delta,), cluster_id=n3.cluster_id), ("n2",), town.now_ns)
    town.run(12)
    assert n3.has_left
    assert town.nodes["n1"].state.value("y") == 1


def test_who_leaves_begins_no_window() -> None:
    """An add that sets a deadline of a new counter takes a shorter way into the batch."""
    n3 = (town := three()).nodes["n3"]
    begin_to_leave(town, "n3")
    refused = n3.transaction().increase("z", Increase(1, lasts_ms=1000))
    assert str(refused) == leaving.REFUSAL


# Requests.


def test_requests_to_leave_are_bounded() -> None:
    town = three()
    n3 = town.nodes["n3"]
    for number in range(MOST_REQUESTS + 1):
        n3.step(Leave(1), number, town.now_ns)
    town.advance("n3")
    (refused,) = [reply for _, reply in town.replies]
    assert isinstance(refused, ErrorReply)
    assert refused.code == TEMPORARILY_UNAVAILABLE
    town.replies.clear()
    town.run(2)
    assert [reply for _, reply in town.replies] == [LeaveOk(1)] * MOST_REQUESTS


def test_a_request_to_leave_that_is_sent_again_is_answered_once() -> None:
    town = three()
    for _ in range(3):
        begin_to_leave(town, "n3")
    town.run(2)
    assert [reply for _, reply in town.replies] == [LeaveOk(1)]
