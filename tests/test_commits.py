"""The commit pipeline: what is answered when, what is written in which commit, and what a failed disk comes to."""

from gossip_counter.node.core.counts import NamedRow, Row
from gossip_counter.node.core.effects import Answer, Commit, Ready, Send
from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE
from gossip_counter.node.core.gossip.messages import Syn
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.messages import Add, Read, ReadOk, Written
from tests.support.replica import (
    ME,
    MS,
    WINDOW_NS,
    Wake,
    X,
    add,
    bare,
    commits,
    drain,
    messages,
    persisted,
    pushed,
    receive,
    refusal,
    replica,
    sends,
    settle,
    step,
    submit,
    tick,
)


def mine(version: int, *rows: NamedRow) -> Commit:
    return Commit(ME, (Stored(ME, version, version, dict(rows)),))


# Durable first.


def test_an_add_is_answered_when_durable_and_not_before() -> None:
    node = replica()
    assert step(node, Add(7, 5)) == [mine(1, ("", Row(5, 0, 1)))]
    assert node.state.value("") == 0
    assert bare(step(node, Read(8))) == [Answer("c", ReadOk(8, 0))]
    answer, push = bare(persisted(node, now_ns=3))
    assert (answer, type(push)) == (Answer("c", Written(7, (), ME, 1)), Send)
    assert bare(step(node, Read(9))) == [Answer("c", ReadOk(9, 5))]


def test_while_one_commit_is_under_way_the_next_gathers() -> None:
    node = replica()
    (first,) = step(node, Add(1, 5), "c1")
    assert step(node, Add(2, -2), "c2") == []
    assert step(node, Add(3, 4, "x"), "c3") == []
    assert step(node, Add(4, 1), "c2") == []
    answer, push, second = bare(persisted(node))
    assert isinstance(push, Send)
    assert (first, answer) == (mine(1, ("", Row(5, 0, 1))), Answer("c1", Written(1, (), ME, 1)))
    assert second == mine(3, ("", Row(6, 2, 2)), ("x", Row(4, 0, 3)))
    assert bare(persisted(node)) == [
        Answer("c2", Written(2, (), ME, 3)),
        Answer("c3", Written(3, (), ME, 3)),
        Answer("c2", Written(4, (), ME, 3)),
        Wake(WINDOW_NS),
    ]
    assert (node.state.value(""), node.state.value("x"), node.state.version(ME)) == (4, 4, 3)


def test_nothing_is_gossiped_before_it_is_durable() -> None:
    node = replica()
    step(node, Add(1, 5))
    (syn,) = messages(tick(node))
    assert isinstance(syn, Syn)
    assert (syn.fingerprint, syn.digest) == (0, {})
    assert not sends(drain(node, WINDOW_NS))
    assert len(sends(persisted(node, now_ns=WINDOW_NS))) == 1


def test_an_add_of_nothing_is_answered_at_once_and_changes_nothing() -> None:
    node = replica()
    assert bare(step(node, Add(1, 0))) == [Answer("c", Written(1, (), None, 0))]
    assert list(node.state) == []


def test_a_journal_gives_back_the_rows_and_the_count_goes_on() -> None:
    rows = {"x": Row(3, 0, 1), "y": Row(9, 1, 4)}
    node = replica(stored=(Stored(ME, 4, 4, rows),))
    assert node.state.value("y") == 8
    add(node, 1, "x")
    assert node.state.row(ME, "x") == Row(4, 0, 5)


def test_peers_rows_are_stored_in_the_next_commit_or_at_the_next_tick() -> None:
    node = replica()
    assert step(node, pushed(X, 0, ("", Row(1, 0, 1)))) == []
    assert node.status(0).dirty_rows == 1
    assert commits(tick(node)) == [Commit(ME, (Stored(X, 1, 1, {"": Row(1, 0, 1)}),))]
    assert node.status(0).dirty_rows == 1
    assert persisted(node) == []
    assert node.status(0).dirty_rows == 0
    assert not commits(tick(node))
    step(node, pushed(X, 1, ("", Row(2, 0, 2))))
    (commit,) = step(node, Add(1, 5))
    assert commit == Commit(ME, (Stored(X, 2, 2, {"": Row(2, 0, 2)}), Stored(ME, 1, 1, {"": Row(5, 0, 1)})))


def test_how_far_an_actors_rows_reach_is_stored_though_none_of_them_changed() -> None:
    node = replica()
    receive(node, pushed(X, None, ("", Row(1, 0, 1))))
    tick(node)
    settle(node)
    step(node, pushed(X, 0, ("", Row(1, 0, 1))))
    assert node.state.version(X) == 1
    assert commits(tick(node, 100 * MS)) == [Commit(ME, (Stored(X, 1, 1, {}),))]


# Writes of many adds.


def test_a_write_of_many_adds_is_answered_with_the_value_after_each() -> None:
    node, request_id = replica(), object()
    add(node, 10, "x")
    (commit,) = submit(node, request_id, ("x", 1), ("y", -2), ("x", -4), ("x", 0))
    assert commit == mine(3, ("x", Row(11, 4, 2)), ("y", Row(0, 2, 3)))
    assert persisted(node)[0] == Answer("c", Written(request_id, [11, -2, 7, 7], ME, 3))


def test_a_write_stands_on_all_that_waits_for_the_disk_before_it() -> None:
    node = replica()
    submit(node, 1, ("", 5))
    submit(node, 2, ("", 1))
    submit(node, 3, ("", 1))
    answers = [each for each in settle(node) if isinstance(each, Answer)]
    expected = [Written(1, [5], ME, 1), Written(2, [6], ME, 2), Written(3, [7], ME, 2)]
    assert answers == [Answer("c", each) for each in expected]


