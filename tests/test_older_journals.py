"""A node whose journal is older than what its peers know, and everything that can come in between, by the hundred."""

from random import Random

import pytest

from gossip_counter.node.core.batch import Tally
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import ZERO, AnyRow, NamedRow, Row, merged
from gossip_counter.node.core.effects import Answer, Commit
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.gossip.messages import Delta, Push
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Identity, Increment, Recovered
from gossip_counter.node.core.messages import Add, ErrorReply, Written
from gossip_counter.node.core.replica import Replica
from tests.support.replica import ME

COUNTERS = ("x", "y", "z")
DELTAS = (1, 2, 5, -1, -3)
Rows = dict[str, Row]


def former_life(rng: Random) -> list[Rows]:
    """Every state that the former life was in, one write after the other."""
    states: list[Rows] = [{}]
    for version in range(1, rng.randrange(2, 15)):
        name, delta = rng.choice(COUNTERS), rng.choice(DELTAS)
        p, n, _ = states[-1].get(name, ZERO)
        states.append(states[-1] | {name: Row(p + max(delta, 0), n + max(-delta, 0), version)})
    return states[1:]


class Restored:
    """The node, started from one of those states, while peers send later ones, in any order and cut anywhere.

    `ready` is called between any two inputs, or is not, so that each input may find a commit at each of its steps.
    """

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.states = former_life(self.rng)
        self.base = self.rng.choice(self.states)
        version = max(row.version for row in self.base.values())
        stored = Stored(ME, version, version, dict(self.base))
        self.node = Replica(Config(name="n1", peers=("n2",), push=False), Random(seed), 0, Recovered(ME, (stored,)))
        self.sent: dict[str, AnyRow] = dict(self.base)
        """The most that peers sent of the former life."""
        self.ours = dict(self.base)
        """The former actor's rows as this life made them durable."""
        self.commit: Commit | None = None
        """What is under way."""
        self.acknowledged: dict[tuple[str, bool], int] = {}
        self.open: dict[int, list[Increment]] = {}
        self.submitted: list[int] = []
        """What waits for its reply of the writes whose replies keep their order."""
        self.echoes: dict[Delta, None] = {}
        """What peers may have been sent of this life and send back, in the order in which it came about."""

    def live(self) -> None:
        inputs = (self.add, self.submit, self.receive, self.receive_an_echo, self.tick, self.persisted)
        for _ in range(self.rng.randrange(10, 90)):
            self.rng.choice((*inputs, self.look, self.look))()
        self.settle()
        for echo in self.echoes:
            self.node.step(Push("n2", 0, (echo,)), "n2", 0)
        self.settle()

    def settle(self) -> None:
        self.node.tick(0)
        while self.look() or self.commit:
            if self.commit:
                self.persisted(fails=False)
                self.node.tick(0)

    # Inputs.

    def add(self) -> None:
        msg_id, name, delta = self.rng.getrandbits(40), self.rng.choice(COUNTERS), self.rng.choice(DELTAS)
        self.open[msg_id] = [(name, delta)]
        self.node.step(Add(msg_id, delta, name), "c", 0)

    def submit(self) -> None:
        request_id = self.rng.getrandbits(40)
        adds = [(self.rng.choice(COUNTERS), self.rng.choice(DELTAS)) for _ in range(self.rng.randrange(1, 4))]
        self.open[request_id] = adds
        self.submitted.append(request_id)
        self.node.submit("d", request_id, adds)

    def receive(self) -> None:
        since = self.rng.choice((0, None))
        rows: list[NamedRow] = sorted(self.rng.choice(self.states).items(), key=lambda named: named[1].version)
        rows = rows[: self.rng.randrange(1, len(rows) + 1)]
        for name, row in rows:
            self.sent[name] = merged(self.sent.get(name, ZERO), row)
        self.node.step(Push("n2", 0, (Delta(ME, since, tuple(rows)),)), "n2", 0)

    def receive_an_echo(self) -> None:
        if self.echoes:
            self.node.step(Push("n2", 0, (self.rng.choice(list(self.echoes)),)), "n2", 0)

    def tick(self) -> None:
        self.node.tick(0)

    def persisted(self, fails: bool | None = None) -> None:
        commit, self.commit = self.commit, None
        if commit is None:
            return
        if self.rng.random() < 0.3 if fails is None else fails:
            self.node.persisted("ill")
            return
        for stored in commit.stored:
            if stored.actor == commit.actor == ME:
                self.ours |= {name: Row(*row) for name, row in stored.rows.items()}
        self.node.persisted()

    # What comes of them.

    def look(self) -> bool:
        """Fetch what is to be done, once; whether there was anything."""
        ready = self.node.ready(0)
        if ready is None:
            return False
        if not self.commit:
            self.note_echoes()
        for answer in ready.replies:
            self.note(answer)
        self.commit = ready.commit or self.commit
        return True

    def note_echoes(self) -> None:
        state = self.node.state
        rows = ((actor, state.newer(actor, 0, 99)) for actor in state.digest())
        self.echoes |= dict.fromkeys(Delta(actor, None, newer) for actor, newer in rows if newer)

    def note(self, answer: Answer) -> None:
        reply = answer.reply
        assert isinstance(reply, Written | ErrorReply)
        if answer.to == "d":
            assert reply.in_reply_to == self.submitted.pop(0), "out of order"
        writes = self.open.pop(reply.in_reply_to)
        if isinstance(reply, Written) and not any(isinstance(value, RequestError) for value in reply.values):
            for name, delta in writes:
                key = name, delta > 0
                self.acknowledged[key] = self.acknowledged.get(key, 0) + abs(delta)

    def check(self) -> None:
        assert not self.open, "never answered"
        for name in COUNTERS:
            for side in (0, 1):
                total = sum(row[:2][side] for row in self.node.state.ends.rows(name).values())
                base, sent = self.base.get(name, ZERO)[:2][side], self.sent.get(name, ZERO)[:2][side]
                ours = self.acknowledged.get((name, side == 0), 0)
                # Neither what this life acknowledged nor what was sent of the former one is lost, and none is doubled.
                assert max(base + ours, sent) <= total <= sent + ours
                if self.node.state.row(ME, name)[:2][side] > self.ours.get(name, ZERO)[side]:
                    assert total == sent + ours  # the former life's total is the larger: all of ours is added again


@pytest.mark.parametrize("first", range(0, 750, 250))
def test_an_older_journal_absorbs_no_add_and_doubles_none(first: int) -> None:
    for seed in range(first, first + 250):
        restored = Restored(seed)
        restored.live()
        restored.check()


def breaks_a_promise(seed: int) -> bool:
    restored = Restored(seed)
    try:
        restored.live()
        restored.check()
    except (AssertionError, KeyError):
        return True
    return False


@pytest.mark.parametrize(
    ("owner", "defence", "instead"),
    [
        (Identity, "absorbed_by", []),
        (Identity, "absorbed_from", []),
        (Tally, "include", None),
        (Tally, "forget", None),
        (Commits, "reapply", None),
    ],
)
def test_each_defence_is_needed(monkeypatch: pytest.MonkeyPatch, owner: type, defence: str, instead: object) -> None:
    monkeypatch.setattr(owner, defence, lambda *_: instead)
    assert any(map(breaks_a_promise, range(500)))
