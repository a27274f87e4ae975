"""The simulator: faulty runs that keep every promise, planted faults that it must find, and the oracle itself."""

from dataclasses import replace

import pytest

from gossip_counter.cluster.sim.network import Conditions
from gossip_counter.cluster.sim.oracle import Oracle, PromiseBroken
from gossip_counter.cluster.sim.redis_clients import replies
from gossip_counter.cluster.sim.scenario import (
    CLONED,
    COPIED,
    ENDING,
    FAULTY,
    REDIS,
    RESTORED,
    SCENARIOS,
    SEALED,
    TRUNCATING,
    Scenario,
)
from gossip_counter.cluster.sim.simulation import Simulation
from tests.support import planted_ends as ends
from tests.support import planted_faults as faults
from tests.support.planted_faults import Plant

SOAK = 8
"""Seeds of each scenario, which can run side by side; `make sim` runs as many as you like."""


def check(name: str, seed: int) -> None:
    try:
        Simulation(SCENARIOS[name], seed).run()
    except PromiseBroken as broken:
        pytest.fail(f"{broken}\nto replay: bench judge --scenario {name} --first-seed {seed} --seeds 1")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_promise_is_kept(name: str) -> None:
    check(name, 0)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_promise_is_kept_in_many_runs(name: str) -> None:
    for seed in range(SOAK):
        check(name, seed)


@pytest.mark.parametrize("name", ["faulty", "copied", "ending", "sealed"])
def test_the_same_seed_gives_the_same_trace(name: str) -> None:
    def trace(seed: int) -> str:
        simulation = Simulation(replace(SCENARIOS[name], seconds=2.0), seed)
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
    Simulation(replace(MODES[mode], seconds=5.0), 0).run()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_promises_are_kept_in_every_mode_in_many_runs(mode: str) -> None:
    for seed in range(SOAK):
        Simulation(MODES[mode], seed).run()


# Planted faults. Each must be found within so many seeds. Runs are short, and made for what they must show.

QUICK = replace(FAULTY, seconds=4.0)
CUT = replace(TRUNCATING, seconds=4.0)
BUSY = replace(FAULTY, adds=400.0, commit_ms=20.0, seconds=3.0)
ILL = replace(RESTORED, failing_disks=5.0, seconds=4.0)
FORKING = replace(CLONED, nodes=3, clones=2.0, counters=2, adds=100.0, crashes=0.1, seconds=9.0)
RESTORED_SOON = replace(RESTORED, seconds=4.0)
BRITTLE = replace(COPIED, nodes=3, crashes=4.0, commit_ms=60.0, seconds=5.0)
LOSING = replace(FAULTY, nodes=3, crashes=2.0, journal_lost=1.0, restored=0.0, seconds=4.0)
REWRITING = replace(TRUNCATING, nodes=3, crashes=4.0, partitions=5.0, adds=300.0, counters=200, seconds=3.0)
GAPS = replace(
    FAULTY,
    nodes=3,
    adds=40.0,
    network=Conditions(delay_ms=5, loss=0.5, late=0.1),
    crashes=6.0,
    journal_lost=1.0,
    seconds=3.0,
)
CURIOUS = replace(
    FAULTY,
    config=replace(FAULTY.config, push=False, gossip_interval_ms=500),
    reads=80.0,
    counters=10,
    crashes=0.0,
    seconds=4.0,
)

TAMPERED = replace(
    SEALED,
    nodes=3,
    network=replace(SEALED.network, tampered=1.0),
    crashes=6.0,
    journal_lost=0.0,
    restored=0.0,
    seconds=4.0,
)

FORGETFUL = replace(
    ENDING,
    nodes=3,
    counters=2,
    adds=0.0,
    pipelines=0.0,
    reads=0.0,
    transactions=80.0,
    crashes=2.0,
    seconds=3.0,
)

PLANTS: list[tuple[Plant, Scenario, int]] = [
    (faults.merge_by_sum, QUICK, 3),
    (faults.merge_forgets_n, QUICK, 3),
    (faults.merge_takes_the_last_to_come, QUICK, 3),
    (faults.truncated_delta_claims_everything, CUT, 5),
    (faults.gap_is_ignored, GAPS, 30),
    (faults.equal_versions_are_taken_for_equal_state, REWRITING, 200),
    (faults.detached_rows_are_not_sent, GAPS, 60),
    (faults.push_without_anti_entropy, QUICK, 3),
    (faults.the_actor_outlives_the_journal, LOSING, 60),
    (faults.answer_before_the_commit, BUSY, 10),
    (faults.reads_show_what_is_not_durable, BUSY, 20),
    (faults.the_second_write_of_a_batch_forgets_the_first, BUSY, 3),
    (faults.decrements_are_lost, QUICK, 3),
    (faults.answers_have_no_bound, CUT, 3),
    (faults.rows_are_made_up, QUICK, 3),
    (faults.an_epoch_is_begun_for_nothing, QUICK, 3),
    (faults.a_rival_is_ignored, FORKING, 20),
    (faults.a_second_speaker_is_not_noticed, FORKING, 20),
    (faults.an_inherited_actor_is_written_as_though_nobody_can_tell, FORKING, 20),
    (faults.what_was_absorbed_is_not_reapplied, RESTORED_SOON, 60),
    (faults.a_failed_commit_counts_all_the_same, ILL, 5),
    (faults.a_failed_commit_is_taken_for_a_success, ILL, 5),
    (faults.copies_are_confirmed_from_memory, BRITTLE, 200),
    (faults.a_token_is_not_waited_for, CURIOUS, 20),
    (faults.wait_counts_one_member_too_many, REDIS, 3),
    (faults.clients_get_each_others_replies, REDIS, 3),
    (faults.an_add_is_answered_with_the_value_before_it, REDIS, 3),
    (faults.a_redis_client_reads_before_its_adds_are_durable, REDIS, 3),
    (faults.a_datagram_for_another_process_is_taken, TAMPERED, 20),
    (faults.what_does_not_open_is_taken_as_it_is, TAMPERED, 3),
    (ends.lineages_are_not_born, FORGETFUL, 3),
    (ends.deleted_rows_stay, FORGETFUL, 40),
    (ends.empty_rows_stay, FORGETFUL, 12),
    (ends.earlier_deadlines_are_not_remembered, FORGETFUL, 10),
    (ends.lives_go_in_parts, FORGETFUL, 30),
]


@pytest.mark.parametrize(("plant", "scenario", "seeds"), PLANTS, ids=[plant.__name__ for plant, *_ in PLANTS])
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
def oracle() -> Oracle:
    return Oracle()


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


def test_a_value_that_lacks_the_add_it_answers_is_noticed(oracle: Oracle) -> None:
    asked(oracle, [7], [])
    msg_id = oracle.ask_add("n1", 1, "c", 2)
    oracle.check_value(msg_id, 9)
    for value in (8, 10):
        with pytest.raises(PromiseBroken):
            oracle.check_value(msg_id, value)


def test_a_request_that_is_never_answered_is_noticed(oracle: Oracle) -> None:
    oracle.ask_add("n1", 1, "c", 1)
    with pytest.raises(PromiseBroken):
        oracle.check_answered()


def test_replies_are_read_wherever_they_are_cut() -> None:
    unread, found = bytearray(), list[object]()
    for byte in b":12\r\n$-1\r\n$2\r\n-7\r\n-ERR no\r\n:-3\r\n":
        unread.append(byte)
        found += replies(unread)
    assert found == [12, None, b"-7", "-ERR no", -3]
