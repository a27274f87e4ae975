"""Claim: a node that starts with a journal asks each peer first what it holds of its own actor, and only that."""

from dataclasses import replace
from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.gossip.messages import Syn, SynAck
from gossip_counter.node.core.gossip.pulls import FAR
from gossip_counter.node.core.holdings import NO_ENTRY, Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.messages import Add
from gossip_counter.node.core.replica import Replica
from tests.support.replica import (
    CLUSTER_ID,
    ME,
    X,
    begin,
    commits,
    fill,
    messages,
    replica,
    rows_in,
    sends,
    settle,
    step,
    through_datagrams,
    tick,
    two,
)


@pytest.mark.parametrize("seed", range(4))
def test_a_peer_that_has_much_else_to_send_shows_first_that_the_journal_is_old(seed: int) -> None:
    """An answer has room for some rows only, of actors in any order."""
    n2 = Actor("n2.actor")
    former, much = (
        Stored(ME, 2, 2, {"": Row(15, 0, 2)}),
        Stored(n2, 3000, 3000, {f"c{i}": Row(1, 0, i) for i in range(1, 3001)}),
    )
    peer = Replica(Config(name="n2", peers=("n1",)), Random(seed), 0, Recovered(n2, (former, much), CLUSTER_ID))
    node = replica(stored=(Stored(ME, 1, 1, {"": Row(10, 0, 1)}),))
    (syn,) = messages(begin(node))
    assert isinstance(syn, Syn)
    step(node, Add(1, 5))
    (answer, *_) = messages(step(peer, syn, "n1"))
    (first, *_) = through_datagrams(answer, peer.config)
    effects = step(node, first, "n2")
    for each in ("n3", "n4", "n5"):
        effects += step(node, SynAck(each, 0, (), {}, syn.boot))
    (commit,) = commits(effects)
    assert commit.actor != ME
    settle(node)
    assert node.state.value("") == 20


def test_the_rest_is_asked_for_once_a_peer_has_answered_about_us() -> None:
    node = replica(stored=(Stored(X, 1, 1, {"": Row(10, 0, 1)}),))
    (syn,) = messages(begin(node))
    assert isinstance(syn, Syn)
    assert (syn.digest, syn.upto) == ({ME: NO_ENTRY}, ME)
    (rest,) = sends(step(node, SynAck("n2", 0, (), {}, syn.boot)))
    assert isinstance(rest.message, Syn)
    assert rest.to == ("n2",)
    assert (set(rest.message.digest), rest.message.upto) == ({X}, None)
    assert not sends(step(node, SynAck("n2", 0, (), {}, syn.boot)))


def test_a_peer_that_has_far_more_of_us_shows_that_the_journal_is_old() -> None:
    former = Stored(ME, 3000, 3000, {f"c{i}": Row(1, 0, i) for i in range(1, 3001)})
    peer = Replica(Config(name="n2", peers=("n1",)), Random(1), 0, Recovered(Actor("n2.a"), (former,), CLUSTER_ID))
    node = replica(stored=(Stored(ME, 1, 1, {"c1": Row(1, 0, 1)}),))
    (syn,) = messages(begin(node))
    (shown,) = messages(step(peer, replace(syn, sender="n1"), "n1"))
    assert isinstance(shown, Syn)
    step(node, replace(shown, sender="n2"), "n2")
    assert node.actor != ME


def test_an_answer_for_which_there_is_no_room_left_shows_that_rows_are_lacking() -> None:
    peer, node = two(exchange_datagrams=1)
    fill(peer, FAR)
    tick(peer)
    syn = Syn(node.config.name, 0, {})
    answers = [each for _ in range(5) for each in messages(step(peer, syn)) if isinstance(each, SynAck)]
    assert [len(rows_in(each)) for each in answers[1:]] == [1] * 4