def test_a_write_of_no_adds_is_answered_too() -> None:
    node = replica()
    submit(node, 1)
    submit(node, 2, ("", 0))
    assert settle(node) == [Answer("c", Written(1, [], ME, 0)), Answer("c", Written(2, [0], ME, 0))]


def test_replies_that_wait_for_nothing_else_leave_before_anything_changes() -> None:
    node = replica()
    node.submit("c1", 1, [("", 5)])
    node.step(Add(2, 1), "c2", 0)
    node.submit("c3", 3, [("", 2)])
    drain(node)
    node.persisted()
    early = [Answer("c1", Written(1, [5], ME, 1)), Answer("c3", Written(3, [8], ME, 1))]
    assert node.ready(7) == Ready(early, [], None, None)
    assert (node.state.value(""), node.status(0).state_since_ns) == (0, 0)
    late = node.ready(7)
    assert late
    assert (bare(late.replies), len(late.sends)) == ([Answer("c2", Written(2, (), ME, 1))], 1)
    assert (late.commit, late.wake_ns) == (None, None)
    assert (node.state.value(""), node.status(0).state_since_ns) == (8, 7)
    assert node.ready(7) is None


def test_the_next_commit_begins_once_the_one_before_counts() -> None:
    node = replica()
    submit(node, 1, ("", 5))
    submit(node, 2, ("", 1))
    node.persisted()
    early, late = node.ready(0), node.ready(0)
    assert early
    assert late
    assert (early.replies, early.commit) == ([Answer("c", Written(1, [5], ME, 1))], None)
    assert (late.replies, late.commit) == ([], mine(2, ("", Row(6, 0, 2))))


# A disk that fails.


def test_adds_of_a_commit_that_fails_are_refused_and_never_count() -> None:
    node = replica()
    add(node, 1)
    step(node, Add(2, 5))
    step(node, Add(3, 7), "d")  # gathers on top of what is about to fail
    first, gathered = (refusal([each]) for each in persisted(node, "no room"))
    assert (first.in_reply_to, first.code) == (2, TEMPORARILY_UNAVAILABLE)
    assert (gathered.in_reply_to, gathered.code) == (3, TEMPORARILY_UNAVAILABLE)
    assert first.text == "not counted, because it can't be made durable: no room"
    assert node.stats.requests_refused == 2
    (commit,) = commits(step(node, Add(4, 7, "x"), "d"))
    # What the failed one may have left in the journal is overwritten, then comes what is new.
    assert commit.stored == (Stored(ME, 1, 1, {"": Row(1, 0, 1)}), Stored(ME, 2, 2, {"x": Row(7, 0, 2)}))
    assert bare(persisted(node))[0] == Answer("d", Written(4, (), ME, 2))
    assert (node.state.value(""), node.state.value("x")) == (1, 7)


def test_a_row_that_is_written_again_is_not_also_overwritten() -> None:
    node = replica()
    add(node, 1)
    step(node, Add(2, 5))
    persisted(node, "no room")
    (commit,) = commits(step(node, Add(3, 7)))
    assert [row for stored in commit.stored for row in stored.rows.items()] == [("", Row(8, 0, 2))]


def test_a_counter_that_only_a_failed_commit_wrote_is_overwritten_by_nothing() -> None:
    node = replica()
    step(node, Add(2, 5, "x"))
    persisted(node, "no room")
    assert commits(tick(node)) == [Commit(ME, (Stored(ME, 0, 0, {"x": Row()}),))]


def test_no_value_is_given_twice_though_a_commit_failed() -> None:
    """A value stands on top of what waits for the disk before it."""
    node = replica()
    submit(node, 1, ("", 5))
    submit(node, 2, ("", 1))
    assert [refusal([each]).in_reply_to for each in persisted(node, "ill")] == [1, 2]
    submit(node, 3, ("", 1))
    assert persisted(node)[0] == Answer("c", Written(3, [1], ME, 1))
    assert node.state.value("") == 1


def test_in_a_write_that_fails_an_add_that_was_refused_keeps_its_own_reason() -> None:
    node = replica()
    submit(node, 1, ("", MAX_COUNT), ("", 1), ("", -1))
    ((reply,),) = ([each.reply for each in persisted(node, "ill") if isinstance(each, Answer)],)
    assert isinstance(reply, Written)
    assert ["ill" in str(each) for each in reply.values] == [True, False, True]
    assert str(MAX_COUNT) in str(reply.values[1])


def test_each_add_of_a_write_that_fails_is_counted_as_refused() -> None:
    node = replica(max_rows=2)
    submit(node, 1, ("x", 1), ("y", 1), ("z", 1))
    assert node.stats.requests_refused == 1  # there is no room for z
    persisted(node, "ill")
    assert (node.stats.requests_refused, node.stats.adds) == (3, 3)


def test_peers_rows_of_a_commit_that_fails_are_in_the_next_one() -> None:
    node = replica()
    step(node, pushed(X, 0, ("", Row(1, 0, 1))))
    (failed,) = commits(tick(node))
    assert persisted(node, "ill") == []
    assert node.status(0).dirty_rows == 1
    assert commits(tick(node, 100 * MS)) == [failed]


def test_a_tick_while_a_commit_is_under_way_lets_none_begin_once_it_has_failed() -> None:
    node = replica()
    step(node, Add(1, 5))
    step(node, Add(2, 5))
    tick(node)
    assert not commits(persisted(node, "ill"))


def test_a_disk_that_fails_at_once_is_not_asked_at_once_again() -> None:
    node = replica()
    submit(node, 1, ("", 5))
    assert not commits(persisted(node, "ill"))
    assert not commits(drain(node, 50 * MS))
    assert len(commits(tick(node, 100 * MS))) == 1
