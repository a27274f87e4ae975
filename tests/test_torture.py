"""Claim: real processes keep every promise while nodes are killed, paused, cut off and wiped."""

import asyncio

import pytest

from gossip_counter.bench import torture


@pytest.mark.parametrize(
    "plan",
    [
        torture.Plan(seconds=2.5, nodes=3, seed=32, clients=8),
        pytest.param(torture.Plan(kill_all=5, seed=1), marks=pytest.mark.soak),
        pytest.param(torture.Plan(seconds=30, seed=5), marks=pytest.mark.soak),
        pytest.param(torture.Plan(seconds=30, seed=6, loss=0.3), marks=pytest.mark.soak),
    ],
    ids=["smoke", "kill all", "everything", "everything, 30 % loss"],
)
@pytest.mark.timeout(180)
def test_torture(plan: torture.Plan) -> None:
    verdict = asyncio.run(torture.run(plan, lambda _: None))
    assert verdict.broken is None
    assert verdict.acknowledged > 100
    assert verdict.reads > 10


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    assert torture.schedule(torture.Plan(seed=1)) == torture.schedule(torture.Plan(seed=1))
    assert torture.schedule(torture.Plan(seed=1)) != torture.schedule(torture.Plan(seed=2))
    actions = {step.action for step in torture.schedule(torture.Plan(seconds=600))}
    assert actions == {
        *("kill", "restart", "pause", "resume", "partition", "heal", "loss", "wipe", "damage"),
        *("copy", "copy apart", "meet", "end copy", "move", "back up", "put back"),
    }
