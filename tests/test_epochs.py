"""A node whose journal is older than what its peers know, and everything that can come in between, by the hundred."""

from random import Random

import pytest

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import NOTHING, Row, merged
from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.messages import Add, AddOk, Delta, Push
from gossip_counter.node.core.replica import Answer, Effect, Recovered, Replica, RunOk
from gossip_counter.node.core.state import Actor, NamedRow, Stored

ME = Actor("n1.me")
COUNTERS = ("x", "y", "z")
DELTAS = (1, 2, 5, -1, -3)
Rows = dict[str, Row]


def former_life(rng: Random) -> list[Rows]:
    """Every state that the former life was in, one write after the other."""
    states: list[Rows] = [{}]
    for version in range(1, rng.randrange(2, 15)):
        name, delta = rng.choice(COUNTERS), rng.choice(DELTAS)
        p, n, _ = states[-1].get(name, NOTHING)
        states.append(states[-1] | {name: Row(p + max(delta, 0), n + max(-delta, 0), version)})
    return states[1:]


class Restored:
    """The node, started from one of those states, while peers tell of later ones, in any order and cut anywhere."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.states = former_life(self.rng)
        self.base = self.rng.choice(self.states)
        version = max(row.version for row in self.base.values())
        stored = Stored(ME, version, version, dict(self.base))
        self.node = Replica(Config(name="n1", peers=("n2",), push=False), Random(seed), 0, Recovered(ME, (stored,)))
        self.told = dict(self.base)
        """The most that peers told of the former life."""
        self.ours = dict(self.base)
        """The former actor's rows as this life made them durable."""
        self.acknowledged: dict[tuple[str, bool], int] = {}
        self.open: dict[int, list[tuple[str, int]]] = {}
        self.echoes: list[Delta] = []

    def live(self) -> None:
        for _ in range(self.rng.randrange(5, 50)):
            self.rng.choice(
                (self.add, self.add_run, self.hear, self.hear_an_echo, self.commit, self.commit, self.tick)
            )()
        self.settle()
        for echo in self.echoes:
            self.node.handle(Push("n2", 0, (echo,)), "n2", 0)
        self.settle()

    def settle(self) -> None:
        self.node.tick(0)
        while self.node._committing or self.node.flush():
            self.commit(fails=False)
            self.node.tick(0)

    def add(self) -> None:
        msg_id, name, delta = self.rng.getrandbits(40), self.rng.choice(COUNTERS), self.rng.choice(DELTAS)
        self.open[msg_id] = [(name, delta)]
        self.note(self.node.handle(Add(msg_id, delta, name), "c", 0))

    def add_run(self) -> None:
        number = self.rng.getrandbits(40)
        adds = [(self.rng.choice(COUNTERS), self.rng.choice(DELTAS)) for _ in range(self.rng.randrange(1, 4))]
        self.open[number] = adds
        assert not any(isinstance(each, RequestError) for each in self.node.add_run("door", number, adds))

    def hear(self) -> None:
        since = self.rng.choice((0, None))
        rows: list[NamedRow] = sorted(self.rng.choice(self.states).items(), key=lambda named: named[1].version)
        rows = rows[: self.rng.randrange(1, len(rows) + 1)]
        for name, row in rows:
            self.told[name] = merged(self.told.get(name, NOTHING), row)
        self.note(self.node.handle(Push("n2", 0, (Delta(ME, since, tuple(rows)),)), "n2", 0))

    def hear_an_echo(self) -> None:
        if self.echoes:
            self.note(self.node.handle(Push("n2", 0, (self.rng.choice(self.echoes),)), "n2", 0))

    def tick(self) -> None:
        self.node.tick(0)

    def commit(self, fails: bool | None = None) -> None:
        batch = self.node._committing
        if not batch:
            self.node.flush()  # and something may come before it is done
            return
        if self.rng.random() < 0.3 if fails is None else fails:
            self.note(self.node.not_committed("ill"))
            return
        if batch.actor == ME:
            self.ours |= {name: Row(*counts) for name, counts in batch.rows.items()}
        self.note(self.node.durable())
        self.note(self.node.committed(0))
        self.echoes += [
            Delta(actor, None, rows)
            for actor in self.node.state.digest()
            if (rows := self.node.state.newer(actor, 0, 99))
        ]

    def note(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, RunOk):
                self.note_acknowledged(effect.run)
            elif isinstance(effect, Answer) and isinstance(effect.reply, AddOk):
                self.note_acknowledged(effect.reply.in_reply_to)
            elif isinstance(effect, Answer):
                del self.open[effect.reply.in_reply_to]

    def note_acknowledged(self, number: int) -> None:
        for name, delta in self.open.pop(number):
            key = name, delta > 0
            self.acknowledged[key] = self.acknowledged.get(key, 0) + abs(delta)

    def check(self) -> None:
        assert not self.open, "never answered"
        for name in COUNTERS:
            for side in (0, 1):
                total = sum(row[side] for row in self.node.state.rows_of(name))
                base, told = self.base.get(name, NOTHING)[side], self.told.get(name, NOTHING)[side]
                ours = self.acknowledged.get((name, side == 0), 0)
                # Neither what this life acknowledged nor what was told of the former one is lost, and nothing doubled.
                assert max(base + ours, told) <= total <= told + ours
                if self.node.state.row(ME, name)[side] > self.ours.get(name, NOTHING)[side]:
                    assert total == told + ours  # the former life's total is the larger: all of ours is counted again


@pytest.mark.parametrize("first", range(0, 2000, 500))
def test_an_older_journal_swallows_no_add_and_doubles_none(first: int) -> None:
    for seed in range(first, first + 500):
        restored = Restored(seed)
        restored.live()
        restored.check()


def faulty(monkeypatch: pytest.MonkeyPatch, name: str, result: object) -> bool:
    monkeypatch.setattr(Replica, name, lambda *_: result)
    for seed in range(500):
        restored = Restored(seed)
        try:
            restored.live()
            restored.check()
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(
    ("defence", "instead"), [("_older_than", []), ("_swallowed", []), ("_note_written", None), ("_recount", None)]
)
def test_each_defence_is_needed(monkeypatch: pytest.MonkeyPatch, defence: str, instead: object) -> None:
    assert faulty(monkeypatch, defence, instead)
