"""The judge: hundreds of faulty runs that keep every promise, and planted faults that it must find."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gossip_counter.cluster.sim.network import Conditions
from gossip_counter.cluster.sim.oracle import Oracle, PromiseBroken
from gossip_counter.cluster.sim.scenario import COPIED, CROWD, FAULTY, RESTORED, SCENARIOS, TRUNCATING, Scenario
from gossip_counter.cluster.sim.simulation import Simulation
from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core import gossip, replica, state
from gossip_counter.node.core import tokens as token
from gossip_counter.node.core.batch import Tally
from gossip_counter.node.core.counts import Counts, Row
from gossip_counter.node.core.messages import Add, AddOk, Delta, Syn, SynAck
from gossip_counter.node.core.replica import Answer, Effect, Replica
from gossip_counter.node.core.state import Actor, NamedRow

SEEDS = {"faulty": 100, "truncating": 60, "crowd": 20, "copied": 20, "restored": 100}
"""Of each scenario, in slices that run side by side; `make sim` runs as many as you like."""
SLICE = 20


@pytest.mark.parametrize(
    ("scenario", "first"),
    [(name, first) for name, seeds in SEEDS.items() for first in range(0, seeds, SLICE)],
)
def test_every_promise_is_kept(scenario: str, first: int) -> None:
    for seed in range(first, first + SLICE):
        try:
            Simulation(SCENARIOS[scenario], seed).run()
        except PromiseBroken as broken:
            pytest.fail(f"{broken}\nto replay: bench judge --scenario {scenario} --first-seed {seed} --seeds 1")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_seed_gives_the_same_trace(scenario: str) -> None:
    def trace(seed: int) -> str:
        simulation = Simulation(SCENARIOS[scenario], seed)
        simulation.run()
        return simulation.trace

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


MODES: dict[str, Scenario] = {
    "anti-entropy alone": replace(FAULTY, config=replace(FAULTY.config, push=False)),
    "full state": replace(FAULTY, config=replace(FAULTY.config, gossip="full")),
    "one node": replace(FAULTY, nodes=1, partitions=0.0),
    "push alone, nothing lost": replace(
        FAULTY,
        config=replace(FAULTY.config, gossip_fanout=0),
        network=Conditions(),
        partitions=0.0,
        slow_nodes=0.0,
        pauses=0.0,
        crashes=0.0,
    ),
    "half of all datagrams lost": replace(FAULTY, network=Conditions(loss=0.5)),
}


@pytest.mark.parametrize("mode", MODES)
def test_promises_are_kept_in_every_mode(mode: str) -> None:
    for seed in range(10):
        Simulation(MODES[mode], seed).run()


# Planted faults. Each must be found within as many seeds as it says.

Plant = Callable[[pytest.MonkeyPatch], None]


def merge_by_sum(patch: pytest.MonkeyPatch) -> None:
    plant_merge(
        patch, lambda mine, theirs: Row(mine.p + theirs.p, mine.n + theirs.n, max(mine.version, theirs.version))
    )


def merge_forgets_n(patch: pytest.MonkeyPatch) -> None:
    plant_merge(patch, lambda mine, theirs: Row(max(mine.p, theirs.p), mine.n, max(mine.version, theirs.version)))


def merge_takes_the_last_to_come(patch: pytest.MonkeyPatch) -> None:
    plant_merge(patch, lambda _, theirs: theirs)


def plant_merge(patch: pytest.MonkeyPatch, merged: Callable[[Row, Row], Row]) -> None:
    patch.setattr(state, "merged", lambda mine, theirs: mine if mine == theirs else merged(mine, theirs))


def truncated_delta_claims_everything(patch: pytest.MonkeyPatch) -> None:
    """The version is raised to what the sender holds, not to the last row sent."""
    held = gossip.Gossiper._syn_ack
    claims: dict[int, dict[Actor, int]] = {}

    def syn_ack(self: gossip.Gossiper, syn: Syn) -> SynAck:
        claims[id(self)] = {actor: entry.version for actor, entry in syn.digest.items()}
        return held(self, syn)

    merge = gossip.Gossiper._merge_delta

    def merge_delta(self: gossip.Gossiper, delta: Delta) -> Delta | None:
        news = merge(self, delta)
        log = self._state._logs.get(delta.actor)
        if log and delta.since is not None:
            log.version = max(log.version, claims.get(id(self), {}).get(delta.actor, 0))
        return news

    patch.setattr(gossip.Gossiper, "_syn_ack", syn_ack)
    patch.setattr(gossip.Gossiper, "_merge_delta", merge_delta)
    blind_to_hashes(patch)


def gap_is_ignored(patch: pytest.MonkeyPatch) -> None:
    merge = state.State.merge

    def careless(self: state.State, actor: Actor, since: int | None, rows: Any, target: int = 0) -> list[NamedRow]:
        return merge(self, actor, 0 if since is not None else None, rows, target)

    patch.setattr(state.State, "merge", careless)
    blind_to_hashes(patch)


def equal_versions_are_taken_for_equal_state(patch: pytest.MonkeyPatch) -> None:
    blind_to_hashes(patch)


def blind_to_hashes(patch: pytest.MonkeyPatch) -> None:
    digest = state.State.digest

    def versions(self: state.State) -> dict[Actor, state.Held]:
        return {actor: state.Held(held.version, 0, 0) for actor, held in digest(self).items()}

    patch.setattr(state.State, "digest", versions)


def rows_ahead_are_kept_quiet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.State, "ahead", lambda *_: ())


def push_without_anti_entropy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gossip.Gossiper, "tick", lambda *_: [])


def the_actor_outlives_the_journal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replica, "mint", lambda name, _: Actor(name))

    def stubborn(self: Replica) -> list[Effect]:
        self._gossip.own_actor_is_older = False
        return []

    patch.setattr(Replica, "_begin_epoch", stubborn)


def answer_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    answer = Replica._answer

    def hasty(self: Replica, request: Any, client: Any, now_ns: int) -> list[Effect]:
        effects = answer(self, request, client, now_ns)
        if isinstance(request, Add):
            self._batch.waiting = [each for each in self._batch.waiting if each[:2] != (client, request.msg_id)]
            self._save_soon = True
            effects.append(Answer(client, AddOk(request.msg_id)))
        return effects

    patch.setattr(Replica, "_answer", hasty)


def as_rows(counts: dict[str, Counts]) -> list[NamedRow]:
    return [(name, Row(*each)) for name, each in counts.items()]


def reads_show_what_is_not_durable(patch: pytest.MonkeyPatch) -> None:
    add = Replica._add

    def early(self: Replica, request: Add, client: Any) -> list[Effect]:
        effects = add(self, request, client)
        rows = self._batch.rows(self._held(self._batch.net), self.state.version(self._actor))
        self.state.merge(self._actor, None, as_rows(rows))
        return effects

    patch.setattr(Replica, "_add", early)


def the_second_write_of_a_batch_forgets_the_first(patch: pytest.MonkeyPatch) -> None:
    add = Tally.add

    def forgetful(self: Tally, name: str, delta: int) -> None:
        self.net.pop(name, None)
        self.minus.pop(name, None)
        add(self, name, delta)

    patch.setattr(Tally, "add", forgetful)


def answers_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    pack = wire.pack_gossip
    patch.setattr(wire, "pack_gossip", lambda message, cluster, budget, _: pack(message, cluster, budget, 10**6))


def rows_are_made_up(patch: pytest.MonkeyPatch) -> None:
    merge = state.State.merge

    def inventive(self: state.State, actor: Actor, since: int | None, rows: Any, target: int = 0) -> list[NamedRow]:
        merge(self, Actor("somebody"), None, [(counter, Row(1, 1, 1)) for counter, _ in rows])
        return merge(self, actor, since, rows, target)

    patch.setattr(state.State, "merge", inventive)


def an_epoch_is_begun_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gossip.Gossiper, "own_actor_is_older", property(lambda _: True, lambda *_: None), raising=False)


def decrements_are_lost(patch: pytest.MonkeyPatch) -> None:
    add = Tally.add
    patch.setattr(Tally, "add", lambda self, name, delta: add(self, name, max(delta, 0)))


def what_was_swallowed_stays_so(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replica, "_older_than", lambda *_: [])


def a_failed_commit_counts_all_the_same(patch: pytest.MonkeyPatch) -> None:
    failed = Replica.not_committed

    def careless(self: Replica, reason: str) -> list[Effect]:
        batch = self._committing
        effects = failed(self, reason)
        if batch:
            self.state.merge(batch.actor, self.state.version(batch.actor), as_rows(batch.rows))
        return effects

    patch.setattr(Replica, "not_committed", careless)


def copies_are_confirmed_from_memory(patch: pytest.MonkeyPatch) -> None:
    confirm = Replica._confirm

    def hasty(self: Replica, asked: Any, now_ns: int) -> list[Effect]:
        self._saved[asked.actor] = self.state.whole(asked.actor)
        return confirm(self, asked, now_ns)

    patch.setattr(Replica, "_confirm", hasty)


def a_token_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(token, "includes", lambda *_: True)


BUSY = replace(FAULTY, adds=400.0, commit_ms=20.0)
BRITTLE = replace(COPIED, nodes=3, crashes=4.0, commit_ms=60.0, seconds=5.0)
ILL = replace(RESTORED, failing_disks=5.0)
CURIOUS = replace(FAULTY, reads=80.0, crashes=0.0, config=replace(FAULTY.config, push=False))
QUIET_PUSH = replace(CROWD, network=Conditions(delay_ms=5, loss=0.5, late=0.1), crashes=3.0, journal_lost=1.0)

MUTANTS: list[tuple[Plant, Scenario, int]] = [
    (merge_by_sum, FAULTY, 2),
    (merge_forgets_n, FAULTY, 2),
    (merge_takes_the_last_to_come, FAULTY, 3),
    (truncated_delta_claims_everything, TRUNCATING, 5),
    (gap_is_ignored, FAULTY, 20),
    (equal_versions_are_taken_for_equal_state, TRUNCATING, 200),
    (rows_ahead_are_kept_quiet, QUIET_PUSH, 60),
    (push_without_anti_entropy, FAULTY, 3),
    (the_actor_outlives_the_journal, FAULTY, 60),
    (answer_before_the_commit, BUSY, 10),
    (reads_show_what_is_not_durable, BUSY, 20),
    (the_second_write_of_a_batch_forgets_the_first, BUSY, 3),
    (decrements_are_lost, FAULTY, 2),
    (answers_have_no_bound, TRUNCATING, 3),
    (rows_are_made_up, FAULTY, 2),
    (an_epoch_is_begun_for_nothing, FAULTY, 2),
    (what_was_swallowed_stays_so, RESTORED, 60),
    (a_failed_commit_counts_all_the_same, ILL, 5),
    (copies_are_confirmed_from_memory, BRITTLE, 200),
    (a_token_is_not_waited_for, CURIOUS, 10),
]


@pytest.mark.parametrize(("plant", "scenario", "seeds"), MUTANTS, ids=[plant.__name__ for plant, _, _ in MUTANTS])
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, scenario: Scenario, seeds: int
) -> None:
    plant(monkeypatch)
    found = next((seed for seed in range(seeds) if breaks(scenario, seed)), None)
    assert found is not None, f"not found within {seeds} seeds"
    print(f"{plant.__name__}: found by seed {found}")  # noqa: T201 shown by pytest -rP


def breaks(scenario: Scenario, seed: int) -> bool:
    try:
        Simulation(replace(scenario, heal_seconds=5.0), seed).run()
    except PromiseBroken:
        return True
    return False


# The oracle itself.


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    yield Oracle()


def asked(oracle: Oracle, acknowledged: list[int], unknown: list[int]) -> None:
    for delta in acknowledged:
        oracle.acknowledged(oracle.ask_add("n1", 1, "c", delta))
    for delta in unknown:
        oracle.ask_add("n2", 1, "c", delta)
    oracle.crashed("n2", 1)


@pytest.mark.parametrize(
    ("total", "possible"), [(9, False), (10, True), (11, False), (12, True), (15, True), (18, False)]
)
def test_the_total_is_what_was_acknowledged_and_some_of_the_unknown(oracle: Oracle, total: int, possible: bool) -> None:
    asked(oracle, [7, 3], [2, 5])
    if possible:
        oracle.check_totals("n1", "c", (total, 0), total)
    else:
        with pytest.raises(PromiseBroken):
            oracle.check_totals("n1", "c", (total, 0), total)


def test_a_read_outside_its_bounds_is_noticed(oracle: Oracle) -> None:
    asked(oracle, [7, -2], [5])
    for value, fine in ((4, False), (5, True), (10, True), (11, False)):
        msg_id = oracle.ask_read("n1", 1, "c")
        if fine:
            oracle.replied(msg_id, value)
        else:
            with pytest.raises(PromiseBroken):
                oracle.replied(msg_id, value)


def test_a_request_that_is_never_answered_is_noticed(oracle: Oracle) -> None:
    oracle.ask_add("n1", 1, "c", 1)
    with pytest.raises(PromiseBroken):
        oracle.check_answered()
