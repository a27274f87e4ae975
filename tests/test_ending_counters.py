"""Claim: counters that expire or are deleted end at every node, once, and nothing that was deleted comes back.

The schedules are those of the model (`test_lives_model`), run with replicas, datagrams and losses.
"""

import pytest

from tests.support.ending_replicas import RealCluster
from tests.support.lives_cluster import BrokenPromiseError
from tests.support.lives_model import MODES

SEEDS = 6


@pytest.mark.parametrize("mode", MODES)
def test_replicas_keep_the_promises_of_the_model(mode: str) -> None:
    for seed in range(SEEDS):
        try:
            MODES[mode](RealCluster(seed, 0 if mode == "mixed" else 200))
        except BrokenPromiseError as error:
            pytest.fail(f"seed {seed}: {error.args}")
